"""Which server is advised, why, what the next one costs, and when it would be another."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsgilab import testing
from wsgilab.analysis import stats
from wsgilab.analysis.advice.candidates import is_for_development
from wsgilab.analysis.compare import compare
from wsgilab.model import Cell, Circumstances, Comparison, Idle, InFlight, Observation, Server, Wish
from wsgilab.model.errors import SpecError
from wsgilab.report import recommendation, tables
from wsgilab.results.store import Store

MANY = 16
USERS = 32
ANY = Wish()
RECORDED = Path(__file__).parents[3] / "recorded" / "answer"

Wave = tuple[float, ...]
STEADY: Wave = (1.0, 1.001, 0.999)
"""A figure block after block, over its median."""
NOISY: Wave = (1.0, 1.6, 0.6, 1.3, 0.7)


def trials(
    of: Cell,
    rps: float,
    *,
    memory_mb: float | None = 50.0,
    p95_ms: float = 100.0,
    cpu_ms: float = 1.0,
    blocks: int = MANY,
    wave: Wave = STEADY,
    **swarm: Any,
) -> list[Observation]:
    """A server with so many requests a second, and what they cost it."""
    found = []
    for block in range(blocks):
        rate = rps * wave[block % len(wave)]
        report = testing.trial_report(
            **{
                "throughput_rps": rate,
                # By Little's law, so that no gate is broken.
                "latency_mean_ms": (of.users or 1) / rate * 1000 if rate else 0.0,
                "latency_ms": dict.fromkeys(("p50", "p95", "p99", "max"), p95_ms * wave[block % len(wave)]),
                "latency_histogram": testing.histogram(p95_ms),
                **swarm,
            }
        )
        found.append(
            testing.observation(
                of,
                block=block,
                swarm=report,
                server_cpu_s=cpu_ms * rate / 1000 * 0.3,
                resident_bytes=None if memory_mb is None else round(memory_mb * 1e6),
            )
        )
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Advised:
    """An advice with its sentences, as `comparison.yaml` has them."""

    group: Cell
    workloads: tuple[str, ...]
    wish: Wish
    server: str | None
    tied: tuple[str, ...]
    verdict: str
    why: str
    runner_up: str | None
    costs: str
    changes: tuple[str, ...]
    left_out: Mapping[str, str]


def advised(comparison: Comparison) -> list[Advised]:
    """The advice of a comparison."""
    return [
        Advised(
            **{
                name: getattr(each.advice, name)
                for name in ("group", "workloads", "wish", "server", "tied", "left_out")
            },
            **{name: getattr(each, name) for name in ("verdict", "why", "costs", "changes")},
            runner_up=None if each.advice.runner_up is None else each.advice.runner_up.cell.server,
        )
        for each in recommendation.recommendations(comparison)
    ]


def advice(*measured: Sequence[Observation], **changes: Any) -> list[Advised]:
    """The advice on observations of some cells."""
    return advised(compared(*measured, **changes))


def compared(
    *measured: Sequence[Observation],
    wish: Wish = ANY,
    servers: Mapping[str, Server] | None = None,
    blocks: int = MANY,
    **run: Any,
) -> Comparison:
    cells = tuple(dict.fromkeys(each.cell for trials in measured for each in trials))
    names = dict.fromkeys(cell.server for cell in cells)
    chosen = [(servers or {}).get(name, testing.server(name)) for name in names]
    given = [each for trials in measured for each in trials]
    return compare(testing.run(testing.experiment(*cells, blocks=blocks), *chosen, **run), given, wish)


def only(*measured: Sequence[Observation], **changes: Any) -> Advised:
    (found,) = advice(*measured, **changes)
    return found


def failed(of: Cell, block: int, reason: str = "the server had ended") -> Observation:
    return testing.observation(of, block=block, status="failed", swarm=None, reason=reason)


ONE, TWO, THREE = (testing.cell(name) for name in ("one", "two", "three"))
DEV = testing.server("dev", command=("python", "dev_server.py", "--threaded"))


# The rule.


def test_the_fastest_is_advised_where_every_other_one_is_slower() -> None:
    found = only(trials(ONE, 20.0), trials(TWO, 40.0), trials(THREE, 30.0))

    assert (found.server, found.tied, found.runner_up) == ("two", ("two",), "three")
    assert (found.group.conditions, found.workloads, found.wish) == (ONE.conditions, ("sleep",), Wish())
    assert dict(found.left_out) == {}


def test_why_tells_figures_with_intervals_and_what_binds() -> None:
    found = only(trials(ONE, 20.0), trials(TWO, 40.0), trials(THREE, 30.0))

    assert found.why.startswith(
        "40.0 (40.0 to 40.0) requests/s, x1.33 (1.33 to 1.33) the throughput of three: "
        "faster than any other that may be advised. Up to 1 in flight, of 1 slot; bound by slots: 1.0 requests were in"
    )
    two = only(trials(ONE, 20.0), trials(TWO, 40.0))
    assert "the throughput of one: faster. Up to" in two.why
    unbounded = {"two": testing.server("two", slots=None)}
    assert "of unbounded slots" in only(trials(ONE, 20.0), trials(TWO, 40.0), servers=unbounded).why
    warned = only(trials(ONE, 20.0), trials(TWO, 40.0, slow_connections=1))
    assert "Beware: 16 connections took 0.9 s or more to open: the backlog was full." in warned.why
    assert "Beware" not in only(trials(ONE, 20.0, slow_connections=1), trials(TWO, 40.0)).why


def test_servers_that_differ_in_nothing_are_undecided_and_either_will_do() -> None:
    found = only(trials(ONE, 20.0), trials(TWO, 20.0), trials(THREE, 10.0))

    assert (found.server, set(found.tied), found.runner_up) == (None, {"one", "two"}, "three")
    assert "one and two are the same within 2 %: two has x1.00 (1.00 to 1.00) the throughput of one." in found.why
    assert "Each has at least 90% of the other's speed, and neither costs clearly less." in found.why
    assert found.verdict == "Any of these: one, two."
    assert "More" not in found.why, "more blocks would tell nothing"
    assert only(trials(ONE, 20.0), trials(TWO, 20.15)).server is None, "as far apart as twins"


CHEAP: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "memory": ({"memory_mb": 79.9}, {"memory_mb": 100.0}, "79.9 MB instead of 100 (two)"),
    "cpu": ({"cpu_ms": 0.79}, {"cpu_ms": 1.0}, "0.79 ms of CPU time a request instead of 1.00 (two)"),
    "p95": ({"p95_ms": 79.0}, {"p95_ms": 100.0}, "p95 79.0 ms instead of 100 (two)"),
}


@pytest.mark.parametrize("what", CHEAP)
def test_of_servers_that_cannot_be_told_apart_the_one_that_costs_a_fifth_less_is_advised(what: str) -> None:
    less, more, saved = CHEAP[what]
    found = only(trials(ONE, 20.0, **less), trials(TWO, 20.1, **more))

    assert (found.server, found.tied, found.runner_up) == ("one", ("two", "one"), "two")
    assert f"which cannot be told from the speed of two, but it costs less: {saved}." in found.why
    by_no_fifth = {name: value * 1.04 for name, value in less.items()}
    assert only(trials(ONE, 20.0, **by_no_fifth), trials(TWO, 20.1, **more)).server is None


@pytest.mark.parametrize("worse", sorted(CHEAP))
@pytest.mark.parametrize("better", sorted(CHEAP))
def test_what_costs_less_in_one_and_more_in_another_is_not_advised(better: str, worse: str) -> None:
    ours, theirs = CHEAP[better][0], CHEAP[better][1]
    more, less = CHEAP[worse][1], CHEAP[worse][0]

    found = only(trials(ONE, 20.0, **{**more, **ours}), trials(TWO, 20.1, **{**less, **theirs}))

    assert found.server == ("one" if better == worse else None)


def test_a_cost_that_scatters_too_much_to_tell_decides_nothing() -> None:
    """A median a third less is no evidence where the blocks differ by more than that."""
    quiet = trials(ONE, 20.0, p95_ms=100.0)
    loud = [
        replace(each, swarm=replace(each.swarm, latency_ms={"p95": 150.0 * (1.0, 2.0, 0.4)[each.block % 3]}))
        for each in trials(TWO, 20.1)
        if each.swarm
    ]

    assert only(quiet, loud).server is None


@pytest.mark.parametrize(("blocks", "server"), [(4, None), (6, "one")])
def test_latency_and_cpu_time_are_judged_so_that_all_of_a_runs_hold_at_once(blocks: int, server: str | None) -> None:
    """Four blocks would suffice for a comparison by speed; two by what servers cost have a fifth of the error rate."""
    wave = (0.7, 0.75, 0.7, 0.75, 0.7, 0.75)
    sooner = [
        replace(each, swarm=replace(each.swarm, latency_ms={"p95": 100.0 * wave[each.block]}))
        for each in trials(ONE, 20.0, blocks=blocks, wave=(1.0,))
        if each.swarm
    ]

    assert only(sooner, trials(TWO, 20.0, blocks=blocks, wave=(1.0,)), blocks=blocks).server == server


def test_all_that_are_tied_must_cost_more_than_the_advised() -> None:
    found = only(
        trials(ONE, 20.0, memory_mb=50.0), trials(TWO, 20.1, memory_mb=100.0), trials(THREE, 20.05, memory_mb=55.0)
    )

    assert found.server is None
    assert "two costs clearly more than another." in found.why
    assert found.verdict == "Any of these: three, one."
    assert "none costs clearly less than all others" in found.why


def test_of_several_that_are_tied_the_least_certain_is_told_and_of_many_the_first_names() -> None:
    waves = {"a": STEADY, "b": (1.0, 1.2, 0.8), "c": NOISY, "d": STEADY, "e": STEADY}
    rates = {"a": 20.5, "b": 20.4, "c": 20.3, "d": 20.42, "e": 20.41}
    four = [trials(testing.cell(name), rates[name], wave=waves[name]) for name in "abcd"]

    found = only(*four, trials(testing.cell("e"), rates["e"]))

    assert found.why.startswith("a, d, e and 2 others cannot be told apart: c has x")
    assert only(*four).why.startswith("a, d, b and c cannot be told apart: c has x")


def test_a_server_that_may_be_much_slower_is_not_advised_for_what_it_costs_less() -> None:
    found = only(trials(ONE, 20.0, memory_mb=10.0, wave=NOISY), trials(TWO, 20.1, memory_mb=100.0))

    assert (found.server, found.tied) == (None, ("two", "one"))
    assert "one has x1.00 (0.74 to 1.27) the throughput of two. More than these 16 blocks may tell (--blocks 32)." in (
        found.why
    )


@pytest.mark.parametrize("blocks", [1, 2])
def test_too_few_blocks_decide_nothing_however_large_the_difference(blocks: int) -> None:
    found = only(trials(ONE, 20.0, blocks=blocks), trials(TWO, 90.0, blocks=blocks, memory_mb=1.0), blocks=blocks)

    assert (found.server, found.tied) == (None, ("two", "one"))
    plural = "s" * (blocks != 1)
    assert found.why == f"two and one have {blocks} block{plural} in common, and to compare takes 3 (--blocks)."


def test_too_few_blocks_decide_nothing_for_the_only_one_that_keeps_to_a_wish_or_where_servers_share_none() -> None:
    few = (trials(ONE, 20.0, blocks=2), trials(TWO, 90.0, blocks=2, memory_mb=99.0))
    found = only(*few, blocks=2, wish=Wish(memory_mb=60.0))
    late = [replace(each, block=each.block + 6) for each in trials(TWO, 90.0, blocks=6)]

    assert (found.server, found.tied) == (None, ("one",))
    assert found.why == "one has 2 blocks, and to compare takes 3 (--blocks)."
    assert only(trials(ONE, 20.0, blocks=6), late, blocks=12).server is None


def test_the_fastest_is_alone_in_its_rank_too() -> None:
    source = random.Random(3)
    decided = 0
    for _ in range(20):
        waves = [tuple(source.uniform(0.8, 1.25) for _ in range(9)) for _ in range(3)]
        rates = [source.choice((20.0, 30.0, 45.0)) for _ in range(3)]
        measured = [
            trials(cell, rps, blocks=9, wave=wave)
            for cell, rps, wave in zip((ONE, TWO, THREE), rates, waves, strict=True)
        ]
        found = compared(*measured, blocks=9)
        ((best, tied),) = ((each.server, each.tied) for each in found.advice)
        ranks = {each.cell.server: tables.rank(each) for each in found.cells}
        if best is not None and tied == (best,):
            decided += 1
            assert [server for server, rank in ranks.items() if rank == "1"] == [best]
    assert 1 < decided < 19, "the test has both cases"


# At a fixed rate.


def at_rate(server: str, latency_ms: float, **swarm: Any) -> list[Observation]:
    of = testing.cell(server, users=None, rate=20.0, arrivals="poisson")
    changes = {"latency_mean_ms": latency_ms, "due": 6, **swarm}
    return [
        testing.observation(
            of,
            block=block,
            swarm=testing.trial_report(**{**changes, "latency_mean_ms": latency_ms * STEADY[block % len(STEADY)]}),
        )
        for block in range(MANY)
    ]


def test_at_a_fixed_rate_the_lowest_latency_is_the_fastest() -> None:
    found = only(at_rate("one", 80.0), at_rate("two", 40.0))

    assert (found.server, found.runner_up) == ("two", "one")
    assert found.why.startswith(
        "mean latency 40.0 (40.0 to 40.0) ms, x0.50 (0.50 to 0.50) the mean latency of one: faster"
    )
    assert found.costs.startswith("x2.00 (2.00 to 2.00) the mean latency of two.")


def test_at_a_fixed_rate_servers_must_keep_up_and_all_that_do_are_told_apart_by_a_higher_rate() -> None:
    behind = only(at_rate("one", 80.0), at_rate("two", 40.0, completed=5))
    equal = only(at_rate("one", 40.0), at_rate("two", 40.0))

    assert behind.server == "one"
    assert behind.left_out["two"] == "does not keep up with 20 requests/s: it answered 80 of 96 that were due"
    assert equal.server is None
    assert "All keep up with 20 requests/s. A higher rate may tell them apart." in equal.why


# What is left out.


@pytest.mark.parametrize(
    ("fastest", "reason"),
    [
        (
            trials(testing.cell("dev"), 90.0, memory_mb=500.0),
            "the development server is not made for production (https://flask.palletsprojects.com/",
        ),
        (
            trials(THREE, 90.0, generator_cpu=0.9),
            "its figures are not to be relied on: the generator used 90% of its core: it may be what is measured",
        ),
        (
            [failed(THREE, block) for block in range(MANY)],
            "not measured: 16 of 16 trials failed: the server had ended",
        ),
        (
            [
                *trials(THREE, 90.0, blocks=5),
                failed(THREE, 6, "it had ended\nlog"),
                failed(THREE, 5, "the reason before"),
            ],
            "2 of 7 trials failed: it had ended (--resume 20260102-030405-trial-run tries them again)",
        ),
    ],
)
def test_a_server_that_may_not_be_advised_is_left_out_however_fast_it_is(
    fastest: Sequence[Observation], reason: str
) -> None:
    name = fastest[0].cell.server
    for wish in (ANY, Wish(memory_mb=60.0)):
        found = only(fastest, trials(ONE, 20.0), trials(TWO, 40.0), servers={"dev": DEV}, wish=wish)

        assert (found.server, found.runner_up) == ("two", "one")
        assert found.left_out[name].startswith(reason)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (("python", "dev_server.py"), True),
        (("python", "-m", "wsgilab_door.dev_server"), True),
        (("python", "/srv/dev_server.py", "--no-threaded"), True),
        (("/opt/venv/bin/flask", "--app=app", "run"), True),
        (("python", "-m", "flask", "run"), True),
        (("gunicorn", "app:app"), False),
        (("python", "-m", "wsgilab_door.behind_nginx", "gunicorn", "wsgilab_door.wsgi:app"), False),
        (("gunicorn", "flask_app:app"), False),
    ],
)
def test_a_development_server_is_known_by_its_command(command: tuple[str, ...], expected: bool) -> None:
    assert is_for_development(testing.server("flask-like", command=command)) is expected


def test_a_group_whose_only_sound_server_has_nothing_to_be_compared_with_is_undecided() -> None:
    found = only(trials(ONE, 20.0), trials(TWO, 40.0, generator_cpu=0.9))

    assert (found.server, found.tied) == (None, ("one",))
    assert found.why == "one has 20.0 (20.0 to 20.0) requests/s, and no other server's figures are to be relied on."


def test_where_none_is_sound_none_is_advised() -> None:
    found = only(trials(ONE, 20.0, generator_cpu=0.9), trials(TWO, 40.0, generator_cpu=0.9))

    assert (found.server, found.tied, found.runner_up, found.costs) == (None, (), None, "")
    assert found.why == "None of those measured may be advised."


# What is wished.


def test_the_advised_server_keeps_to_the_wished_memory() -> None:
    measured = (trials(ONE, 20.0, memory_mb=50.0), trials(TWO, 40.0, memory_mb=80.0), trials(THREE, 30.0, memory_mb=70))

    found = only(*measured, wish=Wish(memory_mb=70.0))

    assert (found.server, found.wish) == ("three", Wish(memory_mb=70.0))
    assert dict(found.left_out) == {"two": "takes 80.0 MB, more than 70"}
    assert "without the limit of memory: two, x1.33 (1.33 to 1.33) the throughput of three" in found.changes


SPREAD: Wave = (1.0, 1.0, 1.0, 1.1, 1.1, 1.2, 0.9, 0.9)
"""So that an interval has ends of its own."""


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        (109.9, "p95 100.0 ms (90.0 to 110.0) may exceed 109.9"),
        (90.0, "p95 100.0 ms (90.0 to 110.0) may exceed 90"),
        (89.9, "p95 100.0 ms (90.0 to 110.0), more than 89.9"),
        (110.1, None),
        (100.0 * 1.1, None),
    ],
)
def test_the_upper_end_of_the_interval_must_keep_to_the_wished_p95(limit: float, reason: str | None) -> None:
    spread = [
        replace(each, swarm=replace(each.swarm, latency_ms={"p95": 100.0 * SPREAD[each.block % len(SPREAD)]}))
        for each in trials(TWO, 40.0)
        if each.swarm
    ]
    found = only(trials(ONE, 20.0, p95_ms=10.0), spread, wish=Wish(p95_ms=limit))

    assert found.left_out.get("two") == reason
    assert found.server == ("two" if reason is None else "one")


def test_without_an_interval_the_p95_of_all_requests_must_keep_to_it() -> None:
    measured = (trials(ONE, 20.0, blocks=1, p95_ms=10.0), trials(TWO, 40.0, blocks=1))

    found = only(*measured, blocks=1, wish=Wish(p95_ms=50.0))

    assert (found.server, found.tied) == (None, ("one",)), "a single block decides nothing"
    assert found.left_out["two"] == "p95 100.0 ms, more than 50"
    assert dict(only(*measured, blocks=1, wish=Wish(p95_ms=101.0)).left_out) == {}
    slow_tail = trials(TWO, 40.0, blocks=1, p95_ms=10.0, latency_histogram=testing.histogram(100.0))
    assert "two" in only(measured[0], slow_tail, blocks=1, wish=Wish(p95_ms=50.0)).left_out


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"unanswered": 1}, "up to 1 of 32 users had no answer within the window; latencies may be too low"),
        (
            {"abandoned": 6, "completed": 500},
            "users gave up 96 of 8096 requests; latencies are of those that were answered",
        ),
        ({"cut_off": 1, "completed": 500}, "some requests were given up unanswered"),
        (
            {"latency_ms": {}, "latency_histogram": testing.histogram()},
            "no request that counts for latency was answered",
        ),
    ],
)
def test_a_latency_that_may_be_higher_than_measured_or_is_unknown_keeps_to_no_limit_and_is_no_lower_cost(
    changes: dict[str, Any], reason: str
) -> None:
    measured = (trials(ONE, 20.0), trials(TWO, 40.0, **changes))

    assert only(*measured).server == "two"
    found = only(*measured, wish=Wish(p95_ms=5000.0))
    assert (found.server, found.left_out["two"]) == ("one", f"its p95 is not known: {reason}")
    assert only(trials(ONE, 20.0, p95_ms=50.0, **changes), trials(TWO, 20.0)).server is None


def test_a_few_requests_that_users_gave_up_make_no_latency_doubtful() -> None:
    few = trials(TWO, 40.0, abandoned=5, completed=500)

    assert only(trials(ONE, 20.0), few, wish=Wish(p95_ms=5000.0)).server == "two"


def test_a_server_that_answered_nothing_is_not_considered() -> None:
    silent = Circumstances(idle=Idle(connections=1))
    one, two = (replace(each, circumstances=silent) for each in (ONE, TWO))
    starving = trials(one, 0.0, unanswered=32, completed=0)

    found = only(starving, trials(two, 40.0))

    assert (found.server, dict(found.left_out)) == ("two", {"one": "it answered no request"})


def test_a_memory_that_is_not_known_keeps_to_no_limit() -> None:
    measured = (trials(ONE, 20.0), trials(TWO, 40.0, memory_mb=None))

    assert only(*measured).server == "two"
    found = only(*measured, wish=Wish(memory_mb=1000.0))
    assert (found.server, found.left_out["two"]) == ("one", "its memory was not read")
    assert "; it is the only one that keeps to memory at most 1000 MB." in found.why


def test_where_none_keeps_to_the_wish_the_nearest_is_told() -> None:
    measured = (trials(ONE, 20.0, memory_mb=30.0), trials(TWO, 40.0, memory_mb=80.0, p95_ms=20.0, wave=(1.0,)))

    found = only(*measured, wish=Wish(p95_ms=1.0, memory_mb=10.0))

    assert (found.server, found.tied) == (None, ())
    assert found.why == (
        "None of those measured keeps to p95 at most 1 ms and memory at most 10 MB. two keeps to 20 ms. "
        "one takes the least memory: 30 MB."
    )
    assert set(found.left_out) == {"one", "two"}
    unknown = (
        trials(ONE, 20.0),
        trials(TWO, 40.0, p95_ms=20.0, cut_off=1, completed=500),
        trials(testing.cell("dev"), 90.0, p95_ms=10.0),
    )
    known = only(*unknown, servers={"dev": DEV}, wish=Wish(p95_ms=1.0))
    assert known.why == "None of those measured keeps to p95 at most 1 ms. one keeps to 100.1 ms."


def test_where_only_one_may_be_advised_it_is() -> None:
    found = only(trials(testing.cell("dev"), 90.0), trials(ONE, 20.0), servers={"dev": DEV})

    assert (found.server, found.runner_up, found.costs) == ("one", None, "")
    assert "it is the only one measured that may be advised" in found.why


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize(("name", "told"), [("p95_ms", "p95-ms"), ("memory_mb", "memory-mb")])
def test_a_limit_that_is_no_positive_number_is_refused(name: str, told: str, limit: float) -> None:
    limits: dict[str, Any] = {name: limit}
    with pytest.raises(SpecError, match=f"{told} {limit:g}: must be a number above 0"):
        advice(trials(ONE, 20.0), trials(TWO, 40.0), wish=Wish(**limits))


def test_a_workload_that_was_not_measured_is_refused_with_those_that_were() -> None:
    unmeasured = testing.cell("one", workload="hello")
    with pytest.raises(SpecError, match=r"workload hello: not measured in this run; those that were: sleep$"):
        advice(trials(ONE, 20.0), [failed(unmeasured, 0)], wish=Wish(workload="hello"))
    with pytest.raises(SpecError, match=r"those that were: none$"):
        advice([failed(ONE, 0)], wish=Wish(workload="sleep"))


# For which conditions.


def test_a_server_by_itself_is_not_advised() -> None:
    assert advice(trials(ONE, 20.0)) == []
    assert advice(trials(ONE, 20.0), [failed(TWO, 0)]) == []
    assert advice(trials(ONE, 20.0), trials(replace(TWO, users=8), 40.0)) == []


def test_each_of_the_conditions_has_advice_of_its_own() -> None:
    few = [replace(cell, users=8) for cell in (ONE, TWO)]
    found = advice(trials(ONE, 20.0), trials(TWO, 40.0), trials(few[0], 40.0), trials(few[1], 20.0))

    assert [(each.group.users, each.server) for each in found] == [(8, "one"), (32, "two")]


def test_a_wished_workload_is_the_only_one_advised_on() -> None:
    hello = [replace(cell, workload="hello") for cell in (ONE, TWO)]
    measured = (trials(ONE, 20.0), trials(TWO, 40.0), trials(hello[0], 40.0), trials(hello[1], 20.0))

    found = only(*measured, wish=Wish(workload="hello"))

    assert (found.workloads, found.server) == (("hello",), "one")
    assert found.changes == ("for sleep: two",), "what others say is told all the same"


# What the next one costs.


def test_costs_and_savings_are_told_of_what_is_told_apart() -> None:
    found = only(
        trials(ONE, 20.0, memory_mb=50.0, p95_ms=200.0, cpu_ms=1.0),
        trials(TWO, 40.0, memory_mb=90.0, p95_ms=100.0, cpu_ms=1.0),
    )

    assert found.costs == (
        "x0.50 (0.50 to 0.50) the throughput of two. Costs more: p95 200 ms instead of 100. "
        "Costs less: 50.0 MB instead of 90.0."
    )
    alike = only(
        trials(ONE, 20.0, memory_mb=50.0, p95_ms=100.5), trials(TWO, 40.0, memory_mb=52.0, p95_ms=100.0, cpu_ms=1.005)
    )
    assert alike.costs == "x0.50 (0.50 to 0.50) the throughput of two.", "neither cost nor saving"
    undecided = only(trials(ONE, 20.0), trials(TWO, 20.05), trials(THREE, 10.0))
    assert (undecided.tied[0], undecided.runner_up) == ("two", "three")
    assert "the throughput of two" in undecided.costs


# When it would be another.


def under(rates: Mapping[str, float], **conditions: Any) -> list[Observation]:
    """Servers with so many requests a second each, under other conditions."""
    return [
        each
        for server, rps in rates.items()
        for each in trials(testing.cell(server, **conditions), rps, memory_mb=50.0)
    ]


@pytest.mark.parametrize(
    ("conditions", "told", "back"),
    [
        ({"cores": 2}, "with 2 cores: one", "with 1 core: two"),
        ({"users": 8}, "with 8 users: one", "with 32 users: two"),
        ({"connection": "keep-alive"}, "with connections kept: one", "with a connection for each request: two"),
        ({"workload": "hello"}, "for hello: one", "for sleep: two"),
        (
            {"circumstances": Circumstances(idle=Idle(connections=4))},
            "with 32 users, 4 silent connections: one",
            "with 32 users: two",
        ),
        ({"circumstances": Circumstances(quota=0.5)}, "on 1 core, quota 0.5 cores: one", "on 1 core: two"),
    ],
)
def test_other_conditions_under_which_another_is_advised_are_told(
    conditions: dict[str, Any], told: str, back: str
) -> None:
    found = advice(under({"one": 20.0, "two": 40.0}), under({"one": 40.0, "two": 20.0}, **conditions))
    here, there = (next(each for each in found if each.group.conditions == cell.conditions and len(each.workloads) == 1)
                   for cell in (ONE, replace(ONE, **conditions)))  # fmt: skip

    assert (here.server, here.changes) == ("two", (told,))
    assert (there.server, there.changes) == ("one", (back,))


@pytest.mark.parametrize(
    ("rates", "conditions"),
    [({"one": 20.0, "two": 40.0}, {"cores": 2}), ({"one": 40.0, "two": 20.0}, {"cores": 2, "users": 8})],
)
def test_conditions_that_change_nothing_or_differ_in_two_ways_are_not_told(
    rates: Mapping[str, float], conditions: dict[str, Any]
) -> None:
    found = advice(under({"one": 20.0, "two": 40.0}), under(rates, **conditions))

    assert [each.changes for each in found] == [(), ()]


def test_conditions_that_leave_it_open_are_told_last_and_whether_the_server_is_among_the_tied() -> None:
    found = advice(
        under({"one": 20.0, "two": 40.0, "three": 10.0}),
        under({"one": 20.0, "two": 20.0, "three": 10.0}, cores=2),
        under({"one": 20.0, "two": 10.0, "three": 20.0}, users=8),
        under({"one": 40.0, "two": 20.0, "three": 10.0}, connection="keep-alive"),
    )
    here = next(each for each in found if each.group.conditions == ONE.conditions)

    assert here.changes == (
        "with connections kept: one",
        "with 2 cores: undecided, two is one of 2 that cannot be told apart",
        "with 8 users: undecided between one and three",
    )


def test_a_server_that_was_not_measured_on_one_of_both_sides_is_told_to_be_so() -> None:
    found = advice(
        under({"one": 20.0, "two": 40.0}),
        under({"one": 20.0, "three": 40.0}, connection="keep-alive"),
        under({"one": 20.0, "two": 20.0}, users=8),
        under({"one": 20.0, "three": 40.0}, users=8, connection="keep-alive"),
    )
    told = {(each.group.users, each.group.connection): each.changes for each in found}

    assert "with connections kept: three (two was not measured there)" in told[32, "close"]
    assert "with connections kept: three (not measured here)" in told[8, "close"]


def test_conditions_where_the_server_failed_or_that_leave_it_open_among_others() -> None:
    there = replace(TWO, cores=2)
    failed_there = [*under({"one": 20.0, "three": 40.0}, cores=2), *(failed(there, block) for block in range(MANY))]
    others = under({"one": 20.0, "three": 20.0}, connection="keep-alive")

    assert advice(under({"one": 20.0, "two": 40.0}), failed_there)[0].changes == (
        "with 2 cores: three (two was not measured there)",
    )
    assert advice(under({"one": 20.0, "two": 40.0}), others)[0].changes == ()


@pytest.mark.parametrize(
    ("one", "three", "wish", "told"),
    [
        ({"memory_mb": 50.02}, {"memory_mb": 88.0}, Wish(memory_mb=50.1), "memory at most 50.1 MB"),
        ({"p95_ms": 50.0}, {"p95_ms": 99.9}, Wish(p95_ms=50.1), "p95 at most 50.1 ms"),
    ],
)
def test_what_a_tighter_limit_would_mean_is_told(
    one: dict[str, Any], three: dict[str, Any], wish: Wish, told: str
) -> None:
    usual: dict[str, Any] = {"memory_mb": 90.0} if "memory_mb" in one else {}
    measured = (trials(ONE, 20.0, **one), trials(TWO, 40.0, **usual), trials(THREE, 30.0, **three))

    assert only(*measured).changes == (f"with {told}: one, x0.50 (0.50 to 0.50) the throughput of two",)
    assert only(*measured, wish=wish).server == "one", "the limit is true as it is told"


def test_a_limit_that_leaves_several_is_undecided_between_them() -> None:
    found = only(
        trials(ONE, 20.0, memory_mb=50.0), trials(TWO, 40.0, memory_mb=90.0), trials(THREE, 20.0, memory_mb=49)
    )

    assert found.changes == ("with memory at most 50 MB: undecided between one and three",)


def test_of_several_tighter_limits_the_one_that_leaves_most_is_told() -> None:
    found = only(
        trials(ONE, 20.0, p95_ms=50.0, memory_mb=30.0),
        trials(TWO, 40.0, memory_mb=90.0),
        trials(THREE, 15.0, p95_ms=40.0, memory_mb=20.0),
        trials(testing.cell("dev"), 90.0, p95_ms=60.0, memory_mb=35.0),
        servers={"dev": DEV},
    )

    assert found.changes == (
        "with memory at most 30 MB: one, x0.50 (0.50 to 0.50) the throughput of two",
        "with p95 at most 50.1 ms: one, x0.50 (0.50 to 0.50) the throughput of two",
    )


def test_a_limit_without_which_another_is_advised_is_told_and_no_other() -> None:
    measured = (trials(ONE, 20.0, p95_ms=20.0), trials(TWO, 40.0))

    assert only(*measured, wish=Wish(p95_ms=50.0)).changes == (
        "without the limit of p95: two, x2.00 (2.00 to 2.00) the throughput of one",
    )
    assert only(*measured, wish=Wish(memory_mb=60.0)).changes == only(*measured).changes
    assert only(*measured, wish=Wish(p95_ms=1.0, memory_mb=1.0)).changes == ()


def test_conditions_under_which_nothing_can_be_compared_or_none_keeps_to_the_wish_are_told() -> None:
    here = under({"one": 20.0, "two": 40.0})
    alone = [*under({"two": 40.0}, users=8), *trials(testing.cell("one", users=8), 20.0, generator_cpu=0.9)]
    large = [
        each
        for server, rps in (("one", 20.0), ("two", 40.0))
        for each in trials(testing.cell(server, cores=2), rps, memory_mb=90.0)
    ]

    found = advice(here, alone, large, wish=Wish(memory_mb=60.0))
    (told,) = (each.changes for each in found if each.group.conditions == ONE.conditions)

    assert told == ("with 2 cores: none may be advised", "with 8 users: undecided")


def test_at_most_five_changes_are_told() -> None:
    others = [under({"one": 40.0, "two": 20.0}, users=users) for users in range(2, 10)]
    found = advice(under({"one": 20.0, "two": 40.0}), *others)

    (here,) = (each for each in found if each.group.users == USERS)
    assert here.changes == tuple(f"with {users} users: one" for users in range(2, 7))


# Where something else than the servers holds the throughput.


def test_servers_that_are_all_bound_by_demand_are_said_to_be() -> None:
    waiting = InFlight(peak=32, mean=31.0, threads=1, requests_per_process=(6,))
    servers = {name: testing.server(name, slots=None) for name in ("one", "two")}
    demand = [trials(cell, 600.0, in_flight=waiting, cpu_ms=0.1) for cell in (ONE, TWO)]
    cheap = trials(ONE, 600.0, in_flight=waiting, cpu_ms=0.1, memory_mb=20.0)
    told = "All are bound by demand: 32 users send no more. More users may tell them apart."

    assert told in only(*demand, servers=servers).why
    assert told in only(cheap, demand[1], servers=servers).why, "whichever is advised for its cost"
    assert told not in only(demand[0], trials(TWO, 600.0, cpu_ms=0.1), servers=servers).why


def test_servers_that_are_all_bound_by_the_backends_are_said_to_be() -> None:
    idle = InFlight(peak=2, mean=0.1, threads=1, requests_per_process=(6,))
    measured = [
        [replace(each, backend_cpu_s=0.29) for each in trials(cell, 20.0, in_flight=idle)] for cell in (ONE, TWO)
    ]
    servers = {name: testing.server(name, slots=None) for name in ("one", "two")}

    found = only(*measured, servers=servers, backend_cpus="2")

    assert "All are bound by the backends: their own speed is not what was measured." in found.why


# One server for several workloads.


def several(*rates: Mapping[str, float], **changes: Any) -> list[Advised]:
    """Advice on servers with so many requests a second, by workload: sleep, cpu and hello."""
    return advice(
        *(under(each, workload=workload) for each, workload in zip(rates, ("sleep", "cpu", "hello"), strict=False)),
        **changes,
    )


def test_for_several_workloads_the_highest_worst_share_decides() -> None:
    found = several({"one": 100.0, "two": 60.0, "three": 20.0}, {"one": 30.0, "two": 70.0, "three": 100.0})
    overall = found[0]

    assert (overall.workloads, overall.server, overall.tied) == (("sleep", "cpu"), "two", ("two",))
    assert overall.why == (
        "It has about 0.60 (0.60 to 0.60) of the best one's speed for sleep and 0.70 (0.70 to 0.70) of the best one's speed for cpu. "
        "Each of the others has less where it does worst."
    )
    assert overall.runner_up == "one"
    assert overall.costs == "at worst, with cpu, x0.43 (0.43 to 0.43) the throughput of two."
    assert overall.changes == ("for sleep alone: one", "for cpu alone: three")
    assert [each.workloads for each in found[1:]] == [("sleep",), ("cpu",)]


def test_a_server_that_is_the_fastest_with_each_is_said_to_be() -> None:
    overall = several({"one": 100.0, "two": 60.0}, {"one": 30.0, "two": 20.0}, {"one": 30.0, "two": 20.0})[0]

    assert (overall.workloads, overall.server) == (("hello", "sleep", "cpu"), "one")
    assert overall.why == "It is the fastest for each."
    assert overall.changes == ()
    undecided_by_itself = several({"one": 100.0, "two": 60.0}, {"one": 30.0, "two": 30.0})[0]
    assert (undecided_by_itself.server, undecided_by_itself.changes) == ("one", ())


def test_worst_shares_that_cannot_be_told_apart_are_undecided() -> None:
    overall = several({"one": 100.0, "two": 60.0, "three": 10.0}, {"one": 60.0, "two": 100.0, "three": 10.0})[0]

    assert (overall.server, set(overall.tied), overall.runner_up) == (None, {"one", "two"}, "three")
    assert overall.why == (
        "one and two cannot be told apart by the workload with which each does worst: one is the fastest for sleep, and has "
        "about 0.60 (0.60 to 0.60) of the best one's speed for cpu; two is the fastest for cpu, and has about 0.60 (0.60 to 0.60) of "
        "the best one's speed for sleep."
    )
    alike = {"one": 100.0, "two": 100.0, "three": 100.0}
    three = several(alike, alike)[0]
    assert len(three.tied) == 3
    assert three.why.count("for cpu") + three.why.count("for each") == 2, "the shares of two are told"


def test_a_worst_share_is_as_uncertain_as_the_workload_that_is_least_certain() -> None:
    """The median of two's worst share is higher, but it may be anything."""
    measured = (
        under({"one": 100.0, "two": 90.0}, workload="sleep"),
        trials(testing.cell("one", workload="cpu"), 80.0),
        trials(testing.cell("two", workload="cpu"), 85.0, wave=(1.0, 1.6, 0.6)),
    )
    overall = advice(*measured)[0]

    assert (overall.server, set(overall.tied)) == (None, {"one", "two"})


