"""A CPU quota for some processes of this machine: for a while they have a control group of their own (kernel.org, cgroup-v2,
"cpu.max"; cgroup-v1 and scheduler/sched-bwc)."""

import contextlib
import os
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from wsgilab.model.circumstances import PERIOD_MS
from wsgilab.model.errors import HostError
from wsgilab.system import host

PERIOD_US = round(PERIOD_MS * 1000)
_REMEDY = "run in containers (--runtime compose), or leave quota out"
_PASSES = 50
_PAUSE_S = 0.02


def refusal() -> str | None:
    """Why processes of this machine cannot be given a quota, with the remedy; None where they can."""
    above = _above()
    if above is None:
        return f"processes of this machine have no control group for CPU time below which the lab may make another; {_REMEDY}"
    if not os.access(above, os.W_OK):
        return f"the lab may make no control group in {above} (root can, where it is not read-only); {_REMEDY}"
    return None


class Group:
    """A control group with a quota."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def throttled(self) -> tuple[int, float]:
        """In how many periods so far its processes were stopped, and for how many seconds, each core counted by itself."""
        found = dict(line.split(" ", 1) for line in (self.folder / "cpu.stat").read_text().splitlines())
        seconds = (
            int(found["throttled_usec"]) / 1e6 if "throttled_usec" in found else int(found["throttled_time"]) / 1e9
        )
        return int(found["nr_throttled"]), seconds


@contextlib.contextmanager
def limited(name: str, quota: float, pids: Callable[[], Collection[int]]) -> Iterator[Group]:
    """Within, processes and what they start have so many CPU seconds a second, in the control group `name`. In the end they are back in
    that of this process.

    `pids` says which they are, more of them meanwhile too. Raises HostError.
    """
    if (reason := refusal()) is not None:
        raise HostError(f"quota: {reason}")
    above = _above()
    assert above is not None, "there is one where it is not refused"
    folder = above / name
    try:
        try:
            folder.mkdir(exist_ok=True)
            _limit(folder, quota)
            _gather(folder, pids)
        except OSError as error:
            raise HostError(f"quota: {folder}: {error.strerror}; {_REMEDY}") from None
        yield Group(folder)
    finally:
        _dissolve(folder)


def sweep(prefix: str) -> None:
    """Remove the control groups whose names begin so, of processes that have ended."""
    above = _above()
    for folder in above.glob(f"{prefix}*") if above is not None else ():
        with contextlib.suppress(OSError):
            folder.rmdir()


def _above() -> Path | None:
    """The control group in which another can be made that has a quota: this process' own or, in cgroup v2, where one with processes has
    none below it with controllers, the nearest above it that hands the controller on."""
    groups = host.control_groups("cpu")
    if groups and not (groups[0] / "cgroup.subtree_control").exists():
        return groups[0]
    return next((each for each in groups if "cpu" in _read(each / "cgroup.subtree_control").split()), None)


def _limit(folder: Path, quota: float) -> None:
    quota_us = round(quota * PERIOD_US)
    if (folder / "cpu.max").exists():
        (folder / "cpu.max").write_text(f"{quota_us} {PERIOD_US}")
        return
    (folder / "cpu.cfs_period_us").write_text(str(PERIOD_US))
    (folder / "cpu.cfs_quota_us").write_text(str(quota_us))


def _gather(folder: Path, pids: Callable[[], Collection[int]]) -> None:
    """Move processes to a control group, again until all are there: some may have started others meanwhile."""
    for _ in range(_PASSES):
        if not (left := set(pids()) - _members(folder)):
            return
        for pid in left:
            # It may have ended by now.
            with contextlib.suppress(ProcessLookupError):
                (folder / "cgroup.procs").write_text(str(pid))


def _dissolve(folder: Path) -> None:
    """Move all processes of a control group to that of this one, and remove it."""
    back = host.control_groups("cpu")[0] / "cgroup.procs"
    for _ in range(_PASSES):
        for pid in _members(folder):
            with contextlib.suppress(OSError):
                back.write_text(str(pid))
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(_PAUSE_S)
        else:
            return


def _members(folder: Path) -> set[int]:
    return set(map(int, _read(folder / "cgroup.procs").split()))


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
