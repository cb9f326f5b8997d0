"""A run shown in the web UI while it is under way. Without the UI it goes on just the same."""

import contextlib
from collections.abc import Callable, Iterable, Iterator

from wsgilab.model import Cell, Observation, Run
from wsgilab.model.errors import SwarmError
from wsgilab.run.startup import Started
from wsgilab.run.testbed import Testbed
from wsgilab.runtime.protocol import Say
from wsgilab.web.access import USER, new_password, ui_url
from wsgilab.web.client import LabUI


class Watch:
    """Sends the web UI what happens; nothing, where there is none."""

    def __init__(self, ui: LabUI | None, say: Say) -> None:
        self._ui = ui
        self._say = say

    def begin(self, cell: Cell, progress: str) -> None:
        """The trial that begins now; `progress` such as `12 of 45 trials`."""
        # Whatever the UI itself sends can only be why it fails.
        self._send(lambda ui: ui.receive(0.0))
        self._send(lambda ui: ui.send_trial(cell, progress))

    def observe(self, observation: Observation) -> None:
        """A trial that has ended."""
        self._send(lambda ui: ui.send_observation(observation))

    def end(self) -> None:
        """The run has ended."""
        self._send(lambda ui: ui.send_end())

    def _send(self, send: Callable[[LabUI], object]) -> None:
        if self._ui is None:
            return
        try:
            send(self._ui)
        except SwarmError as error:
            self._ui = None
            self._say(f"{error.message}; the run goes on without it.")


@contextlib.contextmanager
def opened(
    at: tuple[str, int] | None, testbed: Testbed, started: Started, run: Run, earlier: Iterable[Observation], say: Say
) -> Iterator[Watch]:
    """The web UI of a run, on the generator's cores, with what was observed `earlier`; its address is said.

    `at` is the address and port, of loopback, where it is asked for; None: there is no web UI. Raises LabError.
    """
    if at is None:
        yield Watch(None, say)
        return
    address, port = at
    host = testbed.ui_host(address)
    # Where it is not served as asked, it is reached from elsewhere.
    password = None if host == address else new_password()
    generator = started.layout.generator
    with started.runtime.ui(generator, address, port) as channel:
        ui = LabUI(channel, generator)
        ui.open(run, started.targets, watching=True, names={address, host}, password=password)
        say(f"Watch it at {ui_url(host, port)}")
        if password is not None:
            say(f"Login: user {USER}, password {password}")
        watch = Watch(ui, say)
        for observation in earlier:
            watch.observe(observation)
        yield watch
        watch.end()
