"""What a server answers under another load, or with other workers, threads and cores: queueing models, closed and open. Pure.

A request holds a slot while it waits (`wait_ms`) and computes (`cpu_ms`); what computes at once shares the cores evenly. With so
many requests in slots, the rate at which they leave is that of a closed network of a delay and a station with several servers (mean
value analysis: Reiser and Lavenberg 1980, doi:10.1145/322186.322195). This rate, by how many are at the server, makes the server one
station whose speed depends on its load (flow equivalence: Chandy, Herzog and Woo 1975, doi:10.1147/rd.191.0036): a machine-repair
model for users, a birth-death process for a rate. docs/predict.md says where that fails.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from wsgilab.analysis.prediction.distributions import Part, interpolated, likely, normalised, percentile
from wsgilab.analysis.stats import binomial
from wsgilab.model import Arrivals

Sharing = Literal["shared", "scattered", "pinned"]
"""How requests find a slot. `shared`: the next slot that is free in any process takes the next request. `scattered`: a process takes
requests before it has a slot for them, so some queue there while others have slots to spare. `pinned`: and users stay with theirs."""

Limit = Literal["slots", "cpu", "gil", "balance", "demand"]
"""What holds the throughput where it is, as in `BoundBy`."""

FULL = 0.9
"""From this share of the cores, or of the slots, on they are what binds."""
MOST_COUNTED = 400
"""States with more requests are not counted one by one: what is lost to chance falls with their number."""
STEADY = 0.25
"""With less spread than this, requests leave in step: those that wait do so for whole rounds."""
_TINY = 1e-12
_MOST_STATES = 50_000
_FAR = 25.0
"""States of which the logarithm of the chance is so much lower than the highest are not counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestModel:
    """What one request asks of a server, and how that server shares requests out. Times are in milliseconds."""

    wait_ms: float
    """In a slot, without computing."""
    cpu_ms: float
    """CPU time of all the server's processes."""
    spread: float
    """Standard deviation over mean of the time in a slot: 0 where all take the same, 1 as the exponential distribution."""
    outside_ms: float = 0.0
    """The part of the latency outside the server: until the connection is open, and until the answer is read."""
    pause_ms: float = 0.0
    """From an answer until its user's next request."""
    has_gil: bool = True
    """In each process one request computes at a time."""
    sharing: Sharing = "shared"
    throughput_factor: float = 1.0
    """Throughput measured, over what the model says without this factor."""
    p95_factor: float = 1.0
    """And of the 95th percentile of the latency."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a model expects."""

    throughput_rps: float
    latency_mean_ms: float | None
    """None where a rate is beyond the limit: the queue grows without end."""
    p95_ms: float | None
    """95 % of the requests take so many milliseconds at most; None as above."""
    bound_by: Limit


def predict(
    model: RequestModel,
    *,
    workers: int,
    threads: int | None,
    cores: int,
    users: int | None = None,
    rate: float | None = None,
    arrivals: Arrivals = "poisson",
) -> Expected:
    """What a server with `workers` processes of `threads` slots each (None: unbounded) answers on so many `cores`.

    Either to `users`, each of whom waits for an answer before the next request (a closed loop), or to `rate` requests a second on a
    schedule (an open loop), spaced as `arrivals` says. Takes some milliseconds, and neither knows nor checks how far it is
    from what was measured: `predictions.forecast` does. Raises ValueError where not exactly one of the two is given, or a number
    is not positive.
    """
    given = [each for each in (workers, threads, cores, users, rate) if each is not None]
    if (users is None) == (rate is None) or min(given) <= 0:
        raise ValueError("give either users or a rate, and positive numbers")
    station = _Station(model, workers, threads, cores)
    return station.closed(users) if users is not None else station.open(rate or 0.0, arrivals)


def stay_ms(model: RequestModel, *, workers: int, threads: int | None, cores: int, users: int) -> float:
    """How long a request is in a slot, in milliseconds, while the requests of all `users` are at the server."""
    station = _Station(model, workers, threads, cores)
    return station.holding(users) / station.rate(users)


