"""What commands do with the interactive lab: bring it up, look at it, end it. Its process is `daemon`."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from wsgilab.experiment import application as applications
from wsgilab.experiment.parsing import adapter, unknown
from wsgilab.model import Application
from wsgilab.model.errors import LabError, StoreError, UsageError
from wsgilab.model.text import called, program
from wsgilab.run.testbed import choose_runtime, first_targets
from wsgilab.run.workspace import Workspace, make_state
from wsgilab.runtime.local import MARK
from wsgilab.runtime.protocol import Say
from wsgilab.session import state_file
from wsgilab.session.daemon import LOOK, START_AGAIN
from wsgilab.session.spec import SessionOptions, SessionSpec
from wsgilab.session.state_file import SessionState
from wsgilab.system import process
from wsgilab.system.host import boot_id
from wsgilab.system.process import ChannelClosed, JsonChannel
from wsgilab.web.access import HOST, PORT, choose_port, password_for

_BUILD_S = 3600.0
"""The longest silence while images are built; whatever takes its time has a limit of its own."""
_END_S = 60.0
_AGAIN_S = 300.0
_POLL_S = 0.05
_LOOK_S = 5.0


# --- up


def up(
    options: SessionOptions, say: Say, workspace: Workspace, environment: Mapping[str, str] = os.environ
) -> SessionState:
    """Bring the lab up; where it is up already, start again what has ended.

    Raises LabError where it cannot be, or is up but not as `options`; Interrupted ends what has been started.
    """
    _check_numbers(options)
    application = options.application
    if application is not None:
        if options.no_backends and application.backends:
            raise UsageError(
                f"--no-backends: requests of {application.entry} wait for {' and '.join(application.backend_names)}; leave it out"
            )
        # The process that keeps it up is called in another folder.
        application = applications.located(application, str(Path.cwd()))
        options = replace(options, application=application)
    found = state_file.read(workspace.state)
    if found is not None and found.is_alive():
        return _again(found, options, say, workspace)
    host = HOST if options.host is None else options.host
    address, port = choose_port(host, PORT if options.port is None else options.port)
    site = None if options.site is None else Path(options.site).absolute()
    spec = SessionSpec(
        workspace=workspace,
        site=site,
        servers=options.servers or options.usual_servers,
        cores=options.cores or 1,
        runtime=options.runtime,
        workers=options.workers or 1,
        host=host,
        address=address,
        port=port,
        share_generator=options.share_generator,
        no_backends=options.no_backends,
        password=password_for(address, environment),
        program=program(),
        application=application,
    )
    make_state(workspace)
    log = workspace.state / "daemon.log"
    log.unlink(missing_ok=True)
    channel = JsonChannel(
        [sys.executable, "-m", "wsgilab.session.daemon"],
        cwd=workspace.project,
        env={**os.environ, MARK: workspace.lab_id},
        cpus=None,
        log=log,
    )
    try:
        _follow_until_up(channel, spec, say)
    except BaseException:
        # All may be up at this very moment, and then the end of its input does not end it.
        with contextlib.suppress(ChannelClosed):
            channel.send("end")
        channel.end(_END_S)
        raise
    channel.leave()
    return check(workspace)


def _follow_until_up(channel: JsonChannel, spec: SessionSpec, say: Say) -> None:
    try:
        channel.send(adapter(SessionSpec).dump_python(spec, mode="json"))
        while True:
            match channel.receive(_BUILD_S):
                case {"event": "say", "text": str(text)}:
                    say(text)
                case {"event": "up"}:
                    return
                case {"event": "failed", "message": str(message), "detail": str(detail), "usage": usage}:
                    raise (UsageError if usage else LabError)(message, detail=detail)
    except ChannelClosed as error:
        raise LabError(
            f"the interactive lab did not come up: {error}; {called('lab.down')} ends what may be left of it",
            detail=process.tail(channel.log, 10),
        ) from None


def _check_numbers(options: SessionOptions) -> None:
    for option, number in (("cores", options.cores), ("workers", options.workers)):
        if number is not None and number < 1:
            raise UsageError(f"--{option} {number}: must be a whole number from 1")


# --- up, a second time


def _again(found: SessionState, options: SessionOptions, say: Say, workspace: Workspace) -> SessionState:
    if not found.servers:
        raise LabError(
            f"the interactive lab is being brought up already; wait for it, or end it with {called('lab.down')}"
        )
    if contradicted := contradictions(found, options):
        state, asked = (", ".join(side) for side in zip(*contradicted, strict=True))
        raise LabError(f"the interactive lab is up with {state}, not with {asked}; {called('lab.down')} first")
    say("The interactive lab is up already; what has ended is started again.")
    found.signal(START_AGAIN)
    deadline = time.monotonic() + _AGAIN_S
    while True:
        now = check(workspace)
        if now.answered > found.answered:
            return now
        if time.monotonic() > deadline:
            raise LabError(f"what has ended is not up again within {_AGAIN_S:.0f} s; see {called('lab.status')}")
        time.sleep(_POLL_S)


def contradictions(state: SessionState, options: SessionOptions) -> Sequence[tuple[str, str]]:
    """The options that were given and differ from the lab that is up: each as it is, and as it was given."""
    given: tuple[tuple[str, object, object], ...] = (
        ("--cores", state.cores, options.cores),
        ("--runtime", state.runtime, options.runtime),
        ("--site", state.site, None if options.site is None else str(Path(options.site).absolute())),
        ("--workers", state.workers, options.workers),
        # Where 0 is asked for, any port is right.
        ("--port", state.port, options.port or None),
        ("--host", state.host, options.host),
    )
    found = [(f"{name} {is_}", f"{name} {asked}") for name, is_, asked in given if asked is not None and asked != is_]
    if options.application is not None and options.application != state.application:
        found.append(_applications(state.application, options.application))
    if options.servers and set(options.servers) != set(state.servers):
        found.append((f"--servers {','.join(state.servers)}", f"--servers {','.join(options.servers)}"))
    if options.catalogue is not None and (asked := str(Path(options.catalogue).absolute())) != state.catalogue:
        found.append(
            (f"--catalogue {state.catalogue}" if state.catalogue else "the lab's rows", f"--catalogue {asked}")
        )
    if options.share_generator and not state.share_generator:
        found.append(("cores of the generator's own", "--share-generator"))
    if options.no_backends and state.backends:
        found.append(("backends", "--no-backends"))
    return found


def _applications(up: Application | None, asked: Application) -> tuple[str, str]:
    """What two applications that differ are called beside each other."""
    if up is None:
        return "the lab's own application", f"--app {asked.entry}"
    if (up.entry, up.source) == (asked.entry, asked.source):
        return f"{up.entry} as its settings and requests were", "what they are now"
    return f"--app {up.entry} of {up.source}", f"--app {asked.entry} of {asked.source}"


# --- looking at it


def check(workspace: Workspace) -> SessionState:
    """What is up. Raises LabError, with the remedy, where nothing is."""
    found = state_file.read(workspace.state)
    if found is None:
        raise LabError(f"the interactive lab is not up; {called('lab.up')} brings it up")
    if found.ended:
        raise LabError(
            f"the interactive lab has ended: {found.ended}; {called('lab.up')} brings it up again",
            detail=found.evidence,
        )
    if not found.is_alive():
        cause = "was killed" if found.boot == boot_id() else "is gone: this machine was started again since"
        raise LabError(
            f"the interactive lab is not up: what kept it up {cause}; {called('lab.down')} ends what may be left of it, "
            f"{called('lab.up')} brings it up anew"
        )
    if not found.servers:
        raise LabError(
            f"the interactive lab is still being brought up; wait for it, or end it with {called('lab.down')}"
        )
    return found


def look(workspace: Workspace) -> SessionState:
    """`check`, after the daemon has looked at all that is up, which it does every few seconds by itself.

    So this says what the web UI says too.
    """
    found = check(workspace)
    if found.looked is not None and found.signal(LOOK):
        deadline = time.monotonic() + _LOOK_S
        # It may be busy, with a server that does not start again. What it knew before must do then.
        while (now := check(workspace)).looked == found.looked and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        return now
    return found


def log(name: str, workspace: Workspace, *, follow: bool) -> Iterator[str]:
    """The lines that a server or backend has written, and with `follow` those that it still writes. Raises LabError."""
    found = state_file.read(workspace.state)
    # Also after the daemon was killed: that is when logs are options.
    if found is None or not found.servers:
        found = check(workspace)
    if name not in {**found.servers, **found.backends}:
        raise UsageError(unknown("server or backend", name, [*found.servers, *found.backends]))
    cores = found.cores if name in found.servers else None
    if not found.site:
        return choose_runtime(workspace, found.runtime)[0].log(name, cores, follow=follow)
    return _remote_log(name, cores, Path(found.site), workspace, follow=follow)


def _remote_log(name: str, cores: int | None, site: Path, workspace: Workspace, *, follow: bool) -> Iterator[str]:
    with first_targets(workspace, site) as runtime:
        yield from runtime.log(name, cores, follow=follow)


# --- down


def site_of(workspace: Workspace) -> Path | None:
    """The file of the site that the interactive lab is up on, or was when it was last heard of."""
    with contextlib.suppress(StoreError):
        found = state_file.read(workspace.state)
        if found is not None and found.site:
            return Path(found.site)
    return None


def end(workspace: Workspace) -> int:
    """End the interactive lab in order; how many parts of it ran. What is left then, a sweep finds."""
    ended = 0
    # What cannot be read cannot be asked to end.
    with contextlib.suppress(StoreError):
        found = state_file.read(workspace.state)
        if found is not None and found.signal(signal.SIGTERM):
            running = len(found.servers) + len(found.backends) - len(found.failures)
            if found.wait_for_end(_END_S):
                ended = running + bool(found.servers)
            else:
                found.signal(signal.SIGKILL)
    state_file.remove(workspace.state)
    return ended
