"""The process that keeps the interactive lab up: its servers, the backends and its web UI.

Run as `python -m wsgilab.session.daemon` by `lab.up`, which it outlives. One JSON object a line:

    in   a SessionSpec, once; any other line: end
    out  {"event": "say", "text": ...}    while all is being brought up
         {"event": "up"}                  and from now on nobody listens
         {"event": "failed", "message": ..., "detail": ..., "usage": whether that was asked for wrongly}

Before all is up the end of the input ends it; afterwards SIGTERM does. It has no terminal, so that none can hang up on it:
START_AGAIN makes it start again what has ended, LOOK makes it look now at what it looks at every few seconds.
The state file says what is up, for every command to read.
"""

import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import IO, Any, Never

from wsgilab.experiment.parsing import adapter
from wsgilab.experiment.workloads import parameters
from wsgilab.model import Backend, Experiment, Server
from wsgilab.model.errors import Interrupted, LabError, UsageError
from wsgilab.model.text import call_tasks_by, called
from wsgilab.run import startup
from wsgilab.run.testbed import Testbed, open_testbeds
from wsgilab.run.workspace import ENDING, alone, choose_backends, choose_servers, signals_raise
from wsgilab.runtime.protocol import Runtime
from wsgilab.runtime.source import locust_folders
from wsgilab.session import state_file
from wsgilab.session.spec import SessionSpec
from wsgilab.session.state_file import SessionState
from wsgilab.session.supervisor import Supervisor
from wsgilab.system import cpus, ports, process
from wsgilab.web.access import new_password
from wsgilab.web.client import LabUI

START_AGAIN, LOOK = signal.SIGHUP, signal.SIGUSR1

_BUG = "it failed in a way that nobody foresaw; daemon.log in the lab's state says how"


def occupied() -> str:
    """The message for another lab that would start meanwhile."""
    return f"the interactive lab is up here; end it with {called('lab.down')}"


# --- from a SessionSpec to what is up


def keep_up(spec: SessionSpec, up: threading.Event) -> None:
    """Bring up what `spec` asks for, set `up`, and keep it so until Interrupted or a LabError ends it all.

    The state file says meanwhile what is up, and afterwards why it ended, unless that was asked for.
    """
    with open_testbeds(spec.workspace, spec.runtime, spec.site, _say_text) as testbeds:
        testbed, *others = testbeds
        if others:
            _say_text(f"The interactive lab is up on {testbed.machine} alone, the first of the site's targets.")
        _keep_up_on(spec, testbed, up)


def _keep_up_on(spec: SessionSpec, testbed: Testbed, up: threading.Event) -> None:
    chosen = choose_servers(spec.workspace, spec.servers)
    backends = choose_backends(spec.workspace, spec.workloads, spec.application)
    layout = testbed.lay_out(
        {spec.cores},
        share=spec.share_generator,
        generator_cores=spec.workers,
        option="--workers",
        say=_say_text,
        backends=bool(backends),
    )
    testbed.check_ports(spec.workspace.ports, len(chosen))
    pid, started_ticks, boot = state_file.own_identity()
    host = testbed.ui_host(spec.host)
    state = SessionState(
        pid=pid,
        started_ticks=started_ticks,
        boot=boot,
        runtime=testbed.runtime.name,
        site="" if spec.site is None else str(spec.site),
        catalogue="" if spec.workspace.own_catalogue is None else str(spec.workspace.own_catalogue),
        cores=spec.cores,
        workers=spec.workers,
        host=host,
        port=spec.port,
        share_generator=spec.share_generator,
        application=spec.application,
        # Where it is not served as asked, it is reached from elsewhere.
        password=spec.password or (None if host == spec.host else new_password()),
        server_cpus=cpus.spell(layout.servers[spec.cores]),
        generator_cpus=cpus.spell(layout.generator),
        backend_cpus=cpus.spell(layout.backends),
        servers={},
        looked=0,
    )
    folder = spec.workspace.state
    state_file.write(folder, state)
    why: SessionState | None = replace(state, ended=_BUG)
    try:
        _serve(spec, testbed, layout, chosen, backends, state, up)
    except Interrupted:
        why = None
        raise
    except LabError as error:
        why = replace(state, ended=error.message, evidence=error.detail)
        raise
    finally:
        _sweep(testbed.runtime)
        if why is not None and up.is_set():
            state_file.write(folder, why)
        else:
            state_file.remove(folder)


