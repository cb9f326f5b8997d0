"""A server against one that is 5 % and one that is 10 % slower: how often, and how soon, each protocol finds it.

Read from `recording.yaml`: each slower server against each of the identical ones of its round; for the lab also with
two rounds together. Rules and intervals are those of `twins`. A rule that always decides finds more differences, and
`twins` shows how many of them are false. Must show: 5 % found in at least 90 % of the tries within 60 s of windows a
pair.
"""

import statistics
from collections.abc import Sequence

from benchmarks.outcome import Claim, Row
from benchmarks.protocols import Judgement, Protocol, Recorded, analyse_recording, joined, protocols
from benchmarks.recording import SLOWER
from benchmarks.rounds import share
from wsgilab.analysis import stats

LEAST_FOUND = 0.9


def summary(rounds: Sequence[Recorded]) -> tuple[Sequence[Row], Sequence[Claim]]:
    """A row for each protocol and difference, and the lab's claims."""
    known = protocols(rounds)
    level = stats.ERROR_RATE / (len(SLOWER) * sum(protocol.is_the_labs for protocol in known))
    rows: list[Row] = []
    claims = []
    for server, slower_by in SLOWER.items():
        for protocol in known:
            rows.append(_row(slower_by, protocol, "", _found(protocol, server, rounds)))
            if protocol.is_the_labs and len(rounds) > 1:
                found = _found(protocol, server, joined(rounds))
                rows.append(_row(slower_by, protocol, ", two rounds together", found))
                claims.append(_claim(protocol, slower_by, found, level))
    return rows, claims


def _found(protocol: Protocol, server: str, rounds: Sequence[Recorded]) -> Sequence[Sequence[Judgement]]:
    """Judgements of the slower server and each twin, round by round."""
    return [[protocol.judge(each, server, twin) for twin in each.twins] for each in protocol.rounds(rounds)]


def _row(slower_by: float, protocol: Protocol, together: str, found: Sequence[Sequence[Judgement]]) -> Row:
    every = [each for judgements in found for each in judgements]
    right = [each for each in every if each.verdict == "slower"]
    return {
        "slower by": f"{slower_by:.0%}",
        "measured by": protocol.name + together,
        "rule": protocol.rule,
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
