"""What the commands make of the interactive lab, without one."""

import io
import signal
import socket
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from tests.unit.said import refusal
from tests.unit.session.test_state_file import own
from wsgilab import commands, testing
from wsgilab.commands import Workspace
from wsgilab.model.errors import HostError, LabError, UsageError
from wsgilab.run.workspace import AT_WORK, alone
from wsgilab.session import control, state_file
from wsgilab.session.daemon import LOOK, occupied
from wsgilab.session.spec import SessionOptions
from wsgilab.session.state_file import ServerState
from wsgilab.system import ports
from wsgilab.web.access import choose_port, password_for


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return commands.workspace({"LAB_STATE": str(tmp_path)})


def test_options_contradict_only_where_they_were_given() -> None:
    stands = own(cores=2, port=8090)
    assert control.contradictions(stands, SessionOptions()) == []
    same = SessionOptions(servers=("one",), cores=2, runtime="local", workers=1, port=8090, host="127.0.0.1")
    assert control.contradictions(stands, same) == []
    assert control.contradictions(stands, SessionOptions(port=0)) == []
    other = SessionOptions(
        servers=("one", "two"), cores=1, runtime="compose", workers=2, port=1, host="::1", share_generator=True
    )
    assert control.contradictions(stands, other) == [
        ("--cores 2", "--cores 1"),
        ("--runtime local", "--runtime compose"),
        ("--workers 1", "--workers 2"),
        ("--port 8090", "--port 1"),
        ("--host 127.0.0.1", "--host ::1"),
        ("--servers one", "--servers one,two"),
        ("cores of the generator's own", "--share-generator"),
    ]
    assert control.contradictions(own(share_generator=True), SessionOptions(share_generator=True)) == []
    assert control.contradictions(own(), SessionOptions(no_backends=True)) == []
    assert control.contradictions(own(backends={"store": None}), SessionOptions(no_backends=True)) == [
        ("backends", "--no-backends")
    ]
    mine = own(catalogue=str(Path("mine.yaml").absolute()))
    assert control.contradictions(mine, SessionOptions(catalogue="mine.yaml")) == []
    assert control.contradictions(own(), SessionOptions(catalogue="/mine.yaml")) == [
        ("the lab's rows", "--catalogue /mine.yaml")
    ]


def test_another_application_than_the_one_that_is_up_is_a_contradiction() -> None:
    shop = testing.application(source="/shop")
    stands = own(application=shop)
    assert control.contradictions(stands, SessionOptions()) == []
    assert control.contradictions(stands, SessionOptions(application=shop)) == []
    assert control.contradictions(own(), SessionOptions(application=shop)) == [
        ("the lab's own application", "--app shop.wsgi:app")
    ]
    assert control.contradictions(stands, SessionOptions(application=replace(shop, source="/mall"))) == [
        ("--app shop.wsgi:app of /shop", "--app shop.wsgi:app of /mall")
    ]
    assert control.contradictions(stands, SessionOptions(application=replace(shop, mixes={}))) == [
        ("shop.wsgi:app as its settings and requests were", "what they are now")
    ]


def test_an_application_that_waits_for_a_backend_cannot_be_up_without(workspace: Workspace) -> None:
    shop = testing.application(backends=("postgres",))
    with pytest.raises(UsageError, match=r"--no-backends: requests of shop\.wsgi:app wait for postgres; leave it out"):
        control.up(SessionOptions(application=shop, no_backends=True), print, workspace)


def test_any_free_port_will_do_where_none_is_named() -> None:
    address, port = choose_port("localhost", 0)
    assert address == "127.0.0.1"
    socket.create_server((address, port)).close()


@pytest.mark.parametrize(
    ("host", "port", "told"),
    [
        ("127.0.0.1", -1, "--port -1: must be a whole number from 1 to 65535"),
        ("127.0.0.1", 65536, "--port 65536: must be a whole number from 1 to 65535"),
        ("", 8089, "--host: must be an address of this machine"),
        ("198.51.100.1", 0, "--host 198.51.100.1: is no address of this machine"),
        ("no such name.invalid", 0, "is no address of this machine"),
        ("a" * 300, 0, "is no address of this machine"),
        ("..", 0, "is no address of this machine"),
    ],
)
def test_an_address_that_cannot_be_served_is_an_error(host: str, port: int, told: str) -> None:
    assert told in refusal((HostError, UsageError), choose_port, host, port)


@pytest.mark.parametrize(
    ("address", "environment", "password"),
    [
        ("127.0.0.1", {"LAB_PASSWORD": "mine"}, None),
        ("127.0.1.1", {}, None),
        ("::1", {}, None),
        ("0.0.0.0", {"LAB_PASSWORD": "mine"}, "mine"),
        ("192.0.2.1", {"LAB_PASSWORD": "mine"}, "mine"),
        ("::", {"LAB_PASSWORD": "mine"}, "mine"),
    ],
)
def test_beyond_loopback_it_takes_a_password(
    address: str, environment: Mapping[str, str], password: str | None
) -> None:
    assert password_for(address, environment) == password


def test_a_password_is_made_where_none_is_given() -> None:
    made = {password_for("0.0.0.0", given) for given in ({}, {}, {"LAB_PASSWORD": ""})}
    assert len(made) == 3
    assert all(each is not None and len(each) >= 16 for each in made)


# --- what is said of what stands


