"""The generator: one long-lived Locust, used as a library, that carries out one trial after the other.

Run as `python -m wsgilab.load.driver [--clock-server HOST:PORT] [--listen PORT --workers N]` from the folder that holds
`locustfiles/`. With a clock server the targets are on another machine, and every moment is one of that machine's clock. With
`--listen`, N remote workers on other machines connect to that port. One JSON object a line:

    in   {"op": "trial", ...TrialSpec}  out  {"event": "window"}   when all users are at work
                                             {"event": "closed"}   when the window has ended; load goes on
    in   {"op": "read", "at": "window", "read_ns": ..., "sent_ns": ...}  or "closed": the lab has read what the target
                                             had used by `read_ns` of its own clock, a list of one, null where it could
                                             not. Load ends at the second
                                        out  {"event": "report", ...TrialReport}  when it is drained
    in   {"op": "duet", "halves": [{...TrialSpec}, {...TrialSpec}]}  two targets on the same cores at once, in one window.
                                             Events and readings as above, `read_ns` with one moment for either target
                                        out  {"event": "reports", "halves": [{...TrialReport}, {...TrialReport}]}
    in   {"op": "get", "url": ...}      out  {"event": "answer", "status": ..., "body": ...}
    in   {"op": "link"}                 out  {"event": "link", "round_trip_ms": ..., "bandwidth_mbps": ...}
    in   {"op": "folder", "folder": ..., "archive": ...}  of a Locust file of the user's own, as a tar file in base64
                                        out  {"event": "folder"}  when its copy is here, and on the machines of workers
    in   {"op": "locust_file", ...LocustFile}  out  {"event": "locust_file", "notes": [...]}  when it is loaded
                                        out  {"event": "error", "message": ...}  in place of any of these

It sends `{"event": "ready", "cpus": [...]}` first. Pinned to one core it has all users itself; pinned to several, or with
remote workers, it is Locust's master, with a worker on each core. It ends at the end of its input, so it never outlives the
lab; and when it has lost a worker.
"""

# Locust patches the standard library for gevent when it is imported: it has to come first.
import locust  # noqa: F401  isort: skip

import base64
import gc
import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from http import HTTPStatus
from http.client import HTTPException
from statistics import median
from typing import Any, Protocol

import gevent
from gevent.event import Event
from gevent.fileobject import FileObjectPosix
from gevent.queue import Queue

from wsgilab.analysis.inflight import parse_late
from wsgilab.load.distributed import DistributedLoad, WorkerLost, master_options
from wsgilab.load.duet import Both
from wsgilab.load.events import EventWriter
from wsgilab.load.idle import idle_report
from wsgilab.load.local import POLL_S, Load, LocalLoad, Progress, TargetCores, Users
from wsgilab.load.locustfiles import BadLocustfile
from wsgilab.load.own_locustfile import loaded, unpack
from wsgilab.load.reachability import AFTER_S, RETRY_S, NetworkReading, Reachability, Unreachable, segments_between
from wsgilab.load.recorder import Sample
from wsgilab.load.samples import LATE_PAGE, Span, report
from wsgilab.model import Idle, Stamp, TrialReport, TrialSpec
from wsgilab.model.application import LocustFile

GET_TIMEOUT_S = 5.0
# A proxy that the environment names is for the public network.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))

FORECAST_SHARE = 4
"""When one in so many users has had an answer, it can be forecast when all will have had one."""
FORECAST_MARGIN = 1.1
FORECAST_FAR = 2
"""A forecast that has the window end so many windows after all have had an answer, or later, is dropped."""
LONGEST_RAMP_S = 1.0
"""How long scheduled requests arrive, at most, before the window opens; half a window where that is shorter."""
READING_S = 0.03
"""How long the lab takes to read the server's usage, from the request until its answer is here, before any was measured."""
READING_MARGIN = 1.25
VOID_AFTER_S = 0.01
"""Requests are void from this long after the lab is expected to have read."""
LONGEST_READING_S = 5.0
"""Load goes on after the window for no longer than this, whatever the lab does."""


