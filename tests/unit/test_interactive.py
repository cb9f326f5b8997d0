"""What the commands make of the interactive lab, without one."""

import fcntl
import io
import signal
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from rich.console import Console

from tests.unit.test_standing import own
from wsgilab import interactive, lab, standing
from wsgilab.errors import HostError, LabError, UsageError
from wsgilab.keeper import LOOK
from wsgilab.lab import Places
from wsgilab.runtime import ports
from wsgilab.standing import ServerState, Wanted


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return lab.places({"LAB_STATE": str(tmp_path)})


def test_options_contradict_only_where_they_were_given() -> None:
    stands = own(cores=2, port=8090)
    assert interactive.contradictions(stands, Wanted()) == []
    same = Wanted(servers=("one",), cores=2, runtime="local", workers=1, port=8090, host="127.0.0.1")
    assert interactive.contradictions(stands, same) == []
    assert interactive.contradictions(stands, Wanted(port=0)) == []
    other = Wanted(
        servers=("one", "two"), cores=1, runtime="compose", workers=2, port=1, host="::1", share_generator=True
    )
    assert interactive.contradictions(stands, other) == [
        ("--cores 2", "--cores 1"),
        ("--runtime local", "--runtime compose"),
        ("--workers 1", "--workers 2"),
        ("--port 8090", "--port 1"),
        ("--host 127.0.0.1", "--host ::1"),
        ("--servers one", "--servers one,two"),
        ("cores of the generator's own", "--share-generator"),
    ]
    assert interactive.contradictions(own(share_generator=True), Wanted(share_generator=True)) == []
    assert interactive.contradictions(own(), Wanted(no_backends=True)) == []
    assert interactive.contradictions(own(backends={"store": None}), Wanted(no_backends=True)) == [
        ("backends", "--no-backends")
    ]


def test_any_free_port_will_do_where_none_is_named() -> None:
    address, port = interactive.choose_port("localhost", 0)
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
    with pytest.raises((HostError, UsageError)) as caught:
        interactive.choose_port(host, port)
    assert told in caught.value.message
    assert "\n" not in caught.value.message


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
    assert interactive.password(address, environment) == password


def test_a_password_is_made_where_none_is_given() -> None:
    made = {interactive.password("0.0.0.0", given) for given in ({}, {}, {"LAB_PASSWORD": ""})}
    assert len(made) == 3
    assert all(each is not None and len(each) >= 16 for each in made)


# --- what is said of what stands


def test_what_is_up_is_told_with_its_remedy_where_it_is_not(places: Places) -> None:
    def told() -> str:
        with pytest.raises(LabError) as caught:
            interactive.check(places)
        return caught.value.message

    assert "is not up; invoke lab.up" in told()
    standing.write(places.state, own(servers={}))
    assert "still being brought up" in told()
    standing.write(places.state, own(started_ticks=1))
    assert "what kept it up was killed" in told()
    standing.write(places.state, own(boot="another"))
    assert "this machine was started again since" in told()
    standing.write(places.state, own(ended="the web UI is lost: it has ended", evidence="KeyError"))
    assert "has ended: the web UI is lost: it has ended; invoke lab.up" in told()
    standing.write(places.state, own())
    assert interactive.check(places) == own()


def test_a_second_up_while_the_first_is_not_done_is_refused(places: Places) -> None:
    standing.write(places.state, own(servers={}))
    with pytest.raises(LabError, match=r"is being brought up already; wait for it, or end it with invoke lab\.down"):
        interactive.up(Wanted(), print, places)


@pytest.fixture
def asked(places: Places) -> Iterator[list[int]]:
    """The signals that came to this process, which is taken for the keeper. It looks when it is asked to."""
    came: list[int] = []

    def look(signum: int, _: object) -> None:
        came.append(signum)
        servers = {"one": ServerState(address="http://127.0.0.1:1", slots=1, failure="ended by signal 9")}
        standing.write(places.state, own(servers=servers, looked=len(came)))

    before = signal.signal(LOOK, look)
    yield came
    signal.signal(LOOK, before)


