"""How far two identical servers are apart in windows of each length, and what a neighbour makes of it.

Read from `recording.yaml`. Twins that were measured next to each other are a pair: the scatter of the logarithm of their ratio says
how exactly a comparison can be made. *30 s of windows* is what a 95 % interval from that scatter would reach to either side, if it
were made of so many pairs as fit. Cost is CPU time over the requests between the very same moments; *plain* is the same over
throughput, as the lab had it before. Beside a neighbour, *cost raised* is the median cost over that in the round's blocks without
it, for the twins and the servers unlike them: how far these are apart is what the margin beside a neighbour is for
(`wsgilab/analysis/pairs/cost.py`). *Unlike servers, wrong* holds that margin against the recording: the ratio of two unlike servers' costs
beside the neighbour, block by block, over what it is without; a verdict on it is wrong. It is read once from all blocks of each pair,
and from 200 runs of each pair of 4, 8 and 12 blocks that are drawn from them. What takes the memory bus takes no share of a core, so
there is no margin for it but the 1 % of quiet windows; beside a program on the generator's core nothing is compared. Must show: of
either at most 5 % wrong.
"""

import itertools
import math
import random
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from benchmarks.bench import analyse
from benchmarks.outcome import Outcome, Row, Scope, read
from benchmarks.protocols import cost
from benchmarks.recording import KINDS, TWINS, UNLIKE
from wsgilab.analysis import paired_ratio, stats
from wsgilab.analysis.pairs.cost import margin, verdict
from wsgilab.model.errors import StoreError

PAIR_S = 30.0
DRAWN = 200
DRAWN_BLOCKS = (4, 8, 12)
_NORMAL = statistics.NormalDist().inv_cdf(0.975)

Window = Mapping[str, float]
Condition = tuple[str, float]
"""What ran beside it, and seconds of a window."""


def summary(document: Mapping[str, Any]) -> Sequence[Row]:
    """A row for each length of windows without a neighbour, and for the blocks with each kind. Raises StoreError for a recording
    that has none of these."""
    pairs: dict[Condition, list[tuple[Window, Window]]] = defaultdict(list)
    windows: dict[str, dict[tuple[str, str], list[Window]]] = defaultdict(lambda: defaultdict(list))
    settings = document["settings"]
    if "neighbours" not in settings:
        raise StoreError("recording.yaml: it is an earlier lab's; make it anew with python -m benchmarks.recording")
    for block in document["blocks"]:
        for group, found in block.items():
            kind, _, number = group.partition(" ")
            beside = settings["neighbours"][int(number)]
            if kind == "length":
                lengths = dict.fromkeys(float(name.partition("#")[2]) for name in found)
                for length_s in lengths:
                    pairs["none", length_s].append(_pair(found, f" #{length_s}"))
            elif kind in ("interleaved", "off", "on"):
                condition = beside if kind == "on" else "none"
                pairs[condition, settings["window_s"]].append(_pair(found, ""))
                for name, window in found.items() if kind != "interleaved" else ():
                    windows[kind][number, name].append(window)
    order = ("none", *KINDS)
    return [
        {
            **_row(condition, pairs[condition]),
            "cost raised": _raised(windows, condition[0], settings["neighbours"]),
            "unlike servers, wrong": _unlike(windows, condition[0], settings["neighbours"]),
        }
        for condition in sorted(pairs, key=lambda each: (order.index(each[0]), each[1]))
    ]


def _pair(found: Mapping[str, Window], suffix: str) -> tuple[Window, Window]:
    return found[TWINS[0] + suffix], found[TWINS[1] + suffix]


def throughput(window: Window) -> float:
    """Requests a second."""
    return window["rps"]


def plain(window: Window) -> float:
    """CPU milliseconds a request, over throughput."""
    return window["cpu_ms"] / window["read_span_s"] / window["rps"]


