"""HTTP servers that tests have for a moment."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Silent(BaseHTTPRequestHandler):
    """One that writes no log."""

    def log_message(self, *_: object) -> None: ...


@contextmanager
def serving(handler: Callable[..., BaseHTTPRequestHandler], host: str = "127.0.0.1") -> Iterator[int]:
    """The port at which requests are handled so."""
    with ThreadingHTTPServer((host, 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@dataclass
class Site:
    """A server that answers everything alike, and what it was asked."""

    address: str = ""
    asked: list[str] = field(default_factory=list)


@contextmanager
def site(body: str, status: int = 200, host: str = "127.0.0.1") -> Iterator[Site]:
    made = Site()

    class Handler(Silent):
        def do_GET(self) -> None:
            made.asked.append(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def do_CONNECT(self) -> None:
            self.do_GET()

    with serving(Handler, host) as port:
        made.address = f"{host}:{port}"
        yield made
