"""How often the lab finds that two servers differ, and how often it errs, by how their windows are read. Pure.

For `benchmarks.pairs`. Whatever shares one start of the servers and one condition is a round's stretch of pairs, and tries are
made of whole ones: neighbouring windows share their noise.
"""

import math
import random
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from benchmarks.outcome import Block, Rate, Row
from wsgilab.analysis import paired_ratio, stats
from wsgilab.analysis.pairs import cost
from wsgilab.model import CostVerdict

DIFFERENCE = 0.05
HELLO, CPU, MORE = "hello", "cpu", "cpu 5 % more"
"""What two servers are compared in. In the last the second of the two does more."""
ALTERNATION, DUET = "alternation", "duet"
QUIET, NEIGHBOUR = "quiet", "neighbour"
LENGTHS_S = (10.0, 30.0, 60.0)
LENGTHS = ", ".join(f"{length_s:g}" for length_s in LENGTHS_S)
TRIES = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Window(Rate):
    """One server of a pair."""

    took_s: float
    """Of wall time, users starting and draining included; in a duet half of what both took."""
    cost_ms: float | None = None
    """CPU milliseconds a request; None where it was not read."""
    others: float = 0.0
    """The share of the server's core that others had, in a duet than both servers."""
    disturbed: bool = False
    """Whether others had more of either core than the lab allows; not known in a duet."""


Pair = tuple[Window, Window]
"""Of `one` and of `two`."""
Rounds = Sequence[Sequence[Pair]]
"""The pairs of each round, in the order in which they were measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One way to compare the two."""

    name: str
    way: str
    figure: Callable[[Window], float]
    found: CostVerdict
    """What is said of the second if it does more."""
    kept: Callable[[Sequence[Pair]], Sequence[Pair]] = lambda pairs: pairs
    """Those of the pairs that count."""
    margin: Callable[[Sequence[Pair]], float] = lambda _: stats.SAME

    def verdict(self, pairs: Sequence[Pair], scaled: float = 1.0) -> CostVerdict:
        """What the lab's interval says of the second's figure over the first's, that of the second scaled."""
        ratios = self.ratios(pairs, scaled)
        if len(ratios) < stats.FEWEST_PAIRED:
            return "undecided"
        interval = paired_ratio.interval(ratios, stats.ERROR_RATE, paired_ratio.scatter([ratios]))
        return cost.verdict(interval, self.margin(self.kept(pairs)))

    def ratios(self, pairs: Sequence[Pair], scaled: float = 1.0) -> Sequence[float]:
        """The second's figure, scaled, over the first's, of every pair that counts."""
        return [scaled * self.figure(two) / self.figure(one) for one, two in self.kept(pairs)]


def throughput(window: Window) -> float:
    """Requests a second."""
    return window.rps


def cost_ms(window: Window) -> float:
    """CPU milliseconds a request."""
    assert window.cost_ms is not None
    return window.cost_ms


def clean(pairs: Sequence[Pair]) -> Sequence[Pair]:
    """Those of undisturbed windows; none where the lab has too few of them."""
    found = [pair for pair in pairs if not any(window.disturbed for window in pair)]
    return found if len(found) >= stats.FEWEST_BLOCKS else []


def matched(pairs: Sequence[Pair]) -> Sequence[Pair]:
    """Those in which others took about as much from both, or all where the lab has too few of them."""
    found = [(one, two) for one, two in pairs if abs(one.others - two.others) <= cost.MATCHED]
    return found if len(found) >= stats.FEWEST_BLOCKS else pairs


def cost_margin(pairs: Sequence[Pair]) -> float:
    """By how much the costs of two processes of one server must differ, after what others took."""
    ours, theirs = (statistics.fmean(window.others for window in windows) for windows in zip(*pairs, strict=True))
    return cost.margin(ours, theirs, alike=True)


