"""The health check of the slow service: exit 0 once it answers on this machine. LAB_BIND (host:port) is where it listens.

Apart from the service, whose libraries take half a second of computing to import.
"""

import http.client
import os
import sys


def is_ready(port: int) -> bool:
    """Whether the service on this machine answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/wait?ms=0", headers={"Connection": "close"})
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(not is_ready(int(os.environ.get("LAB_BIND", "0.0.0.0:8000").rpartition(":")[2])))
