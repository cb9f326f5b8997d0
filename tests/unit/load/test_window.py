"""One window, as the generator carries it out: what the lab is told and when, and how long load goes on."""

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import gevent
import pytest

from wsgilab.load import pages, window
from wsgilab.load.idle import Silence, Stay
from wsgilab.load.local import Progress, TargetCores
from wsgilab.load.recorder import Sample
from wsgilab.load.samples import Span, report
from wsgilab.load.window import trial
from wsgilab.model import Idle, TrialReport, TrialSpec

CLOSED = TrialSpec(
    locustfile="hello",
    base_url="http://127.0.0.1:8000",
    users=4,
    rate=None,
    window_s=0.02,
    patience_s=1.0,
    options={},
)
SCHEDULED = replace(CLOSED, users=1, rate=40.0)
MS = 10**6


@pytest.fixture(autouse=True)
def _labs_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is."""
    monkeypatch.setattr(window, "LONGEST_READING_S", 60.0)


class Clock:
    """One that passes while a window sleeps, and a microsecond at each look."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ns = 10**9
        monkeypatch.setattr(window, "time", SimpleNamespace(monotonic_ns=self._look))
        monkeypatch.setattr(window, "gevent", SimpleNamespace(sleep=self._sleep))

    def _look(self) -> int:
        self.now_ns += 1000
        return self.now_ns

    def _sleep(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class Users:
    """A load whose users are at work from `start` to `stop`."""

    def __init__(self) -> None:
        self.are_at_work = False
        self.ends: list[tuple[int, int]] = []
        """Of the window, and of what must be worked off, as often as they were told."""
        self.marks = 0

    def read_network(self, _: float) -> Sequence[Any]:
        return ()

    def start(self) -> None:
        self.are_at_work = True

    def progress(self) -> Progress:
        return Progress(users=4, answered=4, failed=0)

    def end_window(self, at_ns: int, void_ns: int) -> None:
        assert self.are_at_work
        self.ends.append((at_ns, void_ns))

    def stop(self, _: float) -> list[Sample]:
        self.are_at_work = False
        return []

    def silence(self) -> Silence:
        assert not self.are_at_work
        begin_ns, end_ns = self.ends[-1][0] - 20 * MS, self.ends[-1][0]
        return Silence([Stay(begin_ns - 10 * MS, end_ns - 10 * MS, by_server=True)], refused=3)

    def mark(self) -> None:
        self.marks += 1

    def busiest(self) -> float:
        return 0.1

    def used(self) -> float:
        return 0.1

    def others(self) -> float:
        return 0.0


class Reader:
    """A lab that takes so many looks to read what the target used."""

    def __init__(self, users: Users, looks: int, reading_s: float = 0.0) -> None:
        self.reading_s = reading_s
        self.read_ns: dict[tuple[str, int], int] = {}
        self._users = users
        self._looks = looks
        self.events: list[str] = []
        self.waited_s: list[float] = []
        self.read_under_load = False

    def request_reading(self, event: str) -> None:
        assert self._users.are_at_work
        self.events.append(event)

    def wait_until_read(self, timeout_s: float) -> bool:
        assert self.events == ["window", "closed"]
        self.waited_s.append(timeout_s)
        gevent.sleep(max(0.0, timeout_s))
        self._looks -= 1
        if self._looks:
            return False
        self.read_under_load = self._users.are_at_work
        return True


@pytest.mark.parametrize("spec", [CLOSED, SCHEDULED], ids=["closed", "scheduled"])
def test_usage_is_read_while_load_goes_on_and_the_window_is_over_by_then(spec: TrialSpec) -> None:
    users = Users()
    reader = Reader(users, looks=3)

    report = trial(spec, users, TargetCores("", None), reader)

    assert reader.read_under_load
    assert not users.are_at_work
    assert not report.read_late
    assert report.held_s >= sum(reader.waited_s)
    assert report.window_s - report.settling_s == pytest.approx(spec.window_s), "not until the lab had read"
    assert users.marks == 2


@pytest.mark.parametrize("acts_at_s", [0.05, 0.0])
def test_when_something_is_done_counts_from_when_the_lab_was_told_of_the_window_but_is_within_it(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, acts_at_s: float
) -> None:
    class Told(Reader):
        at_ns = 0

        def request_reading(self, event: str) -> None:
            self.at_ns = self.at_ns or clock.now_ns
            super().request_reading(event)

    given: dict[str, Any] = {}

    def noted(samples: Sequence[Sample], span: Span, **of_trial: Any) -> TrialReport:
        given.update(of_trial, span=span)
        return report(samples, span, **of_trial)

    monkeypatch.setattr(window, "report", noted)
    users = Users()
    reader = Told(users, looks=1)

    trial(replace(SCHEDULED, window_s=0.1, acts_at_s=acts_at_s), users, TargetCores("", None), reader)

    # Where requests are on a schedule, the window opens a while after the lab was told.
    assert given["span"].begin_ns - reader.at_ns >= window.READING_S * 1e9
    if acts_at_s:
        assert given["acted_ns"] - reader.at_ns == acts_at_s * 1e9
    else:
        assert given["acted_ns"] == given["span"].begin_ns


class HeldBack(Users):
    """Users of a server that gives none of them an answer for a while, and then the first quarter and all others at once."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self._looks = after

    def progress(self) -> Progress:
        self._looks -= 1
        return Progress(users=4, answered=0 if self._looks > 0 else 1 if not self._looks else 4, failed=0)


@pytest.mark.usefixtures("clock")
def test_a_window_that_was_forecast_to_end_much_too_late_ends_when_it_is_over() -> None:
    users = HeldBack(after=30)

    report = trial(CLOSED, users, TargetCores("", None), Reader(users, looks=1))

    assert report.unanswered == 0
    assert users.ends[1][0] < users.ends[0][0], "sooner than forecast"
    # It began when load did.
    assert report.window_s - report.settling_s == pytest.approx(CLOSED.window_s)


@pytest.mark.parametrize("spec", [CLOSED, SCHEDULED], ids=["closed", "scheduled"])
def test_requests_are_void_only_after_the_lab_has_read_also_where_it_takes_longer_than_the_last_time(
    spec: TrialSpec,
) -> None:
    users = Users()
    reader = Reader(users, looks=3, reading_s=0.1)

    trial(spec, users, TargetCores("", None), reader)

    ends_ns, voids_ns = {end for end, _ in users.ends}, [void for _, void in users.ends]
    assert len(ends_ns) == 1, "the window's end does not move"
    [end_ns] = ends_ns
    assert voids_ns[0] - end_ns > reader.reading_s * 1e9
    assert voids_ns == sorted(voids_ns)
    # Once when the window's end was known, and each time that the lab was waited for.
    assert len(voids_ns) == 1 + 3
    # It was waited for until shortly before the moment that was told, and then for longer and longer.
    allowed_s = reader.reading_s * window.READING_MARGIN + window.VOID_AFTER_S
    assert reader.waited_s == [pytest.approx(allowed_s * 2**time - window.VOID_AFTER_S / 2) for time in range(3)]


@pytest.mark.parametrize("spec", [CLOSED, SCHEDULED], ids=["closed", "scheduled"])
def test_a_lab_that_does_not_read_is_not_waited_for_forever_and_the_report_says_so(
    spec: TrialSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window, "LONGEST_READING_S", 0.05)
    users = Users()

    report = trial(spec, users, TargetCores("", None), Reader(users, looks=10**9))

    assert report.read_late
    assert report.held_s >= 0.05
    assert not users.are_at_work


# Two targets in one window.


class Half(Users):
    """Users of one of two targets, who have so many answers in the window, and are all answered once they were looked at so often."""

    def __init__(self, answers: int, after: int = 0) -> None:
        super().__init__()
        self._answers = answers
        self._looks = after

    def progress(self) -> Progress:
        self._looks -= 1
        return Progress(users=4, answered=4 if self._looks < 0 else 0, failed=0)

    def stop(self, _: float) -> list[Sample]:
        self.are_at_work = False
        end_ns = self.ends[-1][0]
        lefts_ns = [end_ns - (number + 1) * MS for number in range(self._answers)]
        return [Sample(1.0, f"1 2 3 {left - MS} {left}", None, False, 0, 0.0) for left in lefts_ns]


class Both(Reader):
    """A lab that has read the first target until its last 3.5 ms, and the second one until its last 1.5 ms."""

    def request_reading(self, event: str) -> None:
        super().request_reading(event)
        if event == "closed":
            end_ns = self._users.ends[-1][0]
            for number, before_ns in enumerate((3.5 * MS, 1.5 * MS)):
                self.read_ns["window", number] = end_ns - 20 * MS
                self.read_ns["closed", number] = round(end_ns - before_ns)


def test_two_targets_are_loaded_in_one_window_and_their_requests_counted_between_their_own_readings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Asked(monkeypatch, 404, "")
    # The second has its first answers later: the window waits for the users of both.
    first, second = Half(answers=6), Half(answers=9, after=5)
    specs = [replace(CLOSED, base_url=f"http://127.0.0.1:{port}", window_s=0.04) for port in (8001, 8002)]

    found = window.duet(specs, [first, second], TargetCores("", None), Both(first, looks=1))

    assert first.ends[-1][0] == second.ends[-1][0]
    assert not first.are_at_work
    assert not second.are_at_work
    assert found[0].window_s == found[1].window_s >= 0.04
    assert found[0].settling_s > 0
    assert [each.completed for each in found] == [6, 9]
    assert [each.read_completed for each in found] == [3, 8]
    assert (first.marks, second.marks) == (2, 0), "it is one process"
    assert [each.generator_cpu for each in found] == [0.1, 0.1]


def test_a_user_of_either_target_who_had_no_answer_is_missing_in_both_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    Asked(monkeypatch, 404, "")
    specs = [replace(CLOSED, patience_s=0.05)] * 2

    found = window.duet(
        specs, [first := Half(answers=6), Half(answers=0, after=10**9)], TargetCores("", None), Both(first, looks=1)
    )

    assert [each.unanswered for each in found] == [4, 4]


# Requests that left later than their stamps say.


class Asked:
    """A target that answers each GET alike, and knows what it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, status: int, body: str) -> None:
        self.asked: list[str] = []
        self._answer = {"status": status, "body": body}
        monkeypatch.setattr(pages, "fetch", self._fetch)

    def _fetch(self, url: str, _: float = 0.0) -> dict[str, Any]:
        self.asked.append(url)
        return self._answer


