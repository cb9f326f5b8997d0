"""The clock that live figures are timed by: the targets' machine's."""

import contextlib
import time

import gevent

from wsgilab.load.reachability import RETRY_S, Reachability, Unreachable

CLOCK_S = 60.0
"""How often the clock of another machine is read: clocks drift apart, some ms a minute."""


class TargetsClock:
    """CLOCK_MONOTONIC of the targets' machine: this one's own, where there is no other."""

    def __init__(self, reachability: Reachability | None) -> None:
        """Raises Unreachable."""
        self.offset_ns = 0
        """How far it is ahead of this one's."""
        if reachability is not None:
            self.offset_ns = reachability.read(RETRY_S).offset_ns
            gevent.spawn(self._keep_reading, reachability)

    def __call__(self) -> int:
        return time.monotonic_ns() + self.offset_ns

    def _keep_reading(self, reachability: Reachability) -> None:
        while True:
            gevent.sleep(CLOCK_S)
            # While it is not reached, there are no answers to time either.
            with contextlib.suppress(Unreachable):
                self.offset_ns = reachability.read(0).offset_ns
