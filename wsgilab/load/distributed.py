"""Users at work on one target from several cores, of one machine or more. Locust's own master and workers."""

# Locust patches the standard library for gevent when it is imported: it has to come first.
import locust  # noqa: F401  isort: skip

import argparse
import os
import socket
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import gevent
from locust import runners
from locust.env import Environment
from locust.runners import STATE_MISSING, MasterRunner

from wsgilab.load.idle import Silence
from wsgilab.load.local import POLL_S, UP_S, Progress, WindowMark, environment, wait_until_at_work
from wsgilab.load.locustfiles import BadLocustfile, every_user_class, user_classes
from wsgilab.load.own_locustfile import loaded, unpack
from wsgilab.load.reachability import NetworkReading, Reachability, Unreachable
from wsgilab.load.recorder import Sample
from wsgilab.model import TrialSpec
from wsgilab.system import host, process

ARRIVE_S = 60.0
"""How long workers may take to connect from other machines: their containers are started after the master's."""
HEARTBEATS = 6
"""So many of a worker's heartbeats, one a second, may be missing before it is lost. Locust's own three are too few where a
trial's samples, which go before them, take seconds on a slow link."""
HELLO = "lab_hello"
WORKER_MODULE = "wsgilab.load.worker"

_UNLISTED_S = 3.0
_LOOPBACK = "127.0.0.1"
_ALL_ADDRESSES = "0.0.0.0"  # noqa: S104 - of a container, which publishes one port
_MASTER_OPTIONS: Mapping[str, Any] = {"enable_rebalancing": False, "headless": True}
"""The options that Locust's master itself reads."""
_RESET_OPTIONS: Mapping[str, Any] = {
    **dict.fromkeys(("rate", "gap_ms", "abandon_ms"), 0.0),
    **dict.fromkeys(("window_end_ns", "void_after_ns", "idle_connections"), 0),
    "idle_send": "nothing",
}
"""Workers keep the options that they are not sent anew; these must not be left over from the trial before."""


class WorkerLost(Exception):
    """A worker has gone, or did not do as it should. The message is one line."""


