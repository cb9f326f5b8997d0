"""The web UI's process: what the lab tells it, and Locust's web UI with the lab in it.

Run as `python -m wsgilab.web.server BIND PORT [--beacon HOST:PORT] [--listen PORT --workers N]` from the folder that holds
`locustfiles/`. BIND is an address, or `own` for the one that this machine's (a container's) name stands for. The options
are those of `swarm.agent`. One JSON object a line:

    in   {"op": "open", "run": ..., "targets": [...], "watching": ..., "names": [...],
          "password": ...}
         {"op": "usage", ...}  {"op": "target", ...}                      in an interactive session
         {"op": "trial", ...}  {"op": "observation", ...}  {"op": "end"}  of a run that is watched
    out  {"event": "ready", "cpus": [...]}     {"event": "open"}          when it answers
         {"event": "loading", "server": ...}   users load that server from now on; null: none
         {"event": "start-again", "server": ...}
         {"event": "error", "message": ...}    and then it ends

It ends at the end of its input, so it never outlives the lab.
"""

# Locust patches the standard library for gevent when it is imported: it has to come first.
import locust  # noqa: F401  isort: skip

import argparse
import json
import os
import socket
import sys
import time
from collections.abc import Mapping
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
from pydantic import TypeAdapter

from wsgilab.load.local import BadLocustfile
from wsgilab.load.reachability import Reachability, Unreached
from wsgilab.load.workers import Lost
from wsgilab.model import Cell, Observation, Run, Usage
from wsgilab.runtime.protocol import OWN_ADDRESS
from wsgilab.web.clock import TheirClock
from wsgilab.web.master import Master
from wsgilab.web.routes import make_web_ui
from wsgilab.web.session import Session, Watch
from wsgilab.web.view import TargetState

TICK_S = 0.5
LOWEST_PRIORITY = 19
_ANSWERS_S = 10.0

_RUN = TypeAdapter(Run)
_CELL = TypeAdapter(Cell)
_OBSERVATION = TypeAdapter(Observation)


class Voice:
    """What is said to the lab. Nothing but messages may reach the real standard output."""

    def __init__(self) -> None:
        self._output = os.fdopen(os.dup(sys.stdout.fileno()), "w")
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def __call__(self, event: str, **fields: Any) -> None:
        self._output.write(json.dumps({"event": event, **fields}) + "\n")
        self._output.flush()


class Served(Protocol):
    """What the web UI is opened for."""

    @property
    def web(self) -> WebUI: ...

    def tell(self, op: str, told: dict[str, Any]) -> None:
        """Take in what the lab says."""

    def tick(self) -> None:
        """Called every TICK_S."""

    def end(self) -> None: ...


class Interactive:
    """Tests of targets, by whoever is at the web UI."""

    def __init__(self, message: Mapping[str, Any], bind: str, options: argparse.Namespace, say: Voice) -> None:
        """Raises Lost and Unreached."""
        run, targets = _RUN.validate_python(message["run"]), message["targets"]
        self._say = say
        self._session = Session(run, _states(run, targets), TheirClock(options.beacon))
        cpus = frozenset(os.sched_getaffinity(0))
        base_urls = {each["server"]: each["base_url"] for each in targets}
        self._master = Master(
            self._session,
            base_urls,
            cpus,
            lambda server: say("loading", server=server),
            beacon=str(options.beacon) if options.beacon else None,
            port=options.listen,
            elsewhere=options.workers,
        )
        # After the workers, which inherit it: what is shown must not hold up those who measure, on the same cores.
        os.nice(LOWEST_PRIORITY)
        gevent.spawn(stats_history, self._master.environment.runner)
        self.web = make_web_ui(
            self._master.environment,
            bind,
            options.port,
            known=self._session,
            names=message["names"],
            password=message["password"],
            prepare=self._master.prepare,
            start_again=self._start_again,
        )

    def _start_again(self, server: str) -> None:
        # So that nobody asks twice, before the lab has said so.
        self._session.targets[server] = replace(self._session.targets[server], restarting=True)
        self._say("start-again", server=server)

    def tell(self, op: str, told: dict[str, Any]) -> None:
        match op:
            case "usage":
                self._session.read_usage(told.pop("server"), Usage(**told))
            case "target":
                self._master.base_urls[told["server"]] = told.pop("base_url")
                before = self._session.targets[told.pop("server")]
                self._session.targets[before.server.name] = TargetState(server=before.server, **told)

    def tick(self) -> None:
        self._master.check()
        self._session.look()

    def end(self) -> None:
        self._master.end()


class Watching:
    """A run that is watched."""

    def __init__(self, message: Mapping[str, Any], bind: str, port: int) -> None:
        run = _RUN.validate_python(message["run"])
        self._watch = Watch(run, _states(run, message["targets"]))
        environment = Environment(user_classes=[], parsed_options=get_parser().parse_args([]), locustfile="wsgilab")
        # Nobody is started here; Locust's page shows its tables while a test runs.
        self._runner = environment.create_local_runner()
        self._runner.state = STATE_RUNNING
        os.nice(LOWEST_PRIORITY)
        self.web = make_web_ui(
            environment, bind, port, known=self._watch, names=message["names"], password=message["password"]
        )

    def tell(self, op: str, told: dict[str, Any]) -> None:
        match op:
            case "trial":
                self._watch.trial(_CELL.validate_python(told["cell"]), told["progress"])
            case "observation":
                self._watch.observe(_OBSERVATION.validate_python(told["observation"]))
            case "end":
                self._watch.end()
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


def serve(bind: str, options: argparse.Namespace, say: Voice) -> None:
    """Until the input ends. Raises RuntimeError, Lost and Unreached where something fails for good."""
    messages = FileObjectPosix(sys.stdin.fileno(), "rb", closefd=False)
    first = messages.readline()
    if not first:
        return
    message = json.loads(first)
    with ExitStack() as ending:
        served: Served = (
            Watching(message, bind, options.port) if message["watching"] else Interactive(message, bind, options, say)
        )
        ending.callback(served.end)
        _start(served.web, bind, options.port)
        say("open")

        def listen() -> None:
            for line in messages:
                told = json.loads(line)
                served.tell(told.pop("op"), told)

        listening = gevent.spawn(listen)
        while not listening.ready():
            served.tick()
            listening.join(timeout=TICK_S)
        # What went wrong there is what went wrong.
        listening.get()


def main() -> None:
    """Serve, and say what goes wrong."""
    say = Voice()
    options = _options()
    # Locust reads the command line again whenever it shows its form.
    del sys.argv[1:]
    setup_logging("INFO")
    # Its page looks every two seconds.
    runners.WORKER_REPORT_INTERVAL = 1.0
    say("ready", cpus=sorted(os.sched_getaffinity(0)))
    try:
        own = options.bind == OWN_ADDRESS
        serve(socket.gethostbyname(socket.gethostname()) if own else options.bind, options, say)
    except (BadLocustfile, Lost, Unreached) as error:
        say("error", message=str(error))
    except Exception as error:  # noqa: BLE001 - told to the lab, which decides
        say("error", message=f"{type(error).__name__}: {error}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="the web UI")
    parser.add_argument("bind")
    parser.add_argument("port", type=int)
    parser.add_argument("--beacon", metavar="HOST:PORT", type=Reachability)
    parser.add_argument("--listen", metavar="PORT", type=int, default=0)
    parser.add_argument("--workers", metavar="N", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
