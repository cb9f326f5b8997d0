"""The workload `upstream`: a request that waits for another service.

`locust -f locustfiles/upstream.py --host http://... --upstream-ms 50`
"""

from lab_user import Get, LabUser, Option

MS = Option[float]("upstream", "ms")


def get(ms: float) -> Get:
    """A request that waits for another service, which takes so many milliseconds."""
    return Get(f"/upstream?ms={ms:g}", f"waited {ms:g} ms\n".encode())


class Upstream(LabUser):
    def on_start(self) -> None:
        self.get = get(MS.of(self))
