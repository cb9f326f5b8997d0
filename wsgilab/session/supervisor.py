"""Looks after an interactive lab that is up: notices what has ended, reports it, and starts it again on request."""

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Never

from wsgilab.model.errors import SwarmError, TargetError
from wsgilab.runtime.protocol import Backends, Fleet
from wsgilab.session import state_file
from wsgilab.session.state_file import ServerState, SessionState
from wsgilab.system import ports
from wsgilab.web.client import LabUI, Loading, StartAgain
from wsgilab.web.view import STARTING_AGAIN

NOT_LISTENING = "does not listen"
"""What is wrong with a server that runs and refuses connections."""
TICK_S = 1.0
"""How often the loaded server's usage is read."""
ROUND_S = 5.0
"""How often it is looked at whether the others still run: that costs CPU too, on the generator's cores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _TargetState:
    """How a target fared when it was last looked at."""

    failure: str | None
    base_url: str
    published_url: str


class Supervisor:
    """Looks after a fleet and backends that are up, for the web UI and for the state file."""

    def __init__(
        self,
        fleet: Fleet,
        backends: Backends,
        ui: LabUI,
        session: SessionState,
        folder: Path,
        listens: Callable[[str], bool] = ports.listens,
    ) -> None:
        """`listens`: whether somebody listens at a URL."""
        self._fleet = fleet
        self._backends = backends
        self._ui = ui
        self._session = session
        self._folder = folder
        # On a site they need be reached by their swarm alone.
        self._listens = (lambda _: True) if session.site else listens
        self._loaded: str | None = None
        self._starting: str | None = None
        """Who is being started again."""
        self._states = {name: self._look(name) for name in fleet}
        self._backend_failures = {name: backend.failure() for name, backend in backends.items()}
        self._asked = self._asked_to_look = False
        self._tick_due = self._round_due = 0.0

    def ask(self, _signum: int = 0, _frame: FrameType | None = None) -> None:
        """Have all started again that has ended; within a tick. For a signal's handler."""
        self._asked = True

    def ask_to_look(self, _signum: int = 0, _frame: FrameType | None = None) -> None:
        """Have all looked at; within a tick. For a signal's handler."""
        self._asked_to_look = True

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
        """Do what is due at `now` (seconds of a monotonic clock), then take requests of the UI until the next tick."""
        if self._asked:
            self._asked = False
            self._start_backends_again()
            for name in self._fleet:
                self._start_again(name)
            self._session = replace(self._session, answered=self._session.answered + 1)
            self.write()
        if now >= self._tick_due:
            self._tick_due = now + TICK_S
            self._read_usage()
        if now >= self._round_due:
            self._round_due = now + ROUND_S
            self._look_at_all()
        if self._asked_to_look:
            self._asked_to_look = False
            self._look_at_all()
            self._session = replace(self._session, looked=(self._session.looked or 0) + 1)
            self.write()
        match self._ui.receive(max(0.0, self._tick_due - now)):
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
            usage = target.usage()
            if target.failure() is None:
                self._ui.send_usage(self._loaded, usage)
        self._check(self._loaded)

    def _look_at_all(self) -> None:
        for name in self._fleet:
            self._check(name)
        self._note_backends({name: backend.failure() for name, backend in self._backends.items()})

    def _look(self, name: str) -> _TargetState:
        target = self._fleet[name]
        # First, because it also finds where a target listens that somebody else has started again.
        failure = target.failure()
        # Who is loaded is not disturbed: its users see whether it answers.
        if failure is None and name != self._loaded and not self._listens(target.published_url):
            failure = NOT_LISTENING
        return _TargetState(failure=failure, base_url=target.base_url, published_url=target.published_url)

    def _check(self, name: str) -> bool:
        """Check a target, and report what has changed. Whether it runs."""
        state = self._look(name)
        if state != self._states[name]:
            self._report(name, state)
        return state.failure is None

    def _start_again(self, name: str) -> None:
        """Start a target again, if it has ended. Where it does not start, that is why it does not run."""
        if self._check(name):
            return
        target = self._fleet[name]
        self._ui.send_target(target, self._states[name].failure, target.log_tail(), restarting=True)
        self._starting = name
        self.write()
        try:
            target.restart()
        except TargetError as error:
            state = self._look(name)
            state = replace(state, failure=state.failure or error.message)
        else:
            state = self._look(name)
        self._starting = None
        self._report(name, state)

    def _start_backends_again(self) -> None:
        """As for targets. Only the state file has them: in the web UI their absence shows as errors of a test."""
        failures: dict[str, str | None] = {}
        for name, backend in self._backends.items():
            failures[name] = backend.failure()
            if failures[name] is not None:
                try:
                    backend.restart()
                except TargetError as error:
                    failures[name] = backend.failure() or error.message
                else:
                    failures[name] = None
        self._note_backends(failures)

    def _note_backends(self, failures: Mapping[str, str | None]) -> None:
        if failures != self._backend_failures:
            self._backend_failures = dict(failures)
            self.write()

    def _report(self, name: str, state: _TargetState) -> None:
        target = self._fleet[name]
        self._states[name] = state
        self._ui.send_target(target, state.failure, target.log_tail() if state.failure else "")
        self.write()

    def write(self) -> None:
        """Put what is up into the state file. Raises StoreError."""
        servers = {
            name: ServerState(
                address=state.published_url,
                slots=self._fleet[name].server.slots,
                failure=STARTING_AGAIN if name == self._starting else state.failure,
            )
            for name, state in self._states.items()
        }
        state_file.write(self._folder, replace(self._session, servers=servers, backends=self._backend_failures))
