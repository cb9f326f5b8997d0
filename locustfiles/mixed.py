"""The workload `mixed`: requests of several kinds, in given shares. `locust -f locustfiles/mixed.py --host http://...`

Each user has a deck of cards, with each kind as often as its share demands, and goes through it again and again,
shuffled anew each time. So the shares are exact in the long run, and close to that soon; and each user's order is
always the same, but no two users' are alike.
"""

from collections.abc import Mapping

import cpu
import db
import hello
import large
import upstream
from lab_user import Get, LabUser, Option, iterations
from wsgilab.experiment.workloads import WORKLOADS, deck, shuffled

SHARES = {kind: Option[float]("mixed", kind) for kind in WORKLOADS["mixed"].parameters}


class Mixed(LabUser):
    def on_start(self) -> None:
        self._gets: Mapping[str, Get] = {
            "hello": hello.GET,
            "db": db.get(self.number, db.MS.of(self)),
            "upstream": upstream.get(upstream.MS.of(self)),
            "cpu": cpu.get(iterations(self, cpu.MS.of(self))),
            "large": large.get(large.KIB.of(self)),
        }
        self._cards = shuffled(deck({kind: share.of(self) for kind, share in SHARES.items()}), self.number)

    def choose(self) -> Get:
        return self._gets[next(self._cards)]
