"""The workload `sleep`: a request that waits. `locust -f locustfiles/sleep.py --host http://... --sleep-ms 50`"""

from locust import events
from locust.argument_parser import LocustArgumentParser

from lab_user import LabUser

DEFAULT_MS = 50.0


@events.init_command_line_parser.add_listener
def _add_arguments(parser: LocustArgumentParser) -> None:
    parser.add_argument("--sleep-ms", type=float, default=DEFAULT_MS, help="how long a request waits, in milliseconds")


class Sleep(LabUser):
    def on_start(self) -> None:
        ms = getattr(self.environment.parsed_options, "sleep_ms", DEFAULT_MS)
        self.path = f"/sleep?ms={ms:g}"
        self.answer = f"slept {ms:g} ms\n".encode()
