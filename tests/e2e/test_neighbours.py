"""A program on the cores that are measured, and another lab that wants them: seen, named, and nothing concluded."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Cli
from wsgilab.system import cpus, neighbours

pytestmark = pytest.mark.lab

ONE_BLOCK = ("--blocks", "1")


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


@pytest.mark.parametrize("whose", ["server's", "generator's"])
def test_a_program_on_either_core_breaks_the_gate_and_is_named(cli: Cli, whose: str) -> None:
    core = 0 if whose == "server's" else 1

    with busy(core) as name:
        ended = cli.run(*ONE_BLOCK)

    assert ended.code == 0, ended.output
    assert f"of core {core} ({name}" in ended.output, "it was seen before the run began"
    comparison = cli.comparison()
    for cell in comparison["cells"]:
        assert "neighbour" in cell["broken_gates"], cell
        assert cell["bound_by"] == "neighbour"
        assert cell["rank"] is None
        (told,) = (each for each in cell["warnings"] if each.startswith("others took "))
        assert f"of the {whose} core {core} (in 1 of 1 windows)" in told
        assert name in told
    assert {pair["verdict"] for pair in comparison["comparisons"]} == {"undecided"}
    assert all(advice["server"] is None for advice in comparison["advice"])
    recorded = [path.read_text() for path in (cli.latest / "comparison.md", cli.latest / "report.html")]
    assert all("neighbour" in text for text in recorded)


def test_the_doctor_sees_it_too(local: Cli) -> None:
    with busy(1) as name:
        ended = local("lab.doctor")

    (line,) = (each for each in ended.lines if "neighbours:" in each)
    assert line.startswith("--")
    assert f"of core 1 ({name}" in line


def test_a_second_lab_is_refused_the_cores_of_the_first_whatever_checkout_it_is_of(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LAB_SHARE_CORES", raising=False)
    with neighbours.held(cpus.parse("1")):
        ended = cli.run(*ONE_BLOCK)

    assert ended.code == 1
    (error,) = (line for line in ended.lines if line.startswith("error:"))
    assert "core 1: another lab is at work on it" in error
    assert str(Path.cwd()) in error
    assert not cli.workspace.results.exists() or not list(cli.workspace.results.iterdir())
