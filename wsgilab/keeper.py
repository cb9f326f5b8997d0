"""The process that keeps the interactive lab up: its servers, the backends and its web UI.

Run as `python -m wsgilab.keeper` by `lab.up`, which it outlives. One JSON object a line:

    in   a Charge, once; any other line: end
    out  {"event": "say", "text": ...}    while all is being brought up
         {"event": "up"}                  and from now on nobody listens
         {"event": "failed", "message": ..., "detail": ...}

Before all is up the end of the input ends it; afterwards SIGTERM does. SIGHUP makes it start again what has ended.
What is up stands in the state file, for every command to read.
"""

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import IO, Any, Never

from pydantic import TypeAdapter

from wsgilab import cpus, launch, process, standing
from wsgilab.errors import Interrupted, LabError, SwarmError, TargetError
from wsgilab.model import Backend, Experiment, Server
from wsgilab.places import Places, alone, choose_backends, choose_runtime, choose_servers, signals_raise
from wsgilab.runtime.protocol import Backends, Fleet, Runtime, Target
from wsgilab.standing import ServerState, Standing
from wsgilab.ui.client import LabUI, Loading, StartAgain
from wsgilab.workloads import WORKLOADS, parameters

TICK_S = 1.0
"""How often the loaded server's usage is read."""
ROUND_S = 5.0
"""How often it is looked at whether the others still run: that costs CPU too, on the generator's cores."""

