"""A server against itself: how often each protocol calls one of two identical servers faster.

Read from `recording.yaml`: every two of the six twins of each round. Must show: at most 5 % false verdicts.
"""

import statistics
from collections.abc import Sequence

from benchmarks.bench import Claim, Outcome, Row, analyse
from benchmarks.protocols import PROTOCOLS, Judgement, pairs, recorded, rounds_for, share
from benchmarks.recording import TWINS

MAX_FALSE = 0.05


def measure() -> Outcome:
    """The rate of false verdicts, and how far the ratios are from 1."""
    rounds, document = recorded()
    rows: list[Row] = []
    claims = []
    for name, protocol in PROTOCOLS.items():
        found = [protocol(each, *pair) for each in rounds_for(protocol, rounds) for pair in pairs(TWINS)]
        false = sum(each.verdict != "undecided" for each in found)
        rows.append(
            {
                "protocol": name,
                "comparisons": str(len(found)),
                "false verdicts": share(false, len(found)),
                "windows a pair, s": statistics.median(each.windows_s for each in found),
                "ratios, middle half": _quartiles(found),
                "furthest": max((each.ratio for each in found), key=lambda ratio: max(ratio, 1 / ratio)),
            }
        )
        if name.startswith("wsgilab"):
            right = share(len(found) - false, len(found))
            claims.append(Claim(what=f"{name}: no false verdict", ratio=right, at_least=1 - MAX_FALSE))
    return Outcome(settings={"recording": document["date"]}, blocks=(), rows=rows, claims=claims)


def _quartiles(found: Sequence[Judgement]) -> str:
    low, _, high = statistics.quantiles([each.ratio for each in found], n=4)
    return f"{low:.3f} to {high:.3f}"


if __name__ == "__main__":
    analyse("twins", __doc__, measure)