def test_too_few_blocks_decide_nothing_for_several_workloads() -> None:
    measured = [
        trials(replace(cell, workload=workload), rps, blocks=2)
        for workload in ("sleep", "cpu")
        for cell, rps in ((ONE, 20.0), (TWO, 90.0))
    ]
    overall = advice(*measured, blocks=2)[0]

    assert (overall.server, overall.tied) == (None, ("two", "one"))
    assert overall.why == "two and one have 2 blocks in common, and to compare takes 3 (--blocks)."


def test_only_servers_that_may_be_advised_with_each_workload_are_considered() -> None:
    rates = {"one": 20.0, "two": 40.0, "dev": 90.0}
    found = several({**rates, "three": 99.0}, rates, servers={"dev": DEV})
    overall = found[0]

    assert overall.server == "two"
    assert overall.left_out["three"] == "not measured with cpu"
    assert overall.left_out["dev"].startswith("the development server"), "always the same reason"
    assert "0.40 (0.40 to 0.40) of the best one's speed for sleep" in overall.why, (
        "shares are of the best of each workload"
    )


def test_a_limit_holds_in_each_workload() -> None:
    measured = (
        under({"one": 20.0, "two": 40.0}, workload="sleep"),
        trials(testing.cell("one", workload="cpu"), 20.0),
        trials(testing.cell("two", workload="cpu"), 40.0, memory_mb=90.0),
    )
    overall = advice(*measured, wish=Wish(memory_mb=60.0))[0]

    assert (overall.server, overall.wish) == ("one", Wish(memory_mb=60.0))
    assert overall.left_out["two"] == "cpu: takes 90.0 MB, more than 60"
    assert overall.why.startswith(
        "It is the only one that may be advised with each of sleep and cpu: it is the fastest for cpu"
    )
    none = advice(*measured, wish=Wish(memory_mb=1.0))[0]
    assert (none.server, none.tied, none.why) == (None, (), "None may be advised with each of sleep and cpu.")


