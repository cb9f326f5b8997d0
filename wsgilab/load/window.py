"""One window: the users of one target, or of two, from their start until they have drained, and what comes of it."""

# Locust patches the standard library for gevent when it is imported: it has to come first.
import locust  # noqa: F401  isort: skip

import gc
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Protocol

import gevent

from wsgilab.load.duet import Both
from wsgilab.load.idle import idle_report
from wsgilab.load.local import POLL_S, Load, Progress, TargetCores, Users
from wsgilab.load.pages import GET_TIMEOUT_S, read_late
from wsgilab.load.reachability import AFTER_S, RETRY_S, NetworkReading, segments_between
from wsgilab.load.recorder import Sample
from wsgilab.load.samples import Span, report
from wsgilab.model import Stamp, TrialReport, TrialSpec

FORECAST_SHARE = 4
"""When one in so many users has had an answer, it can be forecast when all will have had one."""
FORECAST_MARGIN = 1.1
FORECAST_FAR = 2
"""A forecast that has the window end so many windows after all have had an answer, or later, is dropped."""
LONGEST_RAMP_S = 1.0
"""How long scheduled requests arrive, at most, before the window opens; half a window where that is shorter."""
READING_S = 0.03
"""How long the lab takes to read the server's usage, from the request until its answer is here, before any was measured."""
READING_MARGIN = 1.25
VOID_AFTER_S = 0.01
"""Requests are void from this long after the lab is expected to have read."""
LONGEST_READING_S = 5.0
"""Load goes on after the window for no longer than this, whatever the lab does."""


class UsageReader(Protocol):
    """The side that reads what targets have used, at both ends of the window."""

    reading_s: float
    """How long the last reading took, from its request until its answer was here."""
    read_ns: dict[tuple[str, int], int]
    """(end of the window, number of the target) -> when that was read, where it could be; of this machine's clock."""

    def request_reading(self, event: str) -> None:
        """Ask for a reading at this end of the window: `window` or `closed`."""

    def wait_until_read(self, timeout_s: float) -> bool:
        """Whether the usage has been read, or there is nobody left to read it."""


def trial(spec: TrialSpec, load: Load, cores: TargetCores, reader: UsageReader) -> TrialReport:
    """Load one target on `cores`, until `reader` has read at both ends of the window. Raises Unreachable and WorkerLost."""
    [found] = _in_one_window([spec], load, [load], cores, reader)
    return found


def duet(
    specs: Sequence[TrialSpec], loads: Sequence[Load], cores: TargetCores, reader: UsageReader
) -> Sequence[TrialReport]:
    """Load two targets on the same `cores` at once, in the very same window, which begins when the users of both are at work. It is
    as long as the first of `specs` says. Raises Unreachable.
    """
    return _in_one_window(specs, Both(loads), loads, cores, reader)


def _in_one_window(
    specs: Sequence[TrialSpec], load: Users, loads: Sequence[Load], cores: TargetCores, reader: UsageReader
) -> Sequence[TrialReport]:
    """The report of each target. `load` are the users of all `loads`, of which each has one of `specs`."""
    spec = replace(specs[0], users=sum(each.users for each in specs))
    before = load.read_network(RETRY_S)
    # All moments below are of this machine's clock; the offset turns them into the targets' machine's.
    offset_ns = before[0].offset_ns if before else 0
    gc.collect()
    gc.disable()
    started_ns = time.monotonic_ns()
    try:
        load.start()
        if spec.rate:
            gevent.sleep(min(LONGEST_RAMP_S, spec.window_s / 2))
        # From here on the lab counts until it does something to a target.
        asked_ns = time.monotonic_ns()
        reader.request_reading("window")
        if spec.rate:
            # The lab, which reads the server's CPU clocks now, has the generator's core for a moment.
            gevent.sleep(READING_S)
        begin_ns = time.monotonic_ns()
        load.mark()
        cores.mark()
        if spec.rate:
            settled_ns, end_ns, unanswered = begin_ns, begin_ns + round(spec.window_s * 1e9), 0
            load.end_window(end_ns + offset_ns, end_ns + _allowed_ns(reader) + offset_ns)
        else:
            settled_ns, end_ns, unanswered = _settle(spec, load, reader, begin_ns, offset_ns)
        _sleep_until(end_ns)
        load.mark()
        cores.mark()
        reader.request_reading("closed")
        read_late = not _hold(load, reader, end_ns, offset_ns)
        stopped_ns = time.monotonic_ns()
        ended = [each.stop(spec.patience_s) for each in loads]
        drained_ns = time.monotonic_ns()
    finally:
        gc.enable()
    counted = [_late(each, samples) for each, samples in zip(specs, ended, strict=True)]
    # A link that was lost meanwhile is not what was to be measured.
    after = load.read_network(AFTER_S)
    span = Span(
        started_ns=started_ns,
        begin_ns=begin_ns,
        settled_ns=settled_ns,
        end_ns=end_ns,
        stopped_ns=stopped_ns,
        drained_ns=drained_ns,
    )
    busy, found = cores.busy(), []
    for number, (of, (samples, late)) in enumerate(zip(specs, counted, strict=True)):
        first_ns, last_ns = (reader.read_ns.get((event, number)) for event in ("window", "closed"))
        figures = report(
            samples,
            span.shifted(offset_ns),
            read=None
            if first_ns is None or last_ns is None or read_late
            else (first_ns + offset_ns, last_ns + offset_ns),
            # In a duet of both together: where any is missing, nothing is concluded from it.
            unanswered=min(unanswered, of.users),
            generator_cpu=load.busiest(),
            late=late,
            is_stamped=of.is_stamped,
            acted_ns=None if of.acts_at_s is None else max(begin_ns, asked_ns + round(of.acts_at_s * 1e9)) + offset_ns,
            gives_up=_give_up(of),
        )
        figures = replace(
            figures,
            generator_used=load.used(),
            server_busy=busy,
            generator_others=load.others(),
            read_late=read_late,
            idle=None if of.idle is None else idle_report(loads[number].silence(), span.shifted(offset_ns)),
        )
        found.append(_with_network(figures, before, after) if before else figures)
    return found


