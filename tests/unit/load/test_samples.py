"""Samples of requests, and the report of a window that is made from them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsgilab import testing
from wsgilab.analysis import inflight, stats
from wsgilab.load.recorder import STAMP_HEADER, Recorder, Sample
from wsgilab.load.samples import (
    ACTED_REQUESTS,
    CLOCKS_NS,
    EVER,
    LATE_MS,
    MOST_NAMES,
    OTHER_NAMES,
    Span,
    parts_ns,
    read_stamp,
    report,
)
from wsgilab.model import PartTimes, Stamp, TrialReport

MS = 10**6
BEGIN, SETTLED, END = 1000 * MS, 1400 * MS, 2000 * MS
SPAN = Span(
    started_ns=900 * MS, begin_ns=BEGIN, settled_ns=SETTLED, end_ns=END, stopped_ns=2050 * MS, drained_ns=2300 * MS
)


OTHER_TIME = "the Lab-Stamp header is of another time: the answer comes from a cache, or the server has another clock"


class GivenUp(BaseException):
    """As gevent's GreenletExit is: no Exception."""


def stamp(left_ns: int, *, service_ns: int = 50 * MS, process: int = 1) -> str:
    return f"{process} 2 3 {left_ns - service_ns} {left_ns}"


def answered(left_ns: int, latency_ms: float = 60.0, *, due_ns: int = 0, late_ms: float = 0.0, **more: Any) -> Sample:
    return Sample(latency_ms, stamp(left_ns, **more), None, False, due_ns, late_ms)


def sent(begun_ns: int, connect_ms: float, queue_ms: float, service_ms: float, back_ms: float) -> Sample:
    """A request that took so long in each of its parts."""
    entered_ns = begun_ns + round((connect_ms + queue_ms) * MS)
    latency_ms = connect_ms + queue_ms + service_ms + back_ms
    made = answered(entered_ns + round(service_ms * MS), latency_ms, service_ns=round(service_ms * MS))
    return made._replace(begun_ns=begun_ns, connect_ns=round(connect_ms * MS))


def failed(error: str = "OSError: refused", *, due_ns: int = 0, late_ms: float = 0.0) -> Sample:
    return Sample(1.0, None, error, False, due_ns, late_ms)


def given_up(latency_ms: float = 900.0, *, due_ns: int = 0, late_ms: float = 0.0) -> Sample:
    return Sample(latency_ms, None, "given up", True, due_ns, late_ms)


def reported(*samples: Sample, span: Span = SPAN, **more: Any) -> TrialReport:
    return report(samples, span, unanswered=0, generator_cpu=0.1, **more)


# The recorder.


def response(stamp: object) -> Any:
    """An answer with the one header that a recorder reads."""
    return SimpleNamespace(get={STAMP_HEADER: stamp}.get)


def recorded(*calls: Mapping[str, Any]) -> Recorder:
    """A recorder of requests, as Locust calls it."""
    recorder = Recorder()
    for call in calls:
        recorder.on_request(request_type="GET", name="/hello", url="/hello", start_time=1.0, response_length=6, **call)
    return recorder


def test_an_answer_is_recorded_with_its_stamp() -> None:
    recorder = recorded({"response_time": 12.5, "response": response("1 2 3 4 5"), "context": {"user": 7}})

    assert recorder.samples == [
        Sample(12.5, "1 2 3 4 5", None, cut_off=False, due_ns=0, late_ms=0.0, received_bytes=6, user=7)
    ]
    assert (recorder.answered, recorder.failed) == ({7}, set())


def test_stamps_of_one_answer_are_recorded_together() -> None:
    """As HTTP has it (RFC 9110, section 5.3), and as clients hand them over that do not keep them apart."""
    (sample,) = recorded({"response_time": 1.0, "response": response(["1 2 3 4 5", "1 2 3 4 6"])}).samples

    assert sample.stamp == "1 2 3 4 5, 1 2 3 4 6"


@pytest.mark.parametrize(
    ("answer", "stamp"),
    [
        (SimpleNamespace(headers={STAMP_HEADER: "1 2 3 4 5"}), "1 2 3 4 5"),
        (SimpleNamespace(headers={}), None),
        (SimpleNamespace(headers=None), None),
        (SimpleNamespace(), None),
        (response(None), None),
        (response(7), None),
        (object(), None),
        (None, None),
    ],
)
def test_an_answer_is_recorded_whatever_client_of_locusts_brought_it(answer: object, stamp: str | None) -> None:
    recorder = recorded({"response_time": 1.0, "response": answer, "context": {"user": 7}})

    assert [(sample.stamp, sample.error) for sample in recorder.samples] == [(stamp, None)]
    assert recorder.answered == {7}


def test_what_cannot_be_recorded_is_a_failure_and_is_not_lost() -> None:
    """Locust logs what a listener raises, and goes on."""

    def trouble(_: str) -> str:
        raise LookupError("no headers here")

    recorder = recorded({"response_time": 1.0, "response": SimpleNamespace(get=trouble)})

    assert reported(*recorder.samples).errors == {"not understood: LookupError: no headers here": 1}


@pytest.mark.parametrize(
    ("exception", "stamp", "error"),
    [
        (ValueError("wrong"), None, "ValueError: wrong"),
        (ConnectionRefusedError("refused"), None, "ConnectionRefusedError: refused"),
        (ValueError("wrong"), "1 2 3 4 5", "ValueError: wrong"),
        (ValueError("x" * 1000), None, ("ValueError: " + "x" * 1000)[:400]),
    ],
)
def test_a_failure_is_recorded_with_its_kind_and_its_message_cut(
    exception: Exception, stamp: str | None, error: str
) -> None:
    call = {"response_time": 1.0, "response": response(stamp), "exception": exception, "context": {"user": 7}}
    recorder = recorded(call)

    assert [(each.stamp, each.error, each.cut_off) for each in recorder.samples] == [(stamp, error, False)]
    assert (recorder.answered, recorder.failed) == (set(), {7})


def test_what_was_given_up_is_cut_off_and_no_failure_of_the_server() -> None:
    (sample,) = recorded({"response_time": 1.0, "exception": GivenUp()}).samples

    assert sample.cut_off
    assert reported(sample).failures == 0


