"""The generator's side of the channel to the lab."""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import gevent
import pytest
from gevent.queue import Queue

from tests.unit.load.test_window import CLOSED
from wsgilab.load import driver
from wsgilab.load.driver import LabChannel
from wsgilab.load.events import EventWriter
from wsgilab.load.window import READING_S
from wsgilab.model import Idle


class Lines:
    """The lab's messages, as they come."""

    def __init__(self) -> None:
        self._lines: Queue[bytes | None] = Queue()

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._lines.get, None)

    def send(self, **message: Any) -> None:
        self._lines.put(json.dumps(message).encode() + b"\n")
        gevent.sleep(0.001)

    def end(self) -> None:
        self._lines.put(None)
        gevent.sleep(0.001)


@pytest.fixture
def lines() -> Lines:
    return Lines()


class Writer(EventWriter):
    """Keeps the events in place of writing them."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def __call__(self, event: str, **_: Any) -> None:
        self.events.append(event)


def test_that_the_lab_has_read_is_received_between_requests_and_is_none(lines: Lines) -> None:
    writer = Writer()
    lab = LabChannel(lines, writer)
    lab.request_reading("closed")
    lines.send(op="get", url="a")
    assert not lab.wait_until_read(0)

    lines.send(op="read", at="closed")
    assert lab.wait_until_read(0)
    assert 0 < lab.reading_s != READING_S
    lines.end()
    assert list(lab.requests()) == [{"op": "get", "url": "a"}]
    assert writer.events == ["closed"]


def test_that_the_lab_has_read_at_the_windows_begin_does_not_end_load_after_its_end(lines: Lines) -> None:
    lab = LabChannel(lines, Writer())
    lab.request_reading("window")
    lab.request_reading("closed")
    lines.send(op="read", at="window")
    assert not lab.wait_until_read(0)
    assert lab.reading_s == READING_S, "it cannot be told how long that took"
    lines.send(op="read", at="closed")
    assert lab.wait_until_read(0)


def test_a_lab_that_has_gone_is_not_waited_for(lines: Lines) -> None:
    lab = LabChannel(lines, Writer())
    lab.request_reading("window")
    lines.end()
    lab.request_reading("closed")
    assert lab.wait_until_read(60)
    assert list(lab.requests()) == []


@pytest.mark.parametrize("ahead_ns", [0, 10**12], ids=["the same clock", "another machine's"])
def test_when_the_target_was_read_is_known_by_this_machines_clock(lines: Lines, ahead_ns: int) -> None:
    lab = LabChannel(lines, Writer())
    lab.request_reading("window")
    read_ns = time.monotonic_ns()
    # The second of two targets, which were read one after the other.
    both_ns, sent_ns = [read_ns + ahead_ns, read_ns + ahead_ns + 1000], time.monotonic_ns()
    lines.send(op="read", at="window", read_ns=both_ns, sent_ns=sent_ns + ahead_ns)

    under_way_ns = time.monotonic_ns() - sent_ns
    assert read_ns <= lab.read_ns["window", 0] <= read_ns + under_way_ns
    assert lab.read_ns["window", 1] - lab.read_ns["window", 0] == 1000
    lab.request_reading("closed")
    lines.send(op="read", at="closed", read_ns=[None, None], sent_ns=0)
    assert set(lab.read_ns) == {("window", 0), ("window", 1)}, "at its end the targets had ended"
    lines.send(op="read", at="window", read_ns=[late_ns := time.monotonic_ns()], sent_ns=late_ns)
    assert lab.read_ns["window", 0] == late_ns, "of a window that was over by then"
    lab.request_reading("window")
    assert lab.read_ns == {}, "of the trial before"


def test_a_specification_is_the_same_after_its_way_as_json() -> None:
    spec = replace(CLOSED, idle=Idle(connections=3, send="half"), rate=2.0)

    assert driver._spec(json.loads(json.dumps(asdict(spec)))) == spec
    assert driver._spec(json.loads(json.dumps(asdict(CLOSED)))) == CLOSED
