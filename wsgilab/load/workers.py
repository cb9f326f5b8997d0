"""The workers of a master of Locust's: one on each of the generator's cores here, and those of outposts on other machines."""

# Locust patches the standard library for gevent when it is imported: it has to come first.
import locust  # noqa: F401  isort: skip

import os
import socket
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import gevent
from locust import runners
from locust.env import Environment
from locust.runners import STATE_MISSING, MasterRunner

from wsgilab.load.local import POLL_S, UP_S
from wsgilab.system import process

ARRIVE_S = 60.0
"""How long workers may take to come from other machines: their containers are started after the master's."""
HEARTBEATS = 6
"""So many of a worker's heartbeats, one a second, may be missing before it is lost. Locust's own three are too few where a
trial's samples, which go before them, take seconds on a slow link."""
_UNLISTED_S = 3.0
HELLO = "lab_hello"
_HERE = "127.0.0.1"
_EVERYWHERE = "0.0.0.0"  # noqa: S104 - of a container, which publishes one port


class Lost(Exception):
    """A worker has gone, or did not do as told. The message is one line."""


def make_master(environment: Environment, port: int, elsewhere: int) -> MasterRunner:
    """A master that listens to this machine alone, or with workers `elsewhere` to others too, at `port`. Raises Lost."""
    if not elsewhere:
        return environment.create_master_runner(_HERE, 0)
    try:
        # Locust itself would end this process.
        socket.create_server((_EVERYWHERE, port)).close()
    except OSError as error:
        raise Lost(f"cannot listen on port {port} for workers of other machines: {error}") from None
    runners.HEARTBEAT_LIVENESS = HEARTBEATS
    return environment.create_master_runner(_EVERYWHERE, port)


class Workers:
    """They are there once this is made, and stay until the end."""

    def __init__(
        self, runner: MasterRunner, module: str, cpus: Collection[int], elsewhere: int, words: Sequence[str] = ()
    ) -> None:
        """Start `module`, with `words` more, on each of `cpus`; wait for as many from outposts as are said. Raises Lost."""
        self._runner = runner
        self._expected = len(cpus) + elsewhere
        self._outposts: dict[str, tuple[str, str]] = {}
        """Worker -> its outpost: the machine's name and what tells it from another of that name."""
        self._unlisted_since: dict[str, float] = {}
        runner.register_message(HELLO, self._on_hello)
        # In memory: it needs no folder that can be written to, and is gone with this process.
        self._log = Path(f"/proc/self/fd/{os.memfd_create('workers')}")
        argv = [sys.executable, "-m", module, _HERE, str(runner.server.port), *words]
        self._here = [
            process.spawn(argv, cwd=Path.cwd(), env=os.environ, cpus={cpu}, log=self._log) for cpu in sorted(cpus)
        ]
        try:
            self._gather(elsewhere)
        except Lost:
            self.end()
            raise

    def _gather(self, elsewhere: int) -> None:
        limit_s = ARRIVE_S if elsewhere else UP_S
        deadline = time.monotonic() + limit_s
        while len(self._outposts) < self._expected or not self.are_ready:
            self.check()
            if time.monotonic() > deadline:
                raise Lost(self._missing(limit_s, elsewhere))
            gevent.sleep(0.01)

    def _missing(self, limit_s: float, elsewhere: int) -> str:
        came = sum(bool(machine) for machine, _ in self._outposts.values())
        if came == elsewhere:
            return f"the generator's workers were not ready within {limit_s:.0f} s"
        port = self._runner.server.port
        return (
            f"only {came} of {elsewhere} workers on other machines have connected to port {port} within {limit_s:.0f} s: "
            "check that they reach this machine at its address and port"
        )

    def _on_hello(self, msg: Any, **_: Any) -> None:
        self._outposts[msg.node_id] = msg.data["machine"], msg.data["outpost"]

    def __len__(self) -> int:
        return self._expected

    @property
    def are_ready(self) -> bool:
        return len(self._runner.clients.ready) == self._expected

    @property
    def here(self) -> Collection[str]:
        """The workers on this machine, as Locust knows them."""
        return [worker for worker, (machine, _) in self._outposts.items() if not machine]

    @property
    def elsewhere(self) -> Mapping[str, str]:
        """Those on other machines, and on which."""
        return {worker: machine for worker, (machine, _) in self._outposts.items() if machine}

    @property
    def by_outpost(self) -> Collection[Sequence[str]]:
        """Those on other machines, outpost by outpost."""
        found: dict[tuple[str, str], list[str]] = {}
        for worker, outpost in self._outposts.items():
            if outpost[0]:
                found.setdefault(outpost, []).append(worker)
        return list(found.values())

    def cpu_s(self) -> Sequence[float]:
        """CPU seconds that each worker on this machine has used so far."""
        self.check()
        return [process.cpu_s(worker.pid) for worker in self._here]

    def wait(self, until: Callable[[], bool], limit_s: float) -> None:
        """Raises Lost after `limit_s`, and where a worker goes meanwhile."""
        deadline = time.monotonic() + limit_s
        while not until():
            self.check()
            if time.monotonic() > deadline:
                raise Lost(f"the generator's workers did not do as told within {limit_s:.0f} s")
            gevent.sleep(POLL_S)

    def check(self) -> None:
        """Raises Lost where a worker has gone. On other machines that is noticed some seconds later, by Locust."""
        self._check_here()
        for worker, machine in self.elsewhere.items():
            client = self._runner.clients.get(worker)
            if client is not None and client.state != STATE_MISSING:
                self._unlisted_since.pop(worker, None)
                continue
            # One that has just stopped its users is not listed for a moment.
            since = self._unlisted_since.setdefault(worker, time.monotonic())
            if client is not None or time.monotonic() - since > _UNLISTED_S:
                raise Lost(
                    f"a worker of the generator on {machine} is not heard of any more: it has ended, or the link is down"
                )
        if len(self._runner.clients) > self._expected:
            raise Lost(
                f"more workers than the {self._expected} expected have connected to port {self._runner.server.port}: "
                "those of another run, or of somebody else"
            )

    def _check_here(self) -> None:
        for worker in self._here:
            if (code := worker.exit_code()) is not None:
                last = process.tail(self._log, 1)
                raise Lost(f"a worker of the generator ended with exit code {code}: {last}")

    def end(self) -> None:
        """End those here; whoever is elsewhere is told to. Nothing is waited for that is out of reach."""
        self._runner.quit()
        self._runner.server.close(linger=500)
        for worker in self._here:
            worker.end()
