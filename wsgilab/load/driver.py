"""The generator: one long-lived Locust, used as a library, that takes one order after the other.

Run as `python -m wsgilab.load.driver [--beacon HOST:PORT] [--listen PORT --workers N]` from the folder that holds
`locustfiles/`. With a beacon the targets are on another machine, and all moments are told in its clock; so many workers
more come from outposts on other machines, to that port. One JSON object a line:

    in   {"op": "trial", ...Order}      out  {"event": "window"}   when all users are at work
                                             {"event": "closed"}   when the window has ended; load goes on
    in   {"op": "read", "at": "window"}      or "closed": what the target had used by then is read. Load ends at the second
                                             {"event": "report", ...SwarmReport}  when it is drained
    in   {"op": "get", "url": ...}      out  {"event": "answer", "status": ..., "body": ...}
    in   {"op": "link"}                 out  {"event": "link", "round_trip_ms": ..., "bandwidth_mbps": ...}
                                        out  {"event": "error", "message": ...}  in place of any of these

It says `{"event": "ready", "cpus": [...]}` first. Pinned to one core it does all by itself; pinned to several, or with
workers elsewhere, it is Locust's master, with a worker on each. It ends at the end of its input, so it never outlives the
lab; and when it has lost a worker.
"""

# Locust patches the standard library for gevent when it is imported: it has to come first.
import locust  # noqa: F401  isort: skip

import argparse
import gc
import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from statistics import median
from typing import IO, Any, Protocol

import gevent
from gevent.event import Event
from gevent.fileobject import FileObjectPosix
from gevent.queue import Queue

from wsgilab.load.distributed import WorkerPool
from wsgilab.load.local import POLL_S, BadLocustfile, Load, LocalLoad, Progress, TargetCores
from wsgilab.load.reachability import AFTER_S, RETRY_S, Reachability, ReachReading, Unreached, segments_between
from wsgilab.load.samples import Span, report
from wsgilab.load.workers import Lost
from wsgilab.model import TrialReport, TrialSpec

GET_TIMEOUT_S = 5.0
# A proxy that the environment names is for what is elsewhere.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))

FORECAST_SHARE = 4
"""When one in so many users has had an answer, it is known how long it takes until all have."""
FORECAST_MARGIN = 1.1
LONGEST_RAMP_S = 1.0
"""How long scheduled requests arrive, at most, before the window opens; half a window where that is shorter."""
READING_S = 0.03
"""How long the lab takes to read the server's usage, from when it is told to until that is heard of; as long as nothing is
known."""
READING_MARGIN = 1.25
VOID_AFTER_S = 0.01
"""So much later than the lab is expected to have read, requests begin to be void."""
LONGEST_READING_S = 5.0
"""Load does not go on for longer after the window, whatever the lab does."""


class Reader(Protocol):
    """Who reads what the target has used, at both ends of the window."""

    reading_s: float
    """How long that took the last time, from when it was told to until that was heard of."""

    def let_read(self, event: str) -> None:
        """Say that it is time: `window` or `closed`."""

    def wait_until_read(self, timeout_s: float) -> bool:
        """Whether it has read, or is there no more."""


def trial(order: TrialSpec, load: Load, cores: TargetCores, reader: Reader) -> TrialReport:
    """Load one target on `cores`; `reader` is told of the window's ends. It is loaded until it has read. Raises Unreached and Lost."""
    before = load.look(RETRY_S)
    # From here on every moment is one of this machine's clock, until all is told.
    offset_ns = before[0].offset_ns if before else 0
    gc.collect()
    gc.disable()
    started_ns = time.monotonic_ns()
    try:
        load.start()
        if order.rate:
            gevent.sleep(min(LONGEST_RAMP_S, order.window_s / 2))
        reader.let_read("window")
        if order.rate:
            # The lab, which reads the server's CPU clocks now, has the generator's core for a moment.
            gevent.sleep(READING_S)
        begin_ns = time.monotonic_ns()
        load.mark()
        cores.mark()
        if order.rate:
            settled_ns, end_ns, unanswered = begin_ns, begin_ns + round(order.window_s * 1e9), 0
            load.end_window(end_ns + offset_ns, end_ns + _allowed_ns(reader) + offset_ns)
        else:
            settled_ns, end_ns, unanswered = _settle(order, load, reader, begin_ns, offset_ns)
        _sleep_until(end_ns)
        load.mark()
        cores.mark()
        reader.let_read("closed")
        read_late = not _hold(load, reader, end_ns, offset_ns)
        stopped_ns = time.monotonic_ns()
        samples = load.stop(order.patience_s)
        drained_ns = time.monotonic_ns()
    finally:
        gc.enable()
    # A link that was lost meanwhile is not what was to be measured.
    after = load.look(AFTER_S)
    span = Span(
        started_ns=started_ns,
        begin_ns=begin_ns,
        settled_ns=settled_ns,
        end_ns=end_ns,
        stopped_ns=stopped_ns,
        drained_ns=drained_ns,
    )
    told = report(samples, span.shifted(offset_ns), unanswered=unanswered, generator_cpu=load.busiest())
    told = replace(
        told, generator_used=load.used(), server_busy=cores.busy(), generator_others=load.others(), read_late=read_late
    )
    return _over(told, before, after) if before else told