@pytest.mark.parametrize("offset_ns", [0, -500 * MS])
def test_a_scheduled_request_is_recorded_with_when_it_was_due_in_the_targets_clock(offset_ns: int) -> None:
    context = {"user": 1, "due_ns": BEGIN, "begun_ns": BEGIN + 7 * MS}
    recorder = Recorder(clock_offset_ns=offset_ns)
    calls: list[dict[str, Any]] = [
        {"response": response("1 2 3 4 5")},
        {"exception": ValueError("wrong")},
        {"exception": GivenUp()},
    ]
    for call in calls:
        recorder.on_request(response_time=9.0, context=context, **call)
    for unscheduled in (None, {}, {"user": 1, "due_ns": None}):
        recorder.on_request(response_time=9.0, response=response("1 2 3 4 5"), context=unscheduled)

    found = [(sample.due_ns, sample.late_ms) for sample in recorder.samples]
    assert found == [(BEGIN + offset_ns, 7.0)] * 3 + [(0, 0.0)] * 3


@pytest.mark.parametrize("offset_ns", [0, -500 * MS])
@pytest.mark.parametrize(
    "call", [{"response": response("1 2 3 4 5")}, {"exception": ValueError("wrong")}, {"exception": GivenUp()}]
)
def test_a_request_is_recorded_with_when_it_was_begun_in_the_targets_clock_and_how_long_its_connection_took(
    offset_ns: int, call: dict[str, Any]
) -> None:
    recorder = Recorder(clock_offset_ns=offset_ns)
    for context in ({"begun_ns": BEGIN, "connect_ns": 3 * MS}, {"begun_ns": BEGIN}, {}, None):
        recorder.on_request(response_time=9.0, context=context, **call)

    found = [(sample.begun_ns, sample.connect_ns) for sample in recorder.samples]
    assert found == [(BEGIN + offset_ns, 3 * MS), (BEGIN + offset_ns, 0), (0, 0), (0, 0)]


@pytest.mark.parametrize(
    "call", [{"response": response("1 2 3 4 5")}, {"exception": ValueError("wrong")}, {"exception": GivenUp()}]
)
@pytest.mark.parametrize(
    ("told", "slow_connection", "client_ms", "reading_ms"),
    [
        ({}, False, 0.0, 0.0),
        ({"slow_connection": True}, True, 0.0, 0.0),
        ({"reopened": True}, False, 0.0, 0.0),
        ({"client_ms": 200.0, "reading_ms": 50.0}, False, 200.0, 50.0),
    ],
)
def test_what_was_remarkable_about_a_request_is_recorded_whatever_became_of_it(
    call: dict[str, Any], told: dict[str, Any], slow_connection: bool, client_ms: float, reading_ms: float
) -> None:
    (sample,) = recorded({"response_time": 1.0, "context": {"user": 1, **told}, **call}).samples

    assert (sample.slow_connection, sample.client_ms, sample.reading_ms) == (slow_connection, client_ms, reading_ms)
    assert sample.reopened == told.get("reopened", False)


def test_users_are_known_by_their_answers_and_their_failures() -> None:
    right, wrong = {"response": response("1 2 3 4 5")}, {"exception": ValueError("wrong")}
    recorder = recorded(
        *({"response_time": 1.0, "context": {"user": user}, **call} for user in (1, 2) for call in (right, right)),
        {"response_time": 1.0, "context": {"user": 2}, **wrong},
        {"response_time": 1.0, "context": {"user": 3}, **wrong},
    )

    assert (recorder.answered, recorder.failed) == ({1, 2}, {2, 3})
    assert len(recorder.samples) == 6


# The window.


def test_a_trials_moments_are_told_in_seconds() -> None:
    found = report([], SPAN, unanswered=3, generator_cpu=0.25)

    assert (found.warmup_s, found.settling_s, found.window_s) == (0.1, 0.4, 1.0)
    assert (found.held_s, found.drain_s) == (0.05, 0.25)
    assert (found.unanswered, found.generator_cpu) == (3, 0.25)


@pytest.mark.parametrize(("left_ns", "counted"), [(BEGIN - 1, 0), (BEGIN, 1), (END - 1, 1), (END, 0)])
def test_a_request_counts_for_the_window_in_which_it_left(left_ns: int, counted: int) -> None:
    found = reported(answered(left_ns))

    assert found.completed == counted
    assert sum(found.in_flight.requests_per_process) == counted


def test_requests_are_counted_between_the_readings_of_the_cpu_time_too() -> None:
    lefts = [BEGIN - 20 * MS, BEGIN - 10 * MS, BEGIN, END - 1, END, END + 9 * MS, END + 10 * MS]
    found = reported(*map(answered, lefts), read=(BEGIN - 10 * MS, END + 10 * MS))

    assert (found.completed, found.read_completed, found.read_span_s) == (2, 5, 1.02)
    assert reported().read_completed is None, "nobody has read"


def test_throughput_is_of_all_the_window_and_so_are_requests_in_flight_and_service_times() -> None:
    lefts = [BEGIN + 100 * MS, SETTLED, END - 300 * MS]
    services = [50 * MS, 70 * MS, 90 * MS]
    samples = [answered(left, service_ns=service) for left, service in zip(lefts, services, strict=True)]
    outside = answered(END + 10 * MS, service_ns=200 * MS)

    found = reported(*samples, outside)

    assert found.completed == 3
    assert found.throughput_rps == pytest.approx(inflight.rate(lefts, BEGIN, END))
    assert found.service_ms == 70.0
    assert found.in_flight.mean == pytest.approx((50 + 70 + 90 + 190) / 1000), "what leaves later is in flight too"
    assert found.in_flight.peak == 1


@pytest.mark.parametrize(("left_ns", "counts"), [(SETTLED - 1, False), (SETTLED, True), (END - 1, True), (END, False)])
def test_latencies_are_of_the_requests_that_left_once_the_load_had_settled(left_ns: int, counts: bool) -> None:
    found = reported(answered(SETTLED + 1, 10.0), answered(left_ns, 30.0))

    assert found.latency_mean_ms == (20.0 if counts else 10.0)
    assert found.latency_ms["max"] == pytest.approx(30.0 if counts else 10.0, rel=1e-3)
    assert stats.merged_latency_ms([found.latency_histogram]) == found.latency_ms


