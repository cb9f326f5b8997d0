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
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Never

from pydantic import TypeAdapter

from wsgilab import cpus, grounds, launch, process, standing
from wsgilab.errors import Interrupted, LabError
from wsgilab.grounds import Ground
from wsgilab.model import Backend, Experiment, Server
from wsgilab.places import Places, alone, choose_backends, choose_servers, signals_raise
from wsgilab.runtime.protocol import Runtime
from wsgilab.standing import Standing, new_password
from wsgilab.ui.client import LabUI
from wsgilab.upkeep import Keeper
from wsgilab.workloads import WORKLOADS, parameters

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
    site: Path | None
    """A file of the machines to be up on; None: this one."""
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


# --- from a charge to what is up


def keep_up(charge: Charge, up: threading.Event) -> None:
    """Bring up what `charge` asks for, set `up`, and keep it so until Interrupted or a LabError ends it all.

    The state file says meanwhile what is up, and afterwards why it ended, unless that was asked for.
    """
    with grounds.opened(charge.places, charge.runtime, charge.site, _say_text) as found:
        ground, *others = found
        if others:
            _say_text(f"The interactive lab is up on {ground.machine} alone, the first of the site's targets.")
        _keep_up_on(charge, ground, up)


def _keep_up_on(charge: Charge, ground: Ground, up: threading.Event) -> None:
    chosen = choose_servers(charge.places, charge.servers)
    backends = choose_backends(charge.places, charge.workloads)
    layout = ground.lay_out(
        {charge.cores},
        share=charge.share_generator,
        generator_cores=charge.workers,
        option="--workers",
        say=_say_text,
        backends=bool(backends),
    )
    pid, started_ticks, boot = standing.own_identity()
    host = charge.host if ground.apart is None else ground.apart.ui_host(charge.host)
    stands = Standing(
        pid=pid,
        started_ticks=started_ticks,
        boot=boot,
        runtime=ground.runtime.name,
        site="" if charge.site is None else str(charge.site),
        cores=charge.cores,
        workers=charge.workers,
        host=host,
        port=charge.port,
        share_generator=charge.share_generator,
        # It is reached from elsewhere where it is not served as asked.
        password=charge.password or (None if host == charge.host else new_password()),
        server_cpus=cpus.spell(layout.servers[charge.cores]),
        generator_cpus=cpus.spell(layout.generator),
        backend_cpus=cpus.spell(layout.backends),
        servers={},
    )
    state = charge.places.state
    standing.write(state, stands)
    why: Standing | None = replace(stands, ended=_BUG)
    try:
        _serve(charge, ground, layout, chosen, backends, stands, up)
    except Interrupted:
        why = None
        raise
    except LabError as error:
        why = replace(stands, ended=error.message, evidence=error.detail)
        raise
    finally:
        _sweep(ground.runtime)
        if why is not None and up.is_set():
            standing.write(state, why)
        else:
            standing.remove(state)


def _serve(
    charge: Charge,
    ground: Ground,
    layout: cpus.Layout,
    chosen: Mapping[str, Server],
    backends: Collection[Backend],
    stands: Standing,
    up: threading.Event,
) -> Never:
    runtime = ground.runtime
    launch.sweep([runtime], _say_text)
    with (
        ground.held(layout, charge.places, _say_text),
        launch.started(runtime, layout, {charge.cores: chosen.values()}, backends, _say_text) as started,
    ):
        run = launch.describe(
            _experiment(charge),
            started,
            lambda target, page: target.fetch(page),
            servers=chosen,
            seed=0,
            results=charge.places.results,
            host=ground.host,
        )
        with (
            # Neither the keeper nor what it starts may use the servers' cores from now on.
            process.pinned(ground.own_cpus(layout)),
            runtime.ui(layout.generator, charge.address, charge.port) as conversation,
        ):
            ui = LabUI(conversation, layout.generator)
            ui.open(run, started.targets, watching=False, password=stands.password)
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