def _over(told: TrialReport, before: Sequence[ReachReading], after: Sequence[ReachReading]) -> TrialReport:
    """The report, with what is known of the network that lay between users and target."""
    sent, resent = segments_between(before, after)
    round_trip_ms = median(seen.round_trip_ms for seen in before)
    return replace(told, round_trip_ms=round_trip_ms, sent_segments=sent, resent_segments=resent)


def _settle(order: TrialSpec, load: Load, reader: Reader, begin_ns: int, offset_ns: int) -> tuple[int, int, int]:
    """Wait until every user has had an answer. When that was, when the window ends, and how many had had none.

    The window's end is fixed, and told to the users, when the first quarter of them has had an answer: from then on
    each request says when it is void, so that few must be worked off for nothing after the window.
    """
    end_ns: int | None = None
    window_ns = round(order.window_s * 1e9)
    while True:
        now_ns, told = time.monotonic_ns(), load.progress()
        passed_ns = now_ns - begin_ns
        if end_ns is None:
            if _is_settled(told, order.users) or passed_ns > order.patience_s * 1e9:
                end_ns = now_ns + window_ns
            elif told.answered * FORECAST_SHARE >= order.users:
                end_ns = begin_ns + round(passed_ns * FORECAST_SHARE * FORECAST_MARGIN) + window_ns
            if end_ns is not None:
                load.end_window(end_ns + offset_ns, end_ns + _allowed_ns(reader) + offset_ns)
        if end_ns is not None and (_is_settled(told, order.users) or now_ns >= end_ns):
            # Where some never had an answer, the last window_s stand for the full load.
            settled_ns = min(now_ns, end_ns - window_ns) if told.answered < order.users else now_ns
            return settled_ns, end_ns, order.users - told.answered
        gevent.sleep(POLL_S)


def _is_settled(told: Progress, users: int) -> bool:
    """Whether every user has had an answer, or every one has failed and none has had any."""
    return told.answered == users or (not told.answered and told.failed == users)


def _sleep_until(at_ns: int) -> None:
    while (left_ns := at_ns - time.monotonic_ns()) > 0:
        gevent.sleep(left_ns / 1e9)


def _hold(load: Load, reader: Reader, end_ns: int, offset_ns: int) -> bool:
    """Keep the users at work after the window until what the target used is read. Whether it was within LONGEST_READING_S.

    Void requests cost a server less than others, or more: there must be none before.
    """
    until_ns, allowed_ns = end_ns + round(LONGEST_READING_S * 1e9), _allowed_ns(reader)
    while (now_ns := time.monotonic_ns()) < until_ns:
        load.end_window(end_ns + offset_ns, now_ns + allowed_ns + offset_ns)
        # Where the lab takes longer this time, the users are told in time that it does.
        if reader.wait_until_read(min(until_ns - now_ns, allowed_ns - VOID_AFTER_S * 1e9 / 2) / 1e9):
            return True
        allowed_ns *= 2
    return False


def _allowed_ns(reader: Reader) -> int:
    """How long after the window's end requests are void."""
    return round((reader.reading_s * READING_MARGIN + VOID_AFTER_S) * 1e9)


