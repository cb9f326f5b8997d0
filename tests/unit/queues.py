"""A machine that is made up, whose servers are queues: runs that look for capacity take no time on it."""

import math
import random
import zlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from wsgilab import testing
from wsgilab.analysis.compare import compare
from wsgilab.experiment import plan
from wsgilab.model import CapacityLimit, Cell, Comparison, InFlight, Observation, Run, Trial
from wsgilab.run.stages import Stage, stages

BESIDE_S = 1.2
"""What a trial takes beside its window."""


@dataclass(frozen=True, kw_only=True)
class Queue:
    """A server: so many slots, each of which holds a request equally long."""

    slots: int
    held_s: float
    fails_from: float = math.inf
    """From this rate on a tenth of the requests fail."""
    failed: bool = False
    """Whether all of its trials fail."""
    generator_from: float = math.inf
    """From this rate on the generator is too busy, and requests are late by a second."""
    boasts: float = 1.0
    """So many times what it can do a closed loop shows, by chance."""
    computes: bool = False
    """Whether requests wait inside the application, for each other."""
    users_bound: bool = False
    """Whether the users of a closed loop are too few for it."""


class Stopped(Exception):
    """The run was interrupted."""


@dataclass(kw_only=True)
class Machine:
    """A store and a clock, on which queues are measured."""

    run: Run
    queues: Mapping[str, Queue]
    clock_s: float = 1000.0
    stops: Callable[[int], bool] = lambda _: False
    """Of the number of trials so far."""
    found: dict[tuple[int, Cell], Observation] = field(default_factory=dict)

    def observations(self) -> list[Observation]:
        return list(self.found.values())

    def done(self, **_: bool) -> frozenset[tuple[int, Cell]]:
        return frozenset(at for at, each in self.found.items() if each.status == "measured")

    def measure(self, lanes: int = 1) -> list[Stage]:
        gone = []
        for stage in stages(self.run, self, lanes, repeats=True, clock=lambda: self.clock_s):  # type: ignore[arg-type]
            gone.append(stage)
            for trial in stage.trials:
                if self.stops(len(self.found)):
                    raise Stopped
                observation = self._observe(trial)
                self.clock_s += (observation.took_s or 0.0) / lanes
                self.found[trial.block, trial.cell] = observation
        return gone

    def comparison(self) -> Comparison:
        """Of what was measured, or is now."""
        if not self.found:
            self.measure()
        return compare(self.run, self.observations())

    def _observe(self, trial: Trial) -> Observation:
        queue, cell = self.queues[trial.cell.server], trial.cell
        window_s = plan.window_s(self.run.experiment, cell)
        plain = testing.observation(
            cell, block=trial.block, position=trial.position, took_s=round(window_s + BESIDE_S, 3)
        )
        if queue.failed:
            return replace(plain, status="failed", reason="it had ended", swarm=None)
        most = queue.slots / queue.held_s
        if cell.rate is None:
            share = queue.boasts * (0.4 if queue.users_bound else 1.0)
            in_flight = InFlight(
                peak=queue.slots,
                mean=0.99 * min(share, 1.0) * queue.slots,
                threads=queue.slots,
                requests_per_process=(99,),
            )
            swarm = testing.trial_report(
                throughput_rps=share * most,
                completed=round(share * most * window_s),
                latency_mean_ms=1000 * (cell.users or 1) / (share * most),
                in_flight=in_flight,
                service_ms=1000 * queue.held_s,
            )
            return replace(plain, swarm=swarm)
        # As the users of the lab have it.
        seed = zlib.crc32(f"{self.run.seed}/{trial.block}".encode())
        latencies = latencies_ms(queue, cell.rate, window_s, f"{seed}/0")
        busy = cell.rate >= queue.generator_from
        if busy:
            latencies = [each + 1000 for each in latencies]
        ordered = sorted(latencies)
        failed = len(latencies) // 10 if cell.rate >= queue.fails_from else 0
        swarm = testing.trial_report(
            window_s=window_s,
            warmup_s=lead_s(window_s),
            completed=len(latencies),
            due=len(latencies),
            failures=failed,
            late=len(latencies) if busy else 0,
            generator_cpu=1.0 if busy else 0.3,
            throughput_rps=len(latencies) / window_s,
            latency_mean_ms=sum(latencies) / len(latencies),
            latency_ms={
                name: ordered[min(len(ordered) - 1, math.floor(share * len(ordered)))]
                for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))
            },
            latency_histogram=testing.histogram(*latencies),
            in_flight=InFlight(
                peak=queue.slots, mean=min(cell.rate / most, 1.0) * queue.slots, threads=1, requests_per_process=(9,)
            ),
            service_ms=ordered[len(ordered) // 2] if queue.computes else 1000 * queue.held_s,
        )
        return replace(plain, swarm=swarm)


def lead_s(window_s: float) -> float:
    """How long a server has had requests when a window begins."""
    return min(1.0, window_s / 2)


def latencies_ms(queue: Queue, rate: float, window_s: float, seed: str) -> list[float]:
    """Of the requests that are due in a window, which begins a second after the first is."""
    source = random.Random(seed)
    free_s, at_s = deque([0.0] * queue.slots), 0.0
    found: list[float] = []
    lead = lead_s(window_s)
    while True:
        at_s += source.expovariate(rate)
        if at_s >= lead + window_s:
            return found or [1000 * queue.held_s]
        begun_s = max(at_s, free_s.popleft())
        free_s.append(begun_s + queue.held_s)
        if at_s >= lead:
            found.append(1000 * (begun_s + queue.held_s - at_s))


def sought(
    queues: Mapping[str, Queue],
    *,
    budget_s: float = 300.0,
    p95_ms: float = 200.0,
    seed: int = 1,
    workloads: Sequence[str] = ("sleep",),
) -> Machine:
    """A machine on which a run looks for the capacity of these servers."""
    cells = [testing.cell(name, workload=workload) for workload in workloads for name in queues]
    experiment = testing.experiment(
        *cells, blocks=1, window_s=1.0, budget_s=budget_s, capacity=CapacityLimit(p95_ms=p95_ms)
    )
    servers = [testing.server(name, slots=queue.slots, processes=None) for name, queue in queues.items()]
    return Machine(run=testing.run(experiment, *servers, seed=seed), queues=queues)


def rates(machine: Machine, server: str) -> Sequence[float]:
    """Those that were tried, in order."""
    return [
        each.cell.rate for each in machine.observations() if each.cell.server == server and each.cell.rate is not None
    ]