class UsageReader(Protocol):
    """The side that reads what targets have used, at both ends of the window."""

    reading_s: float
    """How long the last reading took, from its request until its answer was here."""
    read_ns: dict[tuple[str, int], int]
    """(end of the window, number of the target) -> when that was read, where it could be; of this machine's clock."""

    def request_reading(self, event: str) -> None:
        """Ask for a reading at this end of the window: `window` or `closed`."""

    def wait_until_read(self, timeout_s: float) -> bool:
        """Whether the usage has been read, or there is nobody left to read it."""


def trial(spec: TrialSpec, load: Load, cores: TargetCores, reader: UsageReader) -> TrialReport:
    """Load one target on `cores`, until `reader` has read at both ends of the window. Raises Unreachable and WorkerLost."""
    [found] = _in_one_window([spec], load, [load], cores, reader)
    return found


def duet(
    specs: Sequence[TrialSpec], loads: Sequence[Load], cores: TargetCores, reader: UsageReader
) -> Sequence[TrialReport]:
    """Load two targets on the same `cores` at once, in the very same window, which begins when the users of both are at work. It is
    as long as the first of `specs` says. Raises Unreachable.
    """
    return _in_one_window(specs, Both(loads), loads, cores, reader)


def _in_one_window(
    specs: Sequence[TrialSpec], load: Users, loads: Sequence[Load], cores: TargetCores, reader: UsageReader
) -> Sequence[TrialReport]:
    """The report of each target. `load` are the users of all `loads`, of which each has one of `specs`."""
    spec = replace(specs[0], users=sum(each.users for each in specs))
    before = load.read_network(RETRY_S)
    # All moments below are of this machine's clock; the offset turns them into the targets' machine's.
    offset_ns = before[0].offset_ns if before else 0
    gc.collect()
    gc.disable()
    started_ns = time.monotonic_ns()
    try:
        load.start()
        if spec.rate:
            gevent.sleep(min(LONGEST_RAMP_S, spec.window_s / 2))
        reader.request_reading("window")
        if spec.rate:
            # The lab, which reads the server's CPU clocks now, has the generator's core for a moment.
            gevent.sleep(READING_S)
        begin_ns = time.monotonic_ns()
        load.mark()
        cores.mark()
        if spec.rate:
            settled_ns, end_ns, unanswered = begin_ns, begin_ns + round(spec.window_s * 1e9), 0
            load.end_window(end_ns + offset_ns, end_ns + _allowed_ns(reader) + offset_ns)
        else:
            settled_ns, end_ns, unanswered = _settle(spec, load, reader, begin_ns, offset_ns)
        _sleep_until(end_ns)
        load.mark()
        cores.mark()
        reader.request_reading("closed")
        read_late = not _hold(load, reader, end_ns, offset_ns)
        stopped_ns = time.monotonic_ns()
        ended = [each.stop(spec.patience_s) for each in loads]
        drained_ns = time.monotonic_ns()
    finally:
        gc.enable()
    counted = [_late(each, samples) for each, samples in zip(specs, ended, strict=True)]
    # A link that was lost meanwhile is not what was to be measured.
    after = load.read_network(AFTER_S)
    span = Span(
        started_ns=started_ns,
        begin_ns=begin_ns,
        settled_ns=settled_ns,
        end_ns=end_ns,
        stopped_ns=stopped_ns,
        drained_ns=drained_ns,
    )
    busy, found = cores.busy(), []
    for number, (of, (samples, late)) in enumerate(zip(specs, counted, strict=True)):
        first_ns, last_ns = (reader.read_ns.get((event, number)) for event in ("window", "closed"))
        figures = report(
            samples,
            span.shifted(offset_ns),
            read=None
            if first_ns is None or last_ns is None or read_late
            else (first_ns + offset_ns, last_ns + offset_ns),
            # In a duet of both together: where any is missing, nothing is concluded from it.
            unanswered=min(unanswered, of.users),
            generator_cpu=load.busiest(),
            late=late,
            is_stamped=of.is_stamped,
            acted_ns=None if of.acts_at_s is None else begin_ns + round(of.acts_at_s * 1e9) + offset_ns,
            gives_up=_give_up(of),
        )
        figures = replace(
            figures,
            generator_used=load.used(),
            server_busy=busy,
            generator_others=load.others(),
            read_late=read_late,
            idle=None if of.idle is None else idle_report(loads[number].silence(), span.shifted(offset_ns)),
        )
        found.append(_with_network(figures, before, after) if before else figures)
    return found


