"""Who hears of trials, on fakes of the journal and the web UI."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import cast

from wsgilab import testing
from wsgilab.model import Cell, Duet, Observation, Run, Trial
from wsgilab.results.store import Journal
from wsgilab.run.observer import RunObserver
from wsgilab.run.watch import Watch
from wsgilab.system.progress import LineReporter

ONE, TWO = testing.cell("one"), testing.cell("two")
TRIALS = [
    Trial(block=block, position=block * 2 + at, cell=cell) for block in (0, 1) for at, cell in enumerate((ONE, TWO))
]


class Alone:
    """A journal and a web UI that remember, and how many were ever in them at once."""

    def __init__(self) -> None:
        self.saved: list[Observation] = []
        self.duets: list[Duet] = []
        self.shown: list[str] = []
        self.most = self._now = 0

    def _enter(self) -> None:
        self._now += 1
        self.most = max(self.most, self._now)
        threading.Event().wait(0.002)
        self._now -= 1

    def append(self, observation: Observation) -> None:
        self._enter()
        self.saved.append(observation)

    def append_duet(self, duet: Duet) -> None:
        self._enter()
        self.duets.append(duet)

    def begin(self, _: Cell, progress: str) -> None:
        self._enter()
        self.shown.append(progress)

    def observe(self, _: Observation) -> None:
        self._enter()


def made(alone: Alone) -> RunObserver:
    return RunObserver(cast("Journal", alone), cast("Watch", alone), LineReporter(lambda _: None))


def test_lanes_are_heard_one_at_a_time() -> None:
    alone = Alone()
    observer = made(alone)

    def lane(trial: Trial) -> None:
        observer.begin(trial)
        observer.save(testing.observation(trial.cell, block=trial.block))
        observer.advance("done")
        observer.say("said")

    with observer.expecting(TRIALS, done=0), ThreadPoolExecutor(max_workers=4) as pool:
        list(pool.map(lane, TRIALS))

    assert (alone.most, len(alone.saved)) == (1, 4)


def test_a_trial_that_is_repeated_keeps_its_number() -> None:
    alone = Alone()
    observer = made(alone)
    with observer.expecting(TRIALS, done=3):
        for trial in (TRIALS[0], TRIALS[1], TRIALS[0], TRIALS[2]):
            observer.begin(trial)

    assert alone.shown == [f"{number} of 7 trials" for number in (4, 5, 4, 6)]


def test_a_duet_is_recorded_as_one_and_shown_as_no_trial() -> None:
    alone = Alone()
    duet = Duet(one=testing.observation(ONE), other=testing.observation(TWO))
    made(alone).save_duet(duet)

    assert (alone.duets, alone.saved) == ([duet], [])


# What a person sees.


class Clock:
    """Stands still until it is moved."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def carried_out(run: Run, trials: Sequence[Trial], *, took_s: float = 10.0) -> list[str]:
    """What is written of a run in which each trial takes so long, and the second server is twice as fast."""
    written: list[str] = []
    alone, clock = cast("Journal", Alone()), Clock()
    reporter = LineReporter(written.append, clock=clock)
    observer = RunObserver(alone, cast("Watch", alone), reporter, run, clock=clock)
    with observer.expecting(trials, done=0):
        for trial in trials:
            observer.begin(trial)
            clock.now_s += took_s
            rps = 20.0 if trial.cell.server == "one" else 40.0
            swarm = testing.trial_report(throughput_rps=rps, latency_mean_ms=32 / rps * 1000)
            observer.save(testing.observation(trial.cell, block=trial.block, swarm=swarm, took_s=took_s))
            observer.advance("done")
    return written


def schedule(blocks: int) -> list[Trial]:
    cells = (ONE, TWO)
    return [
        Trial(block=block, position=2 * block + at, cell=cell)
        for block in range(blocks)
        for at, cell in enumerate(cells)
    ]


def test_what_is_measured_is_shown_when_it_begins_with_the_time_that_is_left() -> None:
    run = testing.run(testing.experiment(ONE, TWO, blocks=2))

    assert carried_out(run, schedule(2)) == [
        "Trials: 0 of 4 (block 1, one, sleep, 32 users)",
        "Trials: 1 of 4, 30 s left (block 1, two, sleep, 32 users)",
        "Trials: 2 of 4, 20 s left (block 2, one, sleep, 32 users)",
        "0 of 1 comparisons decided so far; an early look, only the end counts",
        "Trials: 3 of 4, 10 s left (block 2, two, sleep, 32 users)",
        "Trials: 4 of 4, 0 s left (done)",
    ]


def test_with_a_budget_the_end_is_known_from_the_begin() -> None:
    run = testing.run(testing.experiment(ONE, TWO, blocks=2, budget_s=60.0))

    assert carried_out(run, schedule(2))[0] == "Trials: 0 done, 60 s left (block 1, one, sleep, 32 users)"


def test_how_many_are_decided_is_counted_at_the_end_of_a_block_and_nothing_is_named() -> None:
    run = testing.run(testing.experiment(ONE, TWO, blocks=8))
    notes = [line for line in carried_out(run, schedule(8)) if "decided so far" in line]

    assert notes == [
        "0 of 1 comparisons decided so far; an early look, only the end counts",
        "1 of 1 comparisons decided so far; an early look, only the end counts",
    ]