def master_options(description: str) -> argparse.ArgumentParser:
    """The command line of a process that may have Locust's master: the generator and the web UI."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--clock-server", metavar="HOST:PORT", type=Reachability, help="on the targets' machine, where that is another"
    )
    parser.add_argument("--listen", metavar="PORT", type=int, default=0, help="where remote workers connect")
    parser.add_argument("--workers", metavar="N", type=int, default=0, help="how many remote workers connect")
    return parser


def make_master(environment: Environment, port: int, remote: int) -> MasterRunner:
    """A master that listens on loopback alone; with `remote` workers, on every address at `port`. Raises WorkerLost."""
    if not remote:
        return environment.create_master_runner(_LOOPBACK, 0)
    try:
        # Locust itself would end this process.
        socket.create_server((_ALL_ADDRESSES, port)).close()
    except OSError as error:
        raise WorkerLost(f"cannot listen on port {port} for workers of other machines: {error}") from None
    runners.HEARTBEAT_LIVENESS = HEARTBEATS
    return environment.create_master_runner(_ALL_ADDRESSES, port)


class Workers:
    """The workers of a Locust master: one on each of the generator's cores here, and remote ones on other machines."""

    def __init__(
        self, runner: MasterRunner, module: str, cpus: Collection[int], remote: int, arguments: Sequence[str] = ()
    ) -> None:
        """Start `module`, with `arguments`, on each of `cpus`, and wait until all are connected, `remote` ones included.

        Raises WorkerLost.
        """
        self._runner = runner
        self._expected = len(cpus) + remote
        self._origins: dict[str, tuple[str, str]] = {}
        """Worker -> its machine's name, empty for this one, and the process there that has started it."""
        self._unlisted_since: dict[str, float] = {}
        runner.register_message(HELLO, self._on_hello)
        # In memory: it needs no folder that can be written to, and is gone with this process.
        self._log = Path(f"/proc/self/fd/{os.memfd_create('workers')}")
        argv = [sys.executable, "-m", module, _LOOPBACK, str(runner.server.port), *arguments]
        self._here = [
            process.spawn(argv, cwd=Path.cwd(), env=os.environ, cpus={cpu}, log=self._log) for cpu in sorted(cpus)
        ]
        try:
            self._gather(remote)
        except WorkerLost:
            self.end()
            raise

    def _gather(self, remote: int) -> None:
        limit_s = ARRIVE_S if remote else UP_S
        deadline = time.monotonic() + limit_s
        while len(self._origins) < self._expected or not self.are_ready:
            self.check()
            if time.monotonic() > deadline:
                raise WorkerLost(self._missing(limit_s, remote))
            gevent.sleep(0.01)

    def _missing(self, limit_s: float, remote: int) -> str:
        connected = len(self.remote)
        if connected == remote:
            return f"the generator's workers were not ready within {limit_s:.0f} s"
        port = self._runner.server.port
        return (
            f"only {connected} of {remote} workers on other machines have connected to port {port} within {limit_s:.0f} s: "
            "check that they reach this machine at its address and port"
        )

    def _on_hello(self, msg: Any, **_: Any) -> None:
        self._origins[msg.node_id] = msg.data["machine"], msg.data["starter"]

    def __len__(self) -> int:
        return self._expected

    @property
    def are_ready(self) -> bool:
        return len(self._runner.clients.ready) == self._expected

    @property
    def here(self) -> Collection[str]:
        """The workers on this machine, by Locust's ids."""
        return [worker for worker, (machine, _) in self._origins.items() if not machine]

    @property
    def remote(self) -> Mapping[str, str]:
        """Those on other machines -> the machine's name."""
        return {worker: machine for worker, (machine, _) in self._origins.items() if machine}

    @property
    def by_starter(self) -> Collection[Sequence[str]]:
        """Those on other machines, grouped by the process that has started them."""
        found: dict[tuple[str, str], list[str]] = {}
        for worker, origin in self._origins.items():
            if origin[0]:
                found.setdefault(origin, []).append(worker)
        return list(found.values())

    def share(self, folder: str, archive: bytes, copy: Path) -> None:
        """Have a copy of a folder of the user's own Locust files on each machine of a worker, such as this one has at `copy`."""
        here = {"folder": folder, "at": str(copy)}
        for worker, (machine, _) in self._origins.items():
            self._runner.send_message("lab_folder", {"folder": folder, "archive": archive} if machine else here, worker)

    def cpu_s(self) -> Sequence[float]:
        """CPU seconds that each worker on this machine has used so far."""
        self.check()
        return [process.cpu_s(worker.pid) for worker in self._here]

    def wait(self, until: Callable[[], bool], limit_s: float) -> None:
        """Raises WorkerLost after `limit_s`, and where a worker goes meanwhile."""
        deadline = time.monotonic() + limit_s
        while not until():
            self.check()
            if time.monotonic() > deadline:
                raise WorkerLost(f"the generator's workers did not answer within {limit_s:.0f} s")
            gevent.sleep(POLL_S)

    def check(self) -> None:
        """Raises WorkerLost where a worker has gone. Locust notices that some seconds late for other machines."""
        for child in self._here:
            if (code := child.exit_code()) is not None:
                last = process.tail(self._log, 1)
                raise WorkerLost(f"a worker of the generator ended with exit code {code}: {last}")
        for worker, machine in self.remote.items():
            client = self._runner.clients.get(worker)
            if client is not None and client.state != STATE_MISSING:
                self._unlisted_since.pop(worker, None)
                continue
            # One that has just stopped its users is not listed for a moment.
            since = self._unlisted_since.setdefault(worker, time.monotonic())
            if client is not None or time.monotonic() - since > _UNLISTED_S:
                raise WorkerLost(
                    f"a worker of the generator on {machine} no longer answers: it has ended, or the link is down"
                )
        if len(self._runner.clients) > self._expected:
            raise WorkerLost(
                f"more workers than the {self._expected} expected have connected to port {self._runner.server.port}: "
                "those of another run, or of somebody else"
            )

    def end(self) -> None:
        """End those here, and send the others the order to quit. Does not wait for what is out of reach."""
        self._runner.quit()
        self._runner.server.close(linger=500)
        for worker in self._here:
            worker.end()


