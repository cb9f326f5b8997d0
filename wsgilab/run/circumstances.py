"""What holds on the server's side of a trial: its quota, and what is done to it in the middle."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping

from wsgilab.experiment import masters
from wsgilab.load.client import AtEnd
from wsgilab.model import Cell, Experiment, Run, Server
from wsgilab.model.errors import HostError, LabError, SpecError, TargetError
from wsgilab.runtime.pages import FACTS, facts
from wsgilab.runtime.protocol import Runtime, Target
from wsgilab.runtime.restarts import Get
from wsgilab.system import cpus


def check(experiment: Experiment, servers: Mapping[str, Server], runtime: Runtime) -> None:
    """Raises SpecError where that cannot be done to a server which is to be done, and HostError where it cannot be given its quota."""
    for cell in experiment.cells:
        if cell.during is not None:
            why = masters.refusal(servers[cell.server], cell.during.do)
            if why is not None:
                raise SpecError(f"{cell.server}: during: {cell.during.do}: {why}")
        if cell.quota is not None and (why := runtime.quota_refusal()) is not None:
            raise HostError(f"{cell.server}: quota: {why}")


@contextlib.contextmanager
def of_server(cell: Cell, run: Run, target: Target, get: Get) -> Iterator["Deed"]:
    """Within, the target has the quota of the cell, if there is one; what is done to it meanwhile is the deed's. In the end that is done,
    or never will be, whatever ends the trial, and the target has no quota. Raises TargetError."""
    during = cell.during
    pid = 0
    if during is not None and during.do == "kill-worker":
        # The one that answers now, before there is load.
        pid = facts(target.name, get(target.base_url + FACTS), cpus.parse(run.server_cpus[cell.cores])).pid
    with contextlib.ExitStack() as held:
        if cell.quota is not None:
            held.enter_context(target.limited(cell.quota))
        deed = Deed() if during is None else Deed(during.at_s, lambda: target.act(during.do, pid))
        held.callback(deed.end)
        yield deed


class Deed:
    """What is done to a target in the middle of a trial, once, in a thread of its own: the trial's own waits for the swarm meanwhile."""

    def __init__(self, at_s: float = 0.0, act: Callable[[], None] | None = None) -> None:
        """`act` does it when the window has been open for `at_s`, and raises LabError where it cannot; None: nothing is done."""
        self._at_s = at_s
        self._act = act
        self._is_over = threading.Event()
        self._thread: threading.Thread | None = None
        self._failure: LabError | None = None
        self.acted_s: float | None = None
        """How long after the window had opened it was done; None: it was not."""

    def opening(self, read: AtEnd) -> AtEnd:
        """A reading at the window's begin, from which on the time counts."""

        def at_window() -> int | None:
            if self._act is not None:
                self._thread = threading.Thread(target=self._run, args=(self._act, time.monotonic()), daemon=True)
                self._thread.start()
            return read()

        return at_window

    def closing(self, read: AtEnd) -> AtEnd:
        """A reading at the window's end, before which it is done or never will be."""

        def at_close() -> int | None:
            self.end()
            return read()

        return at_close

    def end(self) -> None:
        """Return when it is done, or never will be."""
        self._is_over.set()
        if self._thread is not None:
            self._thread.join()

    def missed(self) -> str | None:
        """Why it was not done; None where it was, or nothing was to be done. Raises LabError where that is no matter of the target."""
        if self._act is None or self.acted_s is not None:
            return None
        if self._failure is None:
            return f"the window ended before it had been open for {self._at_s:g} s"
        if not isinstance(self._failure, TargetError):
            raise self._failure
        return self._failure.message

    def _run(self, act: Callable[[], None], opened_s: float) -> None:
        if self._is_over.wait(max(0.0, opened_s + self._at_s - time.monotonic())):
            return
        try:
            act()
            if self._is_over.is_set():
                raise TargetError(f"what was to be done {self._at_s:g} s into the window was not done by its end")
            self.acted_s = round(time.monotonic() - opened_s, 6)
        except LabError as error:
            self._failure = error


def moved(cell: Cell, run: Run, target: Target) -> str | None:
    """Where the processes of a target run after something was done to it, if not all on its cores; None where they do, or it has ended."""
    wanted = cpus.parse(run.server_cpus[cell.cores])
    try:
        found = target.effective_cpus()
    except TargetError as error:
        why = error.message
    else:
        if found == wanted:
            return None
        why = f"{target.name} runs on cores {cpus.spell(found)}, not on {cpus.spell(wanted)} as before"
    return why if target.failure() is None else None