def _serve(
    spec: SessionSpec,
    testbed: Testbed,
    layout: cpus.Layout,
    chosen: Mapping[str, Server],
    backends: Collection[Backend],
    state: SessionState,
    up: threading.Event,
) -> Never:
    runtime = testbed.runtime
    folders = {folder: source.archive() for folder, source in locust_folders(spec.application).items()}
    startup.sweep([runtime], _say_text)
    with (
        testbed.reserved(layout, spec.workspace, _say_text),
        startup.started(
            runtime, layout, {spec.cores: chosen.values()}, backends, _say_text, spec.application
        ) as started,
    ):
        run = startup.describe(
            _experiment(spec),
            started,
            lambda target, page: target.fetch(page),
            servers={name: each for name, each in chosen.items() if name in started.names},
            seed=0,
            results=spec.workspace.results,
            host=testbed.host,
        )
        with (
            # Neither the supervisor nor what it starts may use the servers' cores from now on.
            process.pinned(testbed.own_cpus(layout)),
            runtime.ui(layout.generator, spec.address, spec.port) as channel,
        ):
            ui = LabUI(channel, layout.generator)
            names = spec.names | {state.host}
            for note in ui.open(
                run, started.targets, watching=False, names=names, password=state.password, folders=folders
            ):
                _say_text(note)
            supervisor = Supervisor(
                started.fleets[spec.cores],
                started.backends,
                ui,
                state,
                spec.workspace.state,
                # What forwards to an engine's own machine accepts any connection, or there is nothing that does.
                listens=ports.listens if testbed.elsewhere is None else lambda _: True,
            )
            signal.signal(START_AGAIN, supervisor.ask)
            signal.signal(LOOK, supervisor.ask_to_look)
            supervisor.write()
            up.set()
            _say("up")
            supervisor.keep()


def _experiment(spec: SessionSpec) -> Experiment:
    """What a person can do in the web UI: the workloads, with the parameters that an experiment has by default."""
    return Experiment(
        name="interactive",
        cells=(),
        blocks=1,
        window_s=1.0,
        patience_s=10.0,
        reference="",
        generator="shared" if spec.share_generator else "own",
        parameters=parameters(spec.workloads, {}, spec.application),
        generator_cores=spec.workers,
        application=spec.application,
    )


def _sweep(runtime: Runtime) -> None:
    """End what is still there because a signal came while things were being ended. Nothing disturbs this."""
    for signum in {*ENDING, START_AGAIN, LOOK}:
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
    """End all at the next line; and at the end of the input before all is up, when the command that started this is gone."""
    if stdin.readline() or not up.is_set():
        # To the main thread, so that it interrupts what that waits for.
        signal.pthread_kill(_MAIN, signal.SIGTERM)


_MAIN = threading.main_thread().ident or 0


def main() -> None:
    """Read a SessionSpec from the standard input, and keep up what it asks for. Exits with 1 where that fails."""
    # Unbuffered: a thread that waits in a buffered one would stop Python from ending.
    stdin = open(0, "rb", buffering=0, closefd=False)  # noqa: SIM115 - no path, and never to be closed
    line = stdin.readline()
    if not line:
        return
    spec = adapter(SessionSpec).validate_json(line)
    call_tasks_by(spec.program)
    up = threading.Event()
    try:
        with signals_raise():
            threading.Thread(target=_listen, args=(stdin, up), daemon=True).start()
            with alone(spec.workspace, occupied()):
                keep_up(spec, up)
    except Interrupted as interrupted:
        _say("failed", message=f"ended by {interrupted} before all was up", detail="", usage=False)
    except LabError as error:
        _say("failed", message=error.message, detail=error.detail, usage=isinstance(error, UsageError))
        sys.exit(1)


if __name__ == "__main__":
    main()
