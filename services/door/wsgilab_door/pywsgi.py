"""gevent's own WSGI server: `python -m wsgilab_door.pywsgi`

It has no command line: this is the script that gevent's documentation shows (www.gevent.org, gevent.pywsgi), without a log.
The address comes from LAB_BIND (host:port).
"""

from gevent import monkey

monkey.patch_all()

import os  # noqa: E402 - all that the application imports has to be patched
import sys  # noqa: E402

from gevent.pywsgi import WSGIServer  # noqa: E402

from wsgilab_door.loader import NotServed  # noqa: E402


def main() -> None:
    try:
        from wsgilab_door.wsgi import app
    except NotServed:
        # It is told.
        sys.exit(1)
    WSGIServer(os.environ.get("LAB_BIND", "127.0.0.1:8000"), app, log=None).serve_forever()


if __name__ == "__main__":
    main()
