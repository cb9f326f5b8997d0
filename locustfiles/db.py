"""The workload `db`: a request that waits in a database. `locust -f locustfiles/db.py --host http://... --db-ms 50`

Each user reads a row of its own, so that no cache makes one user's request cheaper than another's.
"""

from hashlib import sha256

from lab_user import Get, LabUser, Option

MS = Option[float]("db", "ms")

ITEMS = 10_000
"""Rows of the table, as in services/app/waits.py."""


def get(number: int, ms: float) -> Get:
    """The request of user `number` that reads a row, by a statement that waits so many milliseconds."""
    item = number % ITEMS
    content = sha256(str(item).encode()).hexdigest()
    return Get(f"/db?ms={ms:g}&item={item}", f"read {content} after {ms:g} ms\n".encode())


class Db(LabUser):
    def on_start(self) -> None:
        self.get = get(self.number, MS.of(self))
