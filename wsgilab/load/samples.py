"""The figures of a window, made from samples of requests. Pure, so that workers' samples merge exactly."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from statistics import fmean, median

from hdrh.histogram import HdrHistogram

from wsgilab.analysis.inflight import longest_gap_ns, lost_capacity, measure, parse_stamp, rate, timeline
from wsgilab.analysis.stats import DIGITS, HIGHEST_US, LOWEST_US, latency_ms
from wsgilab.load import conduct
from wsgilab.load.recorder import STAMP_HEADER, Sample, error_text
from wsgilab.model import LatencyParts, PartTimes, RequestReport, Stamp, Timeline, TrialReport

LATE_PAGE = "/__lab__/late"
"""Where a target tells which requests left its application later than their stamps say, and when: see `parse_late`."""

MOST_ERRORS = 10
MOST_NAMES = 30
OTHER_NAMES = "(others)"
"""What the requests beyond the most frequent MOST_NAMES are called."""
TIMELINE_REQUESTS = 300
TIMELINE_S = 0.5
"""So much of a window, at most, is recorded request by request."""
ACTED_REQUESTS = 400
ACTED_S = 2.0
"""The same where something was done to the target in the window: around that moment..."""
_AFTER = 0.75
"""... with so much of it, at most, after that."""
EVER = (-(2**64), 2**64)
"""Moments of no time in particular, CLOCK_MONOTONIC."""
CLOCKS_NS = 10**9
"""A stamp may lie so much outside of its trial: clocks of two machines are known to the half of a round trip."""
LATE_MS = 5.0
"""A scheduled request that begins so much after it was due is late: the generator could not keep to its schedule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A trial's moments, CLOCK_MONOTONIC of the targets' machine in nanoseconds. All that counts happened in [begin_ns,
    end_ns)."""

    started_ns: int
    begin_ns: int
    settled_ns: int
    """From here on every user had had an answer, and latencies are those of the full load."""
    end_ns: int
    stopped_ns: int
    """Users began no more requests. They went on beyond the window's end until then."""
    drained_ns: int

    def shifted(self, by_ns: int) -> "Span":
        """The same moments in a clock that is `by_ns` ahead."""
        return Span(**{each.name: getattr(self, each.name) + by_ns for each in fields(self)})


