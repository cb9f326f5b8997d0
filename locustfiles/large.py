"""The workload `large`: a large answer. `locust -f locustfiles/large.py --host http://... --large-kib 1024`"""

from functools import lru_cache

from lab_user import Get, LabUser, Option

KIB = Option[int]("large", "kib")


@lru_cache(maxsize=4)
def get(kib: float) -> Get:
    """A request with an answer of so many KiB. One for all users, who would have a copy of the answer each."""
    return Get(f"/large?kib={kib:g}", b"".join(b"%063d\n" % line for line in range(int(kib * 16))))


class Large(LabUser):
    def on_start(self) -> None:
        self.get = get(KIB.of(self))
