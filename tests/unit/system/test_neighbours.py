"""What else runs on this machine's cores: real processes, and the names by which labs hold cores."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from wsgilab.model.errors import HostError
from wsgilab.system import host, neighbours

CORE = max(os.sched_getaffinity(0))
FAR = 100_000
"""A core that no machine has, so that no lab holds it."""
_BUSY = "import os, sys\nos.sched_setaffinity(0, {int(sys.argv[1])})\nprint(flush=True)\nwhile True: pass"
_HOLDS = f"from wsgilab.system import neighbours\nwith neighbours.held({{{FAR}}}):\n    print(flush=True)\n    input()"


@pytest.fixture(autouse=True)
def _all_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many others keep this machine busy, and however small a share they leave."""
    monkeypatch.setattr(neighbours, "_MOST_NAMED", 100_000)
    monkeypatch.setattr(neighbours, "_WORTH_NAMING", 1e-9)


@contextlib.contextmanager
def started(code: str, *words: str) -> Iterator["subprocess.Popen[str]"]:
    """A Python program that has said that it is at work."""
    argv = [sys.executable, "-c", code, *words]
    child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "\n"
        yield child
    finally:
        child.kill()
        child.communicate()


@contextlib.contextmanager
def orphan() -> Iterator[int]:
    """The id of a program that keeps a core busy, and that nobody here started."""
    starter = f"import subprocess, sys\nprint(subprocess.Popen([sys.executable, '-c', {_BUSY!r}, '{CORE}'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).pid)"
    told = subprocess.run([sys.executable, "-c", starter], capture_output=True, text=True, check=True)
    pid = int(told.stdout)
    try:
        yield pid
    finally:
        os.kill(pid, 9)


def watched(pid: int, used_s: float = 0.2) -> tuple[neighbours.Snapshot, neighbours.Snapshot]:
    """Two snapshots, between which a program has used so much CPU time."""
    before = after = neighbours.snapshot()
    deadline = time.monotonic() + 120
    while after.cpu_s.get(pid, 0.0) - before.cpu_s.get(pid, 0.0) < used_s:
        assert time.monotonic() < deadline
        time.sleep(0.02)
        after = neighbours.snapshot()
    return before, after


def test_a_program_that_others_started_is_named_if_it_may_run_on_the_cores() -> None:
    with orphan() as pid:
        before, after = watched(pid)
        name = f"{Path(f'/proc/{pid}/comm').read_text().strip()} ({pid})"

        assert name in neighbours.programs(before, after, [CORE], lambda _: False)
        assert name not in neighbours.programs(before, after, [FAR], lambda _: False)


def test_the_labs_own_are_not_named() -> None:
    with orphan() as pid, started(_BUSY, str(CORE)) as child:
        before, after = watched(pid)
        _, after = watched(child.pid)

        named = neighbours.programs(before, after, [CORE], lambda each: each == pid)

    assert not [name for name in named if f"({pid})" in name or f"({child.pid})" in name]


def test_whose_they_are_that_cannot_be_told_is_not_named() -> None:
    def refused(_: int) -> bool:
        raise PermissionError

    with orphan() as pid:
        assert neighbours.programs(*watched(pid), [CORE], refused) == []


def test_a_thread_of_the_kernel_is_named_as_any_program() -> None:
    """That all of them come from is one itself; it is told from programs by nothing that it used."""
    thread = 2
    if Path(f"/proc/{thread}/comm").read_text() != "kthreadd\n":
        pytest.skip("here the kernel's threads are not seen")
    before = neighbours.Snapshot(at_s=1.0, cpu_s={thread: 1.0}, own_s=0.0)
    after = neighbours.Snapshot(at_s=2.0, cpu_s={thread: 1.3}, own_s=0.0)

    assert neighbours.programs(before, after, [CORE], lambda _: False) == ["kthreadd (2)"]


def test_a_core_that_a_program_keeps_busy_is_not_idle() -> None:
    with orphan() as pid:
        began_s, idle_s = time.monotonic(), host.idle_s([CORE])
        watched(pid)
        idled_s, passed_s = host.idle_s([CORE]) - idle_s, time.monotonic() - began_s

        # All others may keep their hands off: that program alone does not let it idle for long.
        assert idled_s < passed_s - 0.1


def test_all_cores_together_idle_as_long_as_each() -> None:
    cores = sorted(os.sched_getaffinity(0))
    before = sum(host.idle_s([core]) for core in cores)
    together = host.idle_s(cores)
    after = sum(host.idle_s([core]) for core in cores)

    assert before - 0.1 * len(cores) <= together <= after + 0.1 * len(cores)
    assert host.idle_s([]) == 0


def test_a_look_tells_of_each_core_how_much_others_use_and_who() -> None:
    with orphan() as pid:
        (use,) = neighbours.look([CORE], lambda _: False, seconds=0.3)

    assert use.core == CORE
    assert use.share > 0.1
    assert f"({pid})" in str(use)
    assert f"of core {CORE} (" in str(use)


# Other labs.


def test_a_core_is_held_by_one_lab_at_a_time() -> None:
    with (
        neighbours.held({FAR, FAR + 1}),
        pytest.raises(HostError, match=rf"core {FAR + 1}: another lab .*process {os.getpid()} in {Path.cwd()}"),
        neighbours.held({FAR + 1, FAR + 2}),
    ):
        pass
    with neighbours.held({FAR, FAR + 1, FAR + 2}):
        """All were let go of, also those that came before the one that was taken."""


def test_a_lab_that_is_killed_holds_nothing_any_more() -> None:
    with started(_HOLDS) as other:
        with (
            pytest.raises(HostError, match=rf"core {FAR}: another lab .*process {other.pid}\b"),
            neighbours.held({FAR}),
        ):
            pass
        other.kill()
        other.wait()
        with neighbours.held({FAR}):
            """Nobody had to let go of it."""
