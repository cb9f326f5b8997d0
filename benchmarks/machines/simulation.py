"""How long an experiment takes on so many machines: a discrete simulation of a run, lane by lane. Pure.

It does as `wsgilab.execution`, `wsgilab.sides` and `wsgilab.plan` do: machines are reached and lanes brought up one after
the other; each lane carries out the trials of its own blocks; after each trial it waits for its turn in the one lab
process; lanes go down one after the other, and the run is concluded. A lane that fails leaves its trials to a later leg,
which begins like the first and is what `--resume` does. Every duration is given: see `Costs`.
"""

import heapq
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from wsgilab import plan

MOST_LEGS = 1000
"""A run that has not come to its end by then never would."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Seconds that things take."""

    reach_s: float
    """A machine of any kind: its engine is reached, and asked what machine that is."""
    build_s: float
    """A machine of any kind: its images are made sure of."""
    start_s: float
    """A lane: its fleet, beacon, workers and the look at the link."""
    stop_s: float
    """And down again."""
    trial_s: float
    """A trial, from its start to the report: all that lanes do side by side."""
    lab_s: float
    """A trial, in the lab process: what only one lane does at a time."""
    conclude_s: float
    """An observation, when the run is compared and rendered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """An experiment, as far as its duration depends on it."""

    cells: int
    blocks: int
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Machines:
    """What there is to run on."""

    targets: int
    swarm_each: int
    """Machines of the swarm for each of the targets."""

    @property
    def all(self) -> int:
        return self.targets * (1 + self.swarm_each)


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How the lab goes about it. As it comes, that is how it is built today."""

    at_once: int = 1
    """So many machines, or lanes, are brought up, or down, at a time."""
    labs: int = 1
    """Lab processes that share the lanes."""
    redealt: bool = False
    """What a lost lane has left is dealt to all lanes of the next leg, not to that lane alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """How machines fail. They fail independently, and as often when they have just failed (exponential)."""

    per_machine_hour: float = 0.0
    until_resumed_s: float = 0.0
    """From the end of a run that a failure has ended until it is resumed, all machines there again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Took:
    """Where the time went, summed over all legs; each in seconds of wall time."""

    starting_s: float
    trials_s: float
    """From the first lane's first trial to the last lane's last."""
    stopping_s: float
    concluding_s: float
    waiting_s: float
    """Until somebody resumed."""
    legs: int
    queued_s: float
    """Summed over lanes, and part of `trials_s`: how long they waited for the lab process."""

    @property
    def wall_s(self) -> float:
        return self.starting_s + self.trials_s + self.stopping_s + self.concluding_s + self.waiting_s


def dealt(work: Work, lanes: int) -> list[int]:
    """How many trials each lane has, as `wsgilab.plan` deals blocks to machines."""
    names = [str(lane) for lane in range(lanes)]
    counts = dict.fromkeys(names, 0)
    for block in range(work.blocks):
        counts[plan.machine_of(block, names, work.seed)] += work.cells
    return list(counts.values())


def simulate(
    work: Work,
    machines: Machines,
    costs: Costs,
    way: Way,
    faults: Faults,
    source: random.Random,
) -> Took:
    """One run to its end. `source` says when machines fail. Raises ValueError where it would never end."""
    left = dealt(work, machines.targets)
    starting_s = trials_s = stopping_s = concluding_s = waiting_s = queued_s = 0.0
    done = 0
    rate = faults.per_machine_hour / 3600 * (1 + machines.swarm_each)
    for leg in range(1, MOST_LEGS + 1):
        # Counted from the leg's begin.
        fails_s = [source.expovariate(rate) if rate else math.inf for _ in left]
        up_s = _rounds(machines.all, way) * (costs.reach_s + costs.build_s) + _rounds(len(left), way) * costs.start_s
        if min(fails_s) < up_s:
            # A machine that is missing while lanes are brought up ends the run there and then.
            starting_s += min(fails_s)
        else:
            starting_s += up_s
            span = _trials(left, costs, way.labs, [each - up_s for each in fails_s])
            trials_s += span.wall_s
            queued_s += span.queued_s
            done += sum(left) - sum(span.left)
            left = span.left
        stopping_s += _rounds(len(left), way) * costs.stop_s
        concluding_s += done * costs.conclude_s
        if not any(left):
            return Took(
                starting_s=starting_s,
                trials_s=trials_s,
                stopping_s=stopping_s,
                concluding_s=concluding_s,
                waiting_s=waiting_s,
                legs=leg,
                queued_s=queued_s,
            )
        waiting_s += faults.until_resumed_s
        if way.redealt:
            left = _evenly(sum(left), len(left))
    raise ValueError(f"{done} trials were done in {MOST_LEGS} legs, and {sum(left)} are left: machines fail too often")


def _rounds(count: int, way: Way) -> int:
    return math.ceil(count / way.at_once)


def _evenly(trials: int, lanes: int) -> list[int]:
    whole, more = divmod(trials, lanes)
    return [whole + (lane < more) for lane in range(lanes)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Span:
    """The trials of one leg."""

    left: list[int]
    """By lane, what it did not get to."""
    wall_s: float
    queued_s: float


def _trials(todo: Sequence[int], costs: Costs, labs: int, fails_s: Sequence[float]) -> _Span:
    """Lanes at work, event by event: whoever has ended a trial is served by the lab process in the order of coming."""
    left = list(todo)
    free_s = [0.0] * labs
    wall_s = queued_s = 0.0
    ended = [(costs.trial_s, lane) for lane, trials in enumerate(left) if trials]
    heapq.heapify(ended)
    while ended:
        at_s, lane = heapq.heappop(ended)
        lab = lane % labs
        begun_s = max(at_s, free_s[lab])
        saved_s = begun_s + costs.lab_s
        if fails_s[lane] < saved_s:
            # Its trial under way is lost. What the lab process has done for it by then is little.
            wall_s = max(wall_s, fails_s[lane])
            continue
        free_s[lab] = saved_s
        queued_s += begun_s - at_s
        wall_s = max(wall_s, saved_s)
        left[lane] -= 1
        if left[lane]:
            heapq.heappush(ended, (saved_s + costs.trial_s, lane))
    return _Span(left=left, wall_s=wall_s, queued_s=queued_s)
