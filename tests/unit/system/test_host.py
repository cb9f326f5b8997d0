"""What is recorded of this machine, from what its kernel says."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from wsgilab import commands
from wsgilab.run.testbed import choose_runtime
from wsgilab.system import host

CPU = "sys/devices/system/cpu"
SAYS = {
    "proc/cpuinfo": "processor\t: 0\nmodel name\t: A CPU\ncpu MHz\t\t: 2000.5\nflags\t: fpu\n\n"
    "processor\t: 1\ncpu MHz\t\t: 3000.5\n\nprocessor\t: 2\ncpu MHz\t\t: 9000\n"
}
VIRTUAL = {"proc/cpuinfo": "flags\t\t: fpu hypervisor lm\n"}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the kernel of a machine with two usable cores says what a test has it say, and nothing else."""
    monkeypatch.setattr(host, "_ROOT", tmp_path)
    monkeypatch.setattr(host, "usable_cpus", lambda: frozenset({0, 1}))
    host.control_groups.cache_clear()
    yield tmp_path
    host.control_groups.cache_clear()


def write(machine: Path, says: Mapping[str, str]) -> None:
    for name, text in says.items():
        (machine / name).parent.mkdir(parents=True, exist_ok=True)
        (machine / name).write_text(f"{text}\n")


@pytest.mark.parametrize(
    ("says", "figure", "value"),
    [
        ({}, "governor", None),
        ({f"{CPU}/cpu0/cpufreq/scaling_governor": "powersave"}, "governor", "powersave"),
        ({f"{CPU}/cpu{n}/cpufreq/scaling_governor": name for n, name in enumerate("abc")}, "governor", "a, b"),
        ({}, "turbo", None),
        ({f"{CPU}/intel_pstate/no_turbo": "0"}, "turbo", True),
        ({f"{CPU}/intel_pstate/no_turbo": "1"}, "turbo", False),
        ({f"{CPU}/cpufreq/boost": "1"}, "turbo", True),
        ({f"{CPU}/cpufreq/boost": "0"}, "turbo", False),
        ({}, "mhz", None),
        (SAYS, "mhz", 2500.5),
        (SAYS, "cpu", "A CPU"),
        ({}, "isolated", None),
        ({f"{CPU}/isolated": ""}, "isolated", None),
        ({f"{CPU}/isolated": "2-3"}, "isolated", "2-3"),
        (SAYS, "virtualization", None),
        (VIRTUAL, "virtualization", "a virtual machine"),
        ({"sys/hypervisor/type": "xen"}, "virtualization", "xen"),
        (
            {**VIRTUAL, "sys/class/dmi/id/sys_vendor": "Vendor Inc.", "sys/class/dmi/id/product_name": "m5"},
            "virtualization",
            "Vendor Inc., m5",
        ),
        ({"sys/class/dmi/id/sys_vendor": "Vendor Inc."}, "virtualization", None),
    ],
)
def test_what_makes_figures_scatter_is_recorded_and_absent_where_the_kernel_does_not_say(
    machine: Path, says: Mapping[str, str], figure: str, value: object
) -> None:
    write(machine, says)

    assert getattr(host.fingerprint(), figure) == value


def group(file: str, folder: str, **says: str) -> Mapping[str, str]:
    """What the kernel says of the lab's group, and of the CPU in the group of that folder."""
    return {"proc/self/cgroup": file, **{f"sys/fs/cgroup/{folder}cpu.{key}": text for key, text in says.items()}}


V1, V2 = "3:memory:/m\n2:cpu,cpuacct:/docker/x\n0::/", "0::/slice/lab"
TWO_QUOTAS = {
    **group(V2, "slice/lab/", max="150000 100000", stat="nr_periods 9\nnr_throttled 4"),
    **group(V2, "slice/", max="50000 100000", stat="nr_throttled 3"),
    **group(V2, "other/", stat="nr_throttled 99"),
}
# In a container whose path is that of the host: its own group is the one above all.
V1_QUOTA = group(V1, "cpu/", cfs_quota_us="120000", cfs_period_us="100000", stat="nr_throttled 5\nthrottled_time 77")
V1_NONE = group(V1, "cpu/docker/x/", cfs_quota_us="-1", cfs_period_us="100000", stat="nr_throttled 0")


@pytest.mark.parametrize(
    ("says", "quota", "throttled"),
    [
        ({}, None, None),
        (group(V2, "", stat="usage_usec 9"), None, None),
        (group(V2, "slice/lab/", max="max 100000", stat="nr_periods 9\nnr_throttled 0\nthrottled_usec 0"), None, 0),
        (TWO_QUOTAS, 0.5, 7),
        (V1_QUOTA, 1.2, 5),
        (V1_NONE, None, 0),
    ],
    ids=["no groups", "no controller", "no quota", "two quotas", "version 1", "version 1, no quota"],
)
def test_the_least_quota_counts_and_every_period_in_which_one_stopped_the_lab(
    machine: Path, says: Mapping[str, str], quota: float | None, throttled: int | None
) -> None:
    write(machine, says)

    assert (host.quota_cores(), host.throttled()) == (quota, throttled)


def memory(file: str, folder: str, **says: str) -> Mapping[str, str]:
    """What the kernel says of the lab's group, and of the memory of the group of that folder."""
    return {"proc/self/cgroup": file, **{f"sys/fs/cgroup/{folder}memory.{key}": text for key, text in says.items()}}


TWO_LIMITS = {
    **memory(V2, "slice/lab/", max="max", current="700", stat="anon 600\ninactive_file 90"),
    **memory(V2, "slice/", max="1000", current="800", stat="anon 600\ninactive_file 150"),
    **memory(V2, "other/", max="1", current="1", stat="anon 1"),
}
V1_STAT = "cache 300\ninactive_file 1\ntotal_inactive_file 200"


@pytest.mark.parametrize(
    ("says", "available"),
    [
        ({}, None),
        (memory(V2, "", stat="anon 9"), None),
        (memory(V2, "slice/lab/", max="max", current="700", stat="anon 600"), None),
        (TWO_LIMITS, 350),
        (memory(V2, "slice/lab/", max="500", current="510", stat="anon 510\ninactive_file 0"), 0),
        (memory(V1, "memory/", limit_in_bytes="1000", usage_in_bytes="600", stat=V1_STAT), 600),
        (memory(V1, "memory/m/", limit_in_bytes="9223372036854771712", usage_in_bytes="600"), 9223372036854771112),
    ],
    ids=["no groups", "no controller", "no limit", "two limits", "beyond", "version 1", "version 1, no limit"],
)
def test_the_least_that_a_group_can_still_have_counts(
    machine: Path, says: Mapping[str, str], available: int | None
) -> None:
    write(machine, says)

    assert host.group_available_bytes() == available


@pytest.mark.parametrize(("of_group", "available"), [(None, 100), (40, 40), (400, 100)])
def test_among_processes_the_machine_and_the_group_bound_what_is_available(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, of_group: int | None, available: int
) -> None:
    monkeypatch.setattr(host, "available_bytes", lambda: 100)
    monkeypatch.setattr(host, "group_available_bytes", lambda: of_group)
    (runtime, _) = choose_runtime(commands.workspace({"LAB_STATE": str(tmp_path)}), "local")

    assert runtime.available_bytes() == available
