"""The interactive lab's state file, and whom it stands for."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from wsgilab import standing
from wsgilab.errors import StoreError
from wsgilab.standing import ServerState, Standing


def own(**changes: object) -> Standing:
    """This process, as the keeper of one server, with `changes`."""
    pid, started_ticks, boot = standing.own_identity()
    made = Standing(
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
    assert standing.read(tmp_path) is None
    umask = os.umask(0)
    try:
        for written in (own(), own(ended="the web UI is lost", servers={})):
            standing.write(tmp_path, written)
            assert standing.read(tmp_path) == written
            assert (tmp_path / "up.json").stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(umask)
    assert [path.name for path in tmp_path.iterdir()] == ["up.json"]
    standing.remove(tmp_path)
    standing.remove(tmp_path)
    assert standing.read(tmp_path) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}', '{"pid": "one"}'])
def test_a_file_that_is_damaged_is_an_error_with_a_remedy(tmp_path: Path, content: str) -> None:
    (tmp_path / "up.json").write_text(content)
    with pytest.raises(StoreError, match=r"up\.json: .*; clean up with invoke lab\.down"):
        standing.read(tmp_path)


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be written"):
        standing.write(tmp_path / "nowhere", own())


def test_only_the_very_process_that_wrote_it_is_the_keeper() -> None:
    assert own().lives()
    assert not own(boot="00000000-0000-0000-0000-000000000000").lives()
    assert not own(started_ticks=own().started_ticks + 1).lives()
    assert not own(ended="the web UI is lost").lives()


def test_no_other_process_is_ever_signalled() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as somebody:
        ticks = standing.started_ticks(somebody.pid)
        assert ticks is not None
        theirs = own(pid=somebody.pid, started_ticks=ticks)
        assert not replace(theirs, started_ticks=ticks - 1).tell(signal.SIGKILL)
        assert not replace(theirs, boot="").tell(signal.SIGKILL)
        assert somebody.poll() is None
        assert not theirs.wait_for_end(0.0)
        assert theirs.tell(signal.SIGKILL)
        # Nobody has waited for it yet, but it runs no more.
        assert theirs.wait_for_end(10.0)
        assert not theirs.tell(signal.SIGKILL)


def test_a_process_may_be_called_anything() -> None:
    comm = Path("/proc/self/comm")
    before, ticks = comm.read_text(), standing.started_ticks(os.getpid())
    try:
        comm.write_text("a) Z 1 (b c")
        assert standing.started_ticks(os.getpid()) == ticks
    finally:
        comm.write_text(before)


def test_the_address_of_the_web_ui() -> None:
    assert standing.ui_url("127.0.0.1", 8089) == "http://127.0.0.1:8089/?tab=lab"
    assert standing.ui_url("::1", 80) == "http://[::1]:80/?tab=lab"
