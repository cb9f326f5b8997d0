"""The figures of docs/scale.md, from what `benchmarks.scale_out` has measured, by the formulas that are there. Pure."""

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from statistics import LinearRegression, linear_regression
from typing import Any, NamedTuple

from benchmarks.outcome import number, table
from wsgilab.results.store import LARGEST_OBSERVATIONS

IDLE = "Locust's master, idle: CPU, ms a second, by workers"
TRIAL = "Locust's master, a trial: CPU, ms, by workers"
WINDOW = "of that, within the window: CPU, ms, by workers"
REAL_WORKERS = "Locust's master, a trial, each worker a process: CPU, ms, by workers"
REPORT = "Locust's master, the report of a trial: CPU, s, by thousands of requests"
MEMORY = "Locust's master, the report of a trial: memory, MB, by thousands of requests"
SENT = "sent to Locust's master: MB, by thousands of requests"
LAB = "the lab process, a trial: CPU, ms, by lanes"
NO_LOAD = "the lab process, a trial whose generator answers at once: CPU, ms, by lanes"
CLIENTS = "Docker's clients beside the lab process: memory, MB, by lanes"
RECORDED = "`observations.jsonl`: bytes, by observations"
UP = "a lane is brought up: s, by servers"
DOWN = "a lane is brought down: s, by servers"
BEYOND = "a trial, beyond its window: s, by lanes"
COMPARED = "a run is compared and rendered: s, by thousands of observations"
RAN = "`answer` in containers of one machine, without a site: s, by runs"

MOST = 100
"""The largest number of lanes."""
THOUSANDS = 1000
"""Thousands of requests in a large trial."""
FAILURES_PER_HOUR = 0.01
"""How often a machine fails; assumed."""
_PLACE = re.compile(r"(<!-- figures:([a-z]+) -->\n).*?(<!-- end -->)", re.DOTALL)

Figures = Mapping[str, Mapping[int, float]]
"""What was measured, as the results name it -> for how many -> the figure."""


class Case(NamedTuple):
    """An experiment to extrapolate to."""

    name: str
    cells: int
    blocks: int
    servers: int
    window_s: float


CASES = (
    Case("`answer`: 45 cells, 4 blocks", 45, 4, 13, 0.34),
    Case("`answer` with 100 blocks", 45, 100, 13, 0.34),
    Case("250 cells, 40 blocks, windows of 1 s", 250, 40, 25, 1.0),
)


def by_name(results: Mapping[str, Any]) -> Figures:
    """The figures of the results."""
    read: dict[str, dict[int, float]] = defaultdict(dict)
    for row in results["summary"]:
        read[row["what"]][int(row["of"])] = row["figure"]
    return read


def line(found: Figures, what: str) -> LinearRegression:
    """The least-squares line through figures of at least two counts."""
    return linear_regression(list(found[what]), list(found[what].values()))


def at(found: Figures, what: str, count: float) -> float:
    """The figure for `count` on that line."""
    slope, intercept = line(found, what)
    return intercept + slope * count


def reaches(found: Figures, what: str, figure: float) -> float:
    """The count at which that line reaches `figure`."""
    slope, intercept = line(found, what)
    return (figure - intercept) / slope


def lane_s(found: Figures, case: Case) -> float:
    """L: seconds in which a lane is brought up and down."""
    return at(found, UP, case.servers) + at(found, DOWN, case.servers)


def lab_s(found: Figures) -> float:
    """P: CPU seconds of the lab process for a trial among many lanes, which add to those of one lane what they add
    without load."""
    without_load = found[NO_LOAD]
    return (found[LAB][1] + without_load[max(without_load)] - without_load[1]) / 1000


def compared_s(found: Figures) -> float:
    """R: seconds in which an observation is compared and rendered."""
    [(thousands, seconds)] = found[COMPARED].items()
    return seconds / thousands / 1000


def run_s(found: Figures, case: Case, lanes: int, *, at_once: bool = False) -> float:
    """Seconds of a run on `lanes` lanes that are brought up one after the other, or `at_once`. The formula is in
    docs/scale.md."""
    trials = case.cells * case.blocks
    of_a_lane_s = math.ceil(case.blocks / lanes) * case.cells * (case.window_s + found[BEYOND][1])
    up_and_down_s = lane_s(found, case) * (1 if at_once else lanes)
    return up_and_down_s + max(of_a_lane_s, trials * lab_s(found)) + trials * compared_s(found)


def fastest(found: Figures, case: Case, *, at_once: bool = False) -> int:
    """The number of lanes, at most MOST, with which a run is over first."""
    return min(range(1, MOST + 1), key=lambda lanes: run_s(found, case, lanes, at_once=at_once))


# --- as the page has it


