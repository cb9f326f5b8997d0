"""What a server is bound by: each reason on a server that has just that trait, through the whole lab."""

import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.conftest import built, make_cli, with_servers
from wsgilab.analysis.cell import disturbance
from wsgilab.system import host

pytestmark = [pytest.mark.lab, pytest.mark.alone]

# 20 ms of computing and 60 ms of waiting make small what a request costs besides, on a busy machine too.
EXPERIMENT = """
name: reasons
blocks: 1
window_s: 0.4
patience_s: 5
reference: gunicorn-sync-1
generator: shared
workloads: {sleep: {ms: 60}, cpu: {ms: 20}}
cells:
  - {servers: [gunicorn-sync-4, gunicorn-gevent, unbalanced], workloads: [sleep], users: [8]}
  - {servers: [gunicorn-sync-1], workloads: [cpu], users: [2]}
  - {servers: [instant], workloads: [hello], users: [16], connections: [keep-alive]}
  - {servers: [withholding], workloads: [hello], users: [3], connections: [keep-alive]}
"""
ON_TWO_CORES = """\
  - {servers: [gunicorn-gthread-8], workloads: [cpu], users: [4], cores: [2]}
"""
OTHERS_LIMIT = 0.1
TWO_CORES = len(host.usable_cpus()) >= 2


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One run of all servers."""

    cells: Mapping[str, dict[str, Any]]
    """By server."""
    others_cpu: float
    """How much of a core went to processes that were not the lab's meanwhile."""

    def assert_had_its_core(self, used: float, at_least: float) -> None:
        """What computes without end uses its core, unless others do; then nothing can be told."""
        if used < at_least and self.others_cpu > OTHERS_LIMIT:
            pytest.skip(f"other processes used {self.others_cpu:.0%} of a core while the lab ran")
        assert used >= at_least