def test_workloads_are_taken_together_only_under_otherwise_equal_conditions_with_two_servers_in_common() -> None:
    rates = {"one": 20.0, "two": 40.0}

    assert [each.workloads for each in advice(under(rates), under(rates, workload="cpu", cores=2))] == [
        ("sleep",),
        ("cpu",),
    ]
    assert [each.workloads for each in several(rates, {"one": 20.0, "three": 40.0})] == [("sleep",), ("cpu",)]
    assert [each.workloads for each in several(rates, rates, wish=Wish(workload="cpu"))] == [("cpu",)]


# Properties.

RATES = st.sampled_from([10.0, 20.0, 20.1, 40.0])
MEMORY = st.sampled_from([30.0, 50.0, 52.0, 90.0])
LATENCY = st.sampled_from([20.0, 100.0, 102.0, 200.0])
SERVERS = st.lists(st.tuples(RATES, MEMORY, LATENCY), min_size=2, max_size=5)
LIMITS = st.none() | st.sampled_from([25.0, 51.0, 101.0, 150.0])


def measured_of(servers: Sequence[tuple[float, float, float]]) -> list[list[Observation]]:
    return [
        trials(testing.cell(f"s{number}"), rps, memory_mb=memory_mb, p95_ms=p95_ms, wave=_wave(number))
        for number, (rps, memory_mb, p95_ms) in enumerate(servers)
    ]


