"""What is recorded of one trial: by the application, by the swarm, and by the lab."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal, NamedTuple

from wsgilab.model.application import LocustFile
from wsgilab.model.circumstances import Idle, IdleReport
from wsgilab.model.experiment import Cell
from wsgilab.model.limits import (
    STRICT,
    Bytes,
    Count,
    CountFromOne,
    Length,
    Microseconds,
    Milliseconds,
    Moment,
    Range,
    RequestName,
    Seconds,
    ServiceName,
    Share,
)

TrialStatus = Literal["measured", "failed"]
LostCapacity = Annotated[float, Range(0, 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """Who served one request, and when it was inside the application (CLOCK_MONOTONIC, nanoseconds)."""

    process: int
    thread: int
    """The operating system's thread id."""
    greenlet_id: int
    """The thread's or greenlet's id as Python sees it."""
    entered_ns: int
    left_ns: int


class RequestSpan(NamedTuple):
    """One request's time inside the application. A tuple, because a line of `observations.jsonl` holds hundreds."""

    process: Count
    thread: Count
    greenlet_id: Count
    """Who served it, each numbered from 0 in the order in which they appear in the timeline. A thread is numbered within its
    process, a greenlet within its thread; a thread without greenlets has one number."""
    entered_us: Microseconds
    left_us: Microseconds
    """Microseconds after the timeline's begin; one that was inside already has entered before 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """Who ran when: every request that was inside the application within a part of a window."""

    __pydantic_config__: ClassVar = STRICT

    span_us: CountFromOne
    """How long that part is."""
    stays: Annotated[tuple[RequestSpan, ...], Length(0, 200_000)]
    """By when they entered."""
    acted_us: Count | None = None
    """When in it the lab did to the target what it does during the trial; None where it does nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InFlight:
    """Requests inside the application during one window."""

    __pydantic_config__: ClassVar = STRICT

    peak: Count
    mean: Annotated[float, Range(0, 10**12)]
    """Weighted by time."""
    threads: Count
    """OS threads that finished a request in the window."""
    requests_per_process: tuple[CountFromOne, ...]
    """For each process that finished a request in the window, how many; most first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartTimes:
    """How long a part of the latency took, in milliseconds."""

    __pydantic_config__: ClassVar = STRICT

    mean: Milliseconds
    """Over all requests."""
    p50: Milliseconds
    """It took half of the requests so long at most."""
    p95: Milliseconds
    """And 95 % of them."""
    p99: Milliseconds
    """And 99 % of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyParts:
    """What the latency of requests consists of. The parts of each request add up to its latency, and so do the means."""

    __pydantic_config__: ClassVar = STRICT

    connect: PartTimes
    """Until its connection was open; 0 where it was kept."""
    queue: PartTimes
    """From then until it entered the application; of a request on a schedule, from when it was due, without `connect`."""
    service: PartTimes
    """Until it left the application."""
    back: PartTimes
    """Until its user had read the whole answer."""

    @property
    def latency_mean(self) -> float:
        """Milliseconds."""
        return self.connect.mean + self.queue.mean + self.service.mean + self.back.mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a target has consumed so far, over all its processes."""

    at_s: float
    """When this was so: seconds of a clock of the machine that it runs on."""
    cpu_s: float
    resident_bytes: int
    os_threads: int
    """Threads that there are now, as the operating system counts them: one at least for each process."""
    throttled: int | None = None
    """In how many periods so far a CPU quota has stopped it; None where that is not counted."""
    throttled_s: float | None = None
    """For how many seconds so far, each core counted by itself; None where that is not counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What all processes of a server take of memory, page by page (proc_pid_smaps(5))."""

    __pydantic_config__: ClassVar = STRICT

    pss_bytes: Bytes
    """Proportional: a page that several processes have counts for each in part, so that it counts once for the server."""
    private_bytes: Bytes
    """Of pages that one process has alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialSpec:
    """One trial for the swarm to carry out, in the generator's terms."""

    locustfile: str
    base_url: str
    server_cpus: str = ""
    """The cores that the target is pinned to, of its own machine; empty: they are not watched."""
    users: int
    """One, where requests come on a schedule."""
    rate: float | None
    window_s: float
    patience_s: float
    options: Mapping[str, str | float | int]
    """Locust's parsed options, such as `{"connection": "close", "sleep_ms": 50.0}`."""
    is_stamped: bool = True
    """False: the target may be one whose answers have no stamps. Those of one that has stamps all have one."""
    own: LocustFile | None = None
    """A Locust file of the user's own, in place of the lab's `locustfile`, which is empty then."""
    acts_at_s: float | None = None
    """Something is done to the target so many seconds after the window has opened, which may end it; None: nothing is."""
    idle: Idle | None = None
    """Connections that are opened beside the users, before they begin, and ask for nothing until the trial ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestReport:
    """The figures of one trial for one of the requests of a mix or of a Locust file."""

    __pydantic_config__: ClassVar = STRICT

    completed: Count
    """Requests of the window."""
    throughput_rps: Annotated[float, Range(0, 10**9)]
    """Its part of the trial's throughput."""
    latency_mean_ms: Milliseconds | None
    """Latencies count as in the whole trial; None where none did."""
    latency_p50_ms: Milliseconds | None
    latency_p95_ms: Milliseconds | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialReport:
    """What the swarm saw in one trial.

    A request counts for the window in which it left the application, if its answer was right in the end; one that
    was due on a schedule has its latency counted in the window in which it was due.
    """

    __pydantic_config__: ClassVar = STRICT

    window_s: Annotated[float, Range(0, 10**6, above=True)]
    warmup_s: Seconds
    """Before the window: until all users were at work, or while a schedule's first requests arrived."""
    settling_s: Seconds = 0.0
    """The window's first part, until every user had had an answer; latencies are of the rest."""
    held_s: Seconds = 0.0
    """After the window: how long load went on, until the lab had read what the target used."""
    read_late: bool = False
    """The lab had not read by the time that load goes on at most (`driver.LONGEST_READING_S`): what it read is of less load."""
    drain_s: Seconds
    """From when users began no more requests until the last one was answered, or given up."""
    unanswered: Count
    """Users that never had an answer within the window, and never gave up waiting for one."""
    completed: Count
    """Requests of the window."""
    busiest_user: Count | None = None
    """And those of the user who had most of them. None where it is not known whose they were, as in runs of a lab that did not
    count them."""
    throughput_rps: Annotated[float, Range(0, 10**9)]
    """How often a request left, as `inflight.rate` has it: `completed / window_s`, but for what the ends cut."""
    read_completed: Count | None = None
    """Requests that left between the two readings of the target's CPU time; None in runs of a lab that did not count them, and
    where the target was not read."""
    read_span_s: Seconds | None = None
    """How far the two readings are apart."""
    failures: Count
    """Requests answered wrongly or not at all, over the whole trial."""
    errors: Mapping[str, Count]
    """What the failures were, and how often."""
    cut_off: Count
    """Requests given up because they were unanswered when the drain ended."""
    due: Count = 0
    """Scheduled requests that were due in the window."""
    late: Count = 0
    """Scheduled requests that the generator began noticeably after they were due."""
    slow_connections: Count = 0
    """Connections, over the whole trial, that took so long to open that the first attempt must have been dropped."""
    reopened: Count | None = None
    """Kept connections, over the whole trial, that the server had closed without saying so in its last answer; None in runs
    of a lab in which such requests failed."""
    reset: Count | None = None
    """Requests, over the whole trial, that were sent on a kept connection and lost, because the server had closed it or closed it
    then: they were sent again, or failed. None in runs of a lab that did not count them."""
    refused: Count | None = None
    """Connections, over the whole trial, that were refused; None in runs of a lab that did not count them."""
    pausing: Annotated[float, Range(0, 10**6)] = 0.0
    """Users who paused between an answer and their next request, on average over the window."""
    abandoned: Count | None = None
    """Requests that their users gave up in the window, because they had waited for as long as they would; None where users wait for
    as long as it takes."""
    in_vain: Annotated[float, Range(0, 10**6)] = 0.0
    """Users who waited for an answer that they then gave up, on average over the window."""
    wasted_work: Share | None = None
    """Of the time that requests were inside the application in the window, the share of those that nobody waited for in the end. None
    where users do not give up, and where the application does not note such requests."""
    first_event_ms: Milliseconds | None = None
    """Median time from a request until the first event of its stream, over those of the window; None without streams."""
    event_gap_ms: Milliseconds | None = None
    """Of each stream of the window the longest time between two events: their median."""
    idle: IdleReport | None = None
    """Of the silent connections; None without any."""
    client_ms: Milliseconds = 0.0
    """Median time, of a request of the window, that its user itself let pass while it sent and read."""
    reading_ms: Milliseconds = 0.0
    """The part of it that passed while the user read: until then it may have stood in a queue, and held nobody up."""
    latency_mean_ms: Milliseconds
    latency_ms: Mapping[str, Milliseconds]
    """`p50`, `p95`, `p99` and `max`."""
    latency_histogram: str
    """Microseconds; HdrHistogram V2, compressed, base64."""
    parts: LatencyParts | None = None
    """Of the same requests. None without any, or where it is not known when they were begun, as in runs of a lab that did not
    measure that."""
    by_request: Mapping[RequestName, RequestReport] = field(default_factory=dict)
    """By name, where users send an application's requests in a mix, or as a Locust file says; else empty."""
    is_stamped: bool = True
    """False: answers had no stamps. Then a request counts for the window in which its user had read the answer, and nothing is known
    of what was inside the application: `in_flight` and `service_ms` say nothing."""
    in_flight: InFlight
    service_ms: Milliseconds
    """Median time of a request inside the application."""
    generator_cpu: Share
    """CPU time of the generator over the window, on the busiest of its cores: 1.0 is all of it."""
    generator_used: Share | None = None
    """CPU time of the generator over the window, on all of its cores of its first machine: 2.0 is all of two cores. None: not
    measured."""
    server_busy: Share | None = None
    """Share of the target's cores that was busy in the window, whoever used it, or that a hypervisor took away. None: not
    measured."""
    generator_others: Share | None = None
    """Share of the generator's cores that others than it used in the window, or that a hypervisor took away; on several
    machines, where that was most. None: not measured."""
    round_trip_ms: Milliseconds | None = None
    """Median of a small message to the targets' machine and its answer, just before the trial: all was idle. None where
    users and targets share a machine."""
    received_bytes: Bytes | None = None
    """Of the answers' bodies, over the requests of the window; None in runs of a lab that did not count them."""
    sent_segments: Count | None = None
    """TCP segments that the swarm's machines sent over the whole trial, for the first time (RFC 4022, tcpOutSegs). None
    where users and targets share a machine."""
    resent_segments: Count | None = None
    """And those that had to be sent again, each as often as it was (RFC 4022, tcpRetransSegs)."""
    longest_gap_ms: Milliseconds | None = None
    """The longest time of the window, its ends included, in which no user had an answer; None in runs of a lab that did not look
    for it."""
    lost_capacity: LostCapacity | None = None
    """Where something was done to the target in the window: by which share fewer requests a second were answered after that than
    before, 0 where it were no fewer. None elsewhere, and where none was answered before."""
    timeline: Timeline | None = None
    """The window's last part; kept for the first block only, since the next looks alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What one trial recorded; one line of `observations.jsonl`.

    A failed trial has a reason and no figures. It is no zero: it says nothing about speed.
    """

    __pydantic_config__: ClassVar = STRICT

    block: Count
    position: Count
    cell: Cell
    started: Moment
    status: TrialStatus
    reason: str = ""
    swarm: TrialReport | None = None
    server_cpu_s: Seconds | None = None
    """CPU time of all the target's processes over `server_span_s`."""
    server_span_s: Seconds | None = None
    resident_bytes: Bytes | None = None
    os_threads: Count | None = None
    """The more of what the window's two ends saw."""
    backend_cpu_s: Seconds | None = None
    """CPU time of the workload's backends over `server_span_s`; None where it has none."""
    throttled: Count | None = None
    """In how many periods between the two readings a CPU quota stopped the target; None where that is not counted."""
    throttled_s: Seconds | None = None
    """For how many seconds of it, each core counted by itself; None where that is not counted."""
    acted_s: Seconds | None = None
    """How long after the window had opened that was done which the cell has `during` it; None where nothing was."""
    ended: bool = False
    """The target had ended by the end of the trial, after what was done to it."""
    memory_start: Memory | None = None
    """What the target took of memory before its first trial since it was started; None where that was not read."""
    memory: Memory | None = None
    """And after this trial."""
    restarted: tuple[ServiceName, ...] = ()
    """The server and those of its backends that had ended and were started again right before."""
    lab_cpu: Share | None = None
    """What the lab itself used of the generator's cores meanwhile, in CPU seconds a second; None: not measured, or it runs
    elsewhere."""
    neighbours: tuple[str, ...] = ()
    """Programs of others that ran beside the trial, such as `yes (4711)`, where they disturbed it and are known; most
    first."""
    machine: str = ""
    """The machine of the targets, where there are several machines."""
    took_s: Seconds | None = None
    """How long the whole trial took, from the order to what was recorded; None in runs of a lab that did not measure that."""
    look: Annotated[int, Range(0, 8)] = 0
    """With a budget, for which look at the comparisons it was measured, as `plan.looks` has them; 0 for none, as the blocks
    that come first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Duet:
    """Two servers that were loaded at once, each by all of its users, on the same cores and in the very same window; one line of
    `duets.jsonl`.

    What a request cost either of them can be compared: whatever else was on the cores, both had it. How fast they were cannot,
    because neither need have had half of the cores. So both have observations that are kept apart from all others.
    """

    __pydantic_config__: ClassVar = STRICT

    one: Observation
    """Of the cell that is compared. Its `block` is the number of the duet, from 0 on."""
    other: Observation
    """Of the cell that it is compared with."""

    @property
    def took_s(self) -> float | None:
        """How long both together took; as of an observation."""
        return self.one.took_s

    @property
    def look(self) -> int:
        """No look at the comparisons waits for it; as of an observation."""
        return 0
