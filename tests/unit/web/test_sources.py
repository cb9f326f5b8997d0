"""The sources of the web pages: the tests of a session one after the other, and a watched run."""

import pytest

from wsgilab import testing
from wsgilab.load.recorder import Sample
from wsgilab.model import Advice, Cell, Run, Usage
from wsgilab.report import tables
from wsgilab.web.live import WorkerReport
from wsgilab.web.sources import InteractiveTests, WatchedRun
from wsgilab.web.view import View

S = 10**9
SYNC, GEVENT = testing.cell("gunicorn-sync-4", users=2), testing.cell("gunicorn-gevent", users=2)


class Clock:
    """Shows the time that it is set to."""

    now_ns = 0

    def __call__(self) -> int:
        return self.now_ns


def run() -> Run:
    servers = testing.server("gunicorn-sync-4", slots=4), testing.server("gunicorn-gevent", slots=None)
    return testing.run(testing.experiment(SYNC, GEVENT), *servers)


class Played:
    """A session whose tests answer at once: `together` requests at a time, 0.4 s each; or `each_s`, one after the other."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.session = InteractiveTests(run(), {}, clock_ns=self.clock)

    def test(self, cell: Cell, together: int, seconds: int = 3, each_s: float | None = None) -> View:
        begin_s = self.clock.now_ns // S
        self.session.begin(cell, 2)
        self.report([])
        for second in range(begin_s, begin_s + seconds):
            self.clock.now_ns = (second + 1) * S
            spans = (
                [(0.2, 0.6)]
                if each_s is None
                else [(at * each_s, (at + 1) * each_s) for at in range(round(1 / each_s))]
            )
            self.report(testing.samples([(second + begin, second + end) for begin, end in spans] * together))
        self.clock.now_ns += S // 2
        self.report([])
        view = self.session.view()
        self.session.stop()
        self.clock.now_ns += S // 2
        return view

    def ended(self) -> View:
        """When the users of the last test have stopped."""
        self.session.stop()
        self.report([], users=0)
        return self.session.view()

    def report(self, samples: list[Sample], users: int = 2) -> None:
        now_ns = self.clock.now_ns
        told = WorkerReport(
            worker="a", at_ns=now_ns, cpu_s=now_ns / S / 10, users=users, answered=2, failed=0, samples=samples
        )
        self.session.add_report(told)


def peaks(view: View) -> dict[str, int | None]:
    return {each.cell.server: each.figures.peak for each in view.comparison.cells if each.figures is not None}


def test_before_the_first_test_there_is_nothing() -> None:
    view = Played().session.view()
    assert view.now is None
    assert view.comparison.cells == ()


def test_every_server_tried_so_far_stays_and_nothing_is_compared() -> None:
    played = Played()
    assert peaks(played.test(SYNC, 2)) == {"gunicorn-sync-4": 2}
    view = played.test(GEVENT, 5)
    assert peaks(view) == {"gunicorn-sync-4": 2, "gunicorn-gevent": 5}
    assert view.now is not None
    assert view.now.cell.server == "gunicorn-gevent"
    assert view.now.result is not None
    assert view.comparison.measured == 6
    assert view.comparison.pairs == ()
    assert not view.comparison.interleaved


def test_a_cell_that_is_tried_again_says_only_what_it_says_now() -> None:
    played = Played()
    played.test(SYNC, 2)
    played.test(GEVENT, 5)
    view = played.test(SYNC, 3, seconds=2)
    assert peaks(view) == {"gunicorn-sync-4": 3, "gunicorn-gevent": 5}
    assert view.comparison.measured == 5
    assert [each.cell.server for each in view.comparison.cells] == ["gunicorn-sync-4", "gunicorn-gevent"]


def advice(view: View) -> Advice:
    assert view.advised is not None
    (found,) = view.advised.advice
    return found


def test_tests_in_turn_are_rounds_by_which_the_lab_advises() -> None:
    played = Played()
    for _ in range(2):
        played.test(SYNC, 2, 6, each_s=0.04)
        view = played.test(GEVENT, 2, 6, each_s=0.02)
    assert advice(view).blocks == 1, "a test counts when it has ended"
    view = played.ended()
    assert (advice(view).reason, advice(view).blocks, advice(view).server) == ("blocks", 2, None)
    played.test(GEVENT, 2, 6, each_s=0.02)
    played.test(SYNC, 2, 3, each_s=0.04)
    assert advice(played.ended()).blocks == 2, "that one was too short"
    played.test(SYNC, 2, 6, each_s=0.04)
    found = advice(played.ended())
    assert (found.server, found.contrasts[0].other) == ("gunicorn-gevent", "gunicorn-sync-4")
    assert found.contrasts[0].ratio is not None
    assert found.contrasts[0].ratio.median == pytest.approx(2.0, rel=0.02)


def test_the_same_server_again_and_again_is_no_comparison() -> None:
    """What the machine does in the meantime would be the difference."""
    played = Played()
    for cell, each_s in ((SYNC, 0.04), (GEVENT, 0.02)):
        for _ in range(3):
            played.test(cell, 2, 6, each_s=each_s)
    assert (advice(played.ended()).reason, advice(played.ended()).blocks) == ("blocks", 1)


def test_a_server_that_failed_in_any_second_of_a_test_is_not_advised() -> None:
    played = Played()
    played.test(SYNC, 2, 6, each_s=0.04)
    played.session.begin(GEVENT, 2)
    played.report([])
    begin_s = played.clock.now_ns // S
    for second in range(begin_s, begin_s + 6):
        played.clock.now_ns = (second + 1) * S
        answered = testing.samples([(second + at / 50, second + (at + 1) / 50) for at in range(50)] * 2)
        wrong = [each._replace(error="the answer was wrong") for each in answered] if second == begin_s else []
        played.report([*answered, *wrong])
    played.clock.now_ns += S // 2
    played.report([])
    found = advice(played.ended())
    assert "requests failed: the answer was wrong" in found.left_out["gunicorn-gevent"]
    assert found.tied == ("gunicorn-sync-4",)


def test_seconds_without_an_answer_are_counted_as_failed() -> None:
    played = Played()
    played.test(SYNC, 2)
    view = played.test(GEVENT, 0)
    assert view.comparison.measured == 3
    assert view.comparison.failed == 3
    assert view.now is not None
    assert view.now.result is not None
    assert view.now.result.figures is None


def test_usage_of_a_server_that_is_not_under_test_is_not_its() -> None:
    played = Played()
    played.session.begin(SYNC, 2)
    for at_s in range(5):
        played.session.add_usage("gunicorn-gevent", Usage(at_s=at_s, cpu_s=at_s, resident_bytes=1, os_threads=2))
    played.report([])
    played.clock.now_ns = S
    played.report(testing.samples([(0.1, 0.2)]))
    played.clock.now_ns = 2 * S - 1
    played.report([])
    (result,) = played.session.view().comparison.cells
    assert result.figures is not None
    assert result.figures.server_cpu is None
    for at_s in range(5):
        played.clock.now_ns = at_s * S
        played.session.add_usage(
            "gunicorn-sync-4", Usage(at_s=1000 + at_s, cpu_s=at_s / 2, resident_bytes=1, os_threads=2)
        )
    (result,) = played.session.view().comparison.cells
    assert result.figures is not None
    assert result.figures.server_cpu is not None
    assert result.figures.server_cpu.median == 0.5


def test_a_watched_run_is_compared_only_when_it_has_ended() -> None:
    """Looking after every trial would find differences that are none."""
    watch = WatchedRun(run(), {})
    for block in range(6):
        for cell, rps in ((SYNC, 20.0), (GEVENT, 200.0)):
            watch.begin_trial(cell, "so many trials")
            swarm = testing.trial_report(throughput_rps=rps, latency_mean_ms=2000 / rps)
            watch.add(testing.observation(cell, block=block, swarm=swarm))
    before = watch.view().comparison
    assert before.measured == 12
    assert before.pairs == ()
    assert not any(result.warnings for result in before.cells)
    assert {result.rank for result in before.cells} == {None}
    watch.end()
    after = watch.view().comparison
    assert [pair.verdict for pair in after.pairs] == ["faster"]
    ranks = {result.cell.server: tables.rank(result) for result in after.cells}
    assert ranks == {"gunicorn-gevent": "1", "gunicorn-sync-4": "2"}


def test_of_a_trial_that_was_repeated_a_watched_run_shows_the_last() -> None:
    cell = testing.cell()
    watch = WatchedRun(testing.run(testing.experiment(cell)), {})
    for rps in (10.0, 20.0):
        watch.add(testing.observation(cell, swarm=testing.trial_report(throughput_rps=rps)))

    (result,) = watch.comparison().cells
    assert result.blocks == 1
    assert [each.throughput_rps for each in watch.reports(cell)] == [20.0]