def _wave(number: int) -> Wave:
    source = random.Random(number)
    return tuple(source.uniform(0.998, 1.002) for _ in range(MANY))


@settings(max_examples=8, deadline=None)
@given(SERVERS)
def test_a_server_that_is_worse_in_everything_changes_no_advice(servers: list[tuple[float, float, float]]) -> None:
    worse = (
        0.5 * min(rps for rps, _, _ in servers),
        2 * max(mb for _, mb, _ in servers),
        2 * max(p for *_, p in servers),
    )

    before = only(*measured_of(servers))
    after = only(*measured_of([*servers, worse]))

    assert (after.server, after.tied) == (before.server, before.tied)


@settings(max_examples=15, deadline=None)
@given(SERVERS, LIMITS, LIMITS, st.floats(0.3, 1.0))
def test_the_advised_keeps_to_the_wish_and_a_tighter_one_brings_nobody_in(
    servers: list[tuple[float, float, float]], p95_ms: float | None, memory_mb: float | None, tighter: float
) -> None:
    wish = Wish(p95_ms=p95_ms, memory_mb=memory_mb)
    tight = Wish(p95_ms=p95_ms and p95_ms * tighter, memory_mb=memory_mb and memory_mb * tighter)
    measured = measured_of(servers)
    loose, strict = only(*measured, wish=wish), only(*measured, wish=tight)
    kept = {
        f"s{number}"
        for number, (_, memory, latency) in enumerate(servers)
        if (memory_mb is None or memory <= memory_mb) and (p95_ms is None or latency * 1.002 <= p95_ms)
    }

    assert {*loose.tied} <= kept
    assert loose.server is None or loose.server in loose.tied
    assert set(loose.left_out).isdisjoint(loose.tied)
    assert set(loose.left_out) <= set(strict.left_out)


