"""Pages of a server, asked for from this machine."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from wsgilab import testing
from wsgilab.model.errors import TargetError
from wsgilab.runtime.protocol import Target
from wsgilab.testing import FakeTarget


@contextmanager
def answering(status: int, body: str) -> Iterator[Target]:
    """A target that answers one request."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(f"{body} at {self.path}".encode())

        def log_message(self, *_: object) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        yield FakeTarget(server=testing.server(), published_url=f"http://127.0.0.1:{server.server_address[1]}")
        thread.join()


def test_a_page_is_got_by_the_published_address(monkeypatch: pytest.MonkeyPatch) -> None:
    # A proxy is for what is elsewhere.
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with answering(200, "hello") as target:
        assert target.fetch("/calibrate?ms=5") == "hello at /calibrate?ms=5"


def test_a_page_that_is_not_answered_is_an_error() -> None:
    with answering(500, "broken") as target, pytest.raises(TargetError, match="/lab answered with status 500: broken"):
        target.fetch("/lab")
    with pytest.raises(TargetError, match="/lab answered with nothing: Connection refused"):
        target.fetch("/lab")
