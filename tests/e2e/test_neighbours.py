"""A program on the cores that are measured, and another lab that wants them: seen, named, and nothing concluded."""

import contextlib
import functools
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Cli
from wsgilab.system import cpus, neighbours

pytestmark = pytest.mark.lab

ONE_BLOCK = ("--blocks", "1")


@pytest.fixture(autouse=True)
def _looks_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second tells as much of a program that is busy all the time."""
    monkeypatch.setattr(neighbours, "look", functools.partial(neighbours.look, seconds=0.5))


@contextlib.contextmanager
def busy(core: int) -> Iterator[str]:
    """A program that keeps a core busy, by its name and id. Nobody here has started it, as far as can be told."""
    # Before all else that may keep this machine busy, so that it is among those that are named.
    starter = f"setsid nice -n -5 taskset --cpu-list {core} yes >/dev/null 2>&1 & echo $!"
    told = subprocess.run(["sh", "-c", starter], capture_output=True, text=True, check=True)
    pid = int(told.stdout)
    try:
        yield f"yes ({pid})"
    finally:
        subprocess.run(["kill", str(pid)], check=True)


# In one runtime: how busy the cores are is read alike in both, and which processes are a runtime's own is in its contract.
@pytest.mark.alone
@pytest.mark.parametrize("cli", ["compose"], indirect=True)
def test_programs_on_the_cores_break_the_gate_and_are_named(cli: Cli) -> None:
    cores = {"server's": 0, "generator's": 1}

    with contextlib.ExitStack() as running:
        names = {side: running.enter_context(busy(core)) for side, core in cores.items()}
        ended = cli.run(*ONE_BLOCK)

    assert ended.code == 0, ended.output
    comparison = cli.comparison()
    for side, name in names.items():
        noted = [line for line in ended.lines if f"of core {cores[side]} (" in line]
        assert any(name in line for line in noted), "it was seen before the run began"
    for cell in comparison["cells"]:
        assert "neighbour" in cell["broken_gates"], cell
        assert cell["bound_by"] == "neighbour"
        assert cell["rank"] is None
        (told,) = (each for each in cell["warnings"] if each.startswith("others took "))
        for side, name in names.items():
            assert f"of the {side} core {cores[side]} (in 1 of 1 windows)" in told
            assert name in told
    assert {pair["verdict"] for pair in comparison["comparisons"]} == {"undecided"}
    assert all(advice["server"] is None for advice in comparison["advice"])
    observed = [json.loads(line) for line in (cli.latest / "observations.jsonl").read_text().splitlines()]
    assert all(each["swarm"]["read_completed"] for each in observed), "its cost is counted beside a neighbour too"
    assert "neighbour" in (cli.latest / "comparison.md").read_text()


@pytest.mark.alone
def test_the_doctor_sees_it_too(local: Cli) -> None:
    with busy(1) as name:
        ended = local("lab.doctor")

    (line,) = (each for each in ended.lines if "neighbours:" in each)
    assert line.startswith("--")
    assert name in line.partition("of core 1 (")[2]


def test_a_second_lab_is_refused_the_cores_of_the_first_whatever_checkout_it_is_of(
    local: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LAB_SHARE_CORES", raising=False)
    with neighbours.held(cpus.parse("1")):
        ended = local.run(*ONE_BLOCK)

    assert ended.code == 1
    (error,) = (line for line in ended.lines if line.startswith("error:"))
    assert "core 1: another lab is at work on it" in error
    assert str(Path.cwd()) in error
    assert not local.workspace.results.exists() or not list(local.workspace.results.iterdir())
