"""What users did but wait for answers, from samples of requests: they paused, gave up, and lost connections. Pure."""

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from wsgilab.analysis.inflight import parse_stamp, sweep
from wsgilab.load.recorder import Sample
from wsgilab.model import Stamp

REFUSED = ConnectionRefusedError.__name__


def unawaited(samples: Iterable[Sample], noted: Mapping[Stamp, int], since_ns: int, until_ns: int) -> Sequence[Stamp]:
    """The stamps, as they left, of requests that entered the application from `since_ns` on and that no user has an answer of.

    `noted` has what the application has noted of the requests whose users may give up: when each entered, as if it left then, and when it
    left. One of which only the first is known was still inside when that was read: it counts as inside until `until_ns`.
    """
    known = {_entry(stamp) for stamp in _stamps(samples)}
    last: dict[tuple[int, int, int], Stamp] = {}
    for stamp, left_ns in noted.items():
        entry = _entry(stamp)
        if stamp.entered_ns < since_ns or entry in known:
            continue
        if entry not in last or left_ns > last[entry].left_ns:
            last[entry] = replace(stamp, left_ns=left_ns)
    return [replace(each, left_ns=until_ns) if each.left_ns == each.entered_ns else each for each in last.values()]


def _entry(stamp: Stamp) -> tuple[int, int, int]:
    """What a request's stamps have in common, when and wherever it left."""
    return stamp.process, stamp.greenlet_id, stamp.entered_ns


def _stamps(samples: Iterable[Sample]) -> Iterator[Stamp]:
    for sample in samples:
        for header in (*sample.redirects, sample.stamp):
            for each in (header or "").split(","):
                with contextlib.suppress(ValueError):
                    yield parse_stamp(each.strip())


def figures(
    samples: Sequence[Sample],
    window: tuple[int, int],
    *,
    gives_up: bool,
    inside: Iterable[Stamp],
    for_nobody: Collection[Stamp],
    is_noted: bool,
) -> Mapping[str, Any]:
    """The fields of a TrialReport that are about it.

    `inside` are the stamps of the requests that users have answers of, `for_nobody` those that they have none of; `is_noted`:
    whether the application notes these. `gives_up`: whether users give up at all.
    """
    given_up = [(sample.begun_ns, _end_ns(sample)) for sample in samples if sample.abandoned]
    paused = ((_end_ns(sample), _end_ns(sample) + sample.pause_ns) for sample in samples if sample.pause_ns)
    for_users, in_vain = _work(inside, window), _work(for_nobody, window)
    # Of streams alone.
    of_window = [each for each in samples if each.first_event_ms and window[0] <= _end_ns(each) < window[1]]
    return {
        "reset": sum(sample.reset for sample in samples),
        "refused": sum((sample.error or "").startswith(REFUSED) for sample in samples),
        "pausing": sweep(paused, *window)[1],
        "abandoned": sum(window[0] <= end_ns < window[1] for _, end_ns in given_up) if gives_up else None,
        "in_vain": sweep(given_up, *window)[1],
        "wasted_work": in_vain / (for_users + in_vain) if gives_up and is_noted and for_users + in_vain else None,
        "first_event_ms": median(each.first_event_ms for each in of_window) if of_window else None,
        "event_gap_ms": median(each.event_gap_ms for each in of_window) if of_window else None,
    }


def _end_ns(sample: Sample) -> int:
    """When it was answered, or had failed."""
    return (sample.due_ns or sample.begun_ns) + round(sample.latency_ms * 1e6)


def _work(stamps: Iterable[Stamp], window: tuple[int, int]) -> float:
    """How many requests were inside the application in the window, on average."""
    return sweep(((stamp.entered_ns, stamp.left_ns) for stamp in stamps), *window)[1]
