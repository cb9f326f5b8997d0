"""The figures of a trial that claims can be about, and when they are not to be relied on."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import get_args

from wsgilab.analysis.cell.readings import busiest_share, cpu_ms_per_request, server_cpu, throttled_share
from wsgilab.analysis.cell.validity import LITTLE_TOLERANCE, in_system
from wsgilab.analysis.claims.others import Without, busier, cheaper, faster, same, sooner_or_later
from wsgilab.model import Gate, IdleReport, Memory, Observation, Server, TrialReport

_SLOWED: frozenset[Gate] = frozenset({"neighbour", "throttled"})
"""Others, or a quota, slowed server or users down: fewer requests may have been in flight, and more connections slow."""
_UNSEEN: frozenset[Gate] = _SLOWED | {"failures", "cut-off", "late", "generator"}
"""Not all of the load arrived, or not all of it left a stamp."""
_UNSTEADY: frozenset[Gate] = _UNSEEN | {"little"}
_EVERY: frozenset[Gate] = frozenset(get_args(Gate))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimFigure:
    """A figure of one trial."""

    read: Callable[[Server, Observation], float | None]
    """None where the trial has none."""
    spoilt_by: frozenset[Gate]
    """With one of these gates broken it decides nothing. Not `slots` or `processes` where the gate compares the figure
    itself with the declaration: a claim may be just that there are more."""
    of_load: bool = False
    """It grows with the requests under way: where these are few it is low, whatever the server can do."""
    without: Without | None = None
    """None: others spoil it, however little they take beyond NEIGHBOUR_LIMIT."""
    of_answers: bool = False
    """It leaves out users that never had an answer, and requests that users gave up."""


def _swarm(read: Callable[[TrialReport], float | None]) -> Callable[[Server, Observation], float | None]:
    return lambda _, observation: None if observation.swarm is None else read(observation.swarm)


def _idle(read: Callable[[IdleReport], float | None]) -> Callable[[Server, Observation], float | None]:
    return _swarm(lambda swarm: None if swarm.idle is None else read(swarm.idle))


def _latency(name: str) -> ClaimFigure:
    return ClaimFigure(
        read=_swarm(lambda swarm: swarm.latency_ms.get(name)),
        spoilt_by=_EVERY,
        of_answers=True,
        without=sooner_or_later,
    )


def _memory_mb(observation: Observation) -> float | None:
    if observation.swarm is None or observation.resident_bytes is None:
        return None
    return observation.resident_bytes / 1e6


def _memory(read: Callable[[Observation], Memory | None], part: Callable[[Memory], int]) -> ClaimFigure:
    def megabytes(_: Server, observation: Observation) -> float | None:
        memory = read(observation) if observation.swarm is not None else None
        return None if memory is None else part(memory) / 1e6

    return ClaimFigure(read=megabytes, spoilt_by=_UNSEEN, without=same)


FIGURES: Mapping[str, ClaimFigure] = {
    "peak_in_flight": ClaimFigure(
        read=_swarm(lambda swarm: swarm.in_flight.peak), spoilt_by=_UNSEEN, of_load=True, without=same
    ),
    "mean_in_flight": ClaimFigure(read=_swarm(lambda swarm: swarm.in_flight.mean), spoilt_by=_UNSTEADY, of_load=True),
    "processes": ClaimFigure(
        read=_swarm(lambda swarm: len(swarm.in_flight.requests_per_process)),
        spoilt_by=_UNSEEN,
        of_load=True,
        without=same,
    ),
    "threads": ClaimFigure(
        read=_swarm(lambda swarm: swarm.in_flight.threads), spoilt_by=_UNSEEN, of_load=True, without=same
    ),
    "os_threads": ClaimFigure(
        read=lambda _, observation: observation.os_threads, spoilt_by=_UNSEEN, of_load=True, without=same
    ),
    "throughput_rps": ClaimFigure(read=_swarm(lambda swarm: swarm.throughput_rps), spoilt_by=_EVERY, without=faster),
    "latency_p50_ms": _latency("p50"),
    "latency_p99_ms": _latency("p99"),
    "latency_max_ms": _latency("max"),
    "service_ms": ClaimFigure(
        read=_swarm(lambda swarm: swarm.service_ms), spoilt_by=_UNSTEADY, without=sooner_or_later
    ),
    "server_cpu": ClaimFigure(read=lambda _, observation: server_cpu(observation), spoilt_by=_UNSTEADY, without=busier),
    "cpu_ms_per_request": ClaimFigure(
        read=lambda _, observation: cpu_ms_per_request(observation), spoilt_by=_UNSTEADY, without=cheaper
    ),
    "memory_mb": ClaimFigure(read=lambda _, observation: _memory_mb(observation), spoilt_by=_UNSEEN, without=same),
    "memory_pss_mb": _memory(lambda observation: observation.memory, lambda memory: memory.pss_bytes),
    "memory_private_mb": _memory(lambda observation: observation.memory, lambda memory: memory.private_bytes),
    "memory_start_pss_mb": _memory(lambda observation: observation.memory_start, lambda memory: memory.pss_bytes),
    "memory_start_private_mb": _memory(
        lambda observation: observation.memory_start, lambda memory: memory.private_bytes
    ),
    "throttled_share": ClaimFigure(read=lambda _, observation: throttled_share(observation), spoilt_by=_UNSTEADY),
    "busiest_share": ClaimFigure(
        read=lambda server, observation: busiest_share(server, observation.swarm) if observation.swarm else None,
        spoilt_by=_UNSTEADY | {"processes"},
        without=same,
    ),
    # These count what goes wrong.
    "slow_connections": ClaimFigure(read=_swarm(lambda swarm: swarm.slow_connections), spoilt_by=_SLOWED, without=same),
    "failures": ClaimFigure(read=_swarm(lambda swarm: swarm.failures), spoilt_by=_SLOWED, without=same),
    "unanswered": ClaimFigure(read=_swarm(lambda swarm: swarm.unanswered), spoilt_by=_SLOWED, without=same),
    "refused": ClaimFigure(read=_swarm(lambda swarm: swarm.refused), spoilt_by=_SLOWED, without=same),
    "reopened": ClaimFigure(read=_swarm(lambda swarm: swarm.reopened), spoilt_by=_SLOWED, without=same),
    "reset": ClaimFigure(read=_swarm(lambda swarm: swarm.reset), spoilt_by=_SLOWED, without=same),
    # These are of silent connections, of users who give up, and of streams: without any, a trial has none of them.
    "idle_closed": ClaimFigure(read=_idle(lambda idle: idle.closed), spoilt_by=_SLOWED, without=same),
    "idle_held_s": ClaimFigure(read=_idle(lambda idle: idle.held_s), spoilt_by=_SLOWED, without=same),
    "abandoned": ClaimFigure(read=_swarm(lambda swarm: swarm.abandoned), spoilt_by=_SLOWED, without=same),
    "wasted_work": ClaimFigure(read=_swarm(lambda swarm: swarm.wasted_work), spoilt_by=_SLOWED, without=same),
    "first_event_ms": ClaimFigure(
        read=_swarm(lambda swarm: swarm.first_event_ms), spoilt_by=_UNSTEADY, without=sooner_or_later
    ),
    "event_gap_ms": ClaimFigure(
        read=_swarm(lambda swarm: swarm.event_gap_ms), spoilt_by=_UNSTEADY, without=sooner_or_later
    ),
    "longest_gap_ms": ClaimFigure(
        read=_swarm(lambda swarm: swarm.longest_gap_ms), spoilt_by=_SLOWED | {"generator"}, without=sooner_or_later
    ),
    "lost_capacity": ClaimFigure(read=_swarm(lambda swarm: swarm.lost_capacity), spoilt_by=_SLOWED | {"generator"}),
}
"""By the name that a claim gives it; units as in `TrialReport` and `Observation`, and of memory MB."""


def busy_users(observation: Observation) -> float:
    """How many users sent requests all the time or, at a fixed rate, how many requests were under way on average.

    By Little's law, requests took the time of so many users: if that is about all users, those that had answers, else
    only so many. Users who waited for a lost request, or stopped sending, do not count.
    """
    swarm, users = observation.swarm, observation.cell.users
    assert swarm is not None
    under_way = in_system(swarm) + swarm.in_vain
    if users is None:
        return under_way
    answered = users - swarm.unanswered
    return answered if under_way >= (1 - LITTLE_TOLERANCE) * users else min(answered, math.floor(under_way))
