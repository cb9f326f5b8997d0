"""Werkzeug's development server, as Flask's `app.run()` starts it: `python -m wsgilab_door.dev_server [--threaded | --processes N]`.

It serves any WSGI application. What is not given is as with `app.run()`: a thread for each request. The address comes from
LAB_BIND (host:port), as Gunicorn's comes from GUNICORN_CMD_ARGS.
"""

import argparse
import logging
import os
import sys

from werkzeug.serving import run_simple

from wsgilab_door.loader import NotServed

parser = argparse.ArgumentParser(prog="python -m wsgilab_door.dev_server")
parser.add_argument("--threaded", action=argparse.BooleanOptionalAction, default=True, help="a thread per request")
parser.add_argument("--processes", type=int, default=1, help="up to so many forked processes")


def main() -> None:
    options = parser.parse_args()
    host, _, port = os.environ.get("LAB_BIND", "127.0.0.1:8000").rpartition(":")
    # Writing a line a request costs CPU time, and Gunicorn writes none unless asked: silence it alike.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    try:
        from wsgilab_door.wsgi import app
    except NotServed:
        # It is told.
        sys.exit(1)
    run_simple(host, int(port), app, **vars(options))


if __name__ == "__main__":
    main()