def test_percentiles_are_those_of_the_latencies() -> None:
    found = reported(*(answered(SETTLED + at * MS, float(at)) for at in range(1, 101)))

    assert found.latency_ms == pytest.approx({"p50": 50, "p95": 95, "p99": 99, "max": 100}, rel=1e-3)
    assert found.latency_mean_ms == 50.5


def test_a_latency_beyond_the_histograms_range_is_its_end() -> None:
    found = reported(answered(SETTLED, 0.0), answered(SETTLED, 1e9))

    assert found.latency_ms["p50"] == stats.LOWEST_US / 1000
    assert found.latency_ms["max"] == pytest.approx(stats.HIGHEST_US / 1000, rel=1e-3)


def test_a_window_without_a_request_has_figures_of_nothing() -> None:
    found = reported()

    assert (found.completed, found.throughput_rps, found.latency_mean_ms, found.service_ms) == (0, 0.0, 0.0, 0.0)
    assert (found.failures, found.cut_off, found.late, found.errors) == (0, 0, 0, {})
    assert found.latency_ms == {}, "no latency is not a latency of nothing"
    assert found.due == 0


# Scheduled requests.


@pytest.mark.parametrize(("due_ns", "counts"), [(BEGIN - 1, False), (BEGIN, True), (END - 1, True), (END, False)])
@pytest.mark.parametrize("left_ns", [SETTLED, END + 200 * MS])
def test_the_latency_of_a_scheduled_request_counts_in_the_window_in_which_it_was_due(
    due_ns: int, counts: bool, left_ns: int
) -> None:
    """Whenever it was answered: what the server held up must not be lost with the window's end."""
    found = reported(answered(left_ns, 30.0, due_ns=due_ns))

    assert found.latency_mean_ms == (30.0 if counts else 0.0)
    assert found.completed == (left_ns < END), "throughput is of what left in the window all the same"


@pytest.mark.parametrize(("due_ns", "counts"), [(BEGIN - 1, False), (BEGIN, True), (END - 1, True), (END, False)])
def test_a_scheduled_request_that_was_given_up_has_waited_at_least_so_long(due_ns: int, counts: bool) -> None:
    found = reported(answered(SETTLED, 30.0, due_ns=BEGIN), given_up(1200.0, due_ns=due_ns))

    assert found.latency_ms["max"] == pytest.approx(1200.0 if counts else 30.0, rel=1e-3)
    assert found.latency_mean_ms == (615.0 if counts else 30.0)
    assert found.cut_off == 1, "over the whole trial"


def test_a_request_without_a_schedule_that_was_given_up_has_no_latency() -> None:
    found = reported(answered(SETTLED, 30.0), given_up())

    assert (found.latency_mean_ms, found.cut_off) == (30.0, 1)


@pytest.mark.parametrize("make", [lambda **given: answered(SETTLED, **given), failed, given_up])
@pytest.mark.parametrize(
    ("due_ns", "late_ms", "due", "late"),
    [
        (BEGIN, LATE_MS + 0.01, 1, 1),
        (END - 1, LATE_MS + 0.01, 1, 1),
        (BEGIN, LATE_MS, 1, 0),
        (BEGIN - 1, LATE_MS + 0.01, 0, 0),
        (END, LATE_MS + 0.01, 0, 0),
        (0, 0.0, 0, 0),
    ],
)
def test_a_request_that_was_due_in_the_window_and_begun_noticeably_later_is_late(
    make: Callable[..., Sample], due_ns: int, late_ms: float, due: int, late: int
) -> None:
    found = reported(make(due_ns=due_ns, late_ms=late_ms))

    assert (found.due, found.late) == (due, late)


def test_the_answers_of_the_user_who_had_most_in_the_window_are_counted() -> None:
    def of(user: int | str, *lefts_ns: int) -> list[Sample]:
        return [answered(left_ns)._replace(user=user) for left_ns in lefts_ns]

    earlier = of(7, *[BEGIN - 1] * 9)
    assert reported(*earlier, *of(7, BEGIN), *of(8, BEGIN, END - 1), failed()._replace(user=7)).busiest_user == 2
    assert reported(*of(7, BEGIN), *of(0, BEGIN)).busiest_user is None, "it is not known whose one is"
    assert reported(*earlier).busiest_user is None


def test_users_of_two_workers_are_two_whatever_number_either_has() -> None:
    row = answered(BEGIN)._replace(user=7)
    one, other = Sample.sent(row, "worker1"), Sample.sent(row, "worker2")

    assert one._replace(user=7) == other._replace(user=7) == row
    assert reported(one, other).busiest_user == 1
    assert Sample.sent(answered(BEGIN), "worker1").user == 0


# Connections, and slow users.


@pytest.mark.parametrize("make", [lambda: answered(BEGIN - 1), lambda: answered(SETTLED), failed, given_up])
def test_slow_and_reopened_connections_are_counted_over_the_whole_trial_whatever_became_of_them(
    make: Callable[[], Sample],
) -> None:
    slow, reopened = make()._replace(slow_connection=True), make()._replace(reopened=True)

    assert reported(slow, make(), slow).slow_connections == 2
    assert reported(reopened, make(), reopened).reopened == 2
    assert reported().reopened == 0


@pytest.mark.parametrize(("left_ns", "counts"), [(BEGIN - 1, False), (BEGIN, True), (END - 1, True), (END, False)])
def test_users_pauses_and_bytes_received_are_those_of_the_windows_requests(left_ns: int, counts: bool) -> None:
    found = reported(
        answered(SETTLED)._replace(client_ms=100.0, reading_ms=10.0, received_bytes=1000),
        answered(left_ns)._replace(client_ms=300.0, reading_ms=30.0, received_bytes=500),
        failed()._replace(received_bytes=70),
    )

    assert (found.client_ms, found.reading_ms) == ((200.0, 20.0) if counts else (100.0, 10.0)), "medians"
    assert found.received_bytes == (1500 if counts else 1000)
    nothing = reported()
    assert nothing.client_ms == nothing.reading_ms == nothing.received_bytes == 0


# The parts of a latency.


