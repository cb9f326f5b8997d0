"""What others took of a trial's cores, and what follows from it."""

from collections.abc import Sequence
from typing import Any

import pytest

from wsgilab import testing
from wsgilab.analysis import claims
from wsgilab.analysis.compare import compare, unsettled
from wsgilab.analysis.disturbance import NEIGHBOUR_LIMIT, RESOLUTION_S, disturbance, is_disturbed, taken
from wsgilab.model import Cell, Claim, Condition, Observation, Run

ONE, TWO = testing.cell("one"), testing.cell("two")
RUN = testing.run(testing.experiment(ONE, TWO, blocks=6))
USED = 0.0066 / 0.3
"""Of its core, by the server that `testing.observation` makes."""
SURELY = NEIGHBOUR_LIMIT + RESOLUTION_S / 0.3 + 0.001
"""What one window of 0.3 s must show."""


def trial(
    of: Cell = ONE, block: int = 0, *, server: float = 0.0, generator: float = 0.0, **changes: Any
) -> Observation:
    """A trial of whose cores others had these shares."""
    busy = {"server_busy": min(1.0, USED + server), "generator_others": generator}
    swarm = testing.trial_report(**{**busy, **changes.pop("swarm", {})})
    return testing.observation(of, block=block, swarm=swarm, **changes)


def blocks(of: Cell = ONE, **changes: Any) -> list[Observation]:
    return [trial(of, block, **changes) for block in range(6)]


# What they took.


@pytest.mark.parametrize(
    ("changes", "run", "server", "generator"),
    [
        ({"server": 0.2, "generator": 0.1}, {}, 0.2, 0.1),
        # What the lab itself, or backends that share its core, used of the generator's core.
        ({"generator": 0.1, "lab_cpu": 0.08}, {}, 0.0, 0.02),
        ({"generator": 0.1, "lab_cpu": 0.2}, {}, 0.0, 0.0),
        ({"generator": 0.1, "backend_cpu_s": 0.03}, {"backend_cpus": "2"}, 0.0, 0.1),
        ({"generator": 0.1, "backend_cpu_s": 0.03}, {"backend_cpus": "1"}, 0.0, 0.0),
        # The use of the server was not read.
        ({"server": 0.5, "server_cpu_s": None}, {}, None, 0.0),
        ({"swarm": {"server_busy": None}}, {}, None, None),
        ({"swarm": {"generator_others": None}}, {}, None, None),
    ],
)
def test_others_have_what_is_neither_idle_nor_the_labs_own(
    changes: dict[str, Any], run: dict[str, Any], server: float | None, generator: float | None
) -> None:
    found = taken(testing.run(**run), trial(**changes))

    assert found.server == (server and pytest.approx(server))
    assert found.generator == (generator and pytest.approx(generator, abs=1e-12))


def test_on_several_cores_others_have_a_share_of_all_of_them() -> None:
    cell = testing.cell("one", cores=2)
    run = testing.run(testing.experiment(cell))
    busy = testing.trial_report(server_busy=0.5, generator_others=0.0)

    found = taken(run, testing.observation(cell, swarm=busy, server_cpu_s=0.24, server_span_s=0.3))

    assert found.server == pytest.approx(0.1), "0.8 of the two cores' worth of 1.0 were the server's"


def test_where_server_and_generator_share_a_core_neither_is_the_others_neighbour() -> None:
    run = testing.run(generator_cpus="0")
    busy = testing.trial_report(server_busy=0.9, generator_others=0.6, generator_cpu=0.3)

    found = taken(run, testing.observation(swarm=busy, server_cpu_s=0.15, server_span_s=0.3, lab_cpu=0.02))

    assert found.server == found.generator == pytest.approx(0.08)


# When that is too much.


def test_a_window_is_disturbed_by_more_than_the_limit_and_what_the_kernels_counting_makes_of_nothing() -> None:
    assert is_disturbed(RUN, trial(server=SURELY))
    assert is_disturbed(RUN, trial(generator=SURELY))
    assert not is_disturbed(RUN, trial(server=SURELY - 0.002, generator=SURELY - 0.002))
    assert not is_disturbed(RUN, trial(server=0.9, swarm={"generator_others": None})), "it is not known"
    assert not is_disturbed(RUN, testing.observation(swarm=None, status="failed", reason="it ended"))