def _late(spec: TrialSpec, samples: Sequence[Sample]) -> tuple[Sequence[Sample], Mapping[Stamp, int]]:
    """The samples, and when those of them left that did so later than their stamp says.

    If a target that has answered does not tell that, it is known of no answer when it left: then each is a failure.
    """
    if all(sample.stamp is None for sample in samples) and not _give_up(spec):
        return samples, {}
    try:
        # What users have given up may still be worked off, and whoever asks has to wait for that.
        timeout_s = max(GET_TIMEOUT_S, spec.patience_s) if _give_up(spec) else GET_TIMEOUT_S
        return samples, read_late(spec.base_url, timeout_s)
    except ValueError as error:
        if not spec.is_stamped:
            # It has the stamp alone, and the application itself has answered.
            return samples, {}
        if spec.acts_at_s is not None:
            # It may have been ended, and what left late is lost with it.
            return samples, {}
        return [each if each.error else each._replace(error=str(error)) for each in samples], {}


def _give_up(spec: TrialSpec) -> bool:
    """Whether users give up after a while. Then the target notes every request, also those that nobody waits for any more."""
    return bool(spec.options.get("abandon_ms"))


def read_late(base_url: str, timeout_s: float = GET_TIMEOUT_S) -> Mapping[Stamp, int]:
    """The target's LATE_PAGE; nothing where it has no such page. Raises ValueError where it cannot be read."""
    answer = fetch(base_url + LATE_PAGE, timeout_s)
    status, body = answer["status"], str(answer["body"])
    if status == HTTPStatus.NOT_FOUND:
        return {}
    try:
        if status == HTTPStatus.OK:
            return parse_late(body)
        problem = f"it answered with {f'status {status}' if status else 'nothing'}: {body}"
    except ValueError as error:
        problem = str(error)
    raise ValueError(f"{LATE_PAGE}, which tells what left later, cannot be read: {' '.join(problem.split())[:100]}")


def _with_network(
    figures: TrialReport, before: Sequence[NetworkReading], after: Sequence[NetworkReading]
) -> TrialReport:
    """The report, with the figures of the network between users and target."""
    sent, resent = segments_between(before, after)
    round_trip_ms = median(reading.round_trip_ms for reading in before)
    return replace(figures, round_trip_ms=round_trip_ms, sent_segments=sent, resent_segments=resent)


def _settle(spec: TrialSpec, load: Users, reader: UsageReader, begin_ns: int, offset_ns: int) -> tuple[int, int, int]:
    """Wait until every user has had an answer. When that was, when the window ends, and how many users had had none.

    The window's end is fixed, and set for the users, when the first quarter of them has had an answer: from then on
    each request carries the moment at which it is void, so that few must be worked off for nothing after the window. Where all
    have had an answer much sooner than forecast, it ends sooner.
    """
    end_ns: int | None = None
    window_ns = round(spec.window_s * 1e9)
    while True:
        now_ns, progress = time.monotonic_ns(), load.progress()
        passed_ns = now_ns - begin_ns
        if end_ns is None:
            if _is_settled(progress, spec.users) or passed_ns > spec.patience_s * 1e9:
                end_ns = now_ns + window_ns
            elif progress.answered * FORECAST_SHARE >= spec.users:
                end_ns = begin_ns + round(passed_ns * FORECAST_SHARE * FORECAST_MARGIN) + window_ns
            if end_ns is not None:
                load.end_window(end_ns + offset_ns, end_ns + _allowed_ns(reader) + offset_ns)
        if end_ns is not None and _is_settled(progress, spec.users) and end_ns - now_ns > FORECAST_FAR * window_ns:
            # A server that holds answers back gives many at once, and the forecast from the first of them was far too long.
            end_ns = now_ns + window_ns
            load.end_window(end_ns + offset_ns, end_ns + _allowed_ns(reader) + offset_ns)
        if end_ns is not None and (_is_settled(progress, spec.users) or now_ns >= end_ns):
            # Where some never had an answer, the last window_s count as the full load.
            settled_ns = min(now_ns, end_ns - window_ns) if progress.answered < spec.users else now_ns
            return settled_ns, end_ns, spec.users - progress.answered
        gevent.sleep(POLL_S)