def test_a_latency_is_connecting_queueing_service_and_the_way_back() -> None:
    found = reported(sent(SETTLED, 1, 100, 50, 4), sent(SETTLED, 3, 300, 50, 2))

    assert found.parts is not None
    assert found.parts.connect == PartTimes(mean=2.0, p50=1.0, p95=3.0, p99=3.0)
    assert found.parts.queue == PartTimes(mean=200.0, p50=100.0, p95=300.0, p99=300.0)
    assert found.parts.service == PartTimes(mean=50.0, p50=50.0, p95=50.0, p99=50.0)
    assert found.parts.back == PartTimes(mean=3.0, p50=2.0, p95=4.0, p99=4.0)
    assert found.parts.latency_mean == found.latency_mean_ms == 255.0


def test_percentiles_of_a_part_are_those_of_its_times_in_order() -> None:
    found = reported(*(sent(SETTLED, 0, at, 1, 0) for at in range(200, 0, -1)))

    assert found.parts is not None
    assert found.parts.queue == PartTimes(mean=100.5, p50=100.0, p95=190.0, p99=198.0)


@pytest.mark.parametrize("left_ns", [BEGIN - 1, BEGIN, SETTLED - 1, END, END + 1])
def test_parts_are_of_the_requests_whose_latencies_count(left_ns: int) -> None:
    outside = answered(left_ns, 900.0)._replace(begun_ns=BEGIN - 200 * MS)

    found = reported(sent(SETTLED, 1, 100, 50, 4), outside, failed())

    assert found.parts == reported(sent(SETTLED, 1, 100, 50, 4)).parts


@pytest.mark.parametrize("begun_late_ms", [0.0, 7.0])
def test_a_scheduled_request_queues_from_when_it_was_due(begun_late_ms: float) -> None:
    due_ns = SETTLED
    begun = sent(due_ns + round(begun_late_ms * MS), 1, 100, 50, 4)
    scheduled = begun._replace(due_ns=due_ns, late_ms=begun_late_ms, latency_ms=begun.latency_ms + begun_late_ms)

    found = reported(scheduled)

    assert found.parts is not None
    assert found.parts.queue.mean == 100 + begun_late_ms
    assert (found.parts.connect.mean, found.parts.service.mean, found.parts.back.mean) == (1, 50, 4)


def test_a_scheduled_request_that_was_given_up_was_in_the_queue_as_far_as_anybody_knows() -> None:
    found = reported(given_up(1200.0, due_ns=BEGIN)._replace(begun_ns=BEGIN, connect_ns=2 * MS))

    assert found.parts is not None
    assert (found.parts.connect.mean, found.parts.queue.mean, found.parts.latency_mean) == (2.0, 1198.0, 1200.0)


def test_there_are_no_parts_without_a_latency_or_where_a_user_did_not_say_when_it_began() -> None:
    assert reported().parts is None
    assert reported(answered(BEGIN)._replace(begun_ns=BEGIN - 60 * MS)).parts is None
    assert reported(sent(SETTLED, 1, 100, 50, 4), answered(SETTLED)).parts is None


@pytest.mark.parametrize(
    ("ahead_ms", "parts"),
    [
        # The clock there is known to half of a round trip: what seems to be before the request, or after its answer, is not.
        (-5, (2, 0, 50, 9)),
        (-3, (2, 0, 50, 9)),
        (0, (2, 3, 50, 6)),
        (6, (2, 9, 50, 0)),
        (8, (2, 9, 50, 0)),
    ],
)
def test_where_clocks_differ_the_time_in_the_application_is_moved_into_the_latency(
    ahead_ms: int, parts: tuple[int, int, int, int]
) -> None:
    here = sent(SETTLED, 2, 3, 50, 6)
    there = elsewhere(here, ahead_ms * MS)._replace(begun_ns=here.begun_ns)

    assert parts_ns(read_stamp(there, EVER), there) == tuple(each * MS for each in parts)


def test_a_time_in_the_application_that_is_longer_than_the_latency_is_all_of_it() -> None:
    """An answer can have been read before the last of it has left: a server hands it over and then closes it."""
    read_early = answered(SETTLED + 70 * MS, 60.0, service_ns=65 * MS)._replace(begun_ns=SETTLED, connect_ns=1 * MS)

    assert parts_ns(read_stamp(read_early, EVER), read_early) == (1 * MS, 0, 59 * MS, 0)


@settings(max_examples=200)
@given(
    latency_ms=st.floats(0, 5000),
    connect_ns=st.integers(0, 6000 * MS),
    due_ns=st.sampled_from([0, SETTLED]),
    begun_ns=st.integers(SETTLED, SETTLED + 100 * MS),
    entered_ns=st.integers(0, 3 * END),
    service_ns=st.integers(0, 6000 * MS),
    known=st.booleans(),
)
def test_no_part_is_negative_and_they_add_up_to_the_latency(
    latency_ms: float, connect_ns: int, due_ns: int, begun_ns: int, entered_ns: int, service_ns: int, known: bool
) -> None:
    left_ns = entered_ns + service_ns
    stamp = Stamp(process=1, thread=2, greenlet_id=3, entered_ns=entered_ns, left_ns=left_ns) if known else None
    sample = Sample(latency_ms, None, None, False, due_ns, 0.0, begun_ns=begun_ns, connect_ns=connect_ns)

    parts = parts_ns(stamp, sample)

    assert min(parts) >= 0
    assert sum(parts) == round(latency_ms * 1e6)


# Requests that leave later than their stamp says.


def left_late(sample: Sample, by_ns: int) -> dict[Stamp, int]:
    """What the target tells of a request that left so much later."""
    stamp = read_stamp(sample, EVER)
    return {stamp: stamp.left_ns + by_ns}


def test_a_request_has_left_when_the_target_says_that_it_did_in_every_figure() -> None:
    streamed = answered(SETTLED + 1 * MS, 320.0, service_ns=1 * MS)._replace(begun_ns=SETTLED - 10 * MS)
    plain = answered(SETTLED + 100 * MS, 60.0)._replace(begun_ns=SETTLED + 45 * MS)

    found = reported(streamed, plain, late=left_late(streamed, 299 * MS))

    assert found.in_flight.peak == 2, "the other came and went while it was streamed"
    assert found.in_flight.mean == pytest.approx((300 + 50) / 1000)
    assert found.service_ms == pytest.approx((300 + 50) / 2)
    assert found.throughput_rps == pytest.approx(inflight.rate([SETTLED + 300 * MS, SETTLED + 100 * MS], BEGIN, END))
    assert found.timeline is not None
    assert max(stay.left_us for stay in found.timeline.stays) == found.timeline.span_us - 300_000
    assert found.parts is not None
    assert (found.parts.queue.p99, found.parts.service.p99, found.parts.back.p99) == (10.0, 300.0, 10.0)
    assert found.parts.latency_mean == pytest.approx(found.latency_mean_ms)


