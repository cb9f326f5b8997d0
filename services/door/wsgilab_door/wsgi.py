"""What every server is told to serve, `wsgilab_door.wsgi:app`: the application that LAB_APP names, stamped, and the lab's pages.

LAB_APP    module:callable, or module:factory(arguments)      (default app:app)
LAB_SOURCE the folder that it is imported from and runs in    (default: the working folder)
LAB_LATE   the file of what left late, see late.py            (default: none, and nothing is recorded)

Imported, this changes the working folder and sys.path. Where the application cannot be served, it says why in one line on
standard error, and raises NotServed.
"""

import os

from wsgilab_door import loader
from wsgilab_door.late import LateFile
from wsgilab_door.pages import Pages
from wsgilab_door.stamp import StampMiddleware

late = LateFile(os.environ["LAB_LATE"]) if os.environ.get("LAB_LATE") else None
application = loader.opened(os.environ.get("LAB_SOURCE") or ".", os.environ.get("LAB_APP") or "app:app")
app = Pages(StampMiddleware(application, late), late)
