"""What each protocol says of two servers, given one round of a recording. Pure, but for reading the file."""

import itertools
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.bench import RESULTS
from benchmarks.recording import SEQUENTIAL_RUNS, SEQUENTIAL_S
from wsgilab import plan, stats, testing
from wsgilab.errors import StoreError
from wsgilab.model import Interval, Verdict

FIRST_LOOK = 10
"""Blocks before the sequential protocol looks for the first time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One start of all servers: requests a second."""

    interleaved: Mapping[str, Sequence[float]]
    """Server -> block by block."""
    sequential: Mapping[str, Sequence[float]]
    """Server -> its runs in a row; empty where the round has none."""
    window_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a protocol says of one server over another."""

    verdict: Verdict
    ratio: float
    windows_s: float
    """Seconds of windows that it took, of both servers together."""


Protocol = Callable[[Round, str, str], Judgement]


def lab(each: Round, ours: str, theirs: str) -> Judgement:
    """This lab with a fixed number of blocks: one comparison, one look."""
    ratios = _ratios(each, ours, theirs)
    return _judged(each, ratios, stats.ERROR_RATE)


def lab_sequential(each: Round, ours: str, theirs: str) -> Judgement:
    """This lab with `precision`: it ends at the first look at which the comparison is decided."""
    ratios = _ratios(each, ours, theirs)
    experiment = testing.experiment(blocks=FIRST_LOOK, precision=0.001, max_blocks=len(ratios))
    seen = 0
    for look in plan.looks(experiment):
        level = stats.spent(look / len(ratios)) - stats.spent(seen / len(ratios))
        found = _judged(each, ratios[:look], level)
        if found.verdict != "undecided":
            return found
        seen = look
    return found


def best_of_three(each: Round, ours: str, theirs: str) -> Judgement:
    """Three runs of 5 s each, one server after the other; the best of each counts."""
    return _plain(each, max(each.sequential[ours]) / max(each.sequential[theirs]))


def one_run(each: Round, ours: str, theirs: str) -> Judgement:
    """One run of 15 s each, one server after the other."""
    return _plain(each, statistics.fmean(each.sequential[ours]) / statistics.fmean(each.sequential[theirs]))


def _plain(_: Round, ratio: float) -> Judgement:
    """Protocols without an interval say what they see; to be fair, not within the margin that the lab allows itself."""
    exact = stats.median_interval([ratio, ratio])
    return Judgement(verdict=stats.verdict(exact), ratio=ratio, windows_s=2 * SEQUENTIAL_RUNS * SEQUENTIAL_S)


PROTOCOLS: Mapping[str, Protocol] = {
    "wsgilab, fixed blocks": lab,
    "wsgilab, precision": lab_sequential,
    "best of 3 x 5 s, sequential": best_of_three,
    "one run of 15 s each": one_run,
}


def joined(rounds: Sequence[Round]) -> Sequence[Round]:
    """Every two rounds as one of twice the blocks, with a new start of all servers half-way."""
    return [
        Round(
            interleaved={name: [*first.interleaved[name], *second.interleaved[name]] for name in first.interleaved},
            sequential={},
            window_s=first.window_s,
        )
        for first, second in zip(rounds[::2], rounds[1::2], strict=False)
    ]


def rounds_for(protocol: Protocol, rounds: Sequence[Round]) -> Sequence[Round]:
    """Those rounds that have what the protocol needs."""
    return [each for each in rounds if each.sequential] if protocol in (best_of_three, one_run) else rounds


def _ratios(each: Round, ours: str, theirs: str) -> Sequence[float]:
    return [a / b for a, b in zip(each.interleaved[ours], each.interleaved[theirs], strict=True)]


def _judged(each: Round, ratios: Sequence[float], level: float) -> Judgement:
    strayed = stats.departures([math.log(ratio) for ratio in ratios])
    interval = stats.ratio(ratios, level, stats.reach(strayed))
    return Judgement(verdict=stats.verdict(interval), ratio=interval.median, windows_s=2 * len(ratios) * each.window_s)


def pairs(servers: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Every two of them, once."""
    return itertools.combinations(servers, 2)


def share(hits: int, tries: int) -> Interval:
    """A share, with the interval in which its true value lies with a chance of 95 % (Wilson 1927,
    doi:10.1080/01621459.1927.10502953)."""
    z = 1.959964
    centre = (hits + z * z / 2) / (tries + z * z)
    spread = z * math.sqrt(hits * (tries - hits) / tries + z * z / 4) / (tries + z * z)
    return Interval(median=hits / tries, low=max(0.0, centre - spread), high=min(1.0, centre + spread))


def recorded(path: Path = RESULTS / "recording.yaml") -> tuple[Sequence[Round], Mapping[str, Any]]:
    """The rounds of the last recording, and the document that it stands in. Raises StoreError where there is none."""
    try:
        document = yaml.load(path.read_text(), Loader=yaml.CSafeLoader)
    except OSError:
        raise StoreError(
            f"{path.name}: there is no recording yet; make one with python -m benchmarks.recording"
        ) from None
    interleaved: dict[int, dict[str, list[float]]] = {}
    sequential: dict[int, dict[str, list[float]]] = {}
    for block in document["blocks"]:
        for group, rates in block.items():
            kind, _, number = group.partition(" ")
            into = (interleaved if kind == "interleaved" else sequential).setdefault(int(number), {})
            for contender, rate in rates.items():
                into.setdefault(contender.partition(" #")[0], []).append(rate["rps"])
    window_s = document["settings"]["window_s"]
    rounds = [
        Round(interleaved=each, sequential=sequential.get(number, {}), window_s=window_s)
        for number, each in sorted(interleaved.items())
    ]
    return rounds, document