def test_a_little_in_every_window_is_too_much_on_average() -> None:
    windows = blocks(server=NEIGHBOUR_LIMIT + 0.008)

    assert not any(is_disturbed(RUN, each) for each in windows)
    assert disturbance(RUN, ONE, windows) == "others took 3.8% of the server's core 0 (on average)"
    assert disturbance(RUN, ONE, blocks(server=NEIGHBOUR_LIMIT + 0.005)) == ""


def test_it_is_told_which_cores_how_much_when_and_who() -> None:
    windows = [
        trial(server=0.4, generator=0.01, neighbours=("yes (1)", "make (2)")),
        trial(block=1, server=0.5, generator=0.2, neighbours=("make (2)", "cc1 (3)", "ld (4)")),
        trial(block=2),
    ]

    assert disturbance(RUN, ONE, windows) == (
        "others took up to 50% of the server's core 0 (in 2 of 3 windows) and up to 20% of the generator's core 1 "
        "(in 1 of 3 windows), among them yes (1), make (2), cc1 (3)"
    )


# What follows.


def comparison(*, of_one: Sequence[Observation], run: Run = RUN) -> Any:
    faster = {"throughput_rps": 40.0, "latency_mean_ms": 800.0}
    return compare(run, [*of_one, *blocks(TWO, swarm=faster)])


def test_a_disturbed_window_breaks_the_gate_and_nothing_is_concluded() -> None:
    quiet = comparison(of_one=blocks())
    assert [pair.verdict for pair in quiet.pairs] == ["faster"]
    assert [result.rank and result.rank.first for result in quiet.cells] == [2, 1]

    found = comparison(of_one=[*blocks()[:-1], trial(block=5, generator=0.5, neighbours=("yes (1)",))])

    one, two = found.cells
    assert (one.broken_gates, two.broken_gates) == (("neighbour",), ())
    assert one.figures is not None
    assert one.figures.bound_by == "neighbour"
    assert one.figures.because == one.figures.disturbed == one.warnings[0]
    assert "yes (1)" in one.warnings[0]
    assert one.rank is None
    (pair,) = found.pairs
    assert (pair.verdict, pair.broken_gates) == ("undecided", ("neighbour",))
    (advice,) = found.advice
    assert advice.server != "one"
    assert "others took" in advice.left_out["one"]


def test_the_generators_share_of_its_core_counts_what_others_took_of_it() -> None:
    (one, _) = comparison(of_one=blocks(generator=0.5, swarm={"generator_cpu": 0.33})).cells

    assert one.broken_gates == ("neighbour", "generator")
    assert "the generator and others used 83% of core 1: they may be what is measured" in one.warnings


def test_more_blocks_are_not_spent_on_a_disturbed_cell() -> None:
    run = testing.run(testing.experiment(ONE, TWO, blocks=2, precision=0.01, max_blocks=9))
    scattered = [trial(TWO, block, swarm={"throughput_rps": 20.0 + block}) for block in range(2)]

    assert unsettled(run, [*blocks()[:2], *scattered], 2) == {ONE, TWO}
    assert unsettled(run, [*blocks(server=0.5)[:2], *scattered], 2) == frozenset()


def test_a_claim_about_a_disturbed_cell_is_undecided() -> None:
    claim = Claim(
        id="one",
        claim="It handles one.",
        met="here",
        holds=(Condition(figure="peak_in_flight", of=ONE, at_most=1),),
        explanation="",
        advice="",
    )

    (quiet,) = claims.judge(RUN, blocks(), [claim])
    (disturbed,) = claims.judge(RUN, blocks(generator=0.5), [claim])

    assert (quiet.verdict, disturbed.verdict) == ("confirmed", "undecided")
    assert "others took" in disturbed.evidence[0].reason
