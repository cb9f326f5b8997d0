"""What each protocol concludes about two servers from one round of a recording."""

import itertools
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.bench import analyse
from benchmarks.outcome import Claim, Outcome, Row, Scope, read
from wsgilab import testing
from wsgilab.analysis import paired_ratio, stats
from wsgilab.experiment import plan
from wsgilab.model import Interval, Verdict

FIRST_LOOK = 10
"""Blocks before the sequential protocol looks for the first time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """A window of an identical server beside a program on its core, over what the same has without the program."""

    rps: float
    """Requests a second, as a ratio."""
    cost: float
    """CPU time a request, as a ratio."""
    others: float
    """The share of the core that others had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One start of all servers: requests a second."""

    interleaved: Mapping[str, Sequence[float]]
    """Server -> block by block."""
    sequential: Mapping[str, Sequence[float]]
    """Server -> its runs in a row; empty where the round has none."""
    window_s: float
    run_s: float
    beside: Sequence[Beside] = ()
    """Of its identical servers, in the rounds whose program took the server's core."""

    @property
    def twins(self) -> Sequence[str]:
        """The identical servers."""
        return [name for name in self.interleaved if name.startswith("twin")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a protocol concludes about one server over another."""

    verdict: Verdict
    ratio: float
    windows_s: float
    """Seconds of windows that it took, of both servers together."""

    @property
    def takes_sides(self) -> bool:
        """Whether one of the two is called faster."""
        return self.verdict in {"faster", "slower"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """A way to measure two servers, and a rule by which the figures become a verdict."""

    name: str
    rule: str
    judge: Callable[[Recorded, str, str], Judgement]
    in_a_row: bool
    """Whether it reads the runs in a row, not the blocks."""

    is_the_labs: bool = False

    def rounds(self, rounds: Sequence[Recorded]) -> Sequence[Recorded]:
        """Those that have what it needs."""
        return [each for each in rounds if each.sequential] if self.in_a_row else rounds


def lab(each: Recorded, ours: str, theirs: str) -> Judgement:
    """This lab with a fixed number of blocks: one comparison, one look."""
    ratios = _ratios(each, ours, theirs)
    return _judged(each, ratios, stats.ERROR_RATE)


def lab_sequential(each: Recorded, ours: str, theirs: str) -> Judgement:
    """This lab with `precision`: it ends at the first look at which the comparison is decided."""
    ratios = _ratios(each, ours, theirs)
    experiment = testing.experiment(blocks=FIRST_LOOK, precision=0.001, max_blocks=len(ratios))
    before = 0
    for look in plan.looks(experiment):
        level = stats.spent(look / len(ratios)) - stats.spent(before / len(ratios))
        found = _judged(each, ratios[:look], level)
        if found.verdict != "undecided":
            return found
        before = look
    return found


def lab_before(each: Recorded, ours: str, theirs: str) -> Judgement:
    """The lab with the intervals that it had until November 2026, from ranks alone, of blocks that suffice for these."""
    ratios = _ratios(each, ours, theirs)
    return _concluded(each, ratios, stats.median_interval(ratios))


def greater_median(each: Recorded, ours: str, theirs: str) -> Judgement:
    """The lab's blocks, read as the others read their runs: whoever has the greater median is faster."""
    ratios = _ratios(each, ours, theirs)
    return _plain(statistics.median(ratios), 2 * len(ratios) * each.window_s)


def best_of_three(each: Recorded, ours: str, theirs: str) -> Judgement:
    """Three runs of each, one server after the other; the best of each counts."""
    return _plain(max(each.sequential[ours]) / max(each.sequential[theirs]), _runs_s(each, ours))


def one_run(each: Recorded, ours: str, theirs: str) -> Judgement:
    """One run of each, as long as the three together, one server after the other."""
    ratio = statistics.fmean(each.sequential[ours]) / statistics.fmean(each.sequential[theirs])
    return _plain(ratio, _runs_s(each, ours))


def by_runs(each: Recorded, ours: str, theirs: str) -> Judgement:
    """The same runs with an interval, which best of three and one long run do without."""
    interval = welch(each.sequential[ours], each.sequential[theirs], stats.ERROR_RATE)
    return Judgement(verdict=stats.verdict(interval), ratio=interval.median, windows_s=_runs_s(each, ours))


def welch(figures: Sequence[float], others: Sequence[float], level: float) -> Interval:
    """The ratio of geometric means of two samples, at least two positive figures each, with its interval for unequal
    scatter (Welch 1947, doi:10.1093/biomet/34.1-2.28), with the degrees of freedom rounded down."""
    ours, theirs = ([math.log(each) for each in sample] for sample in (figures, others))
    apart = statistics.fmean(ours) - statistics.fmean(theirs)
    parts = [statistics.variance(sample) / len(sample) for sample in (ours, theirs)]
    error = sum(parts)
    if not error:
        return Interval(median=math.exp(apart), low=math.exp(apart), high=math.exp(apart))
    freedom = error**2 / sum(part**2 / (len(sample) - 1) for part, sample in zip(parts, (ours, theirs), strict=True))
    reach = paired_ratio.student(max(1, math.floor(freedom)), level) * math.sqrt(error)
    return Interval(median=math.exp(apart), low=math.exp(apart - reach), high=math.exp(apart + reach))


def _plain(ratio: float, windows_s: float) -> Judgement:
    """Rules without an interval decide by the ratio alone; to be fair, not within the margin that the lab allows
    itself."""
    exact = stats.median_interval([ratio, ratio])
    return Judgement(verdict=stats.verdict(exact), ratio=ratio, windows_s=windows_s)


def _runs_s(each: Recorded, server: str) -> float:
    return 2 * len(each.sequential[server]) * each.run_s


GREATER = "the greater wins"
THREE = "three verdicts"


def protocols(rounds: Sequence[Recorded]) -> Sequence[Protocol]:
    """The lab's and the others', each with its own rule and with the other's."""
    some = next((each for each in rounds if each.sequential), None)
    ours = [
        Protocol(name="wsgilab, fixed blocks", rule=THREE, judge=lab, in_a_row=False, is_the_labs=True),
        Protocol(name="wsgilab, precision", rule=THREE, judge=lab_sequential, in_a_row=False, is_the_labs=True),
        Protocol(name="wsgilab before, fixed blocks", rule=THREE, judge=lab_before, in_a_row=False),
        Protocol(name="wsgilab's blocks, their medians", rule=GREATER, judge=greater_median, in_a_row=False),
    ]
    if some is None:
        return ours
    count, each_s = len(next(iter(some.sequential.values()))), f"{some.run_s:g} s"
    return [
        *ours,
        Protocol(name=f"best of {count} x {each_s} in a row", rule=GREATER, judge=best_of_three, in_a_row=True),
        Protocol(name=f"one run of {count * some.run_s:g} s", rule=GREATER, judge=one_run, in_a_row=True),
        Protocol(name=f"the same {count} x {each_s}", rule=THREE, judge=by_runs, in_a_row=True),
    ]


def joined(rounds: Sequence[Recorded]) -> Sequence[Recorded]:
    """Every two rounds as one of twice the blocks, with a new start of all servers half-way."""
    return [
        Recorded(
            interleaved={name: [*first.interleaved[name], *second.interleaved[name]] for name in first.interleaved},
            sequential={},
            window_s=first.window_s,
            run_s=first.run_s,
        )
        for first, second in zip(rounds[::2], rounds[1::2], strict=False)
    ]


def _ratios(each: Recorded, ours: str, theirs: str) -> Sequence[float]:
    return [a / b for a, b in zip(each.interleaved[ours], each.interleaved[theirs], strict=True)]


def _judged(each: Recorded, ratios: Sequence[float], level: float) -> Judgement:
    return _concluded(each, ratios, paired_ratio.interval(ratios, level, paired_ratio.scatter([ratios])))


def _concluded(each: Recorded, ratios: Sequence[float], interval: Interval) -> Judgement:
    return Judgement(verdict=stats.verdict(interval), ratio=interval.median, windows_s=2 * len(ratios) * each.window_s)


def pairs(servers: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Every two of them, once."""
    return itertools.combinations(servers, 2)


def recorded(document: Mapping[str, Any]) -> Sequence[Recorded]:
    """The rounds of a recording."""
    interleaved: dict[int, dict[str, list[float]]] = {}
    sequential: dict[int, dict[str, list[float]]] = {}
    for block in document["blocks"]:
        for group, rates in block.items():
            kind, _, number = group.partition(" ")
            if kind not in ("interleaved", "sequential"):
                # Beside a neighbour, or in windows of other lengths: see `benchmarks.noise`.
                continue
            into = (interleaved if kind == "interleaved" else sequential).setdefault(int(number), {})
            for contender, rate in rates.items():
                into.setdefault(contender.partition(" #")[0], []).append(rate["rps"])
    settings = document["settings"]
    return [
        Recorded(
            # Servers are shuffled in each block, and come back in the order of their names.
            interleaved=dict(sorted(each.items())),
            sequential=sequential.get(number, {}),
            window_s=settings["window_s"],
            run_s=settings["run_s"],
            beside=_beside(document, number),
        )
        for number, each in sorted(interleaved.items())
    ]


def _beside(document: Mapping[str, Any], number: int) -> Sequence[Beside]:
    kinds = document["settings"].get("neighbours", ())
    if number >= len(kinds) or kinds[number] != "server":
        return ()
    found: dict[tuple[str, str], list[Mapping[str, float]]] = defaultdict(list)
    for block, kind in itertools.product(document["blocks"], ("off", "on")):
        for name, window in block.get(f"{kind} {number}", {}).items():
            if name.startswith("twin"):
                found[kind, name].append(window)
    return [
        Beside(
            rps=window["rps"] / statistics.median(each["rps"] for each in found["off", name]),
            cost=cost(window) / statistics.median(map(cost, found["off", name])),
            others=window["server_others"],
        )
        for (kind, name), windows in found.items()
        for window in windows
        if kind == "on"
    ]


def cost(window: Mapping[str, float]) -> float:
    """CPU milliseconds a request, counted between the readings."""
    return window["cpu_ms"] / window["read_completed"]


def analyse_recording(
    name: str,
    description: str | None,
    summary: Callable[[Sequence[Recorded]], tuple[Sequence[Row], Sequence[Claim]]],
    settings: Mapping[str, int] | None = None,
) -> None:
    """Run a benchmark that reads what `benchmarks.recording` has recorded."""

    def measure() -> Outcome:
        document = read("recording")
        rounds = recorded(document)
        rows, claims = summary(rounds)
        of = _scope(rounds, document)
        return Outcome(settings=settings or {}, rows=rows, claims=claims, scope=of, recording=document)

    analyse(name, description, measure)


def _scope(rounds: Sequence[Recorded], document: Mapping[str, Any]) -> Scope:
    first = rounds[0]
    blocks = len(next(iter(first.interleaved.values())))
    in_a_row = sum(bool(each.sequential) for each in rounds)
    return Scope(
        rounds=(
            f"{len(rounds)} rounds, each a new start of all servers, {len(first.twins)} of them identical; "
            f"{in_a_row} of these rounds have runs in a row too. Recorded {document['date'][:10]} in one session"
        ),
        modes=(
            f"local processes; `hello` on gunicorn-gthread-8; a connection each request; {document['settings']['users']} "
            f"users; {len(first.interleaved)} servers in a block, {blocks} blocks of {first.window_s:g} s"
        ),
        left_out="kept connections, other servers and workloads, containers, other machines, other days",
    )
