"""What ASGI servers are told to serve, `wsgilab_door.asgi:app`: the WSGI application of `wsgilab_door.wsgi`, on a2wsgi's threads.

As a2wsgi comes, it has ten threads in each process (a2wsgi 1.10, `WSGIMiddleware(app, workers=10)`).
"""

from a2wsgi import WSGIMiddleware

from wsgilab_door.wsgi import app as wsgi

app = WSGIMiddleware(wsgi)
