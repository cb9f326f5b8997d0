"""The health check of a container: exit 0 once `/__lab__/ready` on port 8000 is answered with 200.

By a bare socket, and started with `python -S -E`, because this runs on the very cores that are measured: an HTTP
library would cost them its import each time.
"""

import socket
import sys

try:
    with socket.create_connection(("127.0.0.1", 8000), timeout=2) as connection:
        connection.sendall(b"GET /__lab__/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        sys.exit(b" 200 " not in connection.recv(64))
except OSError as error:
    sys.exit(str(error))
