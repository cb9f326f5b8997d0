"""The health check of a container: exit 0 once `/__lab__/ready` on port 8000 is answered with 200, for which it waits a while.

By a bare socket, and started with `python -S -E`, because this runs on the very cores that are measured: an HTTP
library would cost them its import each time. It waits because a check that fails costs more: another process, a while later.
"""

import socket
import sys
import time

WAIT_S = 10.0
"""Well below the catalogue's `timeout`, which the start of this process counts for too."""


def why_not(left_s: float) -> str | None:
    """Why the server is not ready, within that time; None where it is."""
    try:
        with socket.create_connection(("127.0.0.1", 8000), timeout=left_s) as connection:
            connection.sendall(b"GET /__lab__/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            head = connection.recv(64)
    except OSError as error:
        return str(error)
    return None if b" 200 " in head else f"answered {head!r}"


if __name__ == "__main__":
    deadline = time.monotonic() + WAIT_S
    while (cause := why_not(max(0.1, deadline - time.monotonic()))) and time.monotonic() < deadline:
        time.sleep(0.05)
    sys.exit(cause)
