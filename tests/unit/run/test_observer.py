"""Who hears of trials, on fakes of the journal and the web UI."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import cast

from wsgilab import testing
from wsgilab.model import Cell, Duet, Observation, Trial
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
