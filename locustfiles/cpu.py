"""The workload `cpu`: a request that computes. `locust -f locustfiles/cpu.py --host http://... --cpu-iterations 50000`"""

from locust import events
from locust.argument_parser import LocustArgumentParser

from lab_user import LabUser

DEFAULT_ITERATIONS = 50_000

# The generator of services/app/work.py.
MULTIPLIER = 1664525
INCREMENT = 1013904223
MODULUS = 2**32


@events.init_command_line_parser.add_listener
def _add_arguments(parser: LocustArgumentParser) -> None:
    parser.add_argument("--cpu-iterations", type=int, default=DEFAULT_ITERATIONS, help="steps of work a request does")


def state_after(iterations: int) -> int:
    """The state after `iterations` steps from 0, in closed form: c (a^n - 1) / (a - 1) mod m.

    The geometric series of x -> a x + c; Knuth, The Art of Computer Programming, volume 2, section 3.2.1, eq. (6).
    """
    power = pow(MULTIPLIER, iterations, MODULUS * (MULTIPLIER - 1))
    return INCREMENT * ((power - 1) // (MULTIPLIER - 1)) % MODULUS


class Cpu(LabUser):
    def on_start(self) -> None:
        iterations = getattr(self.environment.parsed_options, "cpu_iterations", DEFAULT_ITERATIONS)
        self.path = f"/cpu?iterations={iterations}"
        self.answer = f"state {state_after(iterations)} after {iterations} iterations\n".encode()