class Streamed(Users):
    """Users who have had an answer in the window, by its header, which took 5 ms; and one that failed."""

    def __init__(self, *stamps: str | None) -> None:
        super().__init__()
        self._stamps = stamps

    def end_window(self, at_ns: int, void_ns: int) -> None:
        super().end_window(at_ns, void_ns)
        self.left_ns = at_ns - 10 * MS

    def stop(self, _: float) -> list[Sample]:
        super().stop(_)
        right = [Sample(6.0, each, None, False, 0, 0.0) for each in self._stamps or (self.stamp,)]
        return [*right, Sample(1.0, None, "OSError: refused", False, 0, 0.0)]

    @property
    def stamp(self) -> str:
        return f"1 2 3 {self.left_ns - 5 * MS} {self.left_ns}"


def loaded(users: Users, spec: TrialSpec = CLOSED) -> TrialReport:
    return trial(spec, users, TargetCores("", None), Reader(users, looks=1))


def test_a_target_is_asked_once_after_the_drain_what_left_later(monkeypatch: pytest.MonkeyPatch) -> None:
    users, asked = Streamed(), []

    def fetch(url: str, _: float = 0.0) -> dict[str, Any]:
        assert not users.are_at_work
        asked.append(url)
        return {"status": 200, "body": f"{users.stamp} {users.left_ns + 7 * MS}\n9 9 9 1 2 3\n"}

    monkeypatch.setattr(pages, "fetch", fetch)
    report = loaded(users)

    assert asked == ["http://127.0.0.1:8000/__lab__/late"]
    assert report.service_ms == 12.0
    assert (report.completed, report.errors) == (1, {"OSError: refused": 1})


