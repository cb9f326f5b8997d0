"""The workload `burst`: all users ask at the same instant, again and again, with silence between.

`locust -f locustfiles/burst.py --host http://... -u 100 --burst-every-ms 1000 --burst-ms 10`

The instants lie on a grid of the targets' machine's clock, so that users of several processes ask at once. A user whose answer takes
longer than from one instant to the next leaves that one out.
"""

import time

import sleep
from lab_user import Get, LabUser, Option

EVERY_MS = Option[float]("burst", "every_ms")
MS = Option[float]("burst", "ms")


class Burst(LabUser):
    pauses = True
    _instant = 0
    """The number, from the clock's beginning, of the one at which it has asked last."""

    def on_start(self) -> None:
        self.get = sleep.get(MS.of(self))

    def choose(self) -> Get:
        # It may have woken a little early.
        self._instant = round(self._now_ns() / self._every_ns())
        return self.get

    def pause_s(self) -> float:
        now_ns, every_ns = self._now_ns(), self._every_ns()
        following = max((now_ns + round(self._gap_s * 1e9)) // every_ns + 1, self._instant + 1)
        return (following * every_ns - now_ns) / 1e9

    def first_pause_s(self) -> float:
        return self.pause_s()

    def _every_ns(self) -> int:
        return round(EVERY_MS.of(self) * 1e6)

    def _now_ns(self) -> int:
        return time.monotonic_ns() + self._clock_offset_ns
