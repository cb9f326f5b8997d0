"""What short runs have decided of a long one's differences, on runs that are made up."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import decided
from wsgilab import testing
from wsgilab.analysis.compare import compare
from wsgilab.model import Comparison, InFlight, Observation, Run
from wsgilab.model.errors import StoreError

SPEED = {"reference": 100.0, "far": 150.0, "slow": 80.0, "near": 103.0, "twin": 100.0}
REPORT = testing.trial_report(
    in_flight=InFlight(peak=1, mean=0.99, threads=1, requests_per_process=(600,)), completed=600
)


def measured(
    blocks: int, speed: Mapping[str, float] = SPEED, scatter: float = 0.01, workload: str = "hello"
) -> tuple[Run, Sequence[Observation]]:
    cells = [testing.cell(name, workload=workload) for name in speed]
    run = testing.run(testing.experiment(*cells, blocks=blocks, reference="reference"))

    def rate(number: int, server: str, block: int) -> float:
        return speed[server] * math.exp(scatter * math.sin(12.9898 * (block + 1) * (number + 1)))

    return run, [
        testing.observation(
            cell,
            block=block,
            swarm=replace(
                REPORT, throughput_rps=(rps := rate(number, cell.server, block)), latency_mean_ms=32_000 / rps
            ),
        )
        for block in range(blocks)
        for number, cell in enumerate(cells)
    ]


def compared(*given: object, **more: object) -> Comparison:
    return compare(*measured(*given, **more))  # type: ignore[arg-type]


def test_sought_is_what_the_long_run_has_decided_and_is_far_enough_apart() -> None:
    assert {cell.server for cell in decided.differences(compared(40))} == {"far", "slow"}
    assert decided.differences(compared(40, workload="sleep")) == {}


def test_a_short_run_decides_some_and_is_wrong_on_the_other_side_or_where_there_is_nothing() -> None:
    long = compared(40)
    rough = decided.judged(long, compared(4, scatter=0.15))
    assert (sorted(rough.decided), rough.wrong) == ([False, True], 0)
    turned = decided.judged(long, compared(8, {**SPEED, "slow": 130.0, "twin": 130.0}))
    assert (list(turned.decided), turned.wrong) == ([True, True], 2)
    without = {name: speed for name, speed in SPEED.items() if name != "far"}
    assert sorted(decided.judged(long, compared(8, without)).decided) == [False, True]


def test_what_cpu_time_alone_decides_is_counted_apart_and_may_be_wrong_by_itself() -> None:
    def costing(run: Run, observations: Sequence[Observation], cost: Mapping[str, float]) -> Comparison:
        """All are bound by CPU, as fast as they were, and a request of some costs more."""
        given = [
            replace(
                each,
                server_cpu_s=0.285,
                swarm=each.swarm
                and replace(
                    each.swarm,
                    read_completed=round(10_000 / cost.get(each.cell.server, 1.0)),
                    read_span_s=0.3,
                    server_busy=0.96,
                    generator_others=0.0,
                ),
            )
            for each in observations
        ]
        return compare(run, given)

    long = costing(*measured(40), {"slow": 1.25, "far": 0.7})
    # Too rough for the speed of one that is slower.
    rough = costing(*measured(4, scatter=0.15), {"slow": 1.25, "far": 0.7})
    found = decided.judged(long, rough)
    assert (sorted(found.decided), found.wrong, found.by_cost, found.wrong_costs) == ([False, True], 0, 1, 0)
    turned = decided.judged(long, costing(*measured(4, scatter=0.15), {"slow": 0.8}))
    assert (turned.by_cost, turned.wrong_costs) == (1, 1)
    idle = decided.judged(long, compared(4, scatter=0.15))
    assert (idle.by_cost, idle.wrong_costs) == (0, 0)


def test_the_table_has_each_short_run_and_the_lab_before_and_a_run_that_says_nothing_is_refused() -> None:
    run, observations = measured(40)
    found = decided.summary(compare(run, observations), observations, [compared(8), compared(8)])

    assert [(row["decided"], row["wrong verdicts"]) for row in found.rows[:2]] == [("2 (100%)", "0")] * 2
    assert [(row["by CPU time alone"], row["wrong ones of CPU time"]) for row in found.rows] == [("0", "0")] * 2 + [
        ("–", "–")
    ]
    assert str(found.rows[2]["run"]).startswith("the lab before, 10 times 4 blocks")
    (claim,) = found.claims
    assert (claim.rounds, claim.ratio.median) == (2, 1.0)
    assert found.scope.rounds.endswith("with 2 in hello, 0 in cpu")
    with pytest.raises(StoreError, match="has decided no difference of 5 %"):
        decided.summary(compared(40, workload="sleep"), [], [])
    with pytest.raises(StoreError, match="name a short one's folder too"):
        decided.measure([Path("anywhere")])