@pytest.mark.parametrize(("status", "body"), [(404, "no such page"), (200, "")])
def test_a_target_without_such_a_page_or_without_such_requests_is_taken_at_its_word(
    monkeypatch: pytest.MonkeyPatch, status: int, body: str
) -> None:
    Asked(monkeypatch, status, body)

    report = loaded(Streamed())

    assert (report.service_ms, report.completed, report.failures) == (5.0, 1, 1)


@pytest.mark.parametrize(
    ("status", "body", "problem"),
    [
        (0, "<urlopen error timed out>", "it answered with nothing: <urlopen error timed out>"),
        (500, "Internal\nServer Error", "it answered with status 500: Internal Server Error"),
        (200, "hello\n", "'hello': names no moment"),
        (200, "1 2 3 40 50\n", "'1 2 3 40' is no stamp"),
        (200, "1 2 3 40 50 49\n", "'1 2 3 40 50 49': names an earlier moment"),
        (200, "1 2 3 40 50 x\n", "'1 2 3 40 50 x': names no moment"),
    ],
)
def test_where_it_cannot_be_read_what_left_later_every_answer_is_a_failure_that_says_so(
    monkeypatch: pytest.MonkeyPatch, status: int, body: str, problem: str
) -> None:
    Asked(monkeypatch, status, body)

    report = loaded(Streamed())

    told = f"/__lab__/late, which tells what left later, cannot be read: {problem}"
    assert report.errors == {told: 1, "OSError: refused": 1}
    assert (report.completed, report.latency_ms, report.parts) == (0, {}, None)