def test_streams_of_two_seconds_on_eight_threads_with_sixteen_users() -> None:
    """Each of eight threads sends one stream after the other; headers are on their way after a millisecond."""
    second = 10**9
    started_ns, begin_ns, settled_ns, end_ns, drained_ns = (at * second for at in (10, 12, 14, 22, 26))
    span = Span(
        started_ns=started_ns,
        begin_ns=begin_ns,
        settled_ns=settled_ns,
        end_ns=end_ns,
        stopped_ns=end_ns,
        drained_ns=drained_ns,
    )
    samples: list[Sample] = []
    late: dict[Stamp, int] = {}
    for thread in range(8):
        for turn in range(7):
            entered_ns = started_ns + 2 * second * turn + thread * MS
            stamp = f"1 {thread} {thread} {entered_ns} {entered_ns + MS}"
            begun_ns = max(started_ns, entered_ns - 2 * second)
            latency_ms = (entered_ns + 2 * second - begun_ns) / MS
            samples.append(Sample(latency_ms, stamp, None, False, 0, 0.0, begun_ns=begun_ns))
            late |= left_late(samples[-1], 2 * second - MS)

    found = reported(*samples, span=span, late=late)

    assert (found.in_flight.peak, found.in_flight.threads) == (8, 8)
    assert found.in_flight.mean == pytest.approx(8, rel=0.01)
    assert found.service_ms == 2000.0
    assert found.parts is not None
    assert (found.parts.queue.mean, found.parts.service.mean, found.parts.back.mean) == (2000.0, 2000.0, 0.0)
    # By their headers alone they would hardly have been there.
    assert reported(*samples, span=span).in_flight.mean < 0.01


@pytest.mark.parametrize(("by_ns", "counted"), [(0, 1), (END - SETTLED - 1, 1), (END - SETTLED, 0)])
def test_a_request_counts_for_the_window_in_which_it_left_at_last(by_ns: int, counted: int) -> None:
    streamed = answered(SETTLED)

    found = reported(streamed, late=left_late(streamed, by_ns))

    assert found.completed == len(found.latency_ms) // 4 == counted


def test_of_streams_that_were_not_all_late_those_that_were_are_joined_and_no_other() -> None:
    streamed = [answered(SETTLED + at * MS, service_ns=MS, process=at) for at in range(1, 5)]
    late = left_late(streamed[1], 30 * MS) | left_late(streamed[3], 50 * MS)
    # Of another trial, or of one that was given up.
    late |= left_late(answered(SETTLED + 400 * MS, process=9), 10 * MS)

    found = reported(*streamed, late=late)

    assert found.completed == 4
    assert found.in_flight.mean == pytest.approx((1 + 31 + 1 + 51) / 1000)


def test_an_answer_that_was_begun_anew_is_joined_by_the_last_of_its_stamps() -> None:
    begun, anew = stamp(SETTLED, service_ns=20 * MS), stamp(SETTLED + 30 * MS, service_ns=50 * MS)
    sample = Sample(200.0, f"{begun}, {anew}", None, False, 0, 0.0)

    assert reported(sample, late=left_late(sample, 100 * MS)).service_ms == 150.0


# Failures.


def test_failures_are_counted_by_kind_over_the_whole_trial() -> None:
    found = reported(failed(), failed(), failed("ValueError: wrong"), answered(SETTLED))

    assert (found.failures, found.completed) == (3, 1)
    assert found.errors == {"OSError: refused": 2, "ValueError: wrong": 1}


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (None, "ValueError: the answer has no Lab-Stamp header"),
        ("1 2 3", "ValueError: '1 2 3' is no stamp"),
        (f"1 2 3 4 {'9' * 5000}", f"ValueError: '1 2 3 4 {'9' * 5000}"[:400]),
        (f"{stamp(SETTLED)}, ", "ValueError: '' is no stamp"),
        (
            f"{stamp(SETTLED)}, {stamp(SETTLED, process=2)}",
            "ValueError: the answer has Lab-Stamp headers of 2 requests",
        ),
        (stamp(END + CLOCKS_NS + 300 * MS + 1), f"ValueError: {OTHER_TIME}"),
        ("1 2 3 50 40", "ValueError: '1 2 3 50 40': left before it was entered"),
    ],
)
def test_an_answer_without_a_proper_stamp_is_a_failure(given: str | None, error: str) -> None:
    found = reported(Sample(1.0, given, None, False, 0, 0.0))

    assert (found.failures, found.errors, found.completed) == (1, {error: 1}, 0)


def test_an_answer_that_was_begun_anew_has_left_when_it_was_begun_last() -> None:
    """Gunicorn and cheroot send the headers of both beginnings."""
    begun, anew = stamp(SETTLED, service_ns=20 * MS), stamp(SETTLED + 30 * MS, service_ns=50 * MS)

    found = reported(Sample(60.0, f"{begun}, {anew}", None, False, 0, 0.0))

    assert (found.completed, found.failures, found.service_ms) == (1, 0, 50.0)


def test_a_stamp_of_before_the_trial_is_a_failure_unless_stamps_may_be_of_any_time() -> None:
    early = answered(BEGIN)
    span = SPAN.shifted(CLOCKS_NS + 50 * MS)

    assert report([early], span, unanswered=0, generator_cpu=0.1).errors == {}
    for stamped, errors in ((None, {f"ValueError: {OTHER_TIME}": 1}), (EVER, {})):
        later = span.shifted(1)
        assert report([early], later, unanswered=0, generator_cpu=0.1, stamped=stamped).errors == errors


def test_of_many_kinds_of_failures_the_ten_most_frequent_are_told_but_all_are_counted() -> None:
    found = reported(*(failed(f"kind {kind}") for kind in range(12) for _ in range(kind + 1)))

    assert found.failures == sum(range(1, 13))
    assert found.errors == {f"kind {kind}": kind + 1 for kind in range(2, 12)}


# Samples of several workers.