def _is_settled(progress: Progress, users: int) -> bool:
    """Whether every user has had an answer, or every one has failed and none has had any."""
    return progress.answered == users or (not progress.answered and progress.failed == users)


def _sleep_until(at_ns: int) -> None:
    while (left_ns := at_ns - time.monotonic_ns()) > 0:
        gevent.sleep(left_ns / 1e9)


def _hold(load: Users, reader: UsageReader, end_ns: int, offset_ns: int) -> bool:
    """Keep the users at work after the window until the target's usage is read. Whether that was within LONGEST_READING_S.

    Void requests cost a server less than others, or more: there must be none before.
    """
    until_ns, allowed_ns = end_ns + round(LONGEST_READING_S * 1e9), _allowed_ns(reader)
    while (now_ns := time.monotonic_ns()) < until_ns:
        load.end_window(end_ns + offset_ns, now_ns + allowed_ns + offset_ns)
        # Where the lab takes longer this time, requests must not become void before it has read.
        if reader.wait_until_read(min(until_ns - now_ns, allowed_ns - VOID_AFTER_S * 1e9 / 2) / 1e9):
            return True
        allowed_ns *= 2
    return False


def _allowed_ns(reader: UsageReader) -> int:
    """How long after the window's end requests are void."""
    return round((reader.reading_s * READING_MARGIN + VOID_AFTER_S) * 1e9)


def fetch(url: str, timeout_s: float = GET_TIMEOUT_S) -> dict[str, Any]:
    """One plain GET, answered whatever the status; 0 where there was no answer."""
    try:
        with _DIRECT.open(url, timeout=timeout_s) as response:
            return {"status": response.status, "body": response.read().decode(errors="replace")}
    except urllib.error.HTTPError as error:
        return {"status": error.code, "body": error.read().decode(errors="replace")}
    except (OSError, HTTPException) as error:
        return {"status": 0, "body": str(error)}


def link(reachability: Reachability | None) -> dict[str, float]:
    """The network between this machine and the targets'. Raises Unreachable."""
    if reachability is None:
        raise Unreachable("there is no clock server to read: this generator was started for targets on its own machine")
    round_trip_ms = reachability.read(RETRY_S).round_trip_ms
    return {"round_trip_ms": round_trip_ms, "bandwidth_mbps": reachability.bandwidth_mbps()}