def test_a_target_that_was_ended_in_the_window_need_not_answer_it_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    Asked(monkeypatch, 0, "<urlopen error [Errno 111] Connection refused>")

    report = loaded(Streamed(), replace(CLOSED, acts_at_s=0.001))

    assert (report.completed, report.failures, report.service_ms) == (1, 1, 5.0)
    assert report.longest_gap_ms is not None
    assert loaded(Streamed()).completed == 0, "where nothing was done to it"


def test_a_target_that_has_answered_nobody_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    target = Asked(monkeypatch, 200, "")

    loaded(Streamed(None))

    assert target.asked == []


# Users who give up, and silent connections.


class Impatient(Streamed):
    """Users of whom one has had an answer, and one has given up."""

    def stop(self, _: float) -> list[Sample]:
        right, _failed = super().stop(_)
        return [right, Sample(5.0, None, None, False, 0, 0.0, begun_ns=self.left_ns - 9 * MS, abandoned=True)]


@pytest.mark.parametrize("patience_s", [1.0, 9.0])
def test_a_target_is_asked_for_what_nobody_waits_for_and_has_time_to_work_it_off(
    monkeypatch: pytest.MonkeyPatch, patience_s: float
) -> None:
    users, waited_s = Impatient(), []

    def fetch(_: str, timeout_s: float) -> dict[str, Any]:
        waited_s.append(timeout_s)
        for_nobody = f"1 2 9 {users.left_ns - 9 * MS} {users.left_ns}"
        lines = [f"{each} {users.left_ns}" for each in (users.stamp, for_nobody)]
        return {"status": 200, "body": "\n".join(lines)}

    monkeypatch.setattr(pages, "fetch", fetch)
    spec = replace(CLOSED, options={"abandon_ms": 5.0}, patience_s=patience_s)
    report = trial(spec, users, TargetCores("", None), Reader(users, looks=1))

    assert waited_s == [max(patience_s, pages.GET_TIMEOUT_S)]
    assert (report.completed, report.abandoned) == (1, 1)
    assert report.wasted_work is not None
    assert report.wasted_work > 0.5


def test_a_target_is_asked_also_where_nobody_has_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hopeless(Impatient):
        def stop(self, _: float) -> list[Sample]:
            return super().stop(_)[1:]

    users = Hopeless()

    def fetch(_: str, _timeout_s: float) -> dict[str, Any]:
        return {"status": 200, "body": f"1 2 9 {users.left_ns - MS} {users.left_ns} {users.left_ns}"}

    monkeypatch.setattr(pages, "fetch", fetch)
    report = trial(replace(CLOSED, options={"abandon_ms": 5.0}), users, TargetCores("", None), Reader(users, looks=1))

    assert (report.completed, report.wasted_work) == (0, 1.0)


def test_where_that_cannot_be_read_what_was_given_up_is_still_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    Asked(monkeypatch, 0, "timed out")
    users = Impatient()
    spec = replace(CLOSED, options={"abandon_ms": 5.0})

    report = trial(spec, users, TargetCores("", None), Reader(users, looks=1))

    assert (report.failures, report.abandoned, report.wasted_work) == (1, 1, None)


def test_the_report_says_what_became_of_silent_connections_where_there_are_some(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Asked(monkeypatch, 404, "")
    users = Users()
    silent = trial(replace(CLOSED, idle=Idle(connections=1)), users, TargetCores("", None), Reader(users, looks=1)).idle

    assert silent is not None
    assert (silent.opened, silent.closed, silent.refused) == (1, 1, 3)
    assert silent.held_s == pytest.approx(0.02)
    assert loaded(Users()).idle is None
