"""A run that is watched in the web UI while it is under way. Without the UI it goes on just the same."""

import contextlib
from collections.abc import Callable, Iterable, Iterator

from wsgilab.errors import SwarmError
from wsgilab.grounds import Ground
from wsgilab.launch import Started
from wsgilab.model import Cell, Observation, Run
from wsgilab.runtime.protocol import Say
from wsgilab.standing import USER, new_password, ui_url
from wsgilab.ui.client import LabUI


class Watch:
    """Tells the web UI what happens; nobody, where there is none."""

    def __init__(self, ui: LabUI | None, say: Say) -> None:
        self._ui = ui
        self._say = say

    def begin(self, cell: Cell, progress: str) -> None:
        """The trial that begins now; `progress` such as `12 of 45 trials`."""
        # What the UI itself says can only be why it fails.
        self._tell(lambda ui: ui.hear(0.0))
        self._tell(lambda ui: ui.tell_trial(cell, progress))

    def observe(self, observation: Observation) -> None:
        """A trial that has ended."""
        self._tell(lambda ui: ui.tell_observation(observation))

    def end(self) -> None:
        """The run has ended."""
        self._tell(lambda ui: ui.tell_end())

    def _tell(self, tell: Callable[[LabUI], object]) -> None:
        if self._ui is None:
            return
        try:
            tell(self._ui)
        except SwarmError as error:
            self._ui = None
            self._say(f"{error.message}; the run goes on without it.")


@contextlib.contextmanager
def opened(
    ground: Ground, started: Started, run: Run, earlier: Iterable[Observation], at: tuple[str, int] | None, say: Say
) -> Iterator[Watch]:
    """The web UI of a run, with what was observed `earlier`, on the generator's cores; where it is, is said.

    `at` is the address and the port, of loopback, that it is asked for at; None: there is no web UI. Raises LabError.
    """
    if at is None:
        yield Watch(None, say)
        return
    address, port = at
    host = ground.ui_host(address)
    # It is reached from elsewhere where it is not served as asked.
    password = None if host == address else new_password()
    generator = started.layout.generator
    with started.runtime.ui(generator, address, port) as conversation:
        ui = LabUI(conversation, generator)
        ui.open(run, started.targets, watching=True, names={address, host}, password=password)
        say(f"Watch it at {ui_url(host, port)}")
        if password is not None:
            say(f"Login: user {USER}, password {password}")
        watch = Watch(ui, say)
        for observation in earlier:
            watch.observe(observation)
        yield watch
        watch.end()
