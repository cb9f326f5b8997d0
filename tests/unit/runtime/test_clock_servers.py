"""What is made of the words of the clock server's container."""

from pathlib import Path
from typing import Any, cast

import pytest

from wsgilab.model.errors import EngineError
from wsgilab.runtime import clock_servers
from wsgilab.system.process import Finished

REFUSED = (
    "Network Created\nError response from daemon: driver failed programming (12): listen tcp4 10.0.0.2:8100: bind: cannot "
    "assign requested address\nError: failed to start containers: 1"
)


class FakeCompose:
    """Compose that ends as it is told."""

    def __init__(self, code: int, stdout: str = "", stderr: str = "") -> None:
        self.lab_files = [Path("compose.yaml")]
        self._finished = Finished(code=code, stdout=stdout, stderr=stderr)

    def run(self, *_: object, **__: object) -> Finished:
        return self._finished


def compose(*told: Any, **more: Any) -> Any:
    return cast("Any", FakeCompose(*told, **more))


def test_why_a_clock_server_cannot_be_published_is_what_its_engine_says() -> None:
    with pytest.raises(EngineError) as caught:
        clock_servers.serve(compose(1, stderr=REFUSED), "project", "10.0.0.2", "8100")
    assert caught.value.message == (
        "the clock server did not start: listen tcp4 10.0.0.2:8100: bind: cannot assign requested address"
    )
    with pytest.raises(EngineError, match="the clock server did not start: no such thing"):
        clock_servers.serve(compose(1, stderr="no such thing"), "project", "10.0.0.2", "8100")


def test_what_a_clock_server_has_found_out_is_its_last_line() -> None:
    told = compose(0, stdout='a warning\n{"round_trip_ms": 1.5, "offset_ns": -7, "bandwidth_mbps": 940.0}\n')
    assert clock_servers.probe(told, "project", "10.0.0.2", 8100) == clock_servers.Probed(
        round_trip_ms=1.5, offset_ns=-7, bandwidth_mbps=940.0
    )
    lost = clock_servers.probe(
        compose(1, stdout='{"error": "10.0.0.2:8100 is not reached: refused"}\n'), "p", "10.0.0.2", 8100
    )
    assert lost.error == "10.0.0.2:8100 is not reached: refused"


@pytest.mark.parametrize("stdout", ["", "Segmentation fault\n", "[]\n", '{"host": 3}\n'])
def test_a_clock_server_that_says_something_else_is_an_error(stdout: str) -> None:
    with pytest.raises(EngineError, match="the clock server"):
        clock_servers.facts(compose(139, stdout=stdout), "project")
