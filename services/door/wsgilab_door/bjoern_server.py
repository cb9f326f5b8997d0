"""bjoern, which has no command line: `python -m wsgilab_door.bjoern_server`. The address comes from LAB_BIND (host:port)."""

import os
import sys

import bjoern

from wsgilab_door.loader import NotServed


def main() -> None:
    try:
        from wsgilab_door.wsgi import app
    except NotServed:
        # It is told.
        sys.exit(1)
    host, _, port = os.environ.get("LAB_BIND", "127.0.0.1:8000").rpartition(":")
    bjoern.run(app, host, int(port))


if __name__ == "__main__":
    main()
