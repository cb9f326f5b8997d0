"""The workload `cpu`: a request that computes. `locust -f locustfiles/cpu.py --host http://... --cpu-ms 5`

How many iterations take a millisecond differs from machine to machine: `--iterations-per-ms`, as `/calibrate?ms=1` of the
target says.
"""

from lab_user import Get, LabUser, Option, iterations

MS = Option[float]("cpu", "ms")

# The generator of services/app/work.py.
MULTIPLIER = 1664525
INCREMENT = 1013904223
MODULUS = 2**32


def state_after(iterations: int) -> int:
    """The state after `iterations` steps from 0, in closed form: c (a^n - 1) / (a - 1) mod m.

    The geometric series of x -> a x + c; Knuth, The Art of Computer Programming, volume 2, section 3.2.1, eq. (6).
    """
    power = pow(MULTIPLIER, iterations, MODULUS * (MULTIPLIER - 1))
    return INCREMENT * ((power - 1) // (MULTIPLIER - 1)) % MODULUS


def get(iterations: int) -> Get:
    """A request that does so many steps."""
    return Get(
        f"/cpu?iterations={iterations}", f"state {state_after(iterations)} after {iterations} iterations\n".encode()
    )


class Cpu(LabUser):
    def on_start(self) -> None:
        self.get = get(iterations(self, MS.of(self)))
