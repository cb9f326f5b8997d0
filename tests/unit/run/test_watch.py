"""A run that is watched, on fakes of its targets, its swarm and the web UI."""

from typing import cast

from tests.unit.run.test_trial import ONE, TWO, Recorder
from tests.unit.session.test_daemon import FakeChannel
from wsgilab import testing
from wsgilab.experiment import plan
from wsgilab.model import Observation
from wsgilab.results.store import Journal
from wsgilab.run.blocks import execute
from wsgilab.run.observer import RunObserver
from wsgilab.run.watch import Watch
from wsgilab.system.process import JsonChannel
from wsgilab.system.progress import LineReporter
from wsgilab.testing import FakeSwarm, FakeTarget
from wsgilab.web.client import LabUI

RUN = testing.run(testing.experiment(ONE, TWO))


class NoJournal:
    """Keeps nothing."""

    def append(self, observation: Observation) -> None: ...


def watch(channel: FakeChannel, said: list[str]) -> Watch:
    return Watch(LabUI(cast("JsonChannel", channel), frozenset({1})), said.append)


def test_each_trial_is_told_before_it_and_after_it() -> None:
    channel, events = FakeChannel(), Recorder()
    watched = watch(channel, events.said)
    fleet = {name: FakeTarget(server=testing.server(name)) for name in ("one", "two")}
    trials = plan.schedule(RUN.experiment, seed=1)
    observer = RunObserver(cast("Journal", NoJournal()), watched, LineReporter(events.say))
    with observer.expecting(trials, done=0):
        execute(
            trials,
            run=RUN,
            fleets={1: dict(fleet)},
            backends={},
            swarm=FakeSwarm(),
            observer=observer,
        )
    watched.end()
    assert [message["op"] for message in channel.heard] == ["trial", "observation"] * 6 + ["end"]
    told = [(message["cell"]["server"], message["progress"]) for message in channel.told("trial")]
    assert told == [(trial.cell.server, f"{trial.position + 1} of 6 trials") for trial in trials]
    assert [message["observation"]["cell"]["server"] for message in channel.told("observation")] == [
        trial.cell.server for trial in trials
    ]
    assert [text for text in events.said if not text.startswith("Trials: ")] == []


def test_a_web_ui_that_is_lost_is_said_once_and_told_no_more() -> None:
    channel = FakeChannel()
    said: list[str] = []
    watched = watch(channel, said)
    watched.begin(ONE, "1 of 2 trials")
    channel.ended = True
    for _ in range(2):
        watched.begin(TWO, "2 of 2 trials")
        watched.observe(testing.observation(TWO))
    watched.end()
    assert said == ["the web UI is lost: it has ended; the run goes on without it."]
    assert [message["op"] for message in channel.heard] == ["trial"]


def test_why_a_web_ui_failed_is_said() -> None:
    channel = FakeChannel()
    said: list[str] = []
    watched = watch(channel, said)
    channel.to_say.append({"event": "error", "message": "KeyError: 'x'"})
    watched.begin(ONE, "1 of 2 trials")
    assert said == ["the web UI failed: KeyError: 'x'; the run goes on without it."]


def test_where_there_is_no_web_ui_nobody_is_told() -> None:
    said: list[str] = []
    watched = Watch(None, said.append)
    observation: Observation = testing.observation(ONE)
    watched.begin(ONE, "1 of 1 trials")
    watched.observe(observation)
    watched.end()
    assert said == []
