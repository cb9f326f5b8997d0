"""Flask's development server, as `app.run()` starts it: `python dev_server.py [--threaded | --processes N]`.

`flask run` has no option for processes, so this is the short script that a user would write. What is not given is left
to `app.run()`. The address comes from LAB_BIND (host:port), as Gunicorn's comes from GUNICORN_CMD_ARGS.
"""

import argparse
import logging
import os

from app import app

parser = argparse.ArgumentParser(argument_default=argparse.SUPPRESS)
parser.add_argument("--threaded", action=argparse.BooleanOptionalAction, help="a thread per request")
parser.add_argument("--processes", type=int, help="up to so many forked processes")


if __name__ == "__main__":
    options = parser.parse_args()
    host, _, port = os.environ.get("LAB_BIND", "127.0.0.1:8000").rpartition(":")
    # Writing a line a request costs CPU time, and Gunicorn writes none unless asked: silence it alike.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app.run(host=host, port=int(port), **vars(options))