@settings(max_examples=4, deadline=None)
@given(SERVERS, st.randoms(use_true_random=False))
def test_the_order_of_the_observations_changes_nothing(
    servers: list[tuple[float, float, float]], source: random.Random
) -> None:
    measured = measured_of(servers)
    comparison = compared(*measured)
    given = [each for trials in measured for each in trials]
    shuffled = list(given)
    source.shuffle(shuffled)

    assert compare(comparison.run, shuffled).advice == comparison.advice


@pytest.mark.parametrize("blocks", [4, 14])
def test_identical_servers_are_decided_no_more_often_than_verdicts_may_err(blocks: int) -> None:
    source = random.Random(blocks)

    def wave() -> Wave:
        """As windows scatter: some are much slower than the others."""
        return tuple(
            source.gauss(1, 0.1) * (source.uniform(0.5, 1) if source.random() < 0.1 else 1) for _ in range(blocks)
        )

    runs = 30
    decided = sum(
        only(*(trials(testing.cell(name), 20.0, wave=wave(), blocks=blocks) for name in "abc"), blocks=blocks).server
        is not None
        for _ in range(runs)
    )

    assert decided <= stats.ERROR_RATE * runs


# A real run; tests/golden/answer/advice.txt has its advice without a wish.


def test_a_real_run_keeps_to_what_is_wished() -> None:
    store = Store(RECORDED)
    found = advised(compare(store.run(), store.observations(), Wish(workload="sleep", memory_mb=60.0)))
    under_load = next(each for each in found if (each.group.users, each.group.connection) == (32, "close"))

    assert {each.workloads for each in found} == {("sleep",)}
    assert under_load.server == "gunicorn-sync-1"
    assert under_load.left_out["gunicorn-gevent"] == "takes 63.7 MB, more than 60"
    assert under_load.changes[-1].startswith("without the limit of memory: gunicorn-gevent, x30")
