"""Machines with little memory: what servers really take of it is counted, and how many are up at once."""

import contextlib
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping

import docker
import psutil

from tests.conftest import processes
from wsgilab.commands import Workspace

_LOOK_S = 0.2

Taken = Callable[[], Mapping[str, int]]
"""Server that is up -> the bytes that it takes."""


class LittleMemory:
    """As much as so many servers take that are like the first one, which is up alone when it is asked for first."""

    def __init__(self, taken: Taken, holds: float) -> None:
        self._taken = taken
        self._holds = holds
        self._lock = threading.Lock()
        self.whole = 0.0
        self.most = 0
        """Bytes that servers took at once at most."""
        self.most_up = 0
        """So many of them were."""
        self.seen: set[str] = set()

    def available_bytes(self) -> int:
        """What the machine says."""
        taken = self._look()
        self.whole = self.whole or self._holds * taken
        return round(self.whole) - taken

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Count all the while."""
        is_over = threading.Event()

        def watch() -> None:
            while not is_over.wait(_LOOK_S):
                self._look()

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield
        finally:
            is_over.set()
            watcher.join()

    def _look(self) -> int:
        with self._lock:
            found = self._taken()
            total = sum(found.values())
            self.most, self.most_up = max(self.most, total), max(self.most_up, len(found))
            self.seen |= found.keys()
        return total


def of_processes(workspace: Workspace) -> Mapping[str, int]:
    """Of Gunicorn's: pages of its own, and once those that its processes share."""
    groups: dict[int, list[psutil.Process]] = defaultdict(list)
    found = {
        each.pid: each for each in processes(workspace) if any("gunicorn" in word for word in each.info["cmdline"])
    }
    taken = {}
    for pid, each in found.items():
        with contextlib.suppress(psutil.Error):
            groups[each.ppid() if each.ppid() in found else pid].append(each)
    for first, group in groups.items():
        with contextlib.suppress(psutil.Error):
            memory = [each.memory_full_info() for each in group]
            name = " ".join(found[first].info["cmdline"])
            taken[name] = sum(each.uss for each in memory) + max(each.rss - each.uss for each in memory)
    return taken


def of_containers(client: docker.DockerClient, workspace: Workspace) -> Mapping[str, int]:
    """Of Gunicorn's containers, as `docker stats` has it."""
    taken = {}
    for each in client.containers.list(filters={"label": f"wsgilab.lab={workspace.lab_id}"}, ignore_removed=True):
        name = each.labels.get("com.docker.compose.service", "")
        if name.startswith("gunicorn"):
            with contextlib.suppress(docker.errors.APIError, KeyError):
                memory = client.api.stats(str(each.id), stream=False, one_shot=True)["memory_stats"]
                details = memory["stats"]
                cache = details.get("total_inactive_file", details.get("inactive_file", 0))
                taken[name] = memory["usage"] - cache
    return taken
