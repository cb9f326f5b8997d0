"""Control groups with a quota, as far as files can show it; the contract tests have real ones."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from wsgilab.model.errors import HostError
from wsgilab.system import host, quota

V1 = "sys/fs/cgroup/cpu"
V2 = "sys/fs/cgroup"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(host, "_ROOT", tmp_path)
    host.control_groups.cache_clear()
    yield tmp_path
    host.control_groups.cache_clear()


def write(machine: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (machine / name).parent.mkdir(parents=True, exist_ok=True)
        (machine / name).write_text(text)


@pytest.mark.parametrize(
    ("files", "above"),
    [
        ({"proc/self/cgroup": "1:cpu,cpuacct:/lab\n0::/\n", f"{V1}/lab/cpu.stat": ""}, f"{V1}/lab"),
        (
            {
                "proc/self/cgroup": "0::/slice/lab\n",
                f"{V2}/slice/lab/cgroup.subtree_control": "",
                f"{V2}/slice/cgroup.subtree_control": "memory pids",
                f"{V2}/cgroup.subtree_control": "cpuset cpu memory",
            },
            V2,
        ),
        ({"proc/self/cgroup": "0::/\n", f"{V2}/cgroup.subtree_control": "memory"}, None),
        ({}, None),
    ],
)
def test_a_group_is_made_below_this_process_own_or_the_nearest_that_hands_cpu_time_on(
    machine: Path, files: Mapping[str, str], above: str | None
) -> None:
    write(machine, files)

    assert quota._above() == (None if above is None else machine / above)
    refusal = quota.refusal()
    assert (
        refusal is None
        if above is not None
        else "run in containers (--runtime compose), or leave quota out" in (refusal or "")
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("nr_periods 9\nnr_throttled 4\nthrottled_time 1500000000\n", (4, 1.5)),
        ("usage_usec 7\nnr_periods 9\nnr_throttled 4\nthrottled_usec 250000\nnr_bursts 0\n", (4, 0.25)),
    ],
)
def test_the_time_in_which_a_group_was_stopped_is_read_in_seconds(
    tmp_path: Path, text: str, found: tuple[int, float]
) -> None:
    (tmp_path / "cpu.stat").write_text(text)

    assert quota.Group(tmp_path).throttled() == found


def test_without_such_a_group_nothing_is_run(machine: Path) -> None:
    with (
        pytest.raises(HostError, match=r"^quota: processes of this machine have no control group"),
        quota.limited("x", 0.5, list),
    ):
        pytest.fail("there is no quota")
