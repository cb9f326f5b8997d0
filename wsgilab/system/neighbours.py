"""What else runs on this machine: programs on the cores that are to be measured, and other labs.

Cores are held by name (unix(7), "Abstract sockets"): a lab of any checkout that holds them needs no file for it, and
lets go of them when it ends, however it ends.
"""

import contextlib
import os
import socket
import struct
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wsgilab.model.errors import HostError
from wsgilab.system import host, process

LOOK_S = 2.0
"""How long the cores are watched before a run, and by `lab.doctor`."""

_WORTH_NAMING = 0.01
"""CPU seconds a second."""
_MOST_NAMED = 3
_PROC = Path("/proc")


# --- programs


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What every process has used by a moment."""

    at_s: float
    """CLOCK_MONOTONIC."""
    cpu_s: Mapping[int, float]
    """Process id -> CPU seconds."""
    own_s: float
    """Those of this process."""
    cores_s: tuple[float | None, ...] = ()
    """Those of all programs on each set of cores that was asked for; see `host.used_s`."""


def snapshot(*cores: Collection[int]) -> Snapshot:
    """Of all processes that can be seen from here, and of each of `cores`."""
    used = {}
    for pid in _pids():
        # It may have ended by now.
        with contextlib.suppress(OSError):
            used[pid] = process.cpu_s(pid)
    return Snapshot(
        at_s=time.monotonic(), cpu_s=used, own_s=time.process_time(), cores_s=tuple(map(host.used_s, cores))
    )


def busy(before: Snapshot, after: Snapshot) -> Sequence[float | None]:
    """How many cores' worth of each set of cores programs used in between; None where the kernel does not count it."""
    passed_s = after.at_s - before.at_s
    return [
        None if begin is None or end is None else (end - begin) / passed_s
        for begin, end in zip(before.cores_s, after.cores_s, strict=True)
    ]


Owns = Callable[[int], bool]
"""Whether a process is one of the lab's runtime. Raises OSError where that is not known."""


def programs(before: Snapshot, after: Snapshot, cores: Collection[int], owns: Owns) -> Sequence[str]:
    """The programs that used CPU time in between, may run on one of `cores`, and are not the lab's own: such as `yes (4711)`, most
    first, and the first few alone. The kernel's own are among them (`kdamond.0` watches memory, the longer the more processes share
    it). Programs that cannot be read are not named.
    """
    passed_s = after.at_s - before.at_s
    used = {pid: after_s - before.cpu_s.get(pid, 0.0) for pid, after_s in after.cpu_s.items()}
    found: list[str] = []
    for pid in sorted(used, key=lambda pid: -used[pid]):
        if used[pid] < _WORTH_NAMING * passed_s or len(found) == _MOST_NAMED:
            break
        with contextlib.suppress(OSError):
            if os.sched_getaffinity(pid) & set(cores) and not (_is_own(pid) or owns(pid)):
                found.append(f"{_name(pid)} ({pid})")
    return found


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir(_PROC) if name.isdecimal())  # noqa: PTH208 - no Path for each of hundreds


def _is_own(pid: int) -> bool:
    """Whether it is this process, or one that it started. Raises OSError where it has ended."""
    while pid > 1:
        if pid == os.getpid():
            return True
        pid = int(process.stat(pid)[1])
    return False


def _name(pid: int) -> str:
    return (_PROC / str(pid) / "comm").read_text(errors="replace").strip()


# --- before a run


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreUse:
    """A core, and how much of it others use at the moment."""

    core: int
    share: float
    """1.0 is all of it."""
    who: Sequence[str]

    def __str__(self) -> str:
        who = f" ({', '.join(self.who)})" if self.who else ""
        return f"others use {self.share:.0%} of core {self.core}{who}"


def look(
    cores: Collection[int], owns: Owns, seconds: float = LOOK_S, sleep: Callable[[float], None] = time.sleep
) -> Sequence[CoreUse]:
    """Watch `cores` for a while, with nothing of this lab at work. Raises OSError where the kernel does not count it."""
    before = snapshot()
    shares = host.busy(cores, seconds, sleep)
    after = snapshot()
    return [
        CoreUse(core=core, share=share, who=programs(before, after, [core], owns)) for core, share in shares.items()
    ]


# --- other labs


@contextlib.contextmanager
def held(cores: Collection[int]) -> Iterator[None]:
    """Hold `cores` against every other lab of this machine: two would measure each other. Raises HostError."""
    with contextlib.ExitStack() as holding:
        for core in sorted(cores):
            holder = holding.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            try:
                holder.bind(_address(core))
            except OSError:
                raise HostError(
                    f"core {core}: another lab is at work on it ({_holder(core)}); wait for it or stop it, or give this one "
                    "other cores with taskset"
                ) from None
            # So that a lab that finds it taken can ask who has it.
            holder.listen()
        yield


def _address(core: int) -> str:
    return f"\0wsgilab-core-{core}"


def _holder(core: int) -> str:
    """Who holds a core, as the kernel answers on a connection (unix(7), SO_PEERCRED)."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.settimeout(1.0)
        asking.connect(_address(core))
        pid, _, _ = struct.unpack("3i", asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
        with contextlib.suppress(OSError):
            return f"process {pid} in {(_PROC / str(pid) / 'cwd').readlink()}"
        return f"process {pid}"
    return "it has just ended"