def figures(results: Mapping[str, Any]) -> Mapping[str, str]:
    """Name of a place -> what belongs there, in Markdown."""
    read = by_name(results)
    return {
        "machine": _machine(results),
        "measured": table(["what costs what", "measured", "by itself", "each one more"], _measured(read)),
        "limits": "\n".join(f"- {each}" for each in _limits(read)),
        "extrapolated": table(
            ["experiment", "1 + 1", "10 + 10", "100 + 100", "fastest", "all lanes at once: 100 + 100", "fastest"],
            [_extrapolated(read, case) for case in CASES],
        )
        + f"\n\nAs a check of the first figure: on one machine, without a site, `answer` took "
        f"{duration(read[RAN][1])} (`benchmarks.efficiency`).",
    }


def filled(page: str, results: Mapping[str, Any]) -> str:
    """The page with the figures in their places, `<!-- figures:NAME -->` ... `<!-- end -->`."""
    of = figures(results)
    return _PLACE.sub(lambda match: f"{match[1]}{of[match[2]]}\n{match[3]}", page)


def _machine(results: Mapping[str, Any]) -> str:
    machine = results["machine"]
    return (
        f"Measured {results['date'][:10]} on one machine: {machine['cpu']}, usable cores {machine['usable_cpus']}, Linux "
        f"{machine['kernel']}, Python {machine['python']}. Repetitions: {results['scope']['rounds']}. That is too few for "
        "intervals: there are none here, nor of what is extrapolated."
    )


def _measured(found: Figures) -> Iterator[Sequence[str]]:
    for what, of in found.items():
        measured = ", ".join(f"{count}: {number(figure)}" for count, figure in sorted(of.items()))
        # Where generators answer at once, it is the most lanes that count.
        fitted = line(found, what) if len(of) > 1 and what != NO_LOAD else ()
        slope, intercept = map(number, fitted) if fitted else ("", "")
        yield what, measured, intercept, slope


def _limits(found: Figures) -> Iterator[str]:
    [(processes, real_ms)] = found[REAL_WORKERS].items()
    observations = LARGEST_OBSERVATIONS / found[RECORDED][1]
    longest_s = run_s(found, CASES[-1], MOST)
    yield (
        f"A million requests in a trial: {duration(at(found, REPORT, THOUSANDS))} of the master's core after the "
        f"window, {at(found, MEMORY, THOUSANDS) / 1000:.1f} GB of its memory, {at(found, SENT, THOUSANDS):.0f} "
        f"MB on the way to it. From {about(1000 / line(found, REPORT).slope)} requests a second on, it works longer on a "
        "window than the window was."
    )
    yield (
        f"Workers alone: their heartbeats would fill the master's core at about {about(reaches(found, IDLE, 1000))}, "
        f"and a trial would take 1 s of it at about {about(reaches(found, TRIAL, 1000))}. Where each of {processes} workers is "
        f"a process, a trial takes {real_ms / at(found, TRIAL, processes):.2f} times what the line says."
    )
    yield (
        f"One lab process does at most {about(1 / lab_s(found))} trials a second, which is as many lanes with trials of 1 s. "
        f"Docker's clients beside it take {MOST * found[CLIENTS][1] / 1000:.1f} GB for {MOST} lanes."
    )
    yield (
        f"A run may have {LARGEST_OBSERVATIONS >> 20} MB of observations, which are {about(observations)}. Comparing and "
        f"rendering takes {compared_s(found) * 1000:.2f} ms of each."
    )
    yield (
        f"If a machine fails {FAILURES_PER_HOUR:g} times an hour (assumed), {2 * MOST} machines lose "
        f"{2 * MOST * FAILURES_PER_HOUR * longest_s / 3600:.1f} in the {duration(longest_s)} of the last experiment below."
    )


def _extrapolated(found: Figures, case: Case) -> Sequence[str]:
    one_by_one, at_once = fastest(found, case), fastest(found, case, at_once=True)
    return [
        case.name,
        *(duration(run_s(found, case, lanes)) for lanes in (1, 10, MOST)),
        f"{one_by_one} + {one_by_one}: {duration(run_s(found, case, one_by_one))}",
        duration(run_s(found, case, MOST, at_once=True)),
        f"{at_once} + {at_once}: {duration(run_s(found, case, at_once, at_once=True))}",
    ]


def about(value: float) -> str:
    """An estimate: two digits that count."""
    return number(float(f"{value:.2g}"))


def duration(seconds: float) -> str:
    """Such as `12 s`, `4.2 min` or `1 h 20 min`: two digits that count, but for minutes beside hours."""
    minutes = round(seconds / 60)
    if seconds < 100:  # noqa: PLR2004 - up to there seconds are read more easily
        return f"{about(seconds)} s"
    return f"{about(seconds / 60)} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"  # noqa: PLR2004 - an hour