class _Station:
    """A server of some size. All rates here are in requests a millisecond."""

    def __init__(self, model: RequestModel, workers: int, threads: int | None, cores: int) -> None:
        self.model = model
        self.workers = workers
        self.threads = math.inf if threads is None else threads
        self.slots = workers * self.threads
        self.cores = cores
        self.usable = min(cores, workers) if model.has_gil else cores
        """So many requests compute at once, at most."""
        self.is_apart = workers > 1 and model.sharing != "shared"
        self.held = [0.0]
        """Slots that are held, by how many requests are at the server."""
        self.crowds: list[Sequence[float]] = [[1.0]]
        """The chance that a process has 0, 1, ... of so many requests, where processes are apart."""
        self.flow = [0.0]
        """The rate at which requests leave, by how many hold a slot."""
        self.computing: Sequence[float] = [1.0]
        """The chance that 0, 1, ... of the last number of them compute."""
        self.each_ms: list[float] = []
        """CPU time of a request over the cores that 1, 2, ... that compute keep busy."""

    # --- from the inside out: computing, slots, server

    def busy_cores(self, computing: int) -> float:
        """How many cores so many requests that compute keep busy."""
        if self.is_apart and self.model.has_gil:
            # Of so many requests in processes by chance: the same network as that of slots, with one in each process.
            busy = self.workers * computing / (computing + self.workers - 1)
            return min(self.cores, busy)
        return min(computing, self.usable)

    def leaving(self, holding: float) -> float:
        """The rate at which requests leave while so many hold a slot."""
        while len(self.flow) <= min(math.ceil(holding), MOST_COUNTED):
            self._one_more_holds()
        return interpolated(self.flow, holding, self.usable / self.model.cpu_ms if self.model.cpu_ms else math.inf)

    def _one_more_holds(self) -> None:
        """One step of the mean value analysis. That no request computes has its chance from the delay's own network, as
        one minus the others it would be lost to rounding."""
        count, wait_ms = len(self.flow), self.model.wait_ms
        while len(self.each_ms) < len(self.computing):
            self.each_ms.append(self.model.cpu_ms / self.busy_cores(len(self.each_ms) + 1))
        stay_ms = sum(
            number * ms * chance
            for number, (ms, chance) in enumerate(zip(self.each_ms, self.computing, strict=False), 1)
        )
        flow = count / max(wait_ms + stay_ms, _TINY)
        none = self.computing[0] * flow * wait_ms / count
        found = [none, *(flow * ms * chance for ms, chance in zip(self.each_ms, self.computing, strict=False))]
        while found[-1] < _TINY and len(found) > 1:
            found.pop()
        self.flow.append(flow)
        self.computing = normalised(found)

    def holding(self, there: float) -> float:
        """How many of the requests that are there hold a slot, on average."""
        if not self.is_apart or self.threads == math.inf:
            return min(there, self.slots)
        while len(self.held) <= min(there, MOST_COUNTED):
            self._one_more_is_there()
        return interpolated(self.held, there, self.slots)

    def _one_more_is_there(self) -> None:
        count, before = len(self.held), self.crowds[-1]
        if self.model.sharing == "pinned":
            crowd = binomial(count, 1 / self.workers)
            held = self.workers * math.fsum(chance * min(here, self.threads) for here, chance in enumerate(crowd))
        else:
            # In units of a request's time in a slot: the mean value analysis of equal stations with `threads` servers each.
            stay = sum(chance * max(1.0, (here + 1) / self.threads) for here, chance in enumerate(before))
            held = count / stay
            more = [held / self.workers / min(here + 1, self.threads) * chance for here, chance in enumerate(before)]
            crowd = normalised([max(0.0, 1 - math.fsum(more)), *more])
        self.held.append(held)
        self.crowds.append(crowd)

    def rate(self, there: float) -> float:
        """The rate at which requests leave while so many are there."""
        return self.leaving(self.holding(there))

    @property
    def limit(self) -> float:
        """The highest rate that there is."""
        by_cores = self.usable / self.model.cpu_ms if self.model.cpu_ms else math.inf
        by_slots = math.inf if self.slots == math.inf else self.leaving(self.slots)
        return min(by_cores, by_slots)

    # --- closed

    def closed(self, users: int) -> Expected:
        """With `users`, who come back."""
        model = self.model
        there = self._population(users)
        flow = math.fsum(chance * self.rate(count) for count, chance in there if count)
        held = math.fsum(chance * self.holding(count) for count, chance in there)
        throughput = flow * model.throughput_factor
        latency_ms = max(users / throughput - model.pause_ms, _TINY)
        # Who arrives sees the others as if they were alone (Sevcik and Mitrani 1981, doi:10.1145/322248.322257).
        p95 = percentile(
            0.95, self._latencies(self._population(users - 1), 1.0), max(users / flow - model.pause_ms, _TINY)
        )
        return Expected(
            throughput_rps=throughput * 1000,
            latency_mean_ms=latency_ms,
            p95_ms=p95 * model.p95_factor,
            bound_by=self._bound_by(flow, held, math.fsum(chance * count for count, chance in there)),
        )

    def _population(self, users: int) -> Sequence[tuple[int, float]]:
        """How many of the users' requests are at the server, with the chance of each number."""
        away_ms = self.model.pause_ms + self.model.outside_ms
        if away_ms <= _TINY:
            return [(users, 1.0)]
        steps = (math.log((users - count + 1) / away_ms / self.rate(count)) for count in range(1, users + 1))
        return likely([0.0, *accumulate(steps)])

    # --- open

    def open(self, rate: float, arrivals: Arrivals) -> Expected:
        """With requests on a schedule, `rate` a second."""
        arriving = rate / 1000 / self.model.throughput_factor
        if arriving >= self.limit * (1 - 1e-3):
            bound_by = self._bound_by(self.limit, self.slots, self.slots)
            most = self.limit * self.model.throughput_factor * 1000
            return Expected(throughput_rps=min(rate, most), latency_mean_ms=None, p95_ms=None, bound_by=bound_by)
        there = self._crowd_of(arriving)
        latencies = self._latencies(there, self._irregular(arrivals, arriving))
        mean_ms = math.fsum(weight * mean for weight, mean, _ in latencies)
        return Expected(
            throughput_rps=rate,
            latency_mean_ms=mean_ms,
            p95_ms=percentile(0.95, latencies, mean_ms) * self.model.p95_factor,
            bound_by="demand",
        )

    def _crowd_of(self, arriving: float) -> Sequence[tuple[int, float]]:
        """How many requests are at the server, with the chance of each number."""
        logs, highest = [0.0], 0.0
        while logs[-1] >= highest - _FAR and len(logs) < _MOST_STATES:
            logs.append(logs[-1] + math.log(arriving / self.rate(len(logs))))
            highest = max(highest, logs[-1])
        return likely(logs)

    def _irregular(self, arrivals: Arrivals, arriving: float) -> float:
        """By how much queues are shorter or longer than with exponential services and Poisson arrivals: half the sum of the
        squared spreads (Allen and Cunneen), with the correction of Kraemer and Langenbach-Belz (1976) for even arrivals."""
        even = 1.0 if arrivals == "poisson" else 0.0
        # Every so-manieth of a stream, picked by chance, is more like Poisson's than the whole.
        of_arrivals = even if not self.is_apart else (even - 1) / self.workers + 1
        spreads = of_arrivals + self.model.spread**2
        if not spreads:
            return 0.0
        load = arriving / self.limit
        return spreads / 2 * math.exp(-2 * (1 - load) * (1 - of_arrivals) ** 2 / (3 * load * spreads))

    # --- latencies

    def _latencies(self, seen: Sequence[tuple[int, float]], irregular: float) -> Sequence[Part]:
        """The parts of the distribution of the latency, by what a request sees of others when it arrives."""
        every = max(1, len(seen) // 60)
        found: list[Part] = []
        for at in range(0, len(seen), every):
            alike = seen[at : at + every]
            weight = math.fsum(chance for _, chance in alike)
            others = math.fsum(number * chance for number, chance in alike) / weight
            stay_ms = self.holding(others + 1) / self.rate(others + 1)
            for share, here, slots in self._before_it(others):
                found += self._latency(weight * share, here, slots, stay_ms, irregular)
        return found

    def _before_it(self, others: float) -> Iterable[tuple[float, float, float]]:
        """Chance, number of others that the same slots are for, and those slots."""
        if not self.is_apart or self.threads == math.inf:
            yield 1.0, others, self.slots
            return
        counted = min(round(others), MOST_COUNTED)
        self.holding(counted)
        for here, chance in enumerate(self.crowds[counted]):
            if chance > 1e-6:  # noqa: PLR2004 - no percentile knows of them
                yield chance, here * others / max(counted, 1), self.threads

    def _latency(self, weight: float, others: float, slots: float, stay_ms: float, irregular: float) -> Iterable[Part]:
        """Of a request that finds so many others at so many slots; `stay_ms` is the time in one."""
        spread, outside_ms = self.model.spread, self.model.outside_ms
        queue = max(0.0, others + 1 - slots)
        spread_ms = spread * stay_ms
        if queue and spread < STEADY and irregular == 1.0:
            rounds = (others + 1) / slots
            for part, whole in ((1 - rounds % 1, math.floor(rounds)), (rounds % 1, math.floor(rounds) + 1)):
                if part:
                    yield weight * part, outside_ms + whole * stay_ms, spread_ms**2
            return
        behind_ms = queue / slots * stay_ms * irregular if queue else 0.0
        behind_squared = queue * (spread_ms / slots * irregular) ** 2 if queue else 0.0
        yield weight, outside_ms + behind_ms + stay_ms, behind_squared + spread_ms**2

    def _bound_by(self, flow: float, held: float, there: float) -> Limit:
        if flow * self.model.cpu_ms >= FULL * self.usable:
            return "gil" if self.usable < self.cores else "cpu"
        if held >= FULL * self.slots:
            return "slots"
        return "balance" if self.is_apart and held < FULL * min(there, self.slots) else "demand"
