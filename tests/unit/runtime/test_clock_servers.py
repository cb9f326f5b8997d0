"""What is made of the words of the clock server's container."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from wsgilab.model.errors import EngineError
from wsgilab.runtime import clock_servers
from wsgilab.runtime.removal import PROJECT_LABEL
from wsgilab.system.process import Finished

REFUSED = (
    "Network Created\nError response from daemon: driver failed programming (12): listen tcp4 10.0.0.2:8100: bind: cannot "
    "assign requested address\nError: failed to start containers: 1"
)


class FakeCompose:
    """Compose, and the engine's own API, whose containers end as it is told."""

    lab_id = "lab"

    def __init__(self, code: int, stdout: str = "", stderr: str = "") -> None:
        self.lab_files = [Path("compose.yaml")]
        self._finished = Finished(code=code, stdout=stdout, stderr=stderr)
        self.client = SimpleNamespace(containers=self)
        self.created: dict[str, Any] = {}

    def run(self, *_: object, **__: object) -> Finished:
        return self._finished

    def image(self, stack: str) -> str:
        return f"wsgilab/{stack}:tag"

    # A container.

    def create(self, image: str, command: list[str], **settings: Any) -> "FakeCompose":
        self.created = {"image": image, "command": command, **settings}
        return self

    def start(self) -> None: ...

    def wait(self, *, timeout: float) -> dict[str, int]:
        assert timeout > 0
        return {"StatusCode": self._finished.code}

    def logs(self, *, stdout: bool, stderr: bool) -> bytes:
        assert stdout != stderr
        return (self._finished.stdout if stdout else self._finished.stderr).encode()


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


def test_what_machine_it_is_is_asked_for_by_a_confined_container_that_goes_with_its_project() -> None:
    host = {
        "cpu": "c",
        "architecture": "a",
        "usable_cpus": "0-3",
        "siblings": ["0-3"],
        "memory_bytes": 1,
        "kernel": "k",
    }
    said = {"host": {**host, "python": "3.13"}, "time": 1.5, "clocksource": "tsc", "boot": "b"}
    asked = compose(0, stdout=f"{json.dumps(said)}\n", stderr="a warning")
    found = clock_servers.facts(asked, "project")
    assert (found.host.usable_cpus, found.time, found.boot) == ("0-3", 1.5, "b")
    assert asked.created["image"] == "wsgilab/clock-server:tag"
    assert asked.created["command"][-1] == "host"
    assert asked.created["labels"].items() >= {"wsgilab.lab": "lab", PROJECT_LABEL: "project"}.items()
    assert (asked.created["network_mode"], asked.created["read_only"], asked.created["cap_drop"]) == (
        "none",
        True,
        ["ALL"],
    )
    with pytest.raises(EngineError, match="the clock server did not run: no such image"):
        clock_servers.facts(compose(1, stderr="no such image\n"), "project")


@pytest.mark.parametrize("stdout", ["", "Segmentation fault\n", "[]\n", '{"host": 3}\n'])
def test_a_clock_server_that_says_something_else_is_an_error(stdout: str) -> None:
    with pytest.raises(EngineError, match="the clock server"):
        clock_servers.facts(compose(139, stdout=stdout), "project")


def test_how_busy_cores_are_is_asked_of_their_machine() -> None:
    asked = compose(0, stdout='{"0": 0.25, "3": 1.0}\n')
    assert clock_servers.busy(asked, "project", [3, 0], 2.0) == {0: 0.25, 3: 1.0}
    assert asked.created["command"][-3:] == ["busy", "0,3", "2"]
    assert asked.created["name"] != "project-host"


def test_free_memory_is_asked_of_its_machine() -> None:
    asked = compose(0, stdout='{"available_bytes": 12345}\n')
    assert clock_servers.available_bytes(asked, "project") == 12345
    assert asked.created["command"][-1] == "memory"