def test_the_status_is_what_the_keeper_sees_when_it_is_asked(places: Places, asked: list[int]) -> None:
    standing.write(places.state, own(looked=0))
    assert interactive.check(places).failures == {}
    assert interactive.look(places).failures == {"one": "ended by signal 9"}
    assert len(asked) == 1


def test_a_keeper_that_cannot_be_asked_or_is_busy_is_not_waited_for(
    places: Places, asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    standing.write(places.state, own())
    assert interactive.look(places) == own()
    assert asked == []
    signal.signal(LOOK, lambda *_: None)
    monkeypatch.setattr(interactive, "_LOOK_S", 0.1)
    standing.write(places.state, own(looked=0))
    assert interactive.look(places) == own(looked=0)


def test_whether_somebody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        assert ports.listens(url)
    assert not ports.listens(url)


@pytest.mark.parametrize(
    ("changes", "told"), [({}, "the interactive lab is up"), ({"pid": 1}, "another lab is at work")]
)
def test_who_is_at_work_is_told_to_whoever_comes_second(places: Places, changes: dict[str, int], told: str) -> None:
    standing.write(places.state, own(**changes))
    with (places.state / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(LabError, match=told), lab.alone(places):
            pytest.fail("two labs at work")


def test_a_state_below_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    below = lab.places({"LAB_STATE": str(tmp_path / "file" / "state")})
    with pytest.raises(LabError, match=r"cannot be written .*LAB_STATE"), lab.alone(below):
        pytest.fail("a lab without a state")


# --- what is printed


def test_a_server_that_ended_and_a_login_are_shown(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    servers = {
        "one": ServerState(address="http://127.0.0.1:1", slots=4, failure="ended by signal 9"),
        "two": ServerState(address="http://127.0.0.1:2", slots=None, failure=None),
    }
    monkeypatch.setattr(interactive, "look", interactive.check)
    printed = io.StringIO()
    standing.write(places.state, own(host="0.0.0.0", servers=servers, server_cpus="0-1", password="[bold]"))
    with pytest.raises(LabError, match=r"one: ended by signal 9; see invoke lab\.logs one; invoke lab\.up"):
        lab.status(Console(file=printed, width=100), places)
    lines = [line.rstrip() for line in printed.getvalue().splitlines()]
    assert [line.split(maxsplit=4) for line in lines[:3]] == [
        ["server", "address", "cores", "slots", "state"],
        ["one", "http://127.0.0.1:1", "0-1", "4", "ended by signal 9"],
        ["two", "http://127.0.0.1:2", "0-1", "∞", "up"],
    ]
    assert "Web UI: http://0.0.0.0:8089/?tab=lab" in lines
    assert "Login: user lab, password [bold]" in lines
    assert any("not encrypted" in line for line in lines)


def test_a_backend_that_ended_is_shown(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interactive, "look", interactive.check)
    printed = io.StringIO()
    standing.write(places.state, own(backend_cpus="1", backends={"store": "ended by signal 9", "upstream": None}))
    with pytest.raises(LabError, match=r"^store: ended by signal 9; see invoke lab\.logs store; invoke lab\.up starts"):
        lab.status(Console(file=printed, width=100), places)
    assert "Backends, on core 1: store (ended by signal 9); upstream" in printed.getvalue().splitlines()


def test_the_web_ui_is_opened_in_a_browser_or_its_address_is_said(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    standing.write(places.state, own(password=None))
    opened: list[str] = []
    url = "http://127.0.0.1:8089/?tab=lab"

    def browser(given: str) -> bool:
        opened.append(given)
        return True

    monkeypatch.setattr("webbrowser.open", browser)
    assert lab.open_browser(places) == f"Opened {url}"
    assert opened == [url]
    monkeypatch.setattr("webbrowser.open", lambda _: False)
    assert lab.open_browser(places) == f"There is no browser to be opened here; the web UI is at {url}"
    standing.write(places.state, own(password="secret"))
    assert lab.open_browser(places).endswith("(user lab, password secret)")