def report(
    samples: Iterable[Sample],
    span: Span,
    *,
    unanswered: int,
    generator_cpu: float,
    stamped: tuple[int, int] | None = None,
    read: tuple[int, int] | None = None,
    late: Mapping[Stamp, int] | None = None,
    is_stamped: bool = True,
    acted_ns: int | None = None,
    gives_up: bool = False,
) -> TrialReport:
    """The trial's figures. Stamps lie between the moments `stamped`: by default, those of the trial's start and end.

    `late` has when those requests left that did so later than their stamp says, such as streams: that moment counts.
    Throughput, requests in flight and service times are of the requests that left the application in the window.
    Latencies are of those that left it once the load had settled; where requests were due on a schedule, of all that
    were due in the window, those given up included with the time that they had waited by then. Where users followed a
    redirect, the application had two requests, and the latency is that of both.

    `read`: when the target's CPU time was read, before and after; the requests that left between the two are counted.

    If not `is_stamped`, answers may all have no stamp: then the moment at which its user had read it counts.

    `acted_ns`: when something was done to the target, in a clock as that of `span`.

    `gives_up`: users do after a while, and `late` has also when requests entered, and those that nobody waited for in the end. These
    count as in flight, and for nothing else.
    """
    samples = list(samples)
    is_stamped = is_stamped or any(sample.stamp is not None for sample in samples)
    answered: list[tuple[Stamp, Sample]] = []
    served: list[tuple[Stamp, Sample]] = []
    together: dict[Stamp, Stamp] = {}
    errors: Counter[str] = Counter()
    given_up: list[Sample] = []
    stamped = stamped or (span.started_ns, span.drained_ns)
    due = begun_late = slow_connections = reopened = 0
    for sample in samples:
        slow_connections += sample.slow_connection
        reopened += sample.reopened
        if _is_due(sample, span):
            due += 1
            begun_late += sample.late_ms > LATE_MS
        if sample.abandoned:
            continue
        if sample.cut_off:
            given_up.append(sample)
        elif sample.error is not None:
            errors[sample.error] += 1
        else:
            try:
                own = (
                    [
                        _left_late(read_stamp(each, stamped), late)
                        for each in (sample._replace(stamp=stamp) for stamp in (*sample.redirects, sample.stamp))
                    ]
                    if is_stamped
                    else [_as_read(sample)]
                )
            except ValueError as error:
                errors[error_text(error)] += 1
            else:
                answered.append((own[-1], sample))
                served += ((stamp, sample) for stamp in own)
                if len(own) > 1:
                    together[own[-1]] = _together(own)

    stamps = [stamp for stamp, _ in served]
    for_nobody = conduct.unawaited(samples, late or {}, span.started_ns, span.drained_ns) if gives_up else ()
    inside = (*stamps, *for_nobody)
    counted = [(stamp, sample) for stamp, sample in served if span.begin_ns <= stamp.left_ns < span.end_ns]
    timed = _timed(answered, given_up, span)
    answered_ns = [_answered_ns(stamp, sample) for stamp, sample in answered]
    latencies_ms = [sample.latency_ms for _, sample in timed]
    histogram = _histogram(latencies_ms)
    throughput_rps = rate((stamp.left_ns for stamp in stamps), span.begin_ns, span.end_ns)
    return TrialReport(
        window_s=(span.end_ns - span.begin_ns) / 1e9,
        warmup_s=(span.begin_ns - span.started_ns) / 1e9,
        settling_s=(span.settled_ns - span.begin_ns) / 1e9,
        held_s=(span.stopped_ns - span.end_ns) / 1e9,
        drain_s=(span.drained_ns - span.stopped_ns) / 1e9,
        unanswered=unanswered,
        completed=len(counted),
        busiest_user=_busiest_user(sample for _, sample in counted),
        throughput_rps=throughput_rps,
        read_completed=None if read is None else sum(read[0] <= stamp.left_ns < read[1] for stamp in stamps),
        read_span_s=None if read is None else (read[1] - read[0]) / 1e9,
        failures=errors.total(),
        errors=dict(sorted(errors.items(), key=lambda each: (-each[1], each[0]))[:MOST_ERRORS]),
        cut_off=len(given_up),
        due=due,
        late=begun_late,
        slow_connections=slow_connections,
        reopened=reopened,
        **conduct.figures(
            samples,
            (span.begin_ns, span.end_ns),
            gives_up=gives_up,
            inside=stamps,
            for_nobody=for_nobody,
            is_noted=bool(late),
        ),
        client_ms=median(sample.client_ms for _, sample in counted) if counted else 0.0,
        reading_ms=median(sample.reading_ms for _, sample in counted) if counted else 0.0,
        received_bytes=sum(
            sample.received_bytes for stamp, sample in answered if span.begin_ns <= stamp.left_ns < span.end_ns
        ),
        latency_mean_ms=fmean(latencies_ms) if latencies_ms else 0.0,
        latency_ms=latency_ms(histogram),
        latency_histogram=histogram.encode().decode("ascii"),
        parts=_parts([(together.get(stamp, stamp) if stamp else None, sample) for stamp, sample in timed])
        if is_stamped
        else None,
        by_request=_by_request(answered, served, given_up, span, throughput_rps),
        is_stamped=is_stamped,
        in_flight=measure(inside if is_stamped else (), span.begin_ns, span.end_ns),
        service_ms=median((stamp.left_ns - stamp.entered_ns) / 1e6 for stamp, _ in counted)
        if counted and is_stamped
        else 0.0,
        generator_cpu=generator_cpu,
        longest_gap_ms=longest_gap_ns(answered_ns, span.begin_ns, span.end_ns) / 1e6,
        lost_capacity=None if acted_ns is None else _lost_capacity(answered_ns, span, acted_ns),
        timeline=_timeline(inside, span, acted_ns) if is_stamped else None,
    )


def _busiest_user(samples: Iterable[Sample]) -> int | None:
    """How many of these are of the user who has most of them; None without any, or where it is not known whose one is."""
    counts = Counter(sample.user for sample in samples)
    return None if not counts or 0 in counts else max(counts.values())


