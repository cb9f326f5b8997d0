"""A server that runs already: what is looked at before it is loaded, and that nothing of it is asked for."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.serving import Silent, serving
from tests.unit.said import refusal
from wsgilab.experiment import running
from wsgilab.model import Server
from wsgilab.model.errors import TargetError
from wsgilab.runtime.local import LocalRuntime
from wsgilab.runtime.running import RunningServer

ANSWERS: Mapping[str, tuple[int, Mapping[str, str]]] = {
    "/plain": (200, {}),
    "/stamped": (200, {"Lab-Stamp": "1 1 1 1 1"}),
    "/slash": (301, {"Location": "/plain"}),
    "/away": (302, {"Location": "https://example.org/\u009b"}),
    "/none": (404, {}),
}


class Handler(Silent):
    def do_GET(self) -> None:  # noqa: N802 - as its base calls it
        status, headers = ANSWERS[self.path]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving(Handler) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunningServer:
    def installed(_: object, servers: tuple[Server, ...], *__: object) -> Mapping[str, str]:
        return {"swarm": "sha256:0", **{each.stack: "" for each in servers}}

    monkeypatch.setattr(LocalRuntime, "prepare", installed)
    return RunningServer(tmp_path / "lab", tmp_path, "id")


def prepare(runtime: RunningServer, address: str, path: str) -> list[str]:
    said: list[str] = []
    found = runtime.prepare([running.server(address)], (), said.append, running.application(address, path))
    assert found == {"swarm": "sha256:0"}, "and no stack of a server"
    assert said.pop(0) == f"Load goes to {address}."
    return said


def test_the_line_that_brings_stamps_is_told_where_there_are_none(runtime: RunningServer, address: str) -> None:
    (told,) = prepare(runtime, address, "/plain")
    assert "/lab/services/door, this line after `app` brings them: from wsgilab_door.stamp import Stamp" in told
    assert prepare(runtime, address, "/stamped") == []
    assert len(prepare(runtime, address, "/slash")) == 1


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/away", "/away: redirects to 'https://example.org/"),
        ("/none", "/none: answers with status 404; name a path that it has, with --get"),
    ],
)
def test_what_is_no_answer_of_its_own_is_told_in_a_line(
    runtime: RunningServer, address: str, path: str, told: str
) -> None:
    message = refusal(TargetError, prepare, runtime, address, path)

    assert told in message
    assert message.isprintable()


def test_a_server_that_does_not_answer_is_told_with_the_remedy(runtime: RunningServer) -> None:
    with pytest.raises(TargetError, match=r"answered with nothing: Connection refused; start the server first"):
        prepare(runtime, "http://127.0.0.1:1", "/")


def test_nothing_is_known_of_it_and_it_is_not_started_again(runtime: RunningServer, address: str) -> None:
    with runtime.start([running.server(address)], frozenset()) as fleet:
        target = fleet["url"]
        assert (target.base_url, target.published_url, target.failure(), target.log_tail()) == (
            address,
            address,
            None,
            "",
        )
        for ask in (target.usage, target.effective_cpus, target.restart):
            with pytest.raises(TargetError):
                ask()
        with contextlib.suppress(TargetError):
            target.fetch("/none")
