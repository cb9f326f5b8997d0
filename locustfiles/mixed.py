"""The workload `mixed`: requests of several kinds, in given shares. `locust -f locustfiles/mixed.py --host http://...`

Each user has a deck of cards, with each kind as often as its share demands, and goes through it again and again,
shuffled anew each time. So the shares are exact in the long run, and close to that soon; and each user's order is
always the same, but no two users' are alike.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from math import gcd, lcm

import cpu
import db
import hello
import large
import upstream
from lab_user import Get, LabUser, Option
from wsgilab.experiment.workloads import WORKLOADS

SHARES = {kind: Option[float]("mixed", kind) for kind in WORKLOADS["mixed"].parameters}


def deck(shares: Mapping[str, float]) -> Sequence[str]:
    """The smallest deck that has each kind exactly in its share. Raises ValueError where there is none."""
    exact = {kind: Fraction(str(share)) for kind, share in shares.items()}
    if min(exact.values()) < 0 or not any(exact.values()):
        raise ValueError(f"shares must be 0 or more, and one of them more: {dict(shares)}")
    whole = lcm(*(share.denominator for share in exact.values()))
    counts = {kind: int(share * whole) for kind, share in exact.items()}
    common = gcd(*counts.values())
    return [kind for kind, count in counts.items() for _ in range(count // common)]


def shuffled(cards: Sequence[str], number: int) -> Iterator[str]:
    """The cards in the order of user `number`, without end."""
    source = random.Random(number)  # noqa: S311 - a load, not a secret
    while True:
        yield from source.sample(cards, len(cards))


class Mixed(LabUser):
    def on_start(self) -> None:
        self._gets: Mapping[str, Get] = {
            "hello": hello.GET,
            "db": db.get(self.number, db.MS.of(self)),
            "upstream": upstream.get(upstream.MS.of(self)),
            "cpu": cpu.get(cpu.ITERATIONS.of(self)),
            "large": large.get(large.KIB.of(self)),
        }
        self._cards = shuffled(deck({kind: share.of(self) for kind, share in SHARES.items()}), self.number)

    def choose(self) -> Get:
        return self._gets[next(self._cards)]
