"""Measured concurrency: how many requests were in flight, from their stamps. Pure."""

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import fields

from wsgilab.model import InFlight, RequestSpan, Stamp, Timeline

MOST_DIGITS = 20
"""The most digits of a number in a stamp: 64 bits have no more."""


def parse_stamp(header: str) -> Stamp:
    """The stamp in a `Lab-Stamp` header (see services/door/wsgilab_door/stamp.py). Raises ValueError for anything else."""
    parts = header.split(" ")
    if len(parts) != len(fields(Stamp)) or not all(part.isdecimal() and len(part) <= MOST_DIGITS for part in parts):
        raise ValueError(f"{header!r} is no stamp")
    process, thread, greenlet_id, entered_ns, left_ns = map(int, parts)
    if left_ns < entered_ns:
        raise ValueError(f"{header!r}: left before it was entered")
    return Stamp(process=process, thread=thread, greenlet_id=greenlet_id, entered_ns=entered_ns, left_ns=left_ns)


def parse_late(text: str) -> Mapping[Stamp, int]:
    """The requests that left later than their stamp says, and when, from lines of a stamp's numbers and that moment in
    nanoseconds. Raises ValueError for anything else."""
    found: dict[Stamp, int] = {}
    for line in text.splitlines():
        header, _, left = line.rpartition(" ")
        if not header or not left.isdecimal() or len(left) > MOST_DIGITS:
            raise ValueError(f"{line!r}: names no moment")
        stamp = parse_stamp(header)
        if int(left) < stamp.left_ns:
            raise ValueError(f"{line!r}: names an earlier moment")
        found[stamp] = max(int(left), found.get(stamp, 0))
    return found


def sweep(intervals: Iterable[tuple[int, int]], begin_ns: int, end_ns: int) -> tuple[int, float]:
    """Peak and time-weighted mean of how many of the half-open `intervals` hold a moment in [begin_ns, end_ns).

    A sweep line over the intervals' ends, O(n log n). One request leaving at the instant at which another enters
    are not in flight together; an interval without length is in flight at no moment.
    """
    if end_ns <= begin_ns:
        raise ValueError("the window is empty")
    changes: list[tuple[int, int]] = []
    for entered_ns, left_ns in intervals:
        first, last = max(entered_ns, begin_ns), min(left_ns, end_ns)
        if first < last:
            changes += ((first, 1), (last, -1))
    # At one instant -1 sorts before +1: leaving comes first.
    changes.sort()
    in_flight = peak = area = 0
    previous_ns = begin_ns
    for at_ns, change in changes:
        area += in_flight * (at_ns - previous_ns)
        previous_ns = at_ns
        in_flight += change
        peak = max(peak, in_flight)
    return peak, area / (end_ns - begin_ns)


def rate(moments_ns: Iterable[int], begin_ns: int, end_ns: int) -> float:
    """Events a second over the window [begin_ns, end_ns), from the moments at which they happened.

    The slope of the least-squares line through their cumulative count, which weights each event by a parabola over
    the window: 6 u (1 - u) / W, with u from 0 to 1. Requests often leave in step (eight threads, eight at a time),
    and a plain count would gain or lose a whole step at each end of the window; here the ends weigh nothing. For
    events every T seconds the error falls with (T / W)^2, not T / W. It is the Ω frequency counter: Rubiola,
    Lenczner, Bourgeois, Vernotte 2016, doi:10.1109/TUFFC.2016.2565060.
    """
    window_ns = end_ns - begin_ns
    if window_ns <= 0:
        raise ValueError("the window is empty")
    passed = ((at_ns - begin_ns) / window_ns for at_ns in moments_ns if begin_ns <= at_ns < end_ns)
    # Summed exactly, so that the order in which workers' samples come does not matter.
    weight = math.fsum(6 * along * (1 - along) for along in passed)
    return weight / (window_ns / 1e9)


def longest_gap_ns(moments_ns: Iterable[int], begin_ns: int, end_ns: int) -> int:
    """The longest part of [begin_ns, end_ns) that holds none of the moments; from begin to end without any."""
    inside = sorted(at_ns for at_ns in moments_ns if begin_ns <= at_ns < end_ns)
    return max(later - earlier for earlier, later in itertools.pairwise([begin_ns, *inside, end_ns]))


def lost_capacity(moments_ns: Iterable[int], begin_ns: int, acted_ns: int, end_ns: int) -> float | None:
    """By which share there were fewer events a second in [acted_ns, end_ns) than in [begin_ns, acted_ns), 0 where there were no
    fewer. None where there were none before."""
    if not begin_ns < acted_ns < end_ns:
        return None
    inside = [at_ns for at_ns in moments_ns if begin_ns <= at_ns < end_ns]
    before = sum(at_ns < acted_ns for at_ns in inside)
    after = len(inside) - before
    if not before:
        return None
    return round(max(0.0, 1 - after / (end_ns - acted_ns) * (acted_ns - begin_ns) / before), 6)


def timeline(stamps: Iterable[Stamp], begin_ns: int, end_ns: int, *, most: int, longest_ns: int) -> Timeline | None:
    """The requests inside the application in the last part of the window [begin_ns, end_ns); None without any.

    The part is at most `longest_ns` long, and has at most `most` departures.
    """
    inside = [stamp for stamp in stamps if stamp.entered_ns < end_ns]
    departed = sorted(stamp.left_ns for stamp in inside if stamp.left_ns < end_ns)
    begin_ns = max([begin_ns, end_ns - longest_ns, *departed[-most - 1 : -most]])
    shown = sorted((stamp for stamp in inside if stamp.left_ns > begin_ns), key=_in_order)
    if not shown:
        return None
    processes, threads, greenlets = (
        _Numbers(),
        defaultdict[int, _Numbers](_Numbers),
        defaultdict[Hashable, _Numbers](_Numbers),
    )
    stays = [
        RequestSpan(
            process=processes[stamp.process],
            thread=threads[stamp.process][stamp.thread],
            greenlet_id=greenlets[stamp.process, stamp.thread][stamp.greenlet_id],
            entered_us=round((stamp.entered_ns - begin_ns) / 1000),
            left_us=round((stamp.left_ns - begin_ns) / 1000),
        )
        for stamp in shown
    ]
    return Timeline(span_us=round((end_ns - begin_ns) / 1000), stays=tuple(stays))


def _in_order(stamp: Stamp) -> tuple[object, ...]:
    """By when it entered; of two that did so at once, whichever generator's process has them, always the same first."""
    return stamp.entered_ns, stamp.left_ns, stamp.process, stamp.thread, str(stamp.greenlet_id)


class _Numbers(dict[int, int]):
    """Numbers its keys from 0, in the order in which they are first looked up."""

    def __missing__(self, key: int) -> int:
        return self.setdefault(key, len(self))


def measure(stamps: Sequence[Stamp], begin_ns: int, end_ns: int) -> InFlight:
    """The concurrency in the window [begin_ns, end_ns), from the stamps of requests.

    Needs the stamps of every request that overlaps the window, those that ended after it included. Processes and
    threads are counted over the requests that left within the window.
    """
    peak, mean = sweep(((stamp.entered_ns, stamp.left_ns) for stamp in stamps), begin_ns, end_ns)
    served = [stamp for stamp in stamps if begin_ns <= stamp.left_ns < end_ns]
    return InFlight(
        peak=peak,
        mean=mean,
        threads=len({(stamp.process, stamp.thread) for stamp in served}),
        requests_per_process=tuple(sorted(Counter(stamp.process for stamp in served).values(), reverse=True)),
    )
