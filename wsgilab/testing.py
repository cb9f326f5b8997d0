"""Fakes of the lab's two seams, the runtime and the swarm, and builders of values. For tests, here and elsewhere.

The fakes keep the promises of their Protocols; the contract suite runs on them as on the real ones.
"""

import contextlib
import json
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hdrh.histogram import HdrHistogram

from wsgilab.analysis import stats
from wsgilab.experiment import workloads
from wsgilab.load.client import AtEnd, AtEndOfBoth, LinkReading
from wsgilab.load.recorder import Sample
from wsgilab.model import (
    SCHEMA,
    Action,
    Application,
    Backend,
    Cell,
    Expected,
    Experiment,
    Host,
    InFlight,
    LatencyParts,
    Memory,
    Observation,
    PartTimes,
    Request,
    Run,
    Server,
    Stack,
    TrialReport,
    TrialSpec,
    Usage,
)
from wsgilab.model.application import LocustFile
from wsgilab.model.errors import TargetError
from wsgilab.runtime.pages import fetched
from wsgilab.runtime.protocol import Backends, Fleet, RunningBackend, Target


def server(name: str = "gunicorn-sync-1", **changes: Any) -> Server:
    """A server of one slot in one process, with `changes`."""
    plain = Server(
        name=name,
        stack="gunicorn",
        command=("gunicorn", "app:app"),
        environment={},
        slots=1,
        processes=1,
        model="process",
        summary=f"{name} in a few words",
    )
    return replace(plain, **changes)


def backend(name: str = "postgres", **changes: Any) -> Backend:
    """A backend that is ready at once, with `changes`."""
    plain = Backend(
        name=name,
        stack=name,
        entrypoint=(),
        command=("python", f"{name}.py"),
        health=("python", "-c", "pass"),
        environment={},
        port=8000,
    )
    return replace(plain, **changes)


def cell(server_name: str = "gunicorn-sync-1", **changes: Any) -> Cell:
    """`sleep` with 32 users on one core, a connection a request, with `changes`."""
    return replace(Cell(server=server_name, cores=1, workload="sleep", users=32, connection="close"), **changes)


def experiment(*cells: Cell, **changes: Any) -> Experiment:
    """An experiment of `cells` in three blocks, with `changes`."""
    chosen = cells or (cell(),)
    plain = Experiment(
        name="trial-run",
        cells=chosen,
        blocks=3,
        window_s=0.3,
        patience_s=5.0,
        reference=chosen[0].server,
        generator="own",
        parameters=workloads.parameters(
            {each.workload for each in chosen}, {"cpu": {"ms": 2.0}}, changes.get("application")
        ),
    )
    return replace(plain, **changes)


def application(**changes: Any) -> Application:
    """One with the requests `orders` and `buy`, and the mix `shop` of 3 and 1 of them, with `changes`."""
    plain = Application(
        entry="shop.wsgi:app",
        source="../shop",
        requests={
            "orders": Request(method="GET", path="/orders?page=1"),
            "buy": Request(method="POST", path="/orders", body="line\r\nline", expect=Expected(status=201)),
        },
        mixes={"shop": {"orders": 3.0, "buy": 1.0}},
    )
    return replace(plain, **changes)


def run(of: Experiment | None = None, *servers: Server, **changes: Any) -> Run:
    """A run of an experiment, on servers named in its cells unless they are given, with `changes`."""
    asked = of or experiment()
    known = servers or tuple(server(name) for name in dict.fromkeys(each.server for each in asked.cells))
    counts = sorted({each.cores for each in asked.cells})
    plain = Run(
        schema=SCHEMA,
        id="20260102-030405-trial-run",
        lab="0.1.0",
        started="2026-01-02T03:04:05+00:00",
        runtime="local",
        seed=1,
        experiment=asked,
        server_cpus={count: "0" if count == 1 else f"0-{count - 1}" for count in counts},
        generator_cpus=str(counts[-1]),
        cpu_iterations=None,
        servers={each.name: each for each in known},
        host=Host(
            cpu="A CPU",
            architecture="x86_64",
            usable_cpus=f"0-{counts[-1]}",
            siblings=tuple(str(number) for number in range(counts[-1] + 1)),
            memory_bytes=2**33,
            kernel="6.1",
            python="3.11.7",
        ),
        stacks={"gunicorn": Stack(digest="sha256:0", python="3.11.7", packages={"gunicorn": "27.0.1"})},
        packages={"pydantic": "2"},
        notes=(),
    )
    return replace(plain, **changes)


