"""How a process that the lab has started writes to it: one JSON object a line, on standard output."""

import json
import os
import sys
from typing import Any


class EventWriter:
    """Writes events for the lab. What anything else prints goes to standard error from now on."""

    def __init__(self) -> None:
        self._output = os.fdopen(os.dup(sys.stdout.fileno()), "w")
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def __call__(self, event: str, **fields: Any) -> None:
        self._output.write(json.dumps({"event": event, **fields}) + "\n")
        self._output.flush()
