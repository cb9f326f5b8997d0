"""What the kernel says of a server's processes: which a container's are on this machine (proc_pid_status(5)), and what each takes of
memory (proc_pid_smaps(5))."""

import contextlib
import re
from collections.abc import Collection
from pathlib import Path

import psutil

from wsgilab.model import Memory

EVERY_ROLLUP = """
for each in /proc/[0-9]*; do
    [ "$each" = "/proc/$$" ] || cat "$each/smaps_rollup" 2>/dev/null || case "$(cat "$each/stat" 2>/dev/null)" in
        "" | *") Z "*) ;;
        *) echo unreadable ;;
    esac
done
"""
"""For the shell of a container: writes that file of every process but its own. What has ended meanwhile has none."""

_UNREADABLE = "unreadable"
_PSS = re.compile(r"^Pss:\s+(\d+) kB$", re.MULTILINE)
_PRIVATE = re.compile(r"^Private_\w+:\s+(\d+) kB$", re.MULTILINE)
_NUMBERS = re.compile(r"^NSpid:.*?(\d+)$", re.MULTILINE)
"""The number that a process has for itself, which is its last one."""
_KIB = 1024


def rollups(pids: Collection[int]) -> str | None:
    """The text of the files of processes of this machine; None where this process may not read one."""
    found = []
    for pid in pids:
        # What has ended has none.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            try:
                found.append(Path(f"/proc/{pid}/smaps_rollup").read_text())
            except PermissionError:
                return None
    return "".join(found)


def total(text: str | None) -> Memory | None:
    """What processes take, from the text of their files; None without any, and where one could not be read."""
    if text is None or _UNREADABLE in text:
        return None
    pss, private = (_KIB * sum(map(int, pattern.findall(text))) for pattern in (_PSS, _PRIVATE))
    return Memory(pss_bytes=pss, private_bytes=private) if pss else None


def processes_here(container: str, first: int) -> Collection[int]:
    """The processes of a container, of which `first` is the first as its engine's machine numbers it; none where that is not this
    machine."""
    try:
        if not first or container not in Path(f"/proc/{first}/cgroup").read_text():
            return ()
        # Without what the engine runs in it beside these, such as a health check.
        leader = psutil.Process(first)
        return [each.pid for each in (leader, *leader.children(recursive=True))]
    except (OSError, psutil.Error):
        return ()


def numbered(pids: Collection[int], number: int) -> int | None:
    """Which of these processes of this machine has this number for itself, in its container; None where none has."""
    for pid in pids:
        with contextlib.suppress(OSError):
            found = _NUMBERS.search(Path(f"/proc/{pid}/status").read_text())
            if found is not None and int(found[1]) == number:
                return pid
    return None
