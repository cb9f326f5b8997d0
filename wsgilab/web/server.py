"""The web UI's process: Locust's web UI with the lab's tab, and the channel to the lab.

Run as `python -m wsgilab.web.server BIND PORT [--clock-server HOST:PORT] [--listen PORT --workers N]` from the folder that holds
`locustfiles/`. BIND is an address, or `own` for the one that this machine's (a container's) name resolves to. The options
are those of `load.driver`. One JSON object a line:

    in   {"op": "open", "run": ..., "targets": [...], "watching": ..., "names": [...],
          "password": ..., "program": what the lab's tasks are called by,
          "folders": those of the user's own Locust files, as tar files in base64, by what the lab calls them}
         {"op": "usage", ...}  {"op": "target", ...}                      in an interactive session
         {"op": "trial", ...}  {"op": "observation", ...}  {"op": "end"}  of a run that is watched
    out  {"event": "ready", "cpus": [...]}     {"event": "open", "notes": [...]}  when it answers
         {"event": "loading", "server": ...}   users load that server from now on; null: none
         {"event": "start-again", "server": ...}  somebody wants that server to be started again
         {"event": "error", "message": ...}    and then it ends

It ends at the end of its input, so it never outlives the lab.
"""

# Locust patches the standard library for gevent when it is imported: it has to come first.
import locust  # noqa: F401  isort: skip

import argparse
import base64
import json
import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Protocol

import gevent
from gevent.fileobject import FileObjectPosix
from locust import runners
from locust.argument_parser import get_parser
from locust.env import Environment
from locust.log import setup_logging
from locust.runners import STATE_RUNNING, STATE_STOPPED
from locust.stats import stats_history
from locust.web import WebUI

from wsgilab.experiment.parsing import adapter
from wsgilab.load.distributed import WorkerLost, master_options
from wsgilab.load.events import EventWriter
from wsgilab.load.locustfiles import BadLocustfile
from wsgilab.load.reachability import Unreachable
from wsgilab.model import Cell, Observation, Run, Usage
from wsgilab.model.text import call_tasks_by
from wsgilab.runtime.protocol import OWN_ADDRESS
from wsgilab.web.clock import TargetsClock
from wsgilab.web.master import Master
from wsgilab.web.routes import make_web_ui
from wsgilab.web.sources import InteractiveTests, WatchedRun
from wsgilab.web.view import TargetState

TICK_S = 0.5
LOWEST_PRIORITY = 19
_ANSWERS_S = 10.0


class ServedUI(Protocol):
    """The web UI, in one of its two kinds."""

    @property
    def web(self) -> WebUI: ...

    @property
    def notes(self) -> Sequence[str]:
        """What the user must know of it, in sentences."""

    def receive(self, op: str, fields: dict[str, Any]) -> None:
        """Take in a message of the lab's."""

    def tick(self) -> None:
        """Called every TICK_S."""

    def end(self) -> None: ...


class InteractiveUI:
    """For tests of targets, which somebody starts in the web UI."""

    def __init__(self, message: Mapping[str, Any], bind: str, options: argparse.Namespace, send: EventWriter) -> None:
        """Raises WorkerLost, Unreachable and BadLocustfile."""
        run, targets = adapter(Run).validate_python(message["run"]), message["targets"]
        self._send = send
        self._tests = InteractiveTests(run, _states(run, targets), TargetsClock(options.clock_server))
        cpus = frozenset(os.sched_getaffinity(0))
        base_urls = {each["server"]: each["base_url"] for each in targets}
        self._master = Master(
            self._tests,
            base_urls,
            cpus,
            lambda server: send("loading", server=server),
            folders={folder: base64.b64decode(archive) for folder, archive in message["folders"].items()},
            clock_server=str(options.clock_server) if options.clock_server else None,
            port=options.listen,
            remote=options.workers,
        )
        self.notes: Sequence[str] = self._master.notes
        # In the tab too.
        self._tests.run = replace(run, notes=(*run.notes, *self.notes))
        # After the workers, which would inherit it: serving pages must not hold up the workers on the same cores.
        os.nice(LOWEST_PRIORITY)
        gevent.spawn(stats_history, self._master.environment.runner)
        self.web = make_web_ui(
            self._master.environment,
            bind,
            options.port,
            source=self._tests,
            names=message["names"],
            password=message["password"],
            prepare=self._master.prepare,
            start_again=self._start_again,
        )

    def _start_again(self, server: str) -> None:
        # At once, so that nobody asks twice before the lab has sent the new state.
        self._tests.targets[server] = replace(self._tests.targets[server], restarting=True)
        self._send("start-again", server=server)

    def receive(self, op: str, fields: dict[str, Any]) -> None:
        match op:
            case "usage":
                self._tests.add_usage(fields.pop("server"), Usage(**fields))
            case "target":
                self._master.base_urls[fields["server"]] = fields.pop("base_url")
                before = self._tests.targets[fields.pop("server")]
                self._tests.targets[before.server.name] = TargetState(server=before.server, **fields)

    def tick(self) -> None:
        self._master.check()
        self._tests.state()

    def end(self) -> None:
        self._master.end()


