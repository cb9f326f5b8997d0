"""What one user finds out before a run of a user's own application begins, on a fake swarm."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from wsgilab import testing
from wsgilab.experiment import versions
from wsgilab.model import Run, Server, TrialReport, TrialSpec, Tune
from wsgilab.model.errors import TargetError
from wsgilab.run import probe
from wsgilab.run.lane import Lane
from wsgilab.run.room import Room
from wsgilab.run.startup import Started
from wsgilab.system.cpus import Layout

SERVERS = {
    "one": testing.server("one"),
    "eight": testing.server("eight", slots=8, model="threads"),
}
SLOW = {
    **SERVERS,
    **{name: testing.server(name) for name in ("two", "three")},
    **{name: testing.server(name, slots=None, model="coroutines") for name in ("many", "more")},
}
"""More than three minutes hold where requests are slow."""
LAYOUT = Layout(servers={1: frozenset({0})}, generator=frozenset({1}), backends=frozenset(), notes=())


def made(
    answer: Callable[[TrialSpec], TrialReport], *workloads: str, servers: Mapping[str, Server] = SERVERS
) -> tuple[Run, Lane, testing.FakeSwarm]:
    """A run of `servers`, and the lane that it is on."""
    experiment = testing.experiment(
        *(testing.cell(name, workload=workload) for workload in workloads for name in servers),
        application=testing.application(),
        reference="eight",
    )
    run = testing.run(experiment, *servers.values())
    fleet = {name: testing.FakeTarget(server=each) for name, each in servers.items()}
    started = Started(runtime=None, layout=LAYOUT, fleets={1: fleet}, digests={}, start_s=5.0)  # type: ignore[arg-type]
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


@pytest.mark.parametrize(
    ("service_ms", "named", "told"),
    [
        (
            1500.0,
            (),
            (
                "8 users, windows of 3.8 s, 4 blocks: 2 min 30 s, without three and two for lack of time "
                "(--servers measures them)."
            ),
        ),
        (
            1500.0,
            tuple(SLOW),
            (
                "8 users, windows of 2.2 s, 2 blocks: 2 min 9 s, too few blocks to decide anything "
                "(--blocks 4 takes 4 min 17 s)."
            ),
        ),
        (
            20_000.0,
            (),
            (
                "8 users, windows of 30 s, 1 block: 3 min 7 s, without three, two and one for lack of time "
                "(--servers measures them), too few blocks to decide anything (--blocks 4 takes 12 min 28 s); no plan takes less than "
                "three minutes: measure fewer with --servers, or a request that takes less time."
            ),
        ),
    ],
)
def test_a_plan_that_cannot_be_as_promised_says_so(service_ms: float, named: tuple[str, ...], told: str) -> None:
    run, lane, _ = made(taking(service_ms, completed=1), "orders", servers=SLOW)
    said: list[str] = []

    planned = probe.planned(run, lane, None, said.append, named)

    assert said[1] == f"Planned from it: {told}"
    left = {cell.server for cell in planned.experiment.cells}
    assert planned.servers.keys() == left
    assert left >= {"eight", *named}


def test_rows_of_the_users_own_are_not_left_out() -> None:
    own = {name: replace(each, extends="gunicorn-sync-1") for name, each in SLOW.items()}
    run, lane, _ = made(taking(1500.0, completed=1), "orders", servers=own)
    assert probe.planned(run, lane, None, print).servers == own


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


def test_a_check_that_found_no_answer_in_so_short_a_window_looks_once_more() -> None:
    reports = iter([0, 3])
    run, lane, swarm = made(lambda _: taking(50.0, completed=next(reports))(CLOSED), "orders")

    probe.checked(run, lane)

    assert [spec.window_s for spec in swarm.specs] == [probe.CHECK_S, probe.PROBE_S]


def versions_of(
    answer: Callable[[TrialSpec], TrialReport], servers: Mapping[str, Server] = SERVERS
) -> tuple[Run, Lane, testing.FakeSwarm]:
    """The same of two versions, each at an address of its own."""
    run, lane, swarm = made(answer, "orders", servers=servers)
    experiment = versions.doubled(run.experiment, testing.application(), servers)
    every = {**servers, **versions.rows(experiment, servers)}
    fleet = {name: testing.FakeTarget(server=each, base_url=f"http://{name}") for name, each in every.items()}
    started = replace(lane.started, fleets={1: fleet})
    return replace(run, experiment=experiment, servers=every), replace(lane, started=started), swarm


def test_of_two_versions_the_other_is_asked_too_and_there_is_time_for_more_blocks() -> None:
    run, lane, swarm = versions_of(taking(5.0))
    said: list[str] = []
    planned = probe.planned(run, lane, None, said.append)

    assert [(spec.base_url, spec.window_s) for spec in swarm.specs] == [
        ("http://eight", probe.PROBE_S),
        ("http://eight-against", probe.CHECK_S),
    ]
    assert planned.experiment.blocks == 24
    assert planned.experiment.counterparts == {"one": "one-against", "eight": "eight-against"}
    assert said[1].endswith("24 blocks: 1 min 27 s.")
    swarm.specs.clear()
    probe.checked(run, lane)
    assert [spec.base_url for spec in swarm.specs] == ["http://eight", "http://eight-against"]


def test_what_is_left_out_of_one_version_is_left_out_of_the_other() -> None:
    run, lane, _ = versions_of(taking(1500.0, completed=1), SLOW)
    planned = probe.planned(run, lane, None, print)

    names = {cell.server for cell in planned.experiment.cells}
    assert planned.servers.keys() == names
    assert len(names) < 2 * len(SLOW)
    assert {name for name in names if not name.endswith("-against")} == planned.experiment.counterparts.keys()
    assert names == {*planned.experiment.counterparts, *planned.experiment.counterparts.values()}


def test_a_wrong_answer_of_the_other_version_ends_the_run() -> None:
    def answer(spec: TrialSpec) -> TrialReport:
        if spec.base_url != "http://eight-against":
            return taking(5.0)(spec)
        return testing.trial_report(completed=0, errors={"status 404": 1})

    run, lane, _ = versions_of(answer)
    with pytest.raises(
        TargetError, match=r"^orders has no right answer from eight-against, so nothing is measured: no co"
    ):
        probe.planned(run, lane, None, print)


# --- a race


def test_the_windows_of_a_race_hold_several_answers_of_a_server_of_one_slot() -> None:
    run, lane, swarm = made(taking(200.0), "orders")
    said: list[str] = []

    found = probe.of_race(run, lane, said.append, is_bounded=False)

    assert (len(swarm.specs), found.experiment.window_s) == (1, 0.9)
    assert replace(found, experiment=replace(found.experiment, window_s=run.experiment.window_s)) == run
    assert said == ["Probe: orders takes 200 ms, of which 1.00 ms of CPU time. Windows of 0.9 s."]
    run, lane, _ = made(taking(1.0), "shop")
    assert probe.of_race(run, lane, said.append, is_bounded=False).experiment.window_s == 0.5, "at least"


def test_a_race_of_one_is_refused() -> None:
    run, lane, swarm = made(taking(200.0), "orders", servers={"eight": SERVERS["eight"]})
    with pytest.raises(TargetError, match="only eight starts, and a race needs two; see above why"):
        probe.of_race(run, lane, print, is_bounded=False)
    assert not swarm.specs


def test_a_race_is_without_those_that_cannot_be_among_the_best_by_what_a_request_takes() -> None:
    run, lane, swarm = made(taking(100.0), "orders", servers=SLOW)
    said: list[str] = []

    found = probe.of_race(run, lane, said.append, is_bounded=True)

    assert set(found.servers) == {cell.server for cell in found.experiment.cells}
    assert set(found.servers) == {"eight", "many", "more"}, "the reference stays"
    assert found.left_out.keys() == run.servers.keys() - found.servers.keys()
    assert all(why.startswith("too few slots for requests of 100 ms, by the") for why in found.left_out.values())
    assert said[1].startswith(
        f"Left out: {len(found.left_out)} of {len(run.servers)} configurations, which by the queueing"
    )
    assert len(swarm.specs) == 1


def test_a_race_is_without_those_that_are_too_large_before_their_first_request() -> None:
    run, lane, _ = made(taking(100.0), "orders", servers=SLOW)
    run = replace(run, experiment=replace(run.experiment, tune=Tune(memory_mb=60.0)))
    (fleet,) = lane.started.fleets.values()
    large = "many"
    for name in (large, run.experiment.reference):
        fake = fleet[name]
        assert isinstance(fake, testing.FakeTarget)
        fake.resident_bytes = 80_000_000
    lane = replace(lane, room=Room(lambda: 10**12))

    found = probe.of_race(run, lane, print, is_bounded=False)

    assert found.left_out == {large: "takes more than 60 MB before its first request: 80.0 MB"}
    assert run.experiment.reference in found.servers
    # Where nobody is left to race with, the race itself says that the limit cannot be kept.
    for fake in fleet.values():
        assert isinstance(fake, testing.FakeTarget)
        fake.resident_bytes = 80_000_000
    assert probe.of_race(run, replace(lane, room=Room(lambda: 10**12)), print, is_bounded=False).left_out == {}


def test_of_the_labs_own_requests_of_several_kinds_their_mean_counts_and_windows_stay() -> None:
    def mixed(_: TrialSpec) -> TrialReport:
        return testing.trial_report(service_ms=0.2, completed=50, parts=testing.latency_parts(service=100.0))

    _, lane, swarm = made(mixed, "orders", servers=SLOW)
    cells = [testing.cell(name, workload="mixed") for name in SLOW]
    run = testing.run(testing.experiment(*cells, reference="eight"), *SLOW.values())

    found = probe.of_race(run, lane, print, is_bounded=True)

    assert set(found.servers) == {"eight", "many", "more"}
    assert found.experiment.window_s == run.experiment.window_s
    assert [spec.locustfile for spec in swarm.specs] == ["mixed"]
    assert probe.of_race(run, lane, print, is_bounded=False) is run
