"""Settings of Gunicorn's that not all of its releases know: as words of GUNICORN_CMD_ARGS they would be errors there.

Named by `--config`, which has another effect too: no `gunicorn.conf.py` of the working folder is read. A command's own `-c` wins.
LAB_GUNICORN_CONF has the text of a user's own file, as JSON: its settings are taken too, as Gunicorn takes those of a file.
"""

import json
import os

# It needs a place that a read-only root does not have.
control_socket_disable = True

if "LAB_GUNICORN_CONF" in os.environ:
    exec(compile(json.loads(os.environ["LAB_GUNICORN_CONF"]), "gunicorn.conf.py", "exec"))  # noqa: S102 - as Gunicorn does
