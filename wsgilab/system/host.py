"""The machine this runs on: its cores, its fingerprint, the clock. Standard library alone: the clock server reads it elsewhere."""

import contextlib
import functools
import os
import platform
import statistics
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from wsgilab.model import Host
from wsgilab.model.errors import HostError
from wsgilab.system import cpus

LAB_PACKAGES = ("docker", "invoke", "pyyaml", "psutil", "rich", "pydantic", "hdrhistogram", "uv")


def cannot_pin() -> str | None:
    """Why processes cannot be kept on cores of their own here, as a sentence without its end; None where they can: on Linux."""
    if hasattr(os, "sched_getaffinity"):
        return None
    system = platform.system()
    return f"{'macOS' if system == 'Darwin' else system} cannot keep processes on cores of their own, as Linux can"


IN_CONTAINERS = "measure in containers: start Docker Desktop, or another Docker engine"
"""What to do where `cannot_pin`."""


def usable_cpus() -> frozenset[int]:
    """The logical cores that this process may use: not all that the machine has. Raises HostError where `cannot_pin`."""
    if why := cannot_pin():
        raise HostError(f"{why}; {IN_CONTAINERS}")
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
        governor=_governor(),
        turbo=_turbo(),
        mhz=_mhz(),
        load=os.getloadavg()[0],
        isolated=_line(_CPUS, "isolated"),
        virtualization=_virtualization(),
        quota=quota_cores(),
    )


_ROOT = Path("/")


def _line(*path: str | Path) -> str | None:
    """What a file of the kernel says; None where it is not there, or says nothing."""
    try:
        return Path(_ROOT, *path).read_text(errors="replace").strip() or None
    except OSError:
        return None


_CPUS = "sys/devices/system/cpu"


def _governor() -> str | None:
    """Of the usable cores; several where these differ (kernel.org, admin-guide/pm/cpufreq)."""
    found = (_line(_CPUS, f"cpu{cpu}/cpufreq/scaling_governor") for cpu in sorted(usable_cpus()))
    return ", ".join(dict.fromkeys(each for each in found if each)) or None


def _turbo() -> bool | None:
    """Intel's driver says when it is off, others when it is on."""
    if (off := _line(_CPUS, "intel_pstate/no_turbo")) is not None:
        return off == "0"
    on = _line(_CPUS, "cpufreq/boost")
    return None if on is None else on == "1"


def _mhz() -> float | None:
    known: list[float] = []
    cpu = -1
    for key, value in _cpuinfo():
        with contextlib.suppress(ValueError):
            if key == "processor":
                cpu = int(value)
            elif key == "cpu mhz" and cpu in usable_cpus():
                known.append(float(value))
    return statistics.median(known) if known else None


def _virtualization() -> str | None:
    is_virtual = any(key == "flags" and "hypervisor" in value.split() for key, value in _cpuinfo())
    kind = _line("sys/hypervisor/type")
    if not is_virtual and kind is None:
        return None
    names = (kind, _line("sys/class/dmi/id/sys_vendor"), _line("sys/class/dmi/id/product_name"))
    return ", ".join(dict.fromkeys(each for each in names if each)) or "a virtual machine"


def _cpuinfo() -> Iterator[tuple[str, str]]:
    """The lines of /proc/cpuinfo, their keys in lower case."""
    for line in (_line("proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        yield key.strip().lower(), value.strip()


# --- quotas


def quota_cores() -> float | None:
    """The least CPU quota of this process' control group and those above it, in cores; None where none has one (kernel.org,
    cgroup-v2, "cpu.max", and scheduler/sched-bwc)."""
    found = []
    for folder in control_groups("cpu"):
        in_v1 = f"{_line(folder, 'cpu.cfs_quota_us')} {_line(folder, 'cpu.cfs_period_us')}"
        quota, _, period = (_line(folder, "cpu.max") or in_v1).partition(" ")
        # `max`, or -1: there is none.
        with contextlib.suppress(ValueError, ZeroDivisionError):
            found.append(int(quota) / int(period))
    return min((each for each in found if each > 0), default=None)


def throttled() -> int | None:
    """In how many periods so far a CPU quota has stopped the processes of this process' control group or of one above it; None
    where the kernel does not count that."""
    found = []
    for folder in control_groups("cpu"):
        for line in (_line(folder, "cpu.stat") or "").splitlines():
            key, _, value = line.partition(" ")
            if key == "nr_throttled" and value.isdecimal():
                found.append(int(value))
    return sum(found) if found else None


@functools.cache
def control_groups(controller: str) -> Sequence[Path]:
    """The folders of this process' control group for `cpu` or `memory`, and of those above it (cgroups(7)).

    In a container the path may be one that is visible from outside alone: then the folder above all is the container's own.
    """
    groups = _ROOT / "sys/fs/cgroup"
    for line in (_line("proc/self/cgroup") or "").splitlines():
        number, controllers, path = line.split(":", 2)
        if controller in controllers.split(",") or (number == "0" and not (groups / controller).exists()):
            root = groups / controller if controllers else groups
            own = root / path.lstrip("/")
            return [each for each in (own, *own.parents) if each.is_relative_to(root) and each.is_dir()]
    return []


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


def busy(cores: Collection[int], seconds: float, sleep: Callable[[float], None] = time.sleep) -> dict[int, float]:
    """Core -> the share of it that programs used in so many seconds from now, or that a hypervisor took away; 1.0 is all of it."""
    idle_before_s, began_s = {core: idle_s([core]) for core in sorted(cores)}, time.monotonic()
    sleep(seconds)
    passed_s = time.monotonic() - began_s
    return {core: max(0.0, 1 - (idle_s([core]) - before_s) / passed_s) for core, before_s in idle_before_s.items()}


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


def group_available_bytes() -> int | None:
    """The memory that the processes of this process' control group can still have before it or one above it reaches its limit; None
    where none has one. Of what files take in memory, the part that was not used lately counts as free, as the kernel takes it back
    first (kernel.org, cgroup-v2, "memory.max", and cgroup-v1/memory).
    """
    found = []
    for folder in control_groups("memory"):
        limit = _line(folder, "memory.max") or _line(folder, "memory.limit_in_bytes")
        used = _line(folder, "memory.current") or _line(folder, "memory.usage_in_bytes")
        # `max`: there is none.
        if limit is not None and limit.isdecimal() and used is not None:
            counts = dict(line.split() for line in (_line(folder, "memory.stat") or "").splitlines())
            cached = counts.get("total_inactive_file", counts.get("inactive_file", 0))
            found.append(max(0, int(limit) - int(used) + int(cached)))
    return min(found, default=None)


def boot_id() -> str:
    """Another one after each start of the machine (random(4))."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _cpu_model() -> str:
    for key, value in _cpuinfo():
        if key in ("model name", "hardware", "cpu model"):
            return value
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
