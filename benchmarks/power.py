"""A server against one that is 5 % and one that is 10 % slower: how often, and how soon, each protocol finds it.

Read from `recording.yaml`: each slower server against each of the six twins of its round; for the lab also with two
rounds together, which stay within 60 s of windows a pair. Must show: 5 % found in at least 90 % of the tries then.
"""

import statistics
from collections.abc import Sequence

from benchmarks.bench import Claim, Outcome, Row, analyse
from benchmarks.protocols import PROTOCOLS, Judgement, joined, recorded, rounds_for, share
from benchmarks.recording import SLOWER, TWINS

LEAST_FOUND = 0.9


def measure() -> Outcome:
    """How often the difference is found, and after how many seconds of windows."""
    rounds, document = recorded()
    rows: list[Row] = []
    claims = []
    for server, slower_by in SLOWER.items():
        for name, protocol in PROTOCOLS.items():
            ours = name.startswith("wsgilab")
            for judged in (rounds, joined(rounds)) if ours else (rounds_for(protocol, rounds),):
                found = [protocol(each, server, twin) for each in judged for twin in TWINS]
                row = _row(slower_by, name, found)
                rows.append(row)
                if ours and judged is not rounds:
                    rate = share(sum(each.verdict == "slower" for each in found), len(found))
                    claims.append(Claim(what=f"{name}: {slower_by:.0%} is found", ratio=rate, at_least=LEAST_FOUND))
    return Outcome(settings={"recording": document["date"]}, blocks=(), rows=rows, claims=claims)


def _row(slower_by: float, protocol: str, found: Sequence[Judgement]) -> Row:
    right = [each for each in found if each.verdict == "slower"]
    return {
        "slower by": f"{slower_by:.0%}",
        "protocol": protocol,
        "tries": str(len(found)),
        "windows a pair at most, s": max(each.windows_s for each in found),
        "found": share(len(right), len(found)),
        "called faster": share(sum(each.verdict == "faster" for each in found), len(found)).median,
        "until found, s": statistics.median(each.windows_s for each in right) if right else "–",
        "median ratio": statistics.median(each.ratio for each in found),
    }


if __name__ == "__main__":
    analyse("power", __doc__, measure)