class LabChannel:
    """The generator's side of the channel to the lab, which sends requests and reads what targets have used.

    It is read at all times, so that the lab's readings arrive while a trial is under way.
    """

    def __init__(self, lines: Iterable[bytes], send: EventWriter) -> None:
        self.reading_s = READING_S
        self.read_ns: dict[tuple[str, int], int] = {}
        self.send = send
        self._requests: Queue[dict[str, Any] | None] = Queue()
        self._awaited = ""
        self._requested_ns: dict[str, int] = {}
        self._has_read = Event()
        self._has_ended = False
        self._receiving = gevent.spawn(self._receive, lines)

    def requests(self) -> Iterator[dict[str, Any]]:
        """The lab's requests but for its readings, until the input ends."""
        return iter(self._requests.get, None)

    def request_reading(self, event: str) -> None:
        if event == "window":
            self.read_ns.clear()
        self._awaited, self._requested_ns[event] = event, time.monotonic_ns()
        if not self._has_ended:
            self._has_read.clear()
        self.send(event)

    def wait_until_read(self, timeout_s: float) -> bool:
        return bool(self._has_read.wait(max(0.0, timeout_s)))

    def _receive(self, lines: Iterable[bytes]) -> None:
        try:
            for line in lines:
                message = json.loads(line)
                if message["op"] != "read":
                    self._requests.put(message)
                else:
                    self._note(message["at"], message.get("read_ns", ()), message.get("sent_ns"))
        finally:
            # Nobody is left who could read.
            self._has_ended = True
            self._has_read.set()
            self._requests.put(None)

    def _note(self, event: str, all_read_ns: Sequence[int | None], sent_ns: int | None) -> None:
        """The lab has read every target at this end of the window, which in a short one may be over by now."""
        received_ns, requested_ns = time.monotonic_ns(), self._requested_ns.get(event, 0)
        for number, read_ns in enumerate(all_read_ns):
            if read_ns is not None and sent_ns is not None:
                # The lab may be on another machine, whose clock is another one.
                is_ours = requested_ns <= read_ns <= received_ns
                self.read_ns[event, number] = read_ns if is_ours else received_ns - (sent_ns - read_ns)
        if event == self._awaited:
            self.reading_s = (received_ns - requested_ns) / 1e9
            self._has_read.set()


def main() -> None:
    """Carry out the lab's requests until the input ends."""
    send = EventWriter()
    lab = LabChannel(FileObjectPosix(sys.stdin.fileno(), "rb", closefd=False), send)
    options = master_options("the generator").parse_args()
    reachability, distributed = options.clock_server, None
    cpus = sorted(os.sched_getaffinity(0))
    try:
        if len(cpus) > 1 or options.workers:
            distributed = DistributedLoad(cpus, reachability=reachability, port=options.listen, remote=options.workers)
        # What exists by now is never garbage: the collection before each trial need not go through it.
        gc.collect()
        gc.freeze()
        send("ready", cpus=cpus)
        for request in lab.requests():
            _answer(request, reachability, distributed, lab)
    except WorkerLost as error:
        send("error", message=str(error))
    finally:
        if distributed:
            distributed.end()


def _answer(
    request: dict[str, Any], reachability: Reachability | None, distributed: DistributedLoad | None, lab: LabChannel
) -> None:
    """Carry out one request. Raises WorkerLost, after which nothing more can be done."""
    try:
        match request.pop("op"):
            case "trial":
                spec = _spec(request)
                if distributed:
                    distributed.begin(spec)
                load = distributed or LocalLoad(spec, reachability)
                cores = TargetCores(spec.server_cpus, reachability)
                lab.send("report", **asdict(trial(spec, load, cores, lab)))
            case "duet":
                specs = [_spec(each) for each in request["halves"]]
                loads = [LocalLoad(each, reachability) for each in specs]
                cores = TargetCores(specs[0].server_cpus, reachability)
                lab.send("reports", halves=[asdict(each) for each in duet(specs, loads, cores, lab)])
            case "get":
                lab.send("answer", **fetch(request["url"]))
            case "folder":
                share = distributed.share if distributed else unpack
                share(request["folder"], base64.b64decode(request["archive"]))
                lab.send("folder")
            case "locust_file":
                lab.send("locust_file", notes=loaded(LocustFile(**request)).notes)
            case "link":
                lab.send("link", **link(reachability))
    except WorkerLost:
        raise
    except (BadLocustfile, Unreachable) as error:
        lab.send("error", message=str(error))
    except Exception as error:  # noqa: BLE001 - the lab decides what to do about it
        lab.send("error", message=f"{type(error).__name__}: {error}")


def _spec(given: dict[str, Any]) -> TrialSpec:
    own, idle = given.pop("own"), given.pop("idle")
    return TrialSpec(
        **given,
        own=None if own is None else LocustFile(**own),
        idle=None if idle is None else Idle(**idle),
    )


if __name__ == "__main__":
    main()
