"""How far two identical servers are apart in windows of each length, and what a neighbour makes of it.

Read from `recording.yaml`. Twins that were measured next to each other are a pair: the scatter of the logarithm of their ratio says
how exactly a comparison can be made. *30 s of windows* is what a 95 % interval from that scatter would reach to either side, if it
were made of so many pairs as fit. Cost is CPU time over the requests between the very same moments; *plain* is the same over
throughput, as the lab had it before. Beside a neighbour, *cost raised* is the median cost over that in the round's blocks without
it, for the twins and the servers unlike them: how far these are apart is what the margin beside a neighbour is for
(`wsgilab/analysis/cost.py`). Nothing must be shown.
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from benchmarks.bench import analyse
from benchmarks.outcome import Outcome, Row, Scope, read
from benchmarks.recording import KINDS, TWINS, UNLIKE
from wsgilab.model.errors import StoreError

PAIR_S = 30.0
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
        _row(condition, pairs[condition], _raised(windows, condition[0], settings["neighbours"]))
        for condition in sorted(pairs, key=lambda each: (order.index(each[0]), each[1]))
    ]


def _pair(found: Mapping[str, Window], suffix: str) -> tuple[Window, Window]:
    return found[TWINS[0] + suffix], found[TWINS[1] + suffix]


def throughput(window: Window) -> float:
    """Requests a second."""
    return window["rps"]


def cost(window: Window) -> float:
    """CPU milliseconds a request, counted between the readings."""
    return window["cpu_ms"] / window["read_completed"]


def plain(window: Window) -> float:
    """CPU milliseconds a request, over throughput."""
    return window["cpu_ms"] / window["read_span_s"] / window["rps"]


def _row(condition: Condition, pairs: Sequence[tuple[Window, Window]], raised: str) -> Row:
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
        "cost raised": raised,
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


def measure() -> Outcome:
    """Read the recording. No load is made."""
    document = read("recording")
    scope = Scope(**document["scope"])
    return Outcome(settings={}, rows=summary(document), claims=(), scope=scope, recording=document)


if __name__ == "__main__":
    analyse("noise", __doc__, measure)