DUE = st.sampled_from([0, BEGIN - 50 * MS, BEGIN, SETTLED + 7, END - 1, END])
LATENCIES = st.floats(0, 5000)
SAMPLES = st.one_of(
    st.builds(
        sent,
        st.integers(BEGIN - 200 * MS, END + 200 * MS),
        st.sampled_from([0.0, 0.1]),
        st.integers(0, 300),
        st.integers(0, 300),
        st.integers(0, 3),
    ),
    st.builds(
        answered,
        st.integers(BEGIN - 200 * MS, END + 200 * MS),
        LATENCIES,
        due_ns=DUE,
        late_ms=st.floats(0, 20),
        service_ns=st.integers(0, 300 * MS),
        process=st.integers(1, 4),
    ),
    st.builds(failed, st.sampled_from(["a", "b", "c"]), due_ns=DUE, late_ms=st.floats(0, 20)),
    st.builds(given_up, LATENCIES, due_ns=DUE, late_ms=st.floats(0, 20)),
    st.just(Sample(1.0, "no stamp", None, False, 0, 0.0)),
)


@settings(max_examples=50)
@given(st.lists(st.tuples(SAMPLES, st.integers(0, 2)), max_size=12))
def test_the_samples_of_several_workers_make_exactly_the_report_of_one(samples: Sequence[tuple[Sample, int]]) -> None:
    by_worker = [sample for worker in range(3) for sample, of in samples if of == worker]

    assert reported(*by_worker) == reported(*(sample for sample, _ in samples))


def elsewhere(sample: Sample, by_ns: int) -> Sample:
    """The same request where the target's machine has another clock."""
    due_ns = sample.due_ns + by_ns if sample.due_ns else 0
    begun_ns = sample.begun_ns + by_ns if sample.begun_ns else 0
    sample = sample._replace(due_ns=due_ns, begun_ns=begun_ns)
    if sample.stamp is None or len(sample.stamp.split()) < 5:
        return sample
    *who, entered, left = sample.stamp.split()
    return sample._replace(stamp=" ".join([*who, str(int(entered) + by_ns), str(int(left) + by_ns)]))


