"""Gunicorn reads a file of this name in its working folder unasked: the lab must not start it there."""

raise SystemExit("the application's gunicorn.conf.py was read")
