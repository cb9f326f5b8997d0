"""A run that is watched, on fakes of its targets, its swarm and the web UI."""

from typing import cast

from tests.unit.test_campaign import ONE, TWO, Recorder
from tests.unit.test_keeper import FakeConversation
from wsgilab import campaign, plan, testing
from wsgilab.model import Observation
from wsgilab.process import Conversation
from wsgilab.testing import FakeSwarm, FakeTarget
from wsgilab.ui.client import LabUI
from wsgilab.watch import Watch

RUN = testing.run(testing.experiment(ONE, TWO))


def watch(conversation: FakeConversation, said: list[str]) -> Watch:
    return Watch(LabUI(cast("Conversation", conversation), frozenset({1})), said.append)


def test_each_trial_is_told_before_it_and_after_it() -> None:
    conversation, events = FakeConversation(), Recorder()
    watched = watch(conversation, events.said)
    fleet = {name: FakeTarget(server=testing.server(name)) for name in ("one", "two")}
    trials = plan.schedule(RUN.experiment, seed=1)
    campaign.execute(
        trials,
        run=RUN,
        fleets={1: dict(fleet)},
        backends={},
        swarm=FakeSwarm(),
        save=watched.observe,
        say=events.say,
        advance=events.steps.append,
        begin=lambda trial: watched.begin(trial.cell, f"{trial.position + 1} of {len(trials)} trials"),
    )
    watched.end()
    assert [message["op"] for message in conversation.heard] == ["trial", "observation"] * 6 + ["end"]
    told = [(message["cell"]["server"], message["progress"]) for message in conversation.told("trial")]
    assert told == [(trial.cell.server, f"{trial.position + 1} of 6 trials") for trial in trials]
    assert [message["observation"]["cell"]["server"] for message in conversation.told("observation")] == [
        trial.cell.server for trial in trials
    ]
    assert events.said == []


def test_a_web_ui_that_is_lost_is_said_once_and_told_no_more() -> None:
    conversation = FakeConversation()
    said: list[str] = []
    watched = watch(conversation, said)
    watched.begin(ONE, "1 of 2 trials")
    conversation.ended = True
    for _ in range(2):
        watched.begin(TWO, "2 of 2 trials")
        watched.observe(testing.observation(TWO))
    watched.end()
    assert said == ["the web UI is lost: it has ended; the run goes on without it."]
    assert [message["op"] for message in conversation.heard] == ["trial"]


def test_why_a_web_ui_failed_is_said() -> None:
    conversation = FakeConversation()
    said: list[str] = []
    watched = watch(conversation, said)
    conversation.to_say.append({"event": "error", "message": "KeyError: 'x'"})
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
