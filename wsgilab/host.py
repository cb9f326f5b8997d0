"""The machine the lab runs on: its cores, its fingerprint, its free ports, the clock."""

import contextlib
import os
import platform
import socket
from collections.abc import Iterator
from datetime import datetime
from importlib import metadata
from pathlib import Path

import psutil

from wsgilab import cpus
from wsgilab.errors import HostError
from wsgilab.model import Host

LAB_PACKAGES = ("docker", "invoke", "pyyaml", "psutil", "rich", "pydantic", "hdrhistogram", "scipy", "uv")


def usable_cpus() -> frozenset[int]:
    """The logical cores that this process may use: not all that the machine has."""
    if not hasattr(os, "sched_getaffinity"):
        raise HostError(
            f"{platform.system()} cannot pin processes to cores, which the lab depends on; run it on Linux, "
            "or in a Linux virtual machine"
        )
    return frozenset(os.sched_getaffinity(0))


def siblings() -> tuple[frozenset[int], ...]:
    """The groups of logical cores that share a physical core, as the kernel tells."""
    groups = set()
    for cpu in usable_cpus():
        path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        try:
            groups.add(cpus.parse(path.read_text().strip()))
        except (OSError, ValueError):
            groups.add(frozenset({cpu}))
    return tuple(sorted(groups, key=sorted))


def fingerprint() -> Host:
    """What of this machine matters for a comparison."""
    return Host(
        cpu=_cpu_model(),
        architecture=platform.machine(),
        usable_cpus=cpus.spell(usable_cpus()),
        siblings=tuple(cpus.spell(group) for group in siblings()),
        memory_bytes=psutil.virtual_memory().total,
        kernel=platform.release(),
        python=platform.python_version(),
    )


def _cpu_model() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip().lower() in ("model name", "hardware", "cpu model"):
                return value.strip()
    return platform.processor() or "unknown"


def package_versions() -> dict[str, str]:
    """The versions of the packages that the lab itself runs on."""
    versions = {}
    for package in LAB_PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions


def now() -> str:
    """The local time, ISO 8601 with its offset, to the second."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


@contextlib.contextmanager
def confined_to(cores: frozenset[int]) -> Iterator[None]:
    """Keep the lab's own process on `cores` while it measures, so that it does not run on the servers'."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def port_range(text: str) -> range:
    """The ports of `8100` or `8100-8163`. Raises HostError for anything else."""
    first, dash, last = text.strip().partition("-")
    if not first.isdecimal() or (dash and not last.isdecimal()):
        raise HostError(f"LAB_PORTS={text}: must be a port or a range of ports such as 8100-8163")
    begin, end = int(first), int(last or first)
    if not 1 <= begin <= end <= 65535:
        raise HostError(f"LAB_PORTS={text}: ports go from 1 to 65535, the lower one first")
    return range(begin, end + 1)


def free_ports(count: int, wanted: str) -> list[int]:
    """`count` ports of 127.0.0.1 that nobody listens on: from the range `wanted`, or any where it is empty.

    Raises HostError where `wanted` has too few. Between this answer and its use another process may take one; then
    the server says so itself when it starts.
    """
    candidates = port_range(wanted) if wanted else [0] * count
    found: list[int] = []
    with contextlib.ExitStack() as held:
        for candidate in candidates:
            if len(found) == count:
                break
            probe = held.enter_context(socket.socket())
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", candidate))
                found.append(probe.getsockname()[1])
    if len(found) < count:
        raise HostError(
            f"LAB_PORTS={wanted}: {count} ports are needed on 127.0.0.1 but only {len(found)} of these are free; "
            "name a wider range, or unset LAB_PORTS to take any"
        )
    return found