@pytest.fixture(scope="module")
def seen(state: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    folder = tmp_path_factory.mktemp("reasons")
    cli = make_cli("local", state, folder / "results")
    with_servers(cli, folder, built("unbalanced", 8, 2) + built("withholding", 4) + built("instant", 1))
    # Nobody else is at work, and it need not be looked at first.
    cli.variables["LAB_SHARE_CORES"] = "1"
    experiment = folder / "reasons.yaml"
    experiment.write_text(EXPERIMENT + (ON_TWO_CORES if TWO_CORES else ""))
    began, others = time.monotonic(), cpu_of_others()
    ended = cli("lab.run", "--runtime", "local", "--experiment", str(experiment))
    others_cpu = (cpu_of_others() - others) / (time.monotonic() - began)
    assert ended.code == 0, ended.output
    yield Seen(cells={cell["server"]: cell for cell in cli.comparison()["cells"]}, others_cpu=others_cpu)
    assert cli.leftovers() == []


IN_FLIGHT = "# requests were in flight on average"


def cpu_of_others() -> float:
    """CPU seconds of this machine so far that were neither this process' nor its descendants', once those ended."""
    whole, own = psutil.cpu_times(), os.times()
    busy = whole.user + whole.nice + whole.system + whole.irq + whole.softirq + whole.steal
    return float(busy - own.user - own.system - own.children_user - own.children_system)


def assert_bound(cell: dict[str, Any], reason: str, *told: str, figures: Mapping[str, float] | None = None) -> None:
    """The cell is bound by `reason`, because of what is `told`, and nothing that was measured failed.

    `figures` have a `#` where the figure stands; it was rounded in the document once, and once more in the text.
    """
    assert (cell["bound_by"] in (reason, "neighbour"), cell["failures"], cell["cut_off"]) == (True, 0, 0), cell
    if cell["bound_by"] == "neighbour":
        # Somebody else on this machine disturbed it, and then that is the reason, whatever the server is built to have.
        assert "others took" in cell["because"]
        return
    for text in told:
        assert text in cell["because"], cell["because"]
    for text, value in (figures or {}).items():
        found = re.search(re.escape(text).replace(r"\#", r"(\d+(?:\.(\d+))?)"), cell["because"])
        assert found is not None, cell["because"]
        rounding = 1.01 / 10 ** len(found[2] or "")
        # What others took of the generator's core counts as used, up to what breaks the gate.
        others = 100 * disturbance.NEIGHBOUR_LIMIT if "the generator" in text else 0
        assert value - rounding <= float(found[1]) <= value + others + rounding, cell["because"]


def test_a_machine_that_nobody_else_uses_is_not_called_disturbed(seen: Seen) -> None:
    """All other tests accept a disturbed cell, for tests may meet one; a lab that finds nothing else would pass them."""
    disturbed = [name for name, cell in seen.cells.items() if "neighbour" in cell["broken_gates"]]
    assert len(disturbed) < len(seen.cells) or seen.others_cpu > OTHERS_LIMIT, disturbed


def test_slots_that_are_all_filled(seen: Seen) -> None:
    cell = seen.cells["gunicorn-sync-4"]
    mean = cell["in_flight"]["mean"]
    assert_bound(cell, "slots", "4 slots", "8 users", figures={IN_FLIGHT: mean})
    assert 0.8 * 4 <= mean <= 4 == cell["in_flight"]["peak"]


def test_a_core_that_is_all_used(seen: Seen) -> None:
    cell = seen.cells["gunicorn-sync-1"]
    seen.assert_had_its_core(cell["server_cpu"], 0.9)
    assert_bound(cell, "cpu", figures={"it used #% of its core": cell["server_cpu"] * 100})


@pytest.mark.skipif(not TWO_CORES, reason="one usable core: one process cannot leave a second one idle")
def test_one_interpreter_that_cannot_use_its_second_core(seen: Seen) -> None:
    cell = seen.cells["gunicorn-gthread-8"]
    seen.assert_had_its_core(cell["server_cpu"] * 2, 0.9)
    assert_bound(cell, "gil", figures={"1 process(es) used # of 2 cores": cell["server_cpu"] * 2})
    # No more than the one core, but for what computes outside the interpreter.
    assert cell["server_cpu"] < 0.7
    # The interpreter hands itself on in mid-request, so threads do hold requests at once, and gain nothing by it.
    assert cell["in_flight"]["peak"] > 1


def test_a_process_that_is_passed_over_while_another_is_full(seen: Seen) -> None:
    cell = seen.cells["unbalanced"]
    share = cell["in_flight"]["busiest_share"]
    figures = {"the busiest process had # times its even share": share}
    assert_bound(cell, "balance", "8 slots", "8 users", figures=figures)
    # Seven in eight connections are 1.75 times an even half.
    assert 1.5 < share <= 2
    assert cell["in_flight"]["mean"] < 0.8 * 8


def test_a_server_that_answers_faster_than_the_generator_asks(seen: Seen) -> None:
    cell = seen.cells["instant"]
    seen.assert_had_its_core(cell["generator_cpu"], 0.8)
    assert_bound(cell, "generator", "the generator ")
    if "others" not in cell["because"]:
        assert_bound(cell, "generator", figures={"the generator used #% of its core": cell["generator_cpu"] * 100})
    assert "generator" in cell["broken_gates"]
    assert any("may be what is measured" in warning for warning in cell["warnings"])


def test_users_who_ask_for_no_more(seen: Seen) -> None:
    cell = seen.cells["gunicorn-gevent"]
    mean = cell["in_flight"]["mean"]
    assert_bound(cell, "demand", "unbounded slots", "8 users", figures={IN_FLIGHT: mean})
    assert mean >= 0.8 * 8


def test_a_wait_that_is_nowhere_to_be_seen(seen: Seen) -> None:
    cell = seen.cells["withholding"]
    assert_bound(
        cell,
        "unexplained",
        "with 4 slots and 3 users",
        figures={
            IN_FLIGHT: 0.0,
            "it used #% of its core": cell["server_cpu"] * 100,
            "the generator #% of its core": cell["generator_cpu"] * 100,
        },
    )
    # Neither works, no slot is filled, and yet nearly every answer takes as long as an acknowledgement is delayed.
    assert cell["server_cpu"] < 0.5
    assert cell["generator_cpu"] < 0.5
    assert cell["latency_ms"]["p50"] > 35
    assert cell["service_ms"] < 10
