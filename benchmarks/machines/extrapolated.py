"""The tables of docs/scale.md that the simulation has made of what was measured. Pure."""

from collections.abc import Mapping, Sequence

from benchmarks.machines import limits
from benchmarks.machines.found import Found
from benchmarks.machines.limits import MOST, SWARM_EACH, Case
from benchmarks.machines.simulation import Faults, Way
from benchmarks.machines.words import lasted, table

SIZES = (1, 2, 10, 100)
COLD_BUILD_S = 120.0
"""Assumed: what a machine takes to build its images for the first time."""
UNTIL_RESUMED_S = 300.0
"""Assumed: until somebody resumes a run, all machines there again."""
RATES = (0.0, 0.001, 0.01, 0.1)
"""Assumed: failures a machine hour."""
SEEDS = 21


def machines(found: Found, cases: Sequence[Case]) -> str:
    rows = []
    for case in cases:
        costs = limits.costs(found, case)
        alone_s = limits.without_faults(case, 1, costs, Way()).wall_s
        for targets in SIZES:
            took = limits.without_faults(case, targets, costs, Way())
            rows.append(
                [
                    case.name,
                    f"{targets} + {targets * SWARM_EACH}",
                    lasted(took.starting_s),
                    lasted(took.trials_s),
                    lasted(took.stopping_s),
                    lasted(took.wall_s),
                    f"{alone_s / took.wall_s:.2f}",
                ]
            )
    head = ["experiment", "machines", "brought up", "trials", "brought down", "in all", "times as fast as 1 + 1"]
    return table(head, rows)


def check(found: Found, case: Case) -> str:
    """What the simulation says of the default experiment, beside a run of it."""
    took = limits.without_faults(case, 1, limits.costs(found, case), Way())
    ran, planned_s = found.ran, case.trials * case.window_s
    return (
        f"The first line can be held against a run: on one machine, without a site, that experiment took {lasted(ran.seconds)} "
        f"(`benchmarks.efficiency`, {ran.date[:10]}), where the simulation says {lasted(took.wall_s)}. The run's windows were "
        f"{lasted(ran.windows_s)}, settling included, instead of {lasted(planned_s)}."
    )


def ends(found: Found, cases: Sequence[Case]) -> str:
    rows = []
    for case in cases:
        costs = limits.costs(found, case)
        sequential, all_at_once = (limits.fastest(case, costs, way) for way in (Way(), Way(at_once=2 * MOST)))
        rows.append(
            [
                case.name,
                lasted(limits.lane_s(costs)),
                lasted(case.trials * (costs.trial_s + costs.lab_s)),
                *(text for targets, wall_s in (sequential, all_at_once) for text in (str(targets), lasted(wall_s))),
            ]
        )
    head = [
        "experiment",
        "each lane adds",
        "trials to share",
        "fastest with",
        "in all",
        "all brought up at once: fastest with",
        "in all",
    ]
    return table(head, rows)


_WAYS: Mapping[str, Way] = {
    "as the lab is": Way(),
    "10 machines, or lanes, brought up at a time": Way(at_once=10),
    "all brought up at once": Way(at_once=2 * MOST),
    "and 4 lab processes": Way(at_once=2 * MOST, labs=4),
}


def ways(found: Found, cases: Sequence[Case]) -> str:
    rows = []
    for said, build_s in (("there", None), (f"built first, {COLD_BUILD_S:g} s a machine", COLD_BUILD_S)):
        for what, way in _WAYS.items():
            walls = [
                lasted(limits.without_faults(case, MOST, limits.costs(found, case, build_s), way).wall_s)
                for case in cases
            ]
            rows.append([what, said, *walls])
    return table([f"{MOST} + {MOST * SWARM_EACH} machines", "images", *(case.name for case in cases)], rows)


def faults(found: Found, case: Case) -> str:
    costs = limits.costs(found, case)
    rows = []
    for targets in SIZES[2:]:
        for rate in RATES:
            faults = Faults(per_machine_hour=rate, until_resumed_s=UNTIL_RESUMED_S)
            told = [
                limits.with_faults(case, targets, costs, way, faults, SEEDS)
                for way in (Way(), Way(at_once=2 * MOST), Way(at_once=2 * MOST, redealt=True))
            ]
            rows.append(
                [
                    f"{targets} + {targets * SWARM_EACH}",
                    f"{rate:g}",
                    *("never ends" if each is None else f"{lasted(each[0])}, {each[1]:g}" for each in told),
                ]
            )
    head = [
        "machines",
        "failures a machine hour",
        "as the lab is: in all, legs",
        "all brought up at once",
        "and what is left dealt anew",
    ]
    return table(head, rows)