def _late(spec: TrialSpec, samples: Sequence[Sample]) -> tuple[Sequence[Sample], Mapping[Stamp, int]]:
    """The samples, and when those of them left that did so later than their stamp says.

    If a target that has answered does not tell that, it is known of no answer when it left: then each is a failure.
    """
    if all(sample.stamp is None for sample in samples) and not _give_up(spec):
        return samples, {}
    try:
        # What users have given up may still be worked off, and whoever asks has to wait for that.
        timeout_s = max(GET_TIMEOUT_S, spec.patience_s) if _give_up(spec) else GET_TIMEOUT_S
        return samples, read_late(spec.base_url, timeout_s)
    except ValueError as error:
        if not spec.is_stamped:
            # It has the stamp alone, and the application itself has answered.
            return samples, {}
        if spec.acts_at_s is not None:
            # It may have been ended, and what left late is lost with it.
            return samples, {}
        return [each if each.error else each._replace(error=str(error)) for each in samples], {}


def _give_up(spec: TrialSpec) -> bool:
    """Whether users give up after a while. Then the target notes every request, also those that nobody waits for any more."""
    return bool(spec.options.get("abandon_ms"))


def _with_network(
    figures: TrialReport, before: Sequence[NetworkReading], after: Sequence[NetworkReading]
) -> TrialReport:
    """The report, with the figures of the network between users and target."""
    sent, resent = segments_between(before, after)
    round_trip_ms = median(reading.round_trip_ms for reading in before)
    return replace(figures, round_trip_ms=round_trip_ms, sent_segments=sent, resent_segments=resent)


def _settle(spec: TrialSpec, load: Users, reader: UsageReader, begin_ns: int, offset_ns: int) -> tuple[int, int, int]:
    """Wait until every user has had an answer. When that was, when the window ends, and how many users had had none.

    The window's end is fixed, and set for the users, when the first quarter of them has had an answer: from then on
    each request carries the moment at which it is void, so that few must be worked off for nothing after the window. Where all
    have had an answer much sooner than forecast, it ends sooner.
    """
    end_ns: int | None = None
    window_ns = round(spec.window_s * 1e9)
    while True:
        now_ns, progress = time.monotonic_ns(), load.progress()
        passed_ns = now_ns - begin_ns
        if end_ns is None:
            if _is_settled(progress, spec.users) or passed_ns > spec.patience_s * 1e9:
                end_ns = now_ns + window_ns
            elif progress.answered * FORECAST_SHARE >= spec.users:
                end_ns = begin_ns + round(passed_ns * FORECAST_SHARE * FORECAST_MARGIN) + window_ns
            if end_ns is not None:
                load.end_window(end_ns + offset_ns, end_ns + _allowed_ns(reader) + offset_ns)
        if end_ns is not None and _is_settled(progress, spec.users) and end_ns - now_ns > FORECAST_FAR * window_ns:
            # A server that holds answers back gives many at once, and the forecast from the first of them was far too long.
            end_ns = now_ns + window_ns
            load.end_window(end_ns + offset_ns, end_ns + _allowed_ns(reader) + offset_ns)
        if end_ns is not None and (_is_settled(progress, spec.users) or now_ns >= end_ns):
            # Where some never had an answer, the last window_s count as the full load.
            settled_ns = min(now_ns, end_ns - window_ns) if progress.answered < spec.users else now_ns
            return settled_ns, end_ns, spec.users - progress.answered
        gevent.sleep(POLL_S)


def _is_settled(progress: Progress, users: int) -> bool:
    """Whether every user has had an answer, or every one has failed and none has had any."""
    return progress.answered == users or (not progress.answered and progress.failed == users)


def _sleep_until(at_ns: int) -> None:
    while (left_ns := at_ns - time.monotonic_ns()) > 0:
        gevent.sleep(left_ns / 1e9)


def _hold(load: Users, reader: UsageReader, end_ns: int, offset_ns: int) -> bool:
    """Keep the users at work after the window until the target's usage is read. Whether that was within LONGEST_READING_S.

    Void requests cost a server less than others, or more: there must be none before.
    """
    until_ns, allowed_ns = end_ns + round(LONGEST_READING_S * 1e9), _allowed_ns(reader)
    while (now_ns := time.monotonic_ns()) < until_ns:
        load.end_window(end_ns + offset_ns, now_ns + allowed_ns + offset_ns)
        # Where the lab takes longer this time, requests must not become void before it has read.
        if reader.wait_until_read(min(until_ns - now_ns, allowed_ns - VOID_AFTER_S * 1e9 / 2) / 1e9):
            return True
        allowed_ns *= 2
    return False


def _allowed_ns(reader: UsageReader) -> int:
    """How long after the window's end requests are void."""
    return round((reader.reading_s * READING_MARGIN + VOID_AFTER_S) * 1e9)
