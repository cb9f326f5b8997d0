"""What the lab says to the generator, and in which order."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import pytest

from wsgilab import testing
from wsgilab.load.client import LocustSwarm
from wsgilab.model import TrialSpec
from wsgilab.model.errors import SwarmError
from wsgilab.system.process import JsonChannel

SPEC = TrialSpec(
    locustfile="hello", base_url="http://one.invalid", users=4, rate=None, window_s=0.5, patience_s=3.0, options={}
)
REPORT = {**asdict(testing.trial_report()), "errors": {}}


class Channel:
    """A generator that says these events, and the conversation."""

    log = Path("no-such-log")

    def __init__(self, *events: dict[str, Any]) -> None:
        self._events = [{"event": "ready", "cpus": [1]}, *events]
        self.heard: list[object] = []

    def send(self, message: dict[str, Any]) -> None:
        self.heard.append(message)

    def receive(self, _: float) -> dict[str, Any]:
        return self._events.pop(0)


def swarm(channel: Channel) -> LocustSwarm:
    return LocustSwarm(cast("JsonChannel", channel), frozenset({1}))


def reading(channel: Channel, word: str, answer: Any) -> Callable[[], Any]:
    def read() -> Any:
        channel.heard.append(word)
        return answer

    return read


def conversation(channel: Channel) -> list[object]:
    """Without when the lab has sent."""
    return [
        {key: value for key, value in each.items() if key != "sent_ns"} if isinstance(each, dict) else each
        for each in channel.heard
    ]


def test_two_targets_are_read_together_at_both_ends_of_their_window() -> None:
    other = replace(SPEC, base_url="http://two.invalid")
    channel = Channel({"event": "window"}, {"event": "closed"}, {"event": "reports", "halves": [REPORT, REPORT]})

    found = swarm(channel).load_both(
        [SPEC, other], reading(channel, "begin", [11, 12]), reading(channel, "end", [21, None])
    )

    assert found == [testing.trial_report()] * 2
    assert conversation(channel) == [
        {"op": "duet", "halves": [asdict(SPEC), asdict(other)]},
        "begin",
        {"op": "read", "at": "window", "read_ns": [11, 12]},
        "end",
        {"op": "read", "at": "closed", "read_ns": [21, None]},
    ]


def test_one_target_is_read_alone() -> None:
    channel = Channel({"event": "window"}, {"event": "closed"}, {"event": "report", **REPORT})

    assert (
        swarm(channel).load(SPEC, reading(channel, "begin", 11), reading(channel, "end", None))
        == testing.trial_report()
    )
    assert conversation(channel)[2::2] == [
        {"op": "read", "at": "window", "read_ns": [11]},
        {"op": "read", "at": "closed", "read_ns": [None]},
    ]


def test_a_report_that_is_none_and_an_error_in_its_place_are_the_generators_fault() -> None:
    wrong = Channel(
        {"event": "window"}, {"event": "closed"}, {"event": "reports", "halves": [REPORT, {**REPORT, "window_s": -1}]}
    )
    with pytest.raises(SwarmError, match="the generator's report is not as agreed"):
        swarm(wrong).load_both([SPEC, SPEC], lambda: [1, 1], lambda: [2, 2])
    with pytest.raises(SwarmError, match="the generator failed: it is broken"):
        swarm(Channel({"event": "error", "message": "it is broken"})).load_both(
            [SPEC, SPEC], lambda: [1, 1], lambda: [2, 2]
        )
