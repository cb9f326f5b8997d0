"""The clock that live figures are told in: the targets' machine's."""

import contextlib
import time

import gevent

from wsgilab.load.reachability import RETRY_S, Reachability, Unreached

CLOCK_S = 60.0
"""How often the targets' machine's clock is asked for, where that is another: clocks drift apart, some ms a minute."""


class TheirClock:
    """CLOCK_MONOTONIC of the targets' machine: this one's own, where there is no other."""

    def __init__(self, reach: Reachability | None) -> None:
        """Raises Unreached."""
        self._reach = reach
        self._offset_ns = 0
        if reach is not None:
            self._offset_ns = reach.look(RETRY_S).offset_ns
            gevent.spawn(self._ask_on, reach)

    def __call__(self) -> int:
        return time.monotonic_ns() + self._offset_ns

    def _ask_on(self, reach: Reachability) -> None:
        while True:
            gevent.sleep(CLOCK_S)
            # While it is not reached, there are no answers to tell of either.
            with contextlib.suppress(Unreached):
                self._offset_ns = reach.look(0).offset_ns