def _histogram(latencies_ms: Iterable[float]) -> HdrHistogram:
    made = HdrHistogram(LOWEST_US, HIGHEST_US, DIGITS)
    for each in latencies_ms:
        made.record_value(min(HIGHEST_US, max(LOWEST_US, round(each * 1000))))
    return made


def _by_request(
    answered: Sequence[tuple[Stamp, Sample]],
    served: Sequence[tuple[Stamp, Sample]],
    given_up: Sequence[Sample],
    span: Span,
    throughput_rps: float,
) -> Mapping[str, RequestReport]:
    """The figures of each named request, those of the window alone; their throughputs add up to that of all."""
    # What was answered before is what users did first, such as log in.
    answered = [(stamp, sample) for stamp, sample in answered if stamp.left_ns >= span.begin_ns]
    frequent = Counter(sample.name for _, sample in answered if sample.name).most_common(MOST_NAMES + 1)
    shown = {name for name, _ in (frequent if len(frequent) <= MOST_NAMES else frequent[: MOST_NAMES - 1])}
    of = {sample.name: sample.name if sample.name in shown else OTHER_NAMES for _, sample in answered if sample.name}
    counts = Counter(of.get(sample.name) for stamp, sample in served if span.begin_ns <= stamp.left_ns < span.end_ns)
    found = {}
    for name in sorted(set(of.values())):
        of_name = [(stamp, sample) for stamp, sample in answered if of.get(sample.name) == name]
        timed = _timed(of_name, [sample for sample in given_up if of.get(sample.name) == name], span)
        latencies_ms = [sample.latency_ms for _, sample in timed]
        known = latency_ms(_histogram(latencies_ms)) if latencies_ms else {}
        found[name] = RequestReport(
            completed=counts[name],
            throughput_rps=throughput_rps * counts[name] / counts.total() if counts[name] else 0.0,
            latency_mean_ms=fmean(latencies_ms) if latencies_ms else None,
            latency_p50_ms=known.get("p50"),
            latency_p95_ms=known.get("p95"),
        )
    return found


_Timed = Sequence[tuple[Stamp | None, Sample]]
"""Requests whose latencies count; those that were given up have no stamp."""


def _timed(answered: Sequence[tuple[Stamp, Sample]], given_up: Sequence[Sample], span: Span) -> _Timed:
    return [
        (stamp, sample)
        for stamp, sample in answered
        if (_is_due(sample, span) if sample.due_ns else span.settled_ns <= stamp.left_ns < span.end_ns)
    ] + [(None, sample) for sample in given_up if _is_due(sample, span)]


def _parts(timed: _Timed) -> LatencyParts | None:
    """None without any, or where it is not known of all when they were begun."""
    if not timed or not all(sample.due_ns or sample.begun_ns for _, sample in timed):
        return None
    columns = zip(*(parts_ns(stamp, sample) for stamp, sample in timed), strict=True)
    connect, queue, service, back = map(_part_times, columns)
    return LatencyParts(connect=connect, queue=queue, service=service, back=back)


def parts_ns(stamp: Stamp | None, sample: Sample) -> tuple[int, int, int, int]:
    """How long a request's connection took to open, how long it was in the queue, in the application, and on its way back.

    None is negative, and they add up to the latency. One that was never answered counts as queued. The clock of another
    machine is known to half a round trip, so that a request may seem to enter before it was sent, or to leave after its
    answer was read: then its time in the application, which is of one clock, lies as near to where it seems to as it can.
    """
    latency_ns = round(sample.latency_ms * 1e6)
    connect_ns = min(sample.connect_ns, latency_ns)
    rest_ns = latency_ns - connect_ns
    if stamp is None:
        return connect_ns, rest_ns, 0, 0
    service_ns = min(stamp.left_ns - stamp.entered_ns, rest_ns)
    sent_ns = (sample.due_ns or sample.begun_ns) + connect_ns
    queue_ns = min(max(0, stamp.entered_ns - sent_ns), rest_ns - service_ns)
    return connect_ns, queue_ns, service_ns, rest_ns - queue_ns - service_ns


