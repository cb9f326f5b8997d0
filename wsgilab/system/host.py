"""The machine this runs on: its cores, its fingerprint, the clock. Standard library alone: the clock server reads it elsewhere."""

import contextlib
import os
import platform
from collections.abc import Collection
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from wsgilab.model import Host
from wsgilab.model.errors import HostError
from wsgilab.system import cpus

LAB_PACKAGES = ("docker", "invoke", "pyyaml", "psutil", "rich", "pydantic", "hdrhistogram", "uv")


def usable_cpus() -> frozenset[int]:
    """The logical cores that this process may use: not all that the machine has."""
    if not hasattr(os, "sched_getaffinity"):
        raise HostError(
            f"{platform.system()} cannot pin processes to cores, which the lab depends on; run it on Linux, "
            "or in a Linux virtual machine"
        )
    return frozenset(os.sched_getaffinity(0))


def siblings() -> tuple[frozenset[int], ...]:
    """The groups of logical cores that share a physical core, as the kernel lists them."""
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
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        kernel=platform.release(),
        python=platform.python_version(),
    )


def idle_s(cores: Collection[int]) -> float:
    """Seconds since the start of the machine that `cores` had no program to run, in all; the kernel counts in 10 ms.

    Of all processes of the machine, also where it is read in a container (proc_stat(5)): `idle` and `iowait`, and interrupts
    where these are timed, since then no program is charged for them. Time that a hypervisor took away is not idle.
    """
    found = [_Ticks(*map(int, line.split()[1:9])) for line in _lines_of(cores)]
    # Without CONFIG_IRQ_TIME_ACCOUNTING it stays 0, and programs are charged for what interrupts them.
    is_timed = any(each.irq for each in found)
    ticks = sum(each.idle + each.iowait + (each.irq + each.softirq if is_timed else 0) for each in found)
    return ticks / os.sysconf("SC_CLK_TCK")


def used_s(cores: Collection[int]) -> float | None:
    """CPU seconds since the start of the machine that programs used of `cores`, or that a hypervisor took away, in all; to
    the nanosecond, but for the hypervisor's.

    None where the kernel does not count it: cgroup v2 has no such counter. In a container it is of that container alone.
    """
    try:
        of_cores = [int(each) for each in _USAGE.read_text().split()]
        used_ns = sum(of_cores[core] for core in cores)
    except (OSError, ValueError, IndexError):
        return None
    found = [_Ticks(*map(int, line.split()[1:9])) for line in _lines_of(cores)]
    return used_ns / 1e9 + sum(each.steal for each in found) / os.sysconf("SC_CLK_TCK")


_USAGE = Path("/sys/fs/cgroup/cpuacct/cpuacct.usage_percpu")
"""Of all processes: the root group of cgroup v1's controller (kernel.org, cgroup-v1/cpuacct)."""


class _Ticks(NamedTuple):
    """A core's line of /proc/stat."""

    user: int
    nice: int
    system: int
    idle: int
    iowait: int
    irq: int
    softirq: int
    steal: int


def _lines_of(cores: Collection[int]) -> list[str]:
    wanted = {f"cpu{core}" for core in cores}
    lines = Path("/proc/stat").read_text().splitlines()
    return [line for line in lines if line.partition(" ")[0] in wanted]


def available_bytes() -> int:
    """The memory that programs can still have before the machine swaps, as the kernel estimates it: MemAvailable, proc_meminfo(5)."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")


def boot_id() -> str:
    """Another one after each start of the machine (random(4))."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


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
    """The local time, ISO 8601 with its offset, to the millisecond."""
    return datetime.now().astimezone().isoformat(timespec="milliseconds")
