"""The file of what left late: many processes append to it, and the lab empties it."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from wsgilab_door import late
from wsgilab_door.late import LateFile

DOOR = Path(__file__).parents[3] / "services" / "door"
APPENDING = """
import itertools, os, pathlib, sys, threading
from wsgilab_door.late import LateFile

path, processes, threads, lines = sys.argv[1], *map(int, sys.argv[2:])
file = LateFile(path)
file.append("first")

def append(thread):
    for line in range(lines) if lines else itertools.count():
        if not lines and pathlib.Path(path + ".enough").exists():
            return
        file.append(f"{os.getpid()} {thread} {line} " + "x" * (line % 50))

children = []
for _ in range(processes):
    child = os.fork()
    if child == 0:
        running = [threading.Thread(target=append, args=(thread,)) for thread in range(threads)]
        for each in running:
            each.start()
        for each in running:
            each.join()
        os._exit(0)
    children.append(child)
for child in children:
    os.waitpid(child, 0)
"""


def appending(path: Path, processes: int, threads: int, lines: int) -> "subprocess.Popen[bytes]":
    """Processes with threads that append so many lines each, after they were forked from one that had appended; without a number until
    there is a file `.enough`."""
    words = [str(path), *map(str, (processes, threads, lines))]
    return subprocess.Popen([sys.executable, "-c", APPENDING, *words], cwd=DOOR)


def test_lines_of_many_processes_and_threads_are_all_there_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "late"
    assert appending(path, processes=4, threads=3, lines=200).wait() == 0

    first, *lines = LateFile(str(path)).take().decode().splitlines()

    assert first == "first"
    found = [line.split(" ") for line in lines]
    assert len(found) == 4 * 3 * 200
    assert len({process for process, *_ in found}) == 4
    assert all(text == "x" * (int(line) % 50) for _, _, line, text in found)
    for process in {process for process, *_ in found}:
        for thread in "012":
            in_order = [int(line) for of, by, line, _ in found if (of, by) == (process, thread)]
            assert in_order == list(range(200))


def test_what_is_taken_meanwhile_is_whole_lines_each_once(tmp_path: Path) -> None:
    path = tmp_path / "late"
    running, taken, times = appending(path, processes=2, threads=2, lines=0), b"", 0
    file, deadline = LateFile(str(path)), time.monotonic() + 120
    # What is appended at the very moment may be lost, and on a busy machine such a moment may last; but not all is.
    while times < 20 and time.monotonic() < deadline:
        piece = file.take()
        taken, times = taken + piece, times + bool(piece)
        # Without a pause most of the time is such a moment.
        time.sleep(0.002)
    path.with_name("late.enough").touch()
    assert running.wait(120) == 0
    taken += file.take()

    lines = taken.decode().splitlines()
    assert times == 20
    assert taken.endswith(b"\n")
    assert len(set(lines)) == len(lines) > 20


def test_taking_empties_the_file_for_those_who_go_on_appending(tmp_path: Path) -> None:
    file = LateFile(str(tmp_path / "late"))
    assert file.take() == b"", "it is not there yet"
    file.append("1 2")
    file.append("3 4")

    assert file.take() == b"1 2\n3 4\n"
    assert file.take() == b""
    file.append("5 6")
    assert file.take() == b"5 6\n"


def test_nothing_is_open_before_it_is_needed_and_only_the_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "late"
    file = LateFile(str(path))
    assert not path.exists()
    file.append("1")

    assert path.stat().st_mode & 0o777 == 0o600


def test_a_process_that_has_closed_what_it_inherited_appends_to_the_file_and_to_no_other(tmp_path: Path) -> None:
    code = """if True:
        import os
        from wsgilab_door.late import LateFile

        file = LateFile("late")
        file.append("parent")
        if os.fork() == 0:
            os.closerange(3, 100)
            # It gets the number of the descriptor that was closed.
            other = os.open("other", os.O_WRONLY | os.O_CREAT)
            file.append("child")
            os._exit(0)
        os.wait()
    """
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env={"PYTHONPATH": str(DOOR)})

    assert (tmp_path / "late").read_text() == "parent\nchild\n"
    assert (tmp_path / "other").read_text() == ""


def test_the_file_stays_the_same_one_where_the_working_folder_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = LateFile("late")
    monkeypatch.chdir("/")
    file.append("1")

    assert (tmp_path / "late").read_text() == "1\n"


def test_a_file_that_nobody_reads_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late, "MOST_BYTES", 10)
    file = LateFile(str(tmp_path / "late"))
    for _ in range(5):
        file.append("1234567")

    assert file.take() == b"1234567\n" * 2
    file.append("again")
    assert file.take() == b"again\n"


def test_what_cannot_be_appended_harms_no_request(tmp_path: Path) -> None:
    LateFile(str(tmp_path / "missing" / "late")).append("1")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    LateFile(str(tmp_path / "link")).append("1")

    assert not (tmp_path / "elsewhere").exists(), "what somebody else has put there is not followed"
    assert [path.name for path in tmp_path.iterdir()] == ["link"]