def _part_times(times_ns: Sequence[int]) -> PartTimes:
    """To the nanosecond."""
    ordered = sorted(times_ns)
    p50, p95, p99 = (ordered[-(-len(ordered) * percent // 100) - 1] / 1e6 for percent in (50, 95, 99))
    return PartTimes(mean=round(sum(ordered) / len(ordered) / 1e6, 6), p50=p50, p95=p95, p99=p99)


def _lost_capacity(answered_ns: Sequence[int], span: Span, acted_ns: int) -> float | None:
    # From when all users were at work, unless it was done sooner.
    begin_ns = span.settled_ns if span.settled_ns < acted_ns else span.begin_ns
    return lost_capacity(answered_ns, begin_ns, acted_ns, span.end_ns)


def _timeline(inside: Sequence[Stamp], span: Span, acted_ns: int | None) -> Timeline | None:
    """The window's last part; where something was done to the target in the window, the part around that."""
    if acted_ns is None:
        return timeline(inside, span.begin_ns, span.end_ns, most=TIMELINE_REQUESTS, longest_ns=round(TIMELINE_S * 1e9))
    longest_ns, after = round(ACTED_S * 1e9), round(ACTED_REQUESTS * _AFTER)
    departed = sorted(stamp.left_ns for stamp in inside if stamp.left_ns > acted_ns)
    end_ns = min(span.end_ns, acted_ns + round(_AFTER * longest_ns), *departed[after : after + 1])
    found = timeline(inside, span.begin_ns, end_ns, most=ACTED_REQUESTS, longest_ns=longest_ns)
    # Where very many leave at one moment, it may be before all that is shown.
    return found and replace(found, acted_us=max(0, found.span_us - round((end_ns - acted_ns) / 1000)))


def _answered_ns(stamp: Stamp, sample: Sample) -> int:
    """When its user had read the answer; where that is not known, when it left the application."""
    begun_ns = sample.due_ns or sample.begun_ns
    return begun_ns + round(sample.latency_ms * 1e6) if begun_ns else stamp.left_ns


def _as_read(sample: Sample) -> Stamp:
    """In place of a stamp, what the user of a request knows: when it was begun, and when its answer was read."""
    begun_ns = sample.due_ns or sample.begun_ns
    left_ns = begun_ns + round(sample.latency_ms * 1e6)
    return Stamp(process=0, thread=0, greenlet_id=0, entered_ns=begun_ns, left_ns=left_ns)


def _together(stamps: Sequence[Stamp]) -> Stamp:
    """Several stays of one request as if they were one, that begins with the first and is as long as they are together."""
    first_ns = stamps[0].entered_ns
    return replace(
        stamps[-1], entered_ns=first_ns, left_ns=first_ns + sum(each.left_ns - each.entered_ns for each in stamps)
    )


def _left_late(stamp: Stamp, late: Mapping[Stamp, int] | None) -> Stamp:
    return replace(stamp, left_ns=late[stamp]) if late and stamp in late else stamp


def _is_due(sample: Sample, span: Span) -> bool:
    """Whether the sample was scheduled, and for a moment within the window."""
    return span.begin_ns <= sample.due_ns < span.end_ns


def read_stamp(sample: Sample, stamped: tuple[int, int]) -> Stamp:
    """The stamp of an answer, made between these moments. Raises ValueError, with the reason, where it has none of its own.

    An answer that was begun anew after an error may have a stamp of each beginning; the last one counts.
    """
    if sample.stamp is None:
        raise ValueError(f"the answer has no {STAMP_HEADER} header")
    *earlier, stamp = (parse_stamp(each.strip()) for each in sample.stamp.split(","))
    if any(replace(each, left_ns=stamp.left_ns) != stamp for each in earlier):
        raise ValueError(f"the answer has {STAMP_HEADER} headers of {len(earlier) + 1} requests")
    if stamp.entered_ns < stamped[0] - CLOCKS_NS or stamp.left_ns > stamped[1] + CLOCKS_NS:
        raise ValueError(
            f"the {STAMP_HEADER} header is of another time: the answer comes from a cache, or the server has another clock"
        )
    return stamp
