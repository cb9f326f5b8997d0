"""Where an engine's containers run: on this very machine, or on one that its engine has for itself."""

import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from wsgilab import testing
from wsgilab.model.errors import TargetError
from wsgilab.runtime import compose, containers
from wsgilab.runtime.clock_servers import MachineFacts
from wsgilab.runtime.compose import ComposeRuntime
from wsgilab.runtime.containers import ContainerTarget
from wsgilab.runtime.engine import Endpoint, Engine
from wsgilab.system import host

ENGINE = Engine(docker="docker", address="a", endpoint=Endpoint(host="unix:///s"), version="27", compose="2")


def engines_machine(monkeypatch: pytest.MonkeyPatch, name: str, boot: str) -> MachineFacts | None:
    """What the runtime of an engine on a machine of that name, at that start of its kernel, takes for another machine than this."""
    client = SimpleNamespace(info=lambda: {"Name": name})
    facts = MachineFacts(host=testing.run().host, time=0.0, clocksource="tsc", boot=boot)
    monkeypatch.setattr(compose, "Compose", lambda *_: SimpleNamespace(client=client))
    monkeypatch.setattr(compose, "Installation", lambda *_: None)
    monkeypatch.setattr(socket, "gethostname", lambda: "here")
    monkeypatch.setattr(ComposeRuntime, "facts", lambda _: facts)
    return ComposeRuntime(Path("p"), Path("s"), ENGINE, "id").elsewhere


@pytest.mark.parametrize(
    ("name", "boot", "is_another"),
    [
        ("here", "another", False),
        # As where the lab itself is in a container, or in WSL.
        ("docker-desktop", host.boot_id(), False),
        ("docker-desktop", "another", True),
        ("docker-desktop", "", True),
    ],
)
def test_an_engine_has_a_machine_of_its_own_where_its_kernel_is_another(
    monkeypatch: pytest.MonkeyPatch, name: str, boot: str, *, is_another: bool
) -> None:
    assert (engines_machine(monkeypatch, name, boot) is not None) == is_another


@pytest.mark.usefixtures("not_linux")
@pytest.mark.parametrize("boot", ["another", ""])
def test_no_container_shares_a_kernel_that_is_not_linux(monkeypatch: pytest.MonkeyPatch, boot: str) -> None:
    assert engines_machine(monkeypatch, "here", boot) is not None


class FakeContainer:
    """A container that publishes a port, and is asked from inside."""

    def __init__(self, code: int, output: bytes) -> None:
        ports = {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "1"}]}
        settings = {"Ports": ports, "Networks": {"net": {"IPAddress": "172.18.0.5"}}}
        self.attrs = {"State": {"Running": True}, "NetworkSettings": settings}
        self.asked: list[str] = []
        self._answer = code, output

    def reload(self) -> None: ...

    def exec_run(self, argv: list[str]) -> tuple[int, bytes]:
        self.asked = argv
        return self._answer


def test_a_server_that_may_not_be_reached_from_here_is_asked_from_its_own_container() -> None:
    def target(container: FakeContainer) -> ContainerTarget:
        made: Any = cast("Any", container)
        return ContainerTarget(testing.server(), frozenset({0}), made, "net", asks_inside=True)

    container = FakeContainer(0, b"ready\n")
    assert target(container).fetch("/__lab__/ready") == "ready"
    assert container.asked[-1] == f"http://127.0.0.1:{containers.PORT}/__lab__/ready"
    assert target(container).base_url == "http://172.18.0.5:8000", "where the swarm, which is beside it, reaches it"
    with pytest.raises(TargetError, match="answered /x with nothing: refused"):
        target(FakeContainer(1, b"Traceback\nrefused\n")).fetch("/x")