class WatchingUI:
    """For a run that is watched."""

    notes: Sequence[str] = ()

    def __init__(self, message: Mapping[str, Any], bind: str, port: int) -> None:
        run = adapter(Run).validate_python(message["run"])
        self._watched = WatchedRun(run, _states(run, message["targets"]))
        environment = Environment(user_classes=[], parsed_options=get_parser().parse_args([]), locustfile="wsgilab")
        # No users are started here; Locust's page shows its tables only while a test runs.
        self._runner = environment.create_local_runner()
        self._runner.state = STATE_RUNNING
        os.nice(LOWEST_PRIORITY)
        self.web = make_web_ui(
            environment, bind, port, source=self._watched, names=message["names"], password=message["password"]
        )

    def receive(self, op: str, fields: dict[str, Any]) -> None:
        match op:
            case "trial":
                self._watched.begin_trial(adapter(Cell).validate_python(fields["cell"]), fields["progress"])
            case "observation":
                self._watched.add(adapter(Observation).validate_python(fields["observation"]))
            case "end":
                self._watched.end()
                self._runner.state = STATE_STOPPED

    def tick(self) -> None: ...

    def end(self) -> None: ...


def _states(run: Run, targets: list[dict[str, Any]]) -> dict[str, TargetState]:
    return {each["server"]: TargetState(server=run.servers[each["server"]], url=each["url"]) for each in targets}


def _start(web: WebUI, bind: str, port: int) -> None:
    """Returns when it answers."""
    web.start()
    deadline = time.monotonic() + _ANSWERS_S
    while True:
        if web.greenlet is None or web.greenlet.ready():
            raise RuntimeError(f"cannot listen on {bind}:{port}: {getattr(web.greenlet, 'exception', None)}")
        try:
            socket.create_connection((bind, port), timeout=1).close()
        except OSError as error:
            if time.monotonic() > deadline:
                raise RuntimeError(f"does not answer on {bind}:{port}: {error}") from None
            gevent.sleep(0.02)
        else:
            return


def serve(bind: str, options: argparse.Namespace, send: EventWriter) -> None:
    """Serve until the input ends. Raises RuntimeError, WorkerLost and Unreachable where something fails for good."""
    messages = FileObjectPosix(sys.stdin.fileno(), "rb", closefd=False)
    first = messages.readline()
    if not first:
        return
    message = json.loads(first)
    call_tasks_by(message["program"])
    with ExitStack() as ending:
        served: ServedUI = (
            WatchingUI(message, bind, options.port)
            if message["watching"]
            else InteractiveUI(message, bind, options, send)
        )
        ending.callback(served.end)
        _start(served.web, bind, options.port)
        send("open", notes=list(served.notes))

        def receive() -> None:
            for line in messages:
                fields = json.loads(line)
                served.receive(fields.pop("op"), fields)

        receiving = gevent.spawn(receive)
        while not receiving.ready():
            served.tick()
            receiving.join(timeout=TICK_S)
        # Raises what was raised there.
        receiving.get()


def main() -> None:
    """Serve, and send the lab what goes wrong."""
    send = EventWriter()
    parser = master_options("the web UI")
    parser.add_argument("bind")
    parser.add_argument("port", type=int)
    options = parser.parse_args()
    # Locust reads the command line again whenever it shows its form.
    del sys.argv[1:]
    setup_logging("INFO")
    # Its page polls every two seconds.
    runners.WORKER_REPORT_INTERVAL = 1.0
    send("ready", cpus=sorted(os.sched_getaffinity(0)))
    try:
        own = options.bind == OWN_ADDRESS
        serve(socket.gethostbyname(socket.gethostname()) if own else options.bind, options, send)
    except (BadLocustfile, WorkerLost, Unreachable) as error:
        send("error", message=str(error))
    except Exception as error:  # noqa: BLE001 - the lab decides what to do about it
        send("error", message=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
