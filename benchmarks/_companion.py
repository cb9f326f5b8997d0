"""What a benchmark's program beside the lab's swarm does with its standard input: orders in, answers out, one JSON object a line."""

# Locust patches the standard library for gevent when it is imported: it has to come first.
import locust  # noqa: F401  isort: skip

import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from gevent.fileobject import FileObjectPosix


def take_orders(obey: Callable[..., Mapping[str, Any]]) -> None:
    """Call `obey` with each order, until the input ends. What it raises is the answer: {"error": ...}."""
    # Nothing but messages may reach the real standard output.
    output = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for line in FileObjectPosix(sys.stdin.fileno(), "rb", closefd=False):
        answer: Mapping[str, Any]
        try:
            answer = obey(**json.loads(line))
        except Exception as error:  # noqa: BLE001 - the benchmark decides what it means
            answer = {"error": f"{type(error).__name__}: {error}"}
        output.write(json.dumps(answer) + "\n")
        output.flush()
