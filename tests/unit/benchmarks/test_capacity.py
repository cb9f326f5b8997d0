"""What the benchmark `capacity` makes of its runs, which are of queues here."""

import itertools
from collections.abc import Sequence

import pytest

import arrivals
from benchmarks import capacity
from benchmarks.outcome import Outcome
from tests.unit.queues import Queue, sought
from wsgilab.model import Comparison, Observation
from wsgilab.model.errors import LabError

QUEUES = {"capacity_one": ("gunicorn-sync-1", Queue(slots=1, held_s=0.05), 240.0, 400.0)}
QUEUES |= {"capacity_eight": ("gunicorn-gthread-8", Queue(slots=8, held_s=0.05), 90.0, 200.0)}


def measured(monkeypatch: pytest.MonkeyPatch, held: float = 1.0) -> Outcome:
    """Of two runs, whose servers hold requests for `held` times as long as their closed loops show."""
    seeds = iter(range(100))

    def run(name: str, _: str) -> tuple[Comparison, Sequence[Observation]]:
        server, queue, budget_s, p95_ms = QUEUES[name]
        slow = Queue(slots=queue.slots, held_s=held * queue.held_s, boasts=held)
        machine = sought({server: slow}, budget_s=budget_s, p95_ms=p95_ms, seed=next(seeds))
        return machine.comparison(), machine.observations()

    monkeypatch.setattr(capacity, "_run", run)
    monkeypatch.setattr(capacity, "runtimes", lambda: ("local",))
    monkeypatch.setattr(capacity, "REQUESTS", 20_000)
    return capacity.measure(2)


def test_queues_have_the_capacity_that_theory_gives_them(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = measured(monkeypatch)
    assert [row["server"] for row in outcome.rows] == ["gunicorn-sync-1", "gunicorn-gthread-8"] * 2
    assert [row["slot held, ms"] for row in outcome.rows][:2] == pytest.approx([50, 50])
    assert {claim.verdict for claim in outcome.claims} == {"holds"}
    assert len(outcome.claims) == 6
    assert [row["its theory/theory"] for row in outcome.rows] == pytest.approx([1.0] * 4, abs=2e-3), "no chance is left"


def test_servers_that_can_do_less_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = measured(monkeypatch, held=1.12)
    assert [claim.verdict for claim in outcome.claims][:4] == ["fails"] * 4
    assert [row["its theory/theory"] for row in outcome.rows] == pytest.approx([1 / 1.12] * 4, abs=0.03), (
        "and it is the same in either run"
    )


def test_a_capacity_that_was_not_found_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(QUEUES, "capacity_one", ("gunicorn-sync-1", Queue(slots=1, held_s=0.5), 240.0, 400.0))
    with pytest.raises(LabError, match="gunicorn-sync-1: no capacity between two rates was found, but none"):
        measured(monkeypatch)


def test_arrivals_are_those_that_users_of_the_lab_have() -> None:
    due = arrivals.schedule(arrivals.POISSON, 20.0, 0, seed=7)
    expected = [at_ns / 1e9 for at_ns in itertools.islice(due, 50)]
    assert list(itertools.islice(capacity.poisson(20.0, "7/0"), 50)) == pytest.approx(expected, abs=1e-8)
