"""The workload `sleep`: a request that waits. `locust -f locustfiles/sleep.py --host http://... --sleep-ms 50`"""

from lab_user import Get, LabUser, Option

MS = Option[float]("sleep", "ms")


def get(ms: float) -> Get:
    """A request that waits so many milliseconds."""
    return Get(f"/sleep?ms={ms:g}", f"slept {ms:g} ms\n".encode())


class Sleep(LabUser):
    def on_start(self) -> None:
        self.get = get(MS.of(self))