def _row(condition: Condition, pairs: Sequence[tuple[Window, Window]]) -> Row:
    beside, length_s = condition
    scatter = {read: _scatter(pairs, read) for read in (throughput, cost, plain)}
    others = [window["server_others"] for pair in pairs for window in pair if window["server_others"] is not None]
    exact = _NORMAL * scatter[throughput] / math.sqrt(PAIR_S / (2 * length_s))
    return {
        "neighbour": beside,
        "window, s": length_s,
        "pairs": str(len(pairs)),
        "others on the server's core": f"{statistics.fmean(others):.1%}" if others else "–",
        "sd of ln ratio: throughput": scatter[throughput],
        "cost": scatter[cost],
        "plain": scatter[plain],
        "30 s of windows": f"{exact:.1%}",
    }


def _scatter(pairs: Iterable[tuple[Window, Window]], read: Callable[[Window], float]) -> float:
    """The standard deviation of the logarithm of the pairs' ratios; 0 of one pair."""
    logs = [math.log(read(one) / read(two)) for one, two in pairs if read(one) and read(two)]
    return statistics.stdev(logs) if len(logs) > 1 else 0.0


def _raised(windows: Mapping[str, Mapping[tuple[str, str], Sequence[Window]]], kind: str, kinds: Sequence[str]) -> str:
    """The median, over the rounds of a kind, of each server's cost with the neighbour over that without it."""
    if kind == "none":
        return "–"
    ratios: dict[str, list[float]] = defaultdict(list)
    for (number, name), running in windows["on"].items():
        if kinds[int(number)] == kind:
            with_it, without = (statistics.fmean(map(cost, each)) for each in (running, windows["off"][number, name]))
            ratios["twins" if name in TWINS else name].append(with_it / without)
    return ", ".join(f"{name} {statistics.median(ratios[name]):.3f}" for name in ("twins", *UNLIKE) if name in ratios)


def _unlike(windows: Mapping[str, Mapping[tuple[str, str], Sequence[Window]]], kind: str, kinds: Sequence[str]) -> str:
    """How often two unlike servers would have a wrong verdict on their cost beside a neighbour of this kind, if they cost the same
    without one: over all pairs, in all of their blocks together, and in runs of few blocks that are drawn from these."""
    if kind not in ("server", "memory"):
        return "–"
    rounds = dict.fromkeys(number for number, _ in windows["on"] if kinds[int(number)] == kind)
    names = dict.fromkeys(name for _, name in windows["on"])
    source = random.Random(f"1/{kind}")  # noqa: S311 - a simulation
    whole, drawn = [], []
    for one, other in itertools.combinations(names, 2):
        if one in TWINS and other in TWINS:
            continue

        def of_both(
            when: str, numbers: Iterable[str], one: str = one, other: str = other
        ) -> Sequence[tuple[Window, Window]]:
            return [
                both
                for number in numbers
                for both in zip(windows[when][number, one], windows[when][number, other], strict=True)
            ]

        quiet = statistics.median(
            cost(a) / cost(b) for a, b in of_both("off", dict.fromkeys(number for number, _ in windows["off"]))
        )
        blocks = of_both("on", rounds)
        whole.append(_is_wrong(blocks, quiet))
        drawn += [_is_wrong(source.choices(blocks, k=count), quiet) for count in DRAWN_BLOCKS for _ in range(DRAWN)]
    return f"{sum(whole)} of {len(whole)} pairs, {statistics.fmean(drawn):.1%} of runs of {DRAWN_BLOCKS[0]} to {DRAWN_BLOCKS[-1]} blocks"


def _is_wrong(blocks: Sequence[tuple[Window, Window]], quiet: float) -> bool:
    """Whether their cost has a verdict, although it differs by what a neighbour made of it alone."""
    ratios = [cost(one) / cost(other) / quiet for one, other in blocks]
    ours, theirs = (
        statistics.fmean(each["server_others"] or 0.0 for each in side) for side in zip(*blocks, strict=True)
    )
    found = paired_ratio.interval(ratios, stats.ERROR_RATE, paired_ratio.scatter([ratios]))
    return verdict(found, margin(ours, theirs, alike=False)) != "undecided"


def measure() -> Outcome:
    """Read the recording. No load is made."""
    document = read("recording")
    scope = Scope(**document["scope"])
    return Outcome(settings={}, rows=summary(document), claims=(), scope=scope, recording=document)


if __name__ == "__main__":
    analyse("noise", __doc__, measure)
