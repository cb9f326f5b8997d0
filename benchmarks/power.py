"""A server against one that is 5 % and one that is 10 % slower: how often, and how soon, each protocol finds it.

Read from `recording.yaml`: each slower server against each of the six twins of its round. Must show: 5 % found in at
least 90 % of the tries, within 60 s of windows a pair.
"""

import statistics

from benchmarks.bench import Claim, Outcome, Row, analyse
from benchmarks.protocols import PROTOCOLS, recorded, rounds_for, share
from benchmarks.recording import SLOWER, TWINS

LEAST_FOUND = 0.9
LONGEST_S = 60.0


def measure() -> Outcome:
    """How often the difference is found, and after how many seconds of windows."""
    rounds, document = recorded()
    rows: list[Row] = []
    claims = []
    for server, slower_by in SLOWER.items():
        for name, protocol in PROTOCOLS.items():
            found = [protocol(each, server, twin) for each in rounds_for(protocol, rounds) for twin in TWINS]
            right = [each for each in found if each.verdict == "slower"]
            rate = share(sum(each.windows_s <= LONGEST_S for each in right), len(found))
            rows.append(
                {
                    "slower by": f"{slower_by:.0%}",
                    "protocol": name,
                    "tries": len(found),
                    "found": rate,
                    "called faster": share(sum(each.verdict == "faster" for each in found), len(found)).median,
                    "windows a pair until found, s": statistics.median(each.windows_s for each in right)
                    if right
                    else "–",
                    "median ratio": statistics.median(each.ratio for each in found),
                }
            )
            if name.startswith("wsgilab"):
                claims.append(Claim(what=f"{name}: {slower_by:.0%} is found", ratio=rate, at_least=LEAST_FOUND))
    return Outcome(settings={"recording": document["date"]}, blocks=(), rows=rows, claims=claims)


if __name__ == "__main__":
    analyse("power", __doc__, measure)