_BUG = "it failed in a way that nobody foresaw; keeper.log in the lab's state says how"


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What the keeper has to keep up, every default filled in."""

    places: Places
    servers: tuple[str, ...]
    """Empty: all of the catalogue."""
    cores: int
    runtime: str | None
    """None: as `choose_runtime` finds."""
    workers: int
    host: str
    address: str
    """What `host` stands for."""
    port: int
    share_generator: bool
    no_backends: bool
    """Do without, and without the workloads that wait for them."""
    password: str | None
    """None: no login."""

    @property
    def workloads(self) -> Collection[str]:
        """Those that users of the web UI can choose."""
        return [name for name, each in WORKLOADS.items() if not (self.no_backends and each.backends)]


CHARGE = TypeAdapter(Charge)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """How a target fared when it was last looked at."""

    failure: str | None
    base_url: str
    published_url: str


class Keeper:
    """Looks after a fleet and backends that are up, for the web UI and for the state file."""

    def __init__(self, fleet: Fleet, backends: Backends, ui: LabUI, stands: Standing, state: Path) -> None:
        self._fleet = fleet
        self._backends = backends
        self._ui = ui
        self._stands = stands
        self._state = state
        self._seen = {name: _look(target) for name, target in fleet.items()}
        self._backends_seen = {name: backend.failure() for name, backend in backends.items()}
        self._loaded: str | None = None
        self._asked = False
        self._tick_due = self._round_due = 0.0

    def ask(self, _signum: int = 0, _frame: FrameType | None = None) -> None:
        """Have all started again that has ended; within a tick. For a signal's handler."""
        self._asked = True

    def keep(self) -> Never:
        """Until something ends it by an exception."""
        try:
            while True:
                self.step(time.monotonic())
        except SwarmError:
            # Where the engine has stopped, that is what to say, not that the web UI went with it.
            for target in self._fleet.values():
                target.failure()
            raise

    def step(self, now: float) -> None:
        """Do what is due at `now` (seconds of a monotonic clock), then hear what the UI asks till the next tick."""
        if self._asked:
            self._asked = False
            self._start_backends_again()
            for name in self._fleet:
                self._start_again(name)
            self._stands = replace(self._stands, answered=self._stands.answered + 1)
            self.write()
        if now >= self._tick_due:
            self._tick_due = now + TICK_S
            self._read_usage()
        if now >= self._round_due:
            self._round_due = now + ROUND_S
            for name in self._fleet:
                self._check(name)
            self._note_backends({name: backend.failure() for name, backend in self._backends.items()})
        match self._ui.hear(max(0.0, self._tick_due - now)):
            case Loading(server=server):
                self._loaded = server
                self._read_usage()
            case StartAgain(server=server) if server in self._fleet:
                self._start_again(server)

    def _read_usage(self) -> None:
        if self._loaded is None or self._loaded not in self._fleet:
            return
        target = self._fleet[self._loaded]
        # That it ended, the check says.
        with contextlib.suppress(TargetError):
            at_ns = time.monotonic_ns()
            usage = target.usage()
            if target.failure() is None:
                self._ui.tell_usage(self._loaded, at_ns, usage)
        self._check(self._loaded)

    def _check(self, name: str) -> bool:
        """Look how a target fares, and tell if that has changed. Whether it runs."""
        target = self._fleet[name]
        seen = _look(target)
        if seen != self._seen[name]:
            self._tell(name, seen)
        return seen.failure is None

    def _start_again(self, name: str) -> None:
        """Start a target again, if it has ended. That it does not start is told as the reason why it does not run."""
        if self._check(name):
            return
        target = self._fleet[name]
        self._ui.tell_target(target, self._seen[name].failure, target.log_tail(), restarting=True)
        try:
            target.restart()
        except TargetError as error:
            self._tell(name, replace(_look(target), failure=target.failure() or error.message))
        else:
            self._tell(name, _look(target))

    def _start_backends_again(self) -> None:
        """As for targets. Only the state file tells of them: whoever needs one sees it in the errors of a test."""
        seen: dict[str, str | None] = {}
        for name, backend in self._backends.items():
            seen[name] = backend.failure()
            if seen[name] is not None:
                try:
                    backend.restart()
                except TargetError as error:
                    seen[name] = backend.failure() or error.message
                else:
                    seen[name] = None
        self._note_backends(seen)

    def _note_backends(self, seen: Mapping[str, str | None]) -> None:
        if seen != self._backends_seen:
            self._backends_seen = dict(seen)
            self.write()

    def _tell(self, name: str, seen: _Seen) -> None:
        target = self._fleet[name]
        self._seen[name] = seen
        self._ui.tell_target(target, seen.failure, target.log_tail() if seen.failure else "")
        self.write()

    def write(self) -> None:
        """Put what is up into the state file. Raises StoreError."""
        servers = {
            name: ServerState(address=seen.published_url, slots=self._fleet[name].server.slots, failure=seen.failure)
            for name, seen in self._seen.items()
        }
        standing.write(self._state, replace(self._stands, servers=servers, backends=self._backends_seen))


def _look(target: Target) -> _Seen:
    # First, because it also finds where a target listens that somebody else has started again.
    failure = target.failure()
    return _Seen(failure=failure, base_url=target.base_url, published_url=target.published_url)


# --- from a charge to what is up


def keep_up(charge: Charge, up: threading.Event) -> None:
    """Bring up what `charge` asks for, set `up`, and keep it so until Interrupted or a LabError ends it all.

    The state file says meanwhile what is up, and afterwards why it ended, unless that was asked for.
    """
    runtime, reason = choose_runtime(charge.places, charge.runtime)
    _say("say", text=f"Runtime: {runtime.name} ({reason}).")
    chosen = choose_servers(charge.places, charge.servers)
    backends = choose_backends(charge.places, charge.workloads)
    layout = launch.lay_out(
        {charge.cores},
        share=charge.share_generator,
        generator_cores=charge.workers,
        option="--workers",
        say=_say_text,
        backends=bool(backends),
    )
    pid, started_ticks, boot = standing.own_identity()
    stands = Standing(
        pid=pid,
        started_ticks=started_ticks,
        boot=boot,
        runtime=runtime.name,
        cores=charge.cores,
        workers=charge.workers,
        host=charge.host,
        port=charge.port,
        share_generator=charge.share_generator,
        password=charge.password,
        server_cpus=cpus.spell(layout.servers[charge.cores]),
        generator_cpus=cpus.spell(layout.generator),
        backend_cpus=cpus.spell(layout.backends),
        servers={},
    )
    state = charge.places.state
    standing.write(state, stands)
    why: Standing | None = replace(stands, ended=_BUG)
    try:
        _keep_up(charge, chosen, backends, runtime, layout, stands, up)
    except Interrupted:
        why = None
        raise
    except LabError as error:
        why = replace(stands, ended=error.message, evidence=error.detail)
        raise
    finally:
        _sweep(runtime)
        if why is not None and up.is_set():
            standing.write(state, why)
        else:
            standing.remove(state)