def fetch(url: str) -> dict[str, Any]:
    """One plain GET, answered whatever the status; 0 where there was no answer."""
    try:
        with _DIRECT.open(url, timeout=GET_TIMEOUT_S) as response:
            return {"status": response.status, "body": response.read().decode()}
    except urllib.error.HTTPError as error:
        return {"status": error.code, "body": error.read().decode(errors="replace")}
    except OSError as error:
        return {"status": 0, "body": str(error)}


def link(reach: Reachability | None) -> dict[str, float]:
    """What lies between this machine and the targets'. Raises Unreached."""
    if reach is None:
        raise Unreached("there is no beacon to ask: this generator was started for targets on its own machine")
    seen = reach.look(RETRY_S)
    return {"round_trip_ms": seen.round_trip_ms, "bandwidth_mbps": reach.bandwidth_mbps()}


class Lab:
    """The lab, at the other end: it gives orders, and reads what targets have used. It is listened to at all times."""

    def __init__(self, lines: Iterable[bytes], output: IO[str]) -> None:
        self.reading_s = READING_S
        self._output = output
        self._orders: Queue[dict[str, Any] | None] = Queue()
        self._awaited = ""
        self._told_ns = 0
        self._has_read = Event()
        self._has_ended = False
        self._listening = gevent.spawn(self._listen, lines)

    def announce(self, event: str, **fields: Any) -> None:
        self._output.write(json.dumps({"event": event, **fields}) + "\n")
        self._output.flush()

    def orders(self) -> Iterator[dict[str, Any]]:
        """Until the input ends."""
        return iter(self._orders.get, None)

    def let_read(self, event: str) -> None:
        self._awaited, self._told_ns = event, time.monotonic_ns()
        if not self._has_ended:
            self._has_read.clear()
        self.announce(event)

    def wait_until_read(self, timeout_s: float) -> bool:
        return bool(self._has_read.wait(max(0.0, timeout_s)))

    def _listen(self, lines: Iterable[bytes]) -> None:
        try:
            for line in lines:
                message = json.loads(line)
                if message["op"] != "read":
                    self._orders.put(message)
                elif message["at"] == self._awaited:
                    self.reading_s = (time.monotonic_ns() - self._told_ns) / 1e9
                    self._has_read.set()
        finally:
            # Nobody is left who could read.
            self._has_ended = True
            self._has_read.set()
            self._orders.put(None)


def main() -> None:
    """Take orders until the input ends."""
    # Nothing but messages may reach the real standard output.
    output = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    lab = Lab(FileObjectPosix(sys.stdin.fileno(), "rb", closefd=False), output)
    options = _options()
    reach, crew = options.beacon, None
    cpus = sorted(os.sched_getaffinity(0))
    try:
        if len(cpus) > 1 or options.workers:
            crew = WorkerPool(cpus, reach=reach, port=options.listen, elsewhere=options.workers)
        # What is there by now stays: the collection before each trial need not go through it.
        gc.collect()
        gc.freeze()
        lab.announce("ready", cpus=cpus)
        for message in lab.orders():
            _answer(message, reach, crew, lab)
    except Lost as error:
        lab.announce("error", message=str(error))
    finally:
        if crew:
            crew.end()


def _answer(message: dict[str, Any], reach: Reachability | None, crew: WorkerPool | None, lab: Lab) -> None:
    """Do as one message says. Raises Lost, after which nothing more can be done."""
    try:
        match message.pop("op"):
            case "trial":
                order = TrialSpec(**message)
                load = crew.load(order) if crew else LocalLoad(order, reach)
                cores = TargetCores(order.server_cpus, reach)
                lab.announce("report", **asdict(trial(order, load, cores, lab)))
            case "get":
                lab.announce("answer", **fetch(message["url"]))
            case "link":
                lab.announce("link", **link(reach))
    except Lost:
        raise
    except (BadLocustfile, Unreached) as error:
        lab.announce("error", message=str(error))
    except Exception as error:  # noqa: BLE001 - told to the lab, which decides
        lab.announce("error", message=f"{type(error).__name__}: {error}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="the generator")
    parser.add_argument(
        "--beacon", metavar="HOST:PORT", type=Reachability, help="on the targets' machine, where that is another"
    )
    parser.add_argument("--listen", metavar="PORT", type=int, default=0, help="where workers of other machines come to")
    parser.add_argument("--workers", metavar="N", type=int, default=0, help="how many of them come")
    return parser.parse_args()


if __name__ == "__main__":
    main()
