"""A server against one that is 5 % and one that is 10 % slower: how often, and how soon, each protocol finds it.

Read from `recording.yaml`: each slower server against each of the identical ones of its round; for the lab also with
two rounds together. Rules and intervals are those of `twins`. A rule that always decides finds more differences, and
`twins` shows how many of them are false. Must show: 5 % found in at least 90 % of the tries within 60 s of windows a
pair.

The last rows are of runs that are drawn from the windows of each round, as in `calibration`: twelve servers that are
slower than a reference by 5, 10 or 20 %, in 4, 8 or 12 blocks, judged by the lab's intervals and by those it had before.
`found` of the one over `found` of the other is what the change brought.
"""

import math
import random
import statistics
from collections.abc import Sequence

from benchmarks import calibration
from benchmarks.outcome import Claim, Row
from benchmarks.protocols import THREE, Judgement, Protocol, Recorded, analyse_recording, joined, protocols
from benchmarks.recording import SLOWER
from benchmarks.rounds import share
from wsgilab.analysis import stats

LEAST_FOUND = 0.9
RUNS = 40
"""How many runs of each kind are drawn from each round."""
DRAWN_SLOWER = (0.05, 0.10, 0.20)
DRAWN_BLOCKS = (4, 8, 12)


def summary(rounds: Sequence[Recorded]) -> tuple[Sequence[Row], Sequence[Claim]]:
    """A row for each protocol and difference, and the lab's claims."""
    known = protocols(rounds)
    level = stats.ERROR_RATE / (len(SLOWER) * sum(protocol.is_the_labs for protocol in known))
    rows: list[Row] = []
    claims = []
    for server, slower_by in SLOWER.items():
        for protocol in known:
            rows.append(_row(slower_by, protocol.name, protocol.rule, _found(protocol, server, rounds)))
            if protocol.is_the_labs and len(rounds) > 1:
                found = _found(protocol, server, joined(rounds))
                rows.append(_row(slower_by, f"{protocol.name}, two rounds together", protocol.rule, found))
                claims.append(_claim(protocol, slower_by, found, level))
    return [*rows, *drawn(rounds)], claims


def drawn(rounds: Sequence[Recorded], runs: int = RUNS) -> Sequence[Row]:
    """Two rows, of the lab and of the lab before, for each difference and number of blocks."""
    family = calibration.FAMILIES["12, with a reference"]
    rows: list[Row] = []
    for blocks in DRAWN_BLOCKS:
        source = random.Random(f"{calibration.SEED}/{blocks}")  # noqa: S311 - a simulation
        alike = [
            [calibration.draw_run(source, calibration.alone, scatter, family, (blocks,)) for _ in range(runs)]
            for scatter in map(calibration.scatter_of, rounds)
        ]
        for slower_by in DRAWN_SLOWER:
            slower = [
                [
                    {pair: [each + math.log(1 - slower_by) for each in logs] for pair, logs in run.items()}
                    for run in of_round
                ]
                for of_round in alike
            ]
            for name, judge in (("wsgilab", calibration.lab), ("wsgilab before", calibration.before)):
                found = [
                    [
                        Judgement(
                            verdict=stats.verdict(interval),
                            ratio=interval.median,
                            windows_s=2 * blocks * of.window_s,
                        )
                        for run in of_round
                        for interval in judge(run)
                    ]
                    for of, of_round in zip(rounds, slower, strict=True)
                ]
                rows.append(_row(slower_by, f"{name}, 12 comparisons in {blocks} blocks, drawn", THREE, found))
    return rows


def _found(protocol: Protocol, server: str, rounds: Sequence[Recorded]) -> Sequence[Sequence[Judgement]]:
    """Judgements of the slower server and each twin, round by round."""
    return [[protocol.judge(each, server, twin) for twin in each.twins] for each in protocol.rounds(rounds)]


def _row(slower_by: float, measured_by: str, rule: str, found: Sequence[Sequence[Judgement]]) -> Row:
    every = [each for judgements in found for each in judgements]
    right = [each for each in every if each.verdict == "slower"]
    return {
        "slower by": f"{slower_by:.0%}",
        "measured by": measured_by,
        "rule": rule,
        "rounds": str(len(found)),
        "tries": str(len(every)),
        "windows a pair at most, s": max(each.windows_s for each in every),
        "found": share(_hits(found)),
        "wrong verdicts": share(
            [[each.verdict not in {"slower", "undecided"} for each in judgements] for judgements in found]
        ),
        "until found, s": statistics.median(each.windows_s for each in right) if right else "–",
        "median ratio": statistics.median(each.ratio for each in every),
    }


def _claim(protocol: Protocol, slower_by: float, found: Sequence[Sequence[Judgement]], level: float) -> Claim:
    return Claim(
        what=f"{protocol.name}, two rounds together: {slower_by:.0%} is found",
        ratio=share(_hits(found), level),
        at_least=LEAST_FOUND,
        level=level,
        rounds=len(found),
    )


def _hits(found: Sequence[Sequence[Judgement]]) -> Sequence[Sequence[bool]]:
    return [[each.verdict == "slower" for each in judgements] for judgements in found]


if __name__ == "__main__":
    analyse_recording("power", __doc__, summary)
