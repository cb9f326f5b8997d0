"""A server against itself: how often each protocol calls one of two identical servers faster.

Read from `recording.yaml`: every two of the identical servers of each round. Each way to measure, blocks in turn or
runs in a row, is read by either rule: *the greater wins*, which decides whenever the two differ by more than the
margin that the lab allows itself; and *three verdicts*, faster, slower or neither, from a 95 % interval of the ratio
that must lie beyond the same margin. Blocks have the lab's interval; runs have Welch's, of their logarithms. The
pairs of a round share its servers and the state of the machine, so the intervals of shares are over rounds, not over
pairs (`benchmarks/rounds.py`). Must show: at most 5 % false verdicts. It would take some hundred rounds without any
to show it.
"""

import statistics
from collections.abc import Sequence

from benchmarks.outcome import Claim, Row
from benchmarks.protocols import Judgement, Protocol, Recorded, analyse_recording, pairs, protocols
from benchmarks.rounds import share
from wsgilab.analysis import stats

MAX_FALSE = 0.05


def summary(rounds: Sequence[Recorded]) -> tuple[Sequence[Row], Sequence[Claim]]:
    """A row for each protocol, and the lab's claims."""
    known = protocols(rounds)
    ours = [protocol for protocol in known if protocol.is_the_labs]
    rows = [_row(protocol, _found(protocol, rounds)) for protocol in known]
    claims = []
    for protocol in ours:
        right = [[not each.takes_sides for each in found] for found in _found(protocol, rounds)]
        level = stats.ERROR_RATE / len(ours)
        claims.append(
            Claim(
                what=f"{protocol.name}: no false verdict",
                ratio=share(right, level),
                at_least=1 - MAX_FALSE,
                level=level,
                rounds=len(right),
            )
        )
    return rows, claims


def _found(protocol: Protocol, rounds: Sequence[Recorded]) -> Sequence[Sequence[Judgement]]:
    """Judgements of every two twins, round by round."""
    return [[protocol.judge(each, *pair) for pair in pairs(each.twins)] for each in protocol.rounds(rounds)]


def _row(protocol: Protocol, found: Sequence[Sequence[Judgement]]) -> Row:
    every = [each for judgements in found for each in judgements]
    false = [[each.takes_sides for each in judgements] for judgements in found]
    return {
        "measured by": protocol.name,
        "rule": protocol.rule,
        "rounds": str(len(found)),
        "pairs": str(len(every)),
        "false verdicts": share(false),
        "rounds with one": str(sum(map(any, false))),
        "windows a pair, s": statistics.median(each.windows_s for each in every),
        "ratios, middle half": _middle_half([each.ratio for each in every]),
        "furthest": max((each.ratio for each in every), key=lambda ratio: max(ratio, 1 / ratio)),
    }


def _middle_half(ratios: Sequence[float]) -> str:
    if len(ratios) == 1:
        return "–"
    low, _, high = statistics.quantiles(ratios, n=4)
    return f"{low:.3f} to {high:.3f}"


if __name__ == "__main__":
    analyse_recording("twins", __doc__, summary)