def test_what_is_up_is_told_with_its_remedy_where_it_is_not(workspace: Workspace) -> None:
    def told() -> str:
        return refusal(LabError, control.check, workspace)

    assert "is not up; invoke lab.up" in told()
    state_file.write(workspace.state, own(servers={}))
    assert "still being brought up" in told()
    state_file.write(workspace.state, own(started_ticks=1))
    assert "what kept it up was killed" in told()
    state_file.write(workspace.state, own(boot="another"))
    assert "this machine was started again since" in told()
    state_file.write(workspace.state, own(ended="the web UI is lost: it has ended", evidence="KeyError"))
    assert "has ended: the web UI is lost: it has ended; invoke lab.up" in told()
    state_file.write(workspace.state, own())
    assert control.check(workspace) == own()


def test_a_second_up_while_the_first_is_not_done_is_refused(workspace: Workspace) -> None:
    state_file.write(workspace.state, own(servers={}))
    with pytest.raises(LabError, match=r"is being brought up already; wait for it, or end it with invoke lab\.down"):
        control.up(SessionOptions(), print, workspace)


@pytest.fixture
def asked(workspace: Workspace) -> Iterator[list[int]]:
    """The signals that came to this process, which is taken for the supervisor. It looks when it is asked to."""
    came: list[int] = []

    def look(signum: int, _: object) -> None:
        came.append(signum)
        servers = {"one": ServerState(address="http://127.0.0.1:1", slots=1, failure="ended by signal 9")}
        state_file.write(workspace.state, own(servers=servers, looked=len(came)))

    before = signal.signal(LOOK, look)
    yield came
    signal.signal(LOOK, before)


def test_the_status_is_what_the_daemon_sees_when_it_is_asked(workspace: Workspace, asked: list[int]) -> None:
    state_file.write(workspace.state, own(looked=0))
    assert control.check(workspace).failures == {}
    assert control.look(workspace).failures == {"one": "ended by signal 9"}
    assert len(asked) == 1


def test_a_daemon_that_cannot_be_asked_or_is_busy_is_not_waited_for(
    workspace: Workspace, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    state_file.write(workspace.state, own())
    assert control.look(workspace) == own()
    assert asked == []
    signal.signal(LOOK, lambda *_: None)
    monkeypatch.setattr(control, "_LOOK_S", 0.1)
    state_file.write(workspace.state, own(looked=0))
    assert control.look(workspace) == own(looked=0)


def test_whether_somebody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        assert ports.listens(url)
    assert not ports.listens(url)


@pytest.mark.parametrize("refusal", [AT_WORK, occupied()])
def test_a_second_lab_in_a_checkout_learns_what_the_first_one_is(workspace: Workspace, refusal: str) -> None:
    for _ in range(2):
        with alone(workspace, refusal):
            with pytest.raises(LabError) as refused, alone(workspace):
                pytest.fail("two labs at work")
            assert refused.value.message == f"{workspace.state}: {refusal}"


def test_a_state_below_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    below = commands.workspace({"LAB_STATE": str(tmp_path / "file" / "state")})
    with pytest.raises(LabError, match=r"cannot be written .*LAB_STATE"), alone(below):
        pytest.fail("a lab without a state")


# --- what is printed


def test_a_server_that_ended_and_a_login_are_shown(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    servers = {
        "one": ServerState(address="http://127.0.0.1:1", slots=4, failure="ended by signal 9"),
        "two": ServerState(address="http://127.0.0.1:2", slots=None, failure=None),
    }
    monkeypatch.setattr(control, "look", control.check)
    printed = io.StringIO()
    state_file.write(workspace.state, own(host="0.0.0.0", servers=servers, server_cpus="0-1", password="[bold]"))
    with pytest.raises(LabError, match=r"one: ended by signal 9; see invoke lab\.logs one; invoke lab\.up"):
        commands.status(Console(file=printed, width=100), workspace)
    lines = [line.rstrip() for line in printed.getvalue().splitlines()]
    assert [line.split(maxsplit=4) for line in lines[:3]] == [
        ["server", "address", "cores", "slots", "state"],
        ["one", "http://127.0.0.1:1", "0-1", "4", "ended by signal 9"],
        ["two", "http://127.0.0.1:2", "0-1", "∞", "up"],
    ]
    assert "Web UI: http://0.0.0.0:8089/?tab=lab" in lines
    assert "Login: user lab, password [bold]" in lines
    assert any("not encrypted" in line for line in lines)


def test_a_backend_that_ended_is_shown(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "look", control.check)
    printed = io.StringIO()
    state_file.write(workspace.state, own(backend_cpus="1", backends={"store": "ended by signal 9", "upstream": None}))
    with pytest.raises(LabError, match=r"^store: ended by signal 9; see invoke lab\.logs store; invoke lab\.up starts"):
        commands.status(Console(file=printed, width=100), workspace)
    assert "Backends, on core 1: store (ended by signal 9); upstream" in printed.getvalue().splitlines()


def test_the_web_ui_is_opened_in_a_browser_or_its_address_is_said(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    state_file.write(workspace.state, own(password=None))
    opened: list[str] = []
    url = "http://127.0.0.1:8089/?tab=lab"

    def browser(given: str) -> bool:
        opened.append(given)
        return True

    monkeypatch.setattr("webbrowser.open", browser)
    assert commands.open_browser(workspace) == f"Opened {url}"
    assert opened == [url]
    monkeypatch.setattr("webbrowser.open", lambda _: False)
    assert commands.open_browser(workspace) == f"There is no browser to be opened here; the web UI is at {url}"
    state_file.write(workspace.state, own(password="secret"))
    assert commands.open_browser(workspace).endswith("(user lab, password secret)")