READINGS = (
    Reading(name="alternation", way=ALTERNATION, figure=throughput, found="less"),
    Reading(name="alternation, clean windows", way=ALTERNATION, figure=throughput, found="less", kept=clean),
    Reading(name="duet", way=DUET, figure=throughput, found="less"),
    Reading(name="duet, cost", way=DUET, figure=cost_ms, found="more", margin=cost_margin),
    Reading(name="cost", way=ALTERNATION, figure=cost_ms, found="more", kept=matched, margin=cost_margin),
)


def grouped(blocks: Sequence[Block]) -> Mapping[tuple[str, str, str], Rounds]:
    """The rounds of each kind, way and condition."""
    found: dict[tuple[str, str, str], dict[str, list[Pair]]] = defaultdict(lambda: defaultdict(list))
    for block in blocks:
        for group, windows in block.items():
            kind, way, where = group.split(", ")
            condition, _, round_number = where.partition(" ")
            one, two = windows["one"], windows["two"]
            assert isinstance(one, Window)
            assert isinstance(two, Window)
            found[kind, way, condition][round_number].append((one, two))
    return {key: list(rounds.values()) for key, rounds in found.items()}


def tries(rounds: Rounds, pairs: int, source: random.Random, *, alike: bool) -> Iterator[Sequence[Pair]]:
    """Tries of so many pairs. Where the two are `alike`, either may be the first, round by round."""
    for _ in range(TRIES):
        drawn: list[Pair] = []
        while len(drawn) < pairs:
            of_round = source.choice(rounds)
            is_turned = alike and source.random() < 1 / 2
            drawn += [(two, one) for one, two in of_round] if is_turned else of_round
        yield drawn[:pairs]


def summary(blocks: Sequence[Block], window_s: float) -> Sequence[Row]:
    """A row for each workload, condition and reading."""
    known = grouped(blocks)
    return [
        _row(f"{twins}, {condition}", known[twins, reading.way, condition], differing, reading, 2 * window_s)
        for twins in (HELLO, CPU)
        for condition in (QUIET, NEIGHBOUR)
        for reading in READINGS
        for differing in [None if twins == HELLO else known[MORE, reading.way, condition]]
    ]


def _row(where: str, twins: Rounds, differing: Rounds | None, reading: Reading, pair_s: float) -> Row:
    """Without pairs that differ, the figures of the second twin are scaled."""
    scaled = 1.0 if differing else 1 + DIFFERENCE if reading.found == "more" else 1 / (1 + DIFFERENCE)
    apart = differing or twins
    false, found = [], []
    for length_s in LENGTHS_S:
        count, source = round(length_s / pair_s), random.Random(f"{where}/{reading.name}/{length_s}")  # noqa: S311 - a simulation
        drawn = tries(twins, count, source, alike=True)
        false.append(sum(reading.verdict(each) != "undecided" for each in drawn) / TRIES)
        drawn = tries(apart, count, source, alike=differing is None)
        found.append(sum(reading.verdict(each, scaled) == reading.found for each in drawn) / TRIES)
    every, of_differing = list(chain.from_iterable(twins)), reading.ratios(list(chain.from_iterable(apart)), scaled)
    of_twins = reading.ratios(every)
    middles = [statistics.median(ratios) for each in twins if (ratios := reading.ratios(each))]
    took_s = math.fsum(window.took_s for pair in every for window in pair)
    workload, condition = where.split(", ")
    return {
        "workload": workload,
        "beside": "nothing" if condition == QUIET else "a neighbour",
        "measured by": reading.name,
        "pairs that count": f"{len(of_twins)} of {len(every)}",
        "sd of ln ratio": statistics.stdev(map(math.log, of_twins)) if len(of_twins) > 1 else "–",
        "twins apart": f"{min(middles):.3f} to {max(middles):.3f}" if middles else "–",
        "ratio at 5 %": f"{statistics.median(of_differing):.3f}" if of_differing else "–",
        f"5 % found in {LENGTHS} s": ", ".join(f"{share:.0%}" for share in found),
        f"false in {LENGTHS} s": ", ".join(f"{share:.1%}" for share in false),
        "took": took_s / (len(every) * pair_s),
    }