def histogram(*latencies_ms: float) -> str:
    """Latencies as a swarm encodes them."""
    made = HdrHistogram(stats.LOWEST_US, stats.HIGHEST_US, stats.DIGITS)
    for latency_ms in latencies_ms:
        made.record_value(round(latency_ms * 1000))
    return str(made.encode().decode("ascii"))


def trial_report(**changes: Any) -> TrialReport:
    """32 users on one slot of 50 ms: 20 requests a second, each after 1.6 s. With `changes`."""
    plain = TrialReport(
        window_s=0.3,
        warmup_s=0.01,
        settling_s=0.0,
        drain_s=0.05,
        unanswered=0,
        completed=6,
        throughput_rps=20.0,
        failures=0,
        errors={},
        cut_off=0,
        late=0,
        latency_mean_ms=1600.0,
        latency_ms=dict.fromkeys(("p50", "p95", "p99", "max"), 1600.0),
        latency_histogram=histogram(*[1600.0] * 6),
        in_flight=InFlight(peak=1, mean=0.99, threads=1, requests_per_process=(6,)),
        service_ms=50.0,
        generator_cpu=0.02,
    )
    return replace(plain, **changes)


def latency_parts(
    connect: float = 0.1, queue: float = 1549.4, service: float = 50.0, back: float = 0.5
) -> LatencyParts:
    """The parts of requests that all take the same, in milliseconds; by default those of `trial_report`'s latency."""

    def always(time_ms: float) -> PartTimes:
        return PartTimes(mean=time_ms, p50=time_ms, p95=time_ms, p99=time_ms)

    return LatencyParts(connect=always(connect), queue=always(queue), service=always(service), back=always(back))


def samples(served: Iterable[tuple[float, float]]) -> list[Sample]:
    """One correct answer for each (entered, left) in seconds, all from one thread of one process."""
    return [
        Sample((left - entered) * 1e3, f"1 1 1 {round(entered * 1e9)} {round(left * 1e9)}", None, False, 0, 0.0)
        for entered, left in served
    ]


def observation(of: Cell | None = None, *, block: int = 0, position: int = 0, **changes: Any) -> Observation:
    """A measured trial, with `changes`; `swarm=None` and `status="failed"` make it a failed one."""
    plain = Observation(
        block=block,
        position=position,
        cell=of or cell(),
        started="2026-01-02T03:04:05+00:00",
        status="measured",
        swarm=trial_report(),
        server_cpu_s=0.0066,
        server_span_s=0.3,
        resident_bytes=56_000_000,
    )
    return replace(plain, **changes)


@dataclass(slots=True, kw_only=True)
class _FakeRunning:
    """A server or a backend that runs while `died` is None."""

    cpus: frozenset[int] = frozenset({0})
    died: str | None = None
    log: str = ""
    cpu_s: float = 0.0
    throttled: int | None = None
    throttled_s: float | None = None
    """Of a tenth of a second for each reading."""
    restarts: int = 0
    on: frozenset[int] | None = None
    """The cores of another that it was started on, until it is pinned."""
    resident_bytes: int = 50_000_000

    def failure(self) -> str | None:
        return self.died

    def restart(self, on: frozenset[int] | None = None) -> None:
        self.restarts += 1
        self.died, self.on = None, on

    def pin(self) -> None:
        self.on = None

    def end(self) -> None:
        self.died = "was ended"

    def log_tail(self, lines: int = 10) -> str:
        return "\n".join(self.log.splitlines()[-lines:])

    def effective_cpus(self) -> frozenset[int]:
        return self.on or self.cpus

    def usage(self) -> Usage:
        self.cpu_s += 0.01
        stopped = self.throttled
        if stopped is not None:
            self.throttled = stopped + 1
        if self.throttled_s is not None:
            self.throttled_s += 0.1
        return Usage(
            at_s=time.monotonic(),
            cpu_s=self.cpu_s,
            resident_bytes=self.resident_bytes,
            os_threads=2,
            throttled=stopped,
            throttled_s=self.throttled_s,
        )