@dataclass(slots=True)
class _TrialState:
    """What the workers have sent in a trial, by worker."""

    progress: dict[str, Progress] = field(default_factory=dict)
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    silence: dict[str, Silence] = field(default_factory=dict)
    here: list[WindowMark] = field(default_factory=list)
    """Of all processes on this machine together, the master included."""
    marks: defaultdict[str, list[WindowMark]] = field(default_factory=lambda: defaultdict(list))
    """Of each worker."""
    network: dict[str, NetworkReading | Unreachable] = field(default_factory=dict)
    """Of one worker for each process that has started some."""
    user_errors: list[str] = field(default_factory=list)


class DistributedLoad:
    """Locust's master in this process, with its workers: a `Load` for one trial after the other.

    It cannot be used any more after it has raised WorkerLost.
    """

    def __init__(
        self, cpus: Collection[int], *, reachability: Reachability | None = None, port: int = 0, remote: int = 0
    ) -> None:
        """A worker on each of `cpus`, and `remote` more that connect to `port` from other machines. Raises WorkerLost."""
        self._cpus = frozenset(cpus)
        self._reachability = reachability
        self._users = 0
        self._patience_s = 0.0
        self._state = _TrialState()
        self._classes = every_user_class()
        self._environment = environment(self._classes)
        self._runner = make_master(self._environment, port, remote)
        self._runner.register_message("lab_progress", self._on_progress)
        self._runner.register_message("lab_samples", self._on_samples)
        self._runner.register_message("lab_user_error", self._on_user_error)
        self._runner.register_message("lab_marked", self._on_marked)
        self._runner.register_message("lab_network", self._on_network)
        self._workers = Workers(self._runner, WORKER_MODULE, cpus, remote)

    def share(self, folder: str, archive: bytes) -> None:
        """Have a copy of a folder of the user's own Locust files here, and on each machine of a worker."""
        self._workers.share(folder, archive, unpack(folder, archive))

    def begin(self, spec: TrialSpec) -> None:
        """Prepare for a trial, whose users are spread evenly over the workers. Raises WorkerLost and BadLocustfile."""
        self._workers.check()
        self._state = _TrialState()
        self._patience_s = spec.patience_s
        classes = user_classes(spec.locustfile) if spec.own is None else [loaded(spec.own).user_class]
        if spec.own is None and (other := next((each for each in classes if each not in self._classes), None)):
            raise BadLocustfile(
                f"locustfiles/{spec.locustfile}.py: another Locust file has a {other.__name__} too: rename one"
            )
        # Its listeners are the workers' alone.
        own = None if spec.own is None else {"file": asdict(spec.own), "host": spec.base_url, "users": spec.users}
        self._runner.send_message("lab_own", own)
        self._environment.host = spec.base_url
        # Locust sends these to its workers with each start.
        parts = {"arrivals_parts": len(self._workers)}
        idle = {} if spec.idle is None else {"idle_connections": spec.idle.connections, "idle_send": spec.idle.send}
        self._environment.parsed_options = argparse.Namespace(
            **{**_MASTER_OPTIONS, **_RESET_OPTIONS, **spec.options, **parts, **idle}
        )
        self._environment.user_classes = classes
        self._environment.stop_timeout = 0
        self._users = spec.users if not spec.rate else len(self._workers)

    def read_network(self, patience_s: float) -> Sequence[NetworkReading]:
        if self._reachability is None:
            return ()
        network = self._state.network
        network.clear()
        # One of each group, so that they do not hold each other up.
        groups = self._workers.by_starter
        for reader, *_ in groups:
            self._runner.send_message("lab_read_network", {"patience_s": patience_s}, reader)
        own = self._reachability.read(patience_s)
        self._workers.wait(lambda: len(network) == len(groups), patience_s + UP_S)
        readings = [own]
        self._send_clock(self._workers.here, own)
        for group in groups:
            reading = network[group[0]]
            if isinstance(reading, Unreachable):
                raise Unreachable(f"on {self._workers.remote[group[0]]}, {reading}")
            self._send_clock(group, reading)
            readings.append(reading)
        return readings

    def _send_clock(self, workers: Collection[str], reading: NetworkReading) -> None:
        for worker in workers:
            self._runner.send_message("lab_clock", {"offset_ns": reading.offset_ns}, worker)

    def start(self) -> None:
        self._workers.wait(lambda: self._workers.are_ready, UP_S)
        self._runner.start(self._users, spawn_rate=self._users)
        self._workers.wait(lambda: self.progress().users == self._users, UP_S)
        wait_until_at_work(self, self._patience_s)

    def progress(self) -> Progress:
        self._workers.check()
        if self._state.user_errors:
            raise BadLocustfile(self._state.user_errors[0])
        progress = self._state.progress.values()
        return Progress(
            users=sum(each.users for each in progress),
            answered=sum(each.answered for each in progress),
            failed=sum(each.failed for each in progress),
            starting=sum(each.starting for each in progress),
        )

    def end_window(self, at_ns: int, void_ns: int) -> None:
        self._workers.check()
        self._runner.send_message("lab_window_end", {"at_ns": at_ns, "void_ns": void_ns})

    def stop(self, patience_s: float) -> list[Sample]:
        self._runner.send_message("lab_stop", {"patience_s": patience_s})
        self._workers.wait(lambda: len(self._state.samples) == len(self._workers), patience_s + UP_S)
        self._runner.stop()
        self._workers.wait(lambda: self._workers.are_ready, UP_S)
        return [sample for samples in self._state.samples.values() for sample in samples]

    def silence(self) -> Silence:
        return Silence.merged(self._state.silence.values())

    def mark(self) -> None:
        # The remote workers answer in their own time.
        for worker in self._workers.remote:
            self._runner.send_message("lab_mark", None, worker)
        at_ns, idle_s = time.monotonic_ns(), host.idle_s(self._cpus)
        used_s, own_s = self._workers.cpu_s(), time.process_time()
        self._state.here.append(WindowMark(at_ns, sum(used_s) + own_s, idle_s))
        for number, cpu_s in enumerate(used_s):
            # The master runs on these workers' cores: what it uses is added to each.
            self._state.marks[f"here {number}"].append(WindowMark(at_ns, cpu_s + own_s, idle_s))

    def busiest(self) -> float:
        self._wait_for_marks()
        return max(begin.share(end) for begin, end in self._state.marks.values())

    def used(self) -> float:
        begin, end = self._state.here
        return begin.share(end)

    def others(self) -> float:
        self._wait_for_marks()
        begin, end = self._state.here
        remote = (self._state.marks[worker] for worker in self._workers.remote)
        return max([begin.others(end, len(self._cpus)), *(first.others(last, cores=1) for first, last in remote)])

    def _wait_for_marks(self) -> None:
        marks = self._state.marks
        self._workers.wait(lambda: sum(len(each) == 2 for each in marks.values()) == len(self._workers), UP_S)  # noqa: PLR2004 - the window's two ends

    def end(self) -> None:
        self._workers.end()

    def _on_progress(self, msg: Any, **_: Any) -> None:
        self._state.progress[msg.node_id] = Progress(**msg.data)

    def _on_samples(self, msg: Any, **_: Any) -> None:
        self._state.silence[msg.node_id] = Silence.sent(msg.data["silence"])
        self._state.samples[msg.node_id] = [Sample.sent(row, msg.node_id) for row in msg.data["samples"]]

    def _on_user_error(self, msg: Any, **_: Any) -> None:
        self._state.user_errors.append(msg.data["message"])

    def _on_marked(self, msg: Any, **_: Any) -> None:
        self._state.marks[msg.node_id].append(WindowMark(**msg.data))

    def _on_network(self, msg: Any, **_: Any) -> None:
        error = msg.data.pop("error", None)
        self._state.network[msg.node_id] = NetworkReading(**msg.data) if error is None else Unreachable(error)
