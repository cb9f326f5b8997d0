"""How large the numbers of a stored run can be. Pure.

The ranges are far wider than what is ever measured. They are there so that nobody's arithmetic overflows, divides by
nothing or fills the memory.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from wsgilab.model import (
    Cell,
    Experiment,
    Host,
    InFlight,
    LaneRecord,
    Observation,
    RequestSpan,
    Run,
    Server,
    Timeline,
    TrialReport,
)
from wsgilab.results.unsound import Unsound, short

MOST_CORES = 100_000
MOST_BLOCKS = 100_000


@dataclass(frozen=True, slots=True)
class Range:
    """The numbers from `least` to `most`. 0 is one of them only where `least` is 0; what is closer to it is none."""

    least: float
    most: float

    def has(self, value: float) -> bool:
        return self.least <= value <= self.most and (value == 0 or abs(value) >= _TINY)


_TINY = 1e-9
"""Of nanoseconds and rates alike: less is not measured, and ratios of less are beyond what floats hold."""
COUNT = Range(0, 10**12)
FROM_ONE = Range(1, 10**12)
_SECONDS = Range(0, 10**6)
_SOME_SECONDS = Range(1e-6, 10**6)
MS = Range(0, 10**9)
_US = Range(-(10**12), 10**12)
_BYTES = Range(0, 2**60)
_SHARE = Range(0, 10**6)

RANGES: Mapping[type, Mapping[str, Range]] = {
    Cell: {"cores": Range(1, MOST_CORES), "users": Range(1, 100_000), "rate": Range(1e-6, 100_000)},
    Experiment: {
        "blocks": Range(1, MOST_BLOCKS),
        "window_s": _SOME_SECONDS,
        "patience_s": _SECONDS,
        "precision": Range(1e-6, 1),
        "max_blocks": Range(1, MOST_BLOCKS),
        "generator_cores": Range(1, MOST_CORES),
    },
    Server: {"slots": Range(1, 10**9), "processes": Range(1, MOST_CORES)},
    Host: {"memory_bytes": _BYTES},
    # Shares are taken of the bandwidth.
    LaneRecord: {"round_trip_ms": MS, "bandwidth_mbps": Range(1e-6, 10**9)},
    Run: {"schema": Range(1, 1), "seed": Range(-(2**128), 2**128), "cpu_iterations": FROM_ONE},
    Observation: {
        "block": Range(0, MOST_BLOCKS),
        "position": COUNT,
        "server_cpu_s": _SECONDS,
        "server_span_s": _SECONDS,
        "resident_bytes": _BYTES,
        "os_threads": COUNT,
        "backend_cpu_s": _SECONDS,
        "lab_cpu": _SHARE,
    },
    TrialReport: {
        "window_s": _SOME_SECONDS,
        **dict.fromkeys(("warmup_s", "settling_s", "held_s", "drain_s"), _SECONDS),
        **dict.fromkeys(("unanswered", "completed", "failures", "cut_off", "due", "late", "slow_connections"), COUNT),
        "reopened": COUNT,
        "throughput_rps": Range(0, 10**9),
        **dict.fromkeys(("client_ms", "reading_ms", "latency_mean_ms", "service_ms"), MS),
        **dict.fromkeys(("generator_cpu", "generator_used", "server_busy", "generator_others"), _SHARE),
        "round_trip_ms": MS,
        "received_bytes": _BYTES,
        **dict.fromkeys(("sent_segments", "resent_segments"), COUNT),
    },
    InFlight: {"peak": COUNT, "mean": COUNT, "threads": COUNT},
    Timeline: {"span_us": FROM_ONE},
    RequestSpan: {
        **dict.fromkeys(("process", "thread", "greenlet_id"), COUNT),
        **dict.fromkeys(("entered_us", "left_us"), _US),
    },
}
"""Every number of what is stored, with the unit that its name says."""


def check_numbers(value: object, within: str) -> None:
    """Holds every number of `value` against its range; None is no number."""
    for name, bounds in RANGES[type(value)].items():
        if (number := getattr(value, name)) is not None:
            check_number(number, bounds, within + name)


def check_number(value: float, bounds: Range, key: str) -> None:
    if not bounds.has(value):
        raise Unsound(key, f"{short(value)} is not from {bounds.least:g} to {bounds.most:g}")