@dataclass(slots=True, kw_only=True)
class FakeTarget(_FakeRunning):
    """A target that runs while `died` is None."""

    server: Server
    base_url: str = "http://target.invalid:8000"
    published_url: str = "http://127.0.0.1:8000"
    acts: list[tuple[Action, int]] = field(default_factory=list)
    """What was done to it, and to which worker."""
    dies_of: Action | None = None
    """What it does not survive."""
    quotas: list[float | None] = field(default_factory=list)
    """Its quotas in turn; None: it has none any more."""

    def fetch(self, page: str) -> str:
        return fetched(self.published_url + page)

    def act(self, do: Action, worker: int = 0) -> None:
        if self.died is not None:
            raise TargetError(f"{self.name} {self.died}")
        self.acts.append((do, worker))
        if do == self.dies_of:
            self.died = "ended with exit code 0"

    @contextlib.contextmanager
    def limited(self, quota: float) -> Iterator[None]:
        self.quotas.append(quota)
        try:
            yield
        finally:
            self.quotas.append(None)

    def memory(self) -> Memory | None:
        return None if self.died else Memory(pss_bytes=40_000_000, private_bytes=30_000_000)

    @property
    def name(self) -> str:
        return self.server.name


@dataclass(slots=True, kw_only=True)
class FakeBackend(_FakeRunning):
    """A backend that runs while `died` is None."""

    backend: Backend

    @property
    def name(self) -> str:
        return self.backend.name


@dataclass(slots=True, kw_only=True)
class FakeSwarm:
    """A swarm whose reports are made by `answer`; it records the specs that it was given."""

    answer: Callable[[TrialSpec], TrialReport] = lambda _: trial_report()
    bodies: Mapping[str, str] = field(
        default_factory=lambda: {
            # As `run` has it of its stack.
            "__lab__/facts": json.dumps({"cpus": [0], "python": "3.11.7", "packages": {"gunicorn": "27.0.1"}}),
            "__lab__/ready": "ready\n",
        }
    )
    specs: list[TrialSpec] = field(default_factory=list)
    read_ns: list[int | None] = field(default_factory=list)
    """When targets were read, at both ends of each window."""
    locust_files: list[LocustFile] = field(default_factory=list)

    def get(self, url: str) -> str:
        page = url.partition("//")[2].partition("/")[2].partition("?")[0]
        if page not in self.bodies:
            raise TargetError(f"{url} answered with nothing: connection refused")
        return self.bodies[page]

    def load(self, spec: TrialSpec, at_window: AtEnd, at_close: AtEnd) -> TrialReport:
        self.specs.append(spec)
        self.read_ns += [at_window(), at_close()]
        return self.answer(spec)

    def load_both(
        self, specs: Sequence[TrialSpec], at_window: AtEndOfBoth, at_close: AtEndOfBoth
    ) -> Sequence[TrialReport]:
        self.specs += specs
        self.read_ns += [*at_window(), *at_close()]
        return [self.answer(spec) for spec in specs]

    def cancel(self) -> None: ...

    def bring(self, folder: str, archive: bytes) -> None: ...

    def load_locust_file(self, file: LocustFile) -> Sequence[str]:
        self.locust_files.append(file)
        return ()

    def link(self) -> LinkReading:
        return LinkReading(round_trip_ms=0.2, bandwidth_mbps=1000.0)


@contextlib.contextmanager
def fake_fleet(servers: Collection[Server], cpus: frozenset[int] = frozenset({0})) -> Iterator[Fleet]:
    """A fleet of targets that run."""
    fleet: dict[str, Target] = {each.name: FakeTarget(server=each, cpus=cpus) for each in servers}
    yield fleet


@contextlib.contextmanager
def fake_backends(backends: Collection[Backend], cpus: frozenset[int] = frozenset({1})) -> Iterator[Backends]:
    """Backends that run."""
    up: dict[str, RunningBackend] = {each.name: FakeBackend(backend=each, cpus=cpus) for each in backends}
    yield up
