"""The workload `stall`: one user computes, all others wait. `locust -f locustfiles/stall.py --host http://... -u 32`

The others' latency then shows whether one request's computing holds up everybody else's waiting.
"""

import cpu
import sleep
from lab_user import LabUser, Option, iterations

MS = Option[float]("stall", "ms")


class Stall(LabUser):
    """The one who computes, over all of the generator's processes together."""

    fixed_count = 1

    def on_start(self) -> None:
        self.get = cpu.get(iterations(self, MS.of(self)))


class Stalled(LabUser):
    def on_start(self) -> None:
        self.get = sleep.get(sleep.MS.of(self))
