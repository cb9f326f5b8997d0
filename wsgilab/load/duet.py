"""Users of two targets at work at once, all in one process: both are loaded in the very same window."""

# Locust patches the standard library for gevent when it is imported: it has to come first.
import locust  # noqa: F401  isort: skip

from collections.abc import Sequence

from wsgilab.load.local import Progress, Users
from wsgilab.load.reachability import NetworkReading


class Both:
    """The users of several loads of this process as if they were of one."""

    def __init__(self, loads: Sequence[Users]) -> None:
        self._loads = loads

    def read_network(self, patience_s: float) -> Sequence[NetworkReading]:
        return [reading for load in self._loads for reading in load.read_network(patience_s)]

    def start(self) -> None:
        for load in self._loads:
            load.start()

    def progress(self) -> Progress:
        found = [load.progress() for load in self._loads]
        return Progress(
            users=sum(each.users for each in found),
            answered=sum(each.answered for each in found),
            failed=sum(each.failed for each in found),
            starting=sum(each.starting for each in found),
        )

    def end_window(self, at_ns: int, void_ns: int) -> None:
        for load in self._loads:
            load.end_window(at_ns, void_ns)

    # What this process used, it used for all of them: one of them knows it.

    def mark(self) -> None:
        self._loads[0].mark()

    def busiest(self) -> float:
        return self._loads[0].busiest()

    def used(self) -> float:
        return self._loads[0].used()

    def others(self) -> float:
        return self._loads[0].others()
