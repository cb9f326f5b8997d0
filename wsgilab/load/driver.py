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
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import gevent
from gevent.event import Event
from gevent.fileobject import FileObjectPosix
from gevent.queue import Queue

from wsgilab.load.distributed import DistributedLoad, WorkerLost, master_options
from wsgilab.load.events import EventWriter
from wsgilab.load.local import LocalLoad, TargetCores
from wsgilab.load.locustfiles import BadLocustfile
from wsgilab.load.own_locustfile import loaded, unpack
from wsgilab.load.pages import fetch
from wsgilab.load.reachability import RETRY_S, Reachability, Unreachable
from wsgilab.load.window import READING_S, duet, trial
from wsgilab.model import Idle, TrialSpec
from wsgilab.model.application import LocustFile


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
