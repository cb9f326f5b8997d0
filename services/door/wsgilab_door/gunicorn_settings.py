"""Settings of Gunicorn's that not all of its releases know: as words of GUNICORN_CMD_ARGS they would be errors there.

Named by `--config`, which has another effect too: no `gunicorn.conf.py` of the working folder is read. A command's own `-c` wins.
"""

# It needs a place that a read-only root does not have.
control_socket_disable = True
