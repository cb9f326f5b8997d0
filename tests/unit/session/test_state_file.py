"""The interactive lab's state file, and whom it stands for."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from wsgilab.model.errors import StoreError
from wsgilab.session import state_file
from wsgilab.session.state_file import ServerState, SessionState
from wsgilab.web.access import ui_url


def own(**changes: object) -> SessionState:
    """This process, as the supervisor of one server, with `changes`."""
    pid, started_ticks, boot = state_file.own_identity()
    made = SessionState(
        pid=pid,
        started_ticks=started_ticks,
        boot=boot,
        runtime="local",
        cores=1,
        workers=1,
        host="127.0.0.1",
        port=8089,
        share_generator=False,
        password="secret",
        servers={"one": ServerState(address="http://127.0.0.1:8000", slots=None, failure=None)},
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def test_what_is_written_is_read_by_its_owner_alone(tmp_path: Path) -> None:
    assert state_file.read(tmp_path) is None
    umask = os.umask(0)
    try:
        for written in (own(), own(ended="the web UI is lost", servers={})):
            state_file.write(tmp_path, written)
            assert state_file.read(tmp_path) == written
            assert (tmp_path / "up.json").stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(umask)
    assert [path.name for path in tmp_path.iterdir()] == ["up.json"]
    state_file.remove(tmp_path)
    state_file.remove(tmp_path)
    assert state_file.read(tmp_path) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}', '{"pid": "one"}'])
def test_a_file_that_is_damaged_is_an_error_with_a_remedy(tmp_path: Path, content: str) -> None:
    (tmp_path / "up.json").write_text(content)
    with pytest.raises(StoreError, match=r"up\.json: .*; clean up with invoke lab\.down"):
        state_file.read(tmp_path)


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be written"):
        state_file.write(tmp_path / "nowhere", own())


def test_only_the_very_process_that_wrote_it_is_the_daemon() -> None:
    assert own().is_alive()
    assert not own(boot="00000000-0000-0000-0000-000000000000").is_alive()
    assert not own(started_ticks=own().started_ticks + 1).is_alive()
    assert not own(ended="the web UI is lost").is_alive()


def test_no_other_process_is_ever_signalled() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as somebody:
        ticks = state_file.started_ticks(somebody.pid)
        assert ticks is not None
        theirs = own(pid=somebody.pid, started_ticks=ticks)
        assert not replace(theirs, started_ticks=ticks - 1).signal(signal.SIGKILL)
        assert not replace(theirs, boot="").signal(signal.SIGKILL)
        assert somebody.poll() is None
        assert not theirs.wait_for_end(0.0)
        assert theirs.signal(signal.SIGKILL)
        # Nobody has waited for it yet, but it runs no more.
        assert theirs.wait_for_end(60.0)
        assert not theirs.signal(signal.SIGKILL)


def test_a_process_may_be_called_anything() -> None:
    comm = Path("/proc/self/comm")
    before, ticks = comm.read_text(), state_file.started_ticks(os.getpid())
    try:
        comm.write_text("a) Z 1 (b c")
        assert state_file.started_ticks(os.getpid()) == ticks
    finally:
        comm.write_text(before)


def test_the_address_of_the_web_ui() -> None:
    assert ui_url("127.0.0.1", 8089) == "http://127.0.0.1:8089/?tab=lab"
    assert ui_url("::1", 80) == "http://[::1]:80/?tab=lab"


@pytest.mark.usefixtures("not_linux")
def test_without_proc_the_daemon_is_known_by_when_it_was_started() -> None:
    assert own().is_alive()
    assert not own(started_ticks=own().started_ticks + 1).is_alive()
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as somebody:
        ticks = state_file.started_ticks(somebody.pid)
        assert ticks is not None
        assert own(pid=somebody.pid, started_ticks=ticks).signal(signal.SIGKILL)
    assert state_file.started_ticks(somebody.pid) is None
