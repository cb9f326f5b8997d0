"""A server that runs already: measured from outside, and from inside once its application has the stamp."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest

from tests.e2e.conftest import Cli
from wsgilab_door.stamp import StampMiddleware

pytestmark = pytest.mark.lab

SLOTS = 3


class Pooled(WSGIServer):
    """With SLOTS threads."""

    request_queue_size = 128

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.pool = ThreadPoolExecutor(SLOTS)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.pool.submit(self.serve, request, client_address)

    def serve(self, request: Any, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except OSError:
            pass
        finally:
            self.shutdown_request(request)


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None: ...


def app(_: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Whatever is asked for."""
    time.sleep(0.05)
    start_response("200 OK", [("Content-Length", "6")])
    return [b"hello\n"]


@contextlib.contextmanager
def serving(application: Any) -> Iterator[str]:
    with make_server("127.0.0.1", 0, application, Pooled, Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        server.pool.shutdown()


def test_a_server_of_ones_own_is_measured_from_outside_and_with_the_stamp_from_inside(local: Cli) -> None:
    with serving(app) as url:
        ended = local("lab.run", "--url", f"{url}/hello", "--blocks", "1")
    assert ended.code == 0, ended.output
    assert "Its answers have no stamps" in ended.output
    plain = {each["users"]: each for each in local.comparison()["cells"]}
    assert list(plain) == [1, 8, 32]
    for cell in plain.values():
        assert cell["failures"] == 0
        assert cell["in_flight"] is cell["cores"] is cell["server_cpu"] is None
        assert 0 < cell["throughput_rps"]["median"] <= SLOTS / 0.050 * 1.05
        assert cell["latency_ms"]["p50"] >= 50

    with serving(StampMiddleware(app)) as url:
        ended = local("lab.run", "--url", f"{url}/hello", "--blocks", "1")
    assert ended.code == 0, ended.output
    assert "have no stamps" not in ended.output
    stamped = {each["users"]: each["in_flight"]["peak"] for each in local.comparison()["cells"]}
    assert stamped == {1: 1, 8: SLOTS, 32: SLOTS}
