"""What one user finds out before a run of a user's own application begins, on a fake swarm."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from wsgilab import testing
from wsgilab.model import Run, TrialReport, TrialSpec
from wsgilab.model.errors import TargetError
from wsgilab.run import probe
from wsgilab.run.lane import Lane
from wsgilab.run.startup import Started
from wsgilab.system.cpus import Layout

SERVERS = {
    "one": testing.server("one"),
    "eight": testing.server("eight", slots=8, model="threads"),
}
LAYOUT = Layout(servers={1: frozenset({0})}, generator=frozenset({1}), backends=frozenset(), notes=())


def made(
    answer: Callable[[TrialSpec], TrialReport], *workloads: str, start_s: float = 5.0
) -> tuple[Run, Lane, testing.FakeSwarm]:
    """A run of both servers, and the lane that it is on."""
    experiment = testing.experiment(
        *(testing.cell(name, workload=workload) for workload in workloads for name in SERVERS),
        application=testing.application(),
        reference="eight",
    )
    run = testing.run(experiment, *SERVERS.values())
    fleet = {name: testing.FakeTarget(server=each) for name, each in SERVERS.items()}
    started = Started(runtime=None, layout=LAYOUT, fleets={1: fleet}, digests={}, start_s=start_s)  # type: ignore[arg-type]
    swarm = testing.FakeSwarm(answer=answer)
    return run, Lane(started=started, swarm=swarm), swarm


def taking(service_ms: float, completed: int = 10) -> Callable[[TrialSpec], TrialReport]:
    return lambda _: testing.trial_report(service_ms=service_ms, completed=completed)


def test_a_run_is_planned_from_what_one_user_at_the_reference_finds() -> None:
    run, lane, swarm = made(taking(50.0), "orders")
    said: list[str] = []

    planned = probe.planned(run, lane, None, said.append)

    (spec,) = swarm.specs
    assert (spec.users, spec.rate, spec.window_s) == (1, None, probe.PROBE_S)
    assert {cell.users for cell in planned.experiment.cells} == {32}
    assert (planned.experiment.window_s, planned.experiment.blocks) == (0.5, 8)
    assert replace(planned, experiment=run.experiment) == run
    assert said == [
        "Probe: orders takes 50.0 ms, of which 1.00 ms of CPU time; servers took 5 s to start, eight has 50 MB.",
        "Planned from it: 32 users, windows of 0.5 s, 8 blocks: 29 s.",
    ]


def test_what_the_user_says_of_blocks_wins() -> None:
    run, lane, _ = made(taking(50.0), "orders")
    assert probe.planned(run, lane, 3, print).experiment.blocks == 3


def test_with_few_answers_the_first_of_which_may_have_taken_longer_it_is_sent_again() -> None:
    reports = iter([(3000.0, 1), (1000.0, 1)])
    run, lane, swarm = made(lambda _: taking(*next(reports))(CLOSED), "orders")
    said: list[str] = []

    probe.planned(run, lane, None, said.append)

    assert len(swarm.specs) == 2
    assert said[0].startswith("Probe: orders takes 1,000 ms,")


CLOSED = TrialSpec(
    locustfile="application", base_url="http://x", users=1, rate=None, window_s=1.0, patience_s=1.0, options={}
)


def test_a_mix_takes_what_its_requests_take_in_their_shares() -> None:
    def answer(spec: TrialSpec) -> TrialReport:
        return testing.trial_report(service_ms=10.0 if '"GET"' in str(spec.options) else 50.0, completed=10)

    run, lane, swarm = made(answer, "shop", "buy")
    said: list[str] = []

    probe.planned(run, lane, None, said.append)

    assert len(swarm.specs) == 2, "each request once, by itself"
    assert "shop takes 20.0 ms" in said[0]
    assert "buy takes 50.0 ms" in said[0]


def test_a_plan_that_cannot_be_as_promised_says_so() -> None:
    run, lane, _ = made(taking(20_000.0, completed=1), "orders")
    said: list[str] = []

    probe.planned(run, lane, None, said.append)

    assert "orders takes 20,000 ms" in said[0]
    assert "2 users, " in said[1]
    assert "fewer than the 8 requests that eight takes at once, so its limit is not met" in said[1]
    assert "No plan for 2 cells takes less than three minutes; measure fewer with --servers" in said[1]


def test_an_answer_that_is_wrong_from_the_first_on_is_told_with_what_came() -> None:
    wrong = "WrongAnswer: /orders?page=1: not below 400, status 404, body b'Not Found'"
    run, lane, _ = made(lambda _: testing.trial_report(completed=0, failures=3, errors={wrong: 3}), "shop")

    for look in (lambda: probe.checked(run, lane), lambda: probe.planned(run, lane, None, print)):
        with pytest.raises(TargetError) as caught:
            look()
        assert caught.value.message == (
            f"orders has no right answer from eight, so nothing is measured: no correct answer in the window: {wrong}; "
            "correct the request, or what it expects"
        )


def test_a_check_is_short() -> None:
    run, lane, swarm = made(taking(50.0), "shop", "orders")
    probe.checked(run, lane)
    assert [spec.window_s for spec in swarm.specs] == [probe.CHECK_S] * 2