@settings(max_examples=50)
@given(st.lists(SAMPLES, max_size=12), st.integers(1 - BEGIN // 2, 10**18))
def test_the_report_is_the_same_whatever_the_clock_of_the_targets_machine(
    samples: Sequence[Sample], by_ns: int
) -> None:
    there = [elsewhere(sample, by_ns) for sample in samples]

    assert reported(*there, span=SPAN.shifted(by_ns)) == reported(*samples)


def test_which_failures_are_told_does_not_depend_on_which_worker_saw_them() -> None:
    kinds = [failed(f"kind {kind}") for kind in range(12)]

    assert reported(*kinds).errors == reported(*reversed(kinds)).errors


@settings(max_examples=50)
@given(st.lists(SAMPLES, max_size=12))
def test_every_request_is_counted_as_what_it_was(samples: Sequence[Sample]) -> None:
    everything = replace(SPAN, begin_ns=1, settled_ns=1, end_ns=10 * END, stopped_ns=10 * END, drained_ns=10 * END)

    found = reported(*samples, span=everything)

    assert found.completed + found.failures + found.cut_off == len(samples)
    assert sum(found.errors.values()) == found.failures
    assert sum(found.in_flight.requests_per_process) == found.completed


def test_the_builders_report_is_one_that_a_trial_could_have_made() -> None:
    """Tests elsewhere stand on it: 32 users on one slot of 50 ms."""
    built = testing.trial_report()

    assert stats.merged_latency_ms([built.latency_histogram]) == pytest.approx(built.latency_ms, rel=1e-3)
    assert built.latency_ms.keys() == reported(answered(SETTLED)).latency_ms.keys()


# By request.


def test_the_request_of_a_mix_is_recorded_by_its_name() -> None:
    calls = [{"response_time": 1.0, "response": response("1 2 3 4 5"), "context": {"user": 7, "name": "buy"}}]
    failing = [{"response_time": 1.0, "exception": ValueError("x"), "context": {"name": "buy"}}]

    assert [each.name for each in recorded(*calls, *failing).samples] == ["buy", "buy"]
    assert recorded({"response_time": 1.0, "response": response("1 2 3 4 5")}).samples[0].name == ""


def test_figures_of_a_mix_are_told_by_request_and_add_up_to_those_of_all() -> None:
    def of(name: str, left_ms: int, latency_ms: float) -> Sample:
        return answered(left_ms * MS, latency_ms)._replace(name=name)

    orders = [of("orders", at, 20.0 + at / 100) for at in range(1000, 2000, 20)]
    buys = [of("buy", at, 60.0) for at in range(1005, 2000, 100)]
    outside = [of("orders", 2010, 900.0), of("never", 2020, 900.0)]
    found = reported(*orders, *buys, *outside)
    by = found.by_request

    assert {name: each.completed for name, each in by.items()} == {"buy": 10, "never": 0, "orders": 50}
    assert sum(each.throughput_rps for each in by.values()) == pytest.approx(found.throughput_rps)
    assert by["orders"].throughput_rps == pytest.approx(5 * by["buy"].throughput_rps)
    assert by["buy"].latency_mean_ms == pytest.approx(by["buy"].latency_p50_ms, rel=0.001) == 60.0
    # Once the load had settled, as of all requests.
    settled = [each.latency_ms for each in orders if int((each.stamp or "").split()[-1]) >= SETTLED]
    assert by["orders"].latency_mean_ms == pytest.approx(sum(settled) / len(settled))
    assert by["orders"].latency_p95_ms == pytest.approx(39.4, abs=0.5)
    assert (by["never"].throughput_rps, by["never"].latency_p50_ms) == (0.0, None)


def test_one_request_alone_is_told_once() -> None:
    assert reported(answered(1500 * MS)).by_request == {}


# Answers without stamps.


def test_of_answers_without_stamps_the_moment_counts_at_which_they_were_read_and_nothing_else_is_known() -> None:
    """Of a server that is not the lab's."""
    begun_ns = SPAN.settled_ns + 10 * MS
    within = [
        Sample(20.0, None, None, False, 0, 0.0, begun_ns=begun_ns + each * 30 * MS, received_bytes=6)
        for each in range(3)
    ]
    before = Sample(20.0, None, None, False, 0, 0.0, begun_ns=SPAN.begin_ns - 30 * MS)
    found = reported(*within, before, failed(), is_stamped=False)

    assert (found.completed, found.failures, found.received_bytes) == (3, 1, 18)
    assert found.throughput_rps > 0
    assert found.latency_ms["p50"] == pytest.approx(20.0, rel=1e-2)
    assert (found.is_stamped, found.parts, found.timeline, found.service_ms) == (False, None, None, 0.0)
    assert (found.in_flight.peak, found.in_flight.requests_per_process) == (0, ())


def test_where_one_answer_has_a_stamp_all_must() -> None:
    left_ns = SPAN.settled_ns + 100 * MS
    plain = Sample(20.0, None, None, False, 0, 0.0, begun_ns=left_ns)

    found = reported(answered(left_ns), plain, is_stamped=False)

    assert (found.is_stamped, found.completed, found.failures) == (True, 1, 1)


def test_what_users_did_before_the_window_is_none_of_its_requests() -> None:
    before, within = answered(900 * MS)._replace(name="login"), answered(1500 * MS)._replace(name="orders")

    assert reported(before, within).by_request.keys() == {"orders"}


def test_of_many_names_the_most_frequent_are_told_and_the_others_together() -> None:
    named = [answered((1000 + at) * MS)._replace(name=f"/items/{at}") for at in range(200)]
    found = reported(*named, *(answered((1300 + at) * MS)._replace(name="list") for at in range(3)))

    assert len(found.by_request) == MOST_NAMES
    assert found.by_request["list"].completed == 3
    assert sum(each.completed for each in found.by_request.values()) == found.completed == 203
    assert found.by_request[OTHER_NAMES].completed == 200 - (MOST_NAMES - 2)


# Redirects.


def test_a_redirect_is_a_request_to_the_application_and_the_latency_is_that_of_both() -> None:
    first, last = stamp(1500 * MS, service_ns=20 * MS), stamp(1560 * MS, service_ns=30 * MS)
    followed = answered(1560 * MS, 100.0)._replace(stamp=last, redirects=(first,), name="home", begun_ns=1470 * MS)
    found = reported(followed)

    assert found.completed == 2
    assert found.in_flight.mean == pytest.approx(0.05)
    assert found.latency_mean_ms == 100.0
    assert found.by_request["home"].completed == 2
    assert found.parts is not None
    means = [each.mean for each in (found.parts.connect, found.parts.queue, found.parts.service, found.parts.back)]
    assert means == [0.0, 10.0, 50.0, 40.0]


def test_a_redirect_that_came_from_elsewhere_has_no_stamp_and_is_a_failure() -> None:
    found = reported(answered(1500 * MS)._replace(redirects=(None,)))

    assert (found.completed, found.errors) == (0, {"ValueError: the answer has no Lab-Stamp header": 1})


# What users did but wait for answers.


def test_what_users_met_is_recorded_with_their_request_and_giving_up_is_no_failure() -> None:
    met = {"reset": True, "pause_ns": 5, "first_event_ms": 1.5, "event_gap_ms": 2.5}
    call = {
        "response_time": 50.0,
        "exception": ValueError("given up"),
        "context": {"user": 7, "abandoned": True, **met},
    }
    recorder = recorded(call)

    (sample,) = recorder.samples
    assert (sample.reset, sample.pause_ns, sample.first_event_ms, sample.event_gap_ms) == (True, 5, 1.5, 2.5)
    assert (sample.abandoned, sample.error, sample.cut_off) == (True, None, False)
    # It need not be waited for until it has an answer.
    assert (recorder.answered, recorder.failed) == ({7}, set())
    assert (found := reported(sample, gives_up=True)).failures == found.cut_off == found.completed == 0


def test_users_who_pause_are_counted_while_they_do() -> None:
    # The pause after each lasts 300 ms; of the last, half is in the window.
    pausing = [
        answered(left_ns, 60.0)._replace(begun_ns=left_ns - 60 * MS, pause_ns=300 * MS)
        for left_ns in (BEGIN + 100 * MS, BEGIN + 500 * MS, END - 150 * MS)
    ]

    assert reported(*pausing).pausing == pytest.approx((300 + 300 + 150) / 1000)
    assert reported(answered(BEGIN + 100 * MS)).pausing == 0


def abandoned(begun_ns: int, after_ms: float = 100.0) -> Sample:
    return Sample(after_ms, None, None, False, 0, 0.0, begun_ns=begun_ns, abandoned=True)


def test_what_the_application_noted_and_nobody_has_an_answer_of_was_done_for_nobody() -> None:
    """Three requests of 50 ms each are worked off in the window, one for a user who waits; another is of the trial before."""
    waited_for = answered(BEGIN + 200 * MS)._replace(begun_ns=BEGIN + 140 * MS)
    in_vain = [stamp(BEGIN + 300 * MS), stamp(END + 25 * MS), stamp(BEGIN + 400 * MS, service_ns=25 * MS)]
    before = stamp(SPAN.started_ns + 10 * MS)
    known = map(inflight.parse_stamp, [*in_vain, before, waited_for.stamp or ""])
    given_up = [abandoned(at) for at in (BEGIN, BEGIN + 100 * MS, END - 50 * MS)]

    found = reported(waited_for, *given_up, late={each: each.left_ns for each in known}, gives_up=True)

    assert (found.completed, found.abandoned, found.failures) == (1, 2, 0), "the third gave up after the window"
    assert found.wasted_work == pytest.approx((50 + 25 + 25) / 150)
    assert found.in_vain == pytest.approx(0.25)
    assert found.in_flight.mean == pytest.approx(0.15)
    assert sum(found.in_flight.requests_per_process) == 3


def test_what_entered_and_has_not_left_is_inside_until_the_end_and_one_request_counts_once() -> None:
    """Of four requests, one is still inside when it is asked, one has left, one is waited for, one entered before the trial."""
    waited_for = answered(BEGIN + 200 * MS)._replace(begun_ns=BEGIN + 140 * MS)
    own = inflight.parse_stamp(waited_for.stamp or "")
    left, inside, earlier = (
        replace(own, greenlet_id=77, entered_ns=at, left_ns=at)
        for at in (BEGIN + 300 * MS, END - 250 * MS, SPAN.started_ns - 1)
    )
    # The response was begun by another thread than the one on which it entered.
    after = replace(left, thread=own.thread + 1, left_ns=left.entered_ns + 100 * MS)
    entered = {each: each.entered_ns for each in (replace(own, left_ns=own.entered_ns), left, inside, earlier)}
    noted = {after: after.left_ns, own: own.left_ns, **entered}

    found = reported(waited_for, abandoned(BEGIN), late=noted, gives_up=True)

    assert found.in_flight.mean == pytest.approx(0.05 + 0.1 + 0.25)
    assert found.wasted_work == pytest.approx(0.35 / 0.4)
    assert sum(found.in_flight.requests_per_process) == 2, "one has not left"
    assert found.timeline is not None
    assert max(stay.left_us for stay in found.timeline.stays) <= (SPAN.drained_ns - BEGIN) / 1000


def test_a_request_that_left_later_than_its_stamp_says_is_waited_for_all_the_same() -> None:
    late = stamp(BEGIN + 200 * MS)
    sample = Sample(90.0, late, None, False, 0, 0.0, begun_ns=BEGIN + 140 * MS)

    found = reported(sample, late={inflight.parse_stamp(late): BEGIN + 230 * MS}, gives_up=True)

    assert (found.wasted_work, found.abandoned) == (0.0, 0)
    assert found.in_flight.mean == pytest.approx(0.08)


def test_a_request_that_a_redirect_led_on_from_was_not_done_for_nobody() -> None:
    first, last = stamp(BEGIN + 200 * MS), stamp(BEGIN + 300 * MS)
    sample = Sample(170.0, last, None, False, 0, 0.0, begun_ns=BEGIN + 140 * MS, redirects=(first,))
    noted = {each: each.left_ns for each in map(inflight.parse_stamp, (first, last))}

    assert reported(sample, late=noted, gives_up=True).wasted_work == 0.0


def test_where_users_do_not_give_up_or_nothing_is_noted_nothing_is_said_of_work_for_nobody() -> None:
    noted = {inflight.parse_stamp(stamp(BEGIN + 300 * MS)): BEGIN + 300 * MS}

    plain = reported(answered(BEGIN + 200 * MS), late=noted)
    assert (plain.abandoned, plain.wasted_work) == (None, None)
    assert plain.in_flight.mean == pytest.approx(0.05)
    assert reported(answered(BEGIN + 200 * MS), gives_up=True).wasted_work is None
    assert reported(abandoned(BEGIN), gives_up=True).wasted_work is None


def test_lost_connections_and_refusals_are_counted_over_the_whole_trial() -> None:
    reset = answered(BEGIN - 50 * MS)._replace(reset=True, reopened=True)
    lost = failed("ConnectionError: closed before the end")._replace(reset=True)
    refused = [failed("ConnectionRefusedError: [Errno 111] Connection refused")] * 3

    found = reported(reset, lost, *refused, answered(BEGIN + 200 * MS))

    assert (found.reset, found.reopened, found.refused, found.failures) == (2, 1, 3, 4)


def test_streams_have_the_medians_of_their_first_events_and_of_their_longest_gaps() -> None:
    of_window = [
        answered(BEGIN + 500 * MS)._replace(begun_ns=BEGIN + 440 * MS, first_event_ms=first, event_gap_ms=gap)
        for first, gap in ((1.0, 90.0), (5.0, 80.0), (9.0, 0.0))
    ]
    before = of_window[0]._replace(begun_ns=BEGIN - 200 * MS, first_event_ms=999.0)

    no_stream = answered(BEGIN + 500 * MS)._replace(begun_ns=BEGIN + 440 * MS)
    # It was due within the window, and begun after it.
    behind = of_window[0]._replace(latency_ms=60.0, due_ns=END - 70 * MS, begun_ns=END + 10 * MS, first_event_ms=7.0)

    found = reported(*of_window, before, no_stream)

    assert (found.first_event_ms, found.event_gap_ms) == (5.0, 80.0)
    assert reported(behind).first_event_ms == 7.0
    assert reported(before, no_stream).first_event_ms is None
    assert reported(answered(BEGIN + 200 * MS)).first_event_ms is None


# What was done to the target in the window.


def test_the_longest_gap_is_between_answers_as_users_read_them() -> None:
    # Both left the application at once, and the second was read 200 ms later.
    first, second = sent(BEGIN, 0, 0, 100, 0), sent(BEGIN, 0, 0, 100, 200)

    assert reported(first, second).longest_gap_ms == 700.0
    assert reported(first).longest_gap_ms == 900.0
    assert reported(answered(BEGIN + 400 * MS)).longest_gap_ms == 600.0, "where it is not known when one was begun"


def test_capacity_lost_is_what_came_after_beside_what_came_before_once_all_users_were_at_work() -> None:
    acted_ns = SETTLED + 200 * MS
    before = [answered(SETTLED + at * 20 * MS) for at in range(10)]
    after = [answered(acted_ns + at * 40 * MS) for at in range(10)]
    starting = [answered(BEGIN + at * MS) for at in range(100)]

    assert reported(*before, *after, *starting, acted_ns=acted_ns).lost_capacity == 0.5
    assert reported(*before, *after).lost_capacity is None, "nothing was done"


def test_the_timeline_of_a_window_in_which_something_was_done_is_around_that() -> None:
    acted_ns = SETTLED + 200 * MS
    steady = [answered(SETTLED + at * 20 * MS) for at in range(10)]

    found = reported(*steady, acted_ns=acted_ns).timeline
    plain = reported(*steady).timeline

    assert found is not None
    assert plain is not None
    assert plain.acted_us is None
    assert found.acted_us == (acted_ns - BEGIN) / 1000, "the window is short enough to be shown whole"
    assert found.span_us == (END - BEGIN) / 1000
    # Stays count from the same begin.
    assert max(stay.left_us for stay in found.stays) == found.acted_us - 20_000


def test_of_very_many_requests_those_are_shown_around_what_was_done_most_of_them_after_it() -> None:
    acted_ns = BEGIN + 300 * MS
    many = [answered(BEGIN + at * MS // 2, service_ns=MS // 4) for at in range(2000)]

    found = reported(*many, acted_ns=acted_ns).timeline

    assert found is not None
    assert found.acted_us is not None
    before = [stay for stay in found.stays if stay.left_us <= found.acted_us]
    assert len(found.stays) - len(before) == pytest.approx(ACTED_REQUESTS * 3 / 4, abs=2)
    assert len(before) == pytest.approx(ACTED_REQUESTS / 4, abs=2)