def _keep_up(
    charge: Charge,
    chosen: Mapping[str, Server],
    backends: Collection[Backend],
    runtime: Runtime,
    layout: cpus.Layout,
    stands: Standing,
    up: threading.Event,
) -> Never:
    with launch.started(runtime, layout, {charge.cores: chosen.values()}, backends, _say_text) as started:
        run = launch.describe(
            _experiment(charge),
            started,
            launch.get_published,
            servers=chosen,
            seed=0,
            results=charge.places.results,
        )
        with (
            # Neither the keeper nor what it starts may use the servers' cores from now on.
            process.pinned(layout.generator),
            runtime.ui(layout.generator, charge.address, charge.port) as conversation,
        ):
            ui = LabUI(conversation, layout.generator)
            ui.open(run, started.targets, watching=False, password=charge.password)
            keeper = Keeper(started.fleets[charge.cores], started.backends, ui, stands, charge.places.state)
            signal.signal(signal.SIGHUP, keeper.ask)
            keeper.write()
            up.set()
            _say("up")
            keeper.keep()


def _experiment(charge: Charge) -> Experiment:
    """What whoever is at the web UI can do: the workloads, with the parameters that an experiment has by default."""
    return Experiment(
        name="interactive",
        cells=(),
        blocks=1,
        window_s=1.0,
        patience_s=10.0,
        reference="",
        generator="shared" if charge.share_generator else "own",
        parameters=parameters(charge.workloads, {}),
        generator_cores=charge.workers,
    )


def _sweep(runtime: Runtime) -> None:
    """End what is still there because a signal came while things were being ended. Nothing disturbs this."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    # Where that fails, the engine is gone, and what comes before has said so.
    with contextlib.suppress(LabError):
        runtime.sweep()


# --- the process


def _say(event: str, **fields: Any) -> None:
    # Whoever started this may be gone, which is no reason to fail.
    with contextlib.suppress(OSError):
        os.write(1, json.dumps({"event": event, **fields}).encode() + b"\n")


def _say_text(text: str) -> None:
    _say("say", text=text)


def _listen(stdin: IO[bytes], up: threading.Event) -> None:
    """End all when told so; and when whoever started this is gone before all is up."""
    if stdin.readline() or not up.is_set():
        # To the main thread, so that it interrupts what that waits for.
        signal.pthread_kill(_MAIN, signal.SIGTERM)


_MAIN = threading.main_thread().ident or 0


def main() -> None:
    """Take a charge from the standard input, and keep up what it asks for. Exits with 1 where that fails."""
    # Unbuffered: a thread that waits in a buffered one would stop Python from ending.
    stdin = open(0, "rb", buffering=0, closefd=False)  # noqa: SIM115 - no path, and never to be closed
    told = stdin.readline()
    if not told:
        return
    charge = CHARGE.validate_json(told)
    up = threading.Event()
    try:
        with signals_raise():
            threading.Thread(target=_listen, args=(stdin, up), daemon=True).start()
            with alone(charge.places):
                keep_up(charge, up)
    except Interrupted as interrupted:
        _say("failed", message=f"ended by {interrupted} before all was up", detail="")
    except LabError as error:
        _say("failed", message=error.message, detail=error.detail)
        sys.exit(1)


if __name__ == "__main__":
    main()
