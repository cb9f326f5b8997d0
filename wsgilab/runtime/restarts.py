"""Starting again, within a run, what has ended: a few times, and only if it then is the same as at first."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wsgilab.model import Memory, Run
from wsgilab.model.errors import TargetError
from wsgilab.runtime.pages import FACTS, facts
from wsgilab.runtime.protocol import Running, RunningBackend, Say, Target
from wsgilab.system import cpus

MOST = 3
"""How often a server or a backend is started again within a run."""

Get = Callable[[str], str]
"""The body of one plain GET of an address. Raises TargetError unless it is a 200."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revived:
    """What was done about the parts that had ended before a trial."""

    names: tuple[str, ...] = ()
    """Of the parts that were started again."""
    reason: str | None = None
    """Why there can be no trial even so; None where there can."""


class Restarts:
    """The count of one run's restarts, on one machine of targets."""

    def __init__(self) -> None:
        self._begun: dict[tuple[str, int | None], int] = {}
        self._unlike: dict[tuple[str, int | None], str] = {}
        """Why a server that runs again must not be loaded."""
        self._memory: dict[tuple[str, int], Memory | None] = {}
        """What servers took of memory before their first trial since their last start."""

    def revive(
        self, run: Run, cores: int, target: Target, backends: Sequence[RunningBackend], get: Get, say: Say
    ) -> Revived:
        """Start again those of a trial's `backends`, and its `target` with so many `cores`, that have ended.

        They are up then, pinned and verified as at their first start. Each is announced by `say` before the wait for it.
        """
        names: list[str] = []
        for backend in backends:
            reason = self._start_again(backend, (backend.name, None), f"the backend {backend.name}", names, say)
            if reason is not None:
                return Revived(names=tuple(names), reason=reason)
        key = (target.name, cores)
        reason = self._unlike.get(key) or self._start_again(target, key, "the server", names, say)
        if reason is None and target.name in names:
            self._memory.pop((target.name, cores), None)
            reason = self._is_alike(run, cores, target, get)
        return Revived(names=tuple(names), reason=reason)

    def renew(self, run: Run, cores: int, target: Target, get: Get, say: Say) -> None:
        """Start a target again to which something was done in a trial, so that the next one finds it as before. Where it does not come
        up, or not as it was, that is why there is no next one."""
        self._memory.pop((target.name, cores), None)
        try:
            target.restart()
        except TargetError as error:
            # It has ended, and is started again before its next trial, like any other.
            say(f"{target.name} was started again after the trial, but {error.message}")
            return
        self._is_alike(run, cores, target, get)

    def memory_at_start(self, cores: int, target: Target) -> Memory | None:
        """What a target took of memory when this was first asked after its last start; None where that cannot be read."""
        key = target.name, cores
        if key not in self._memory:
            self._memory[key] = target.memory()
        return self._memory[key]

    def _is_alike(self, run: Run, cores: int, target: Target, get: Get) -> str | None:
        """Why a target that was started again must not be loaded; None where it may."""
        key = target.name, cores
        try:
            _check_alike(run, cores, target, get)
        except TargetError as error:
            self._unlike[key] = f"the server was started again, but {error.message}"
        return self._unlike.get(key)

    def _start_again(
        self, part: Running, key: tuple[str, int | None], what: str, names: list[str], say: Say
    ) -> str | None:
        """Why `part` does not run; None where it does, with its name among `names` if it had ended."""
        if (failure := part.failure()) is None:
            return None
        begun = self._begun.get(key, 0)
        if begun == MOST:
            return f"{what} {failure} before the trial, after it had been started again {MOST} times"
        self._begun[key] = begun + 1
        say(f"{part.name} {failure}: starting it again ({begun + 1} of {MOST} times at most)")
        try:
            part.restart()
        except TargetError as error:
            return f"{what} {failure} before the trial, and then {error.message}\n{error.detail}".strip()
        names.append(part.name)
        return None


def _check_alike(run: Run, cores: int, target: Target, get: Get) -> None:
    """Raises TargetError unless a server is what it was when the run began: its cores, its Python, its packages."""
    found = facts(target.name, get(target.base_url + FACTS), cpus.parse(run.server_cpus[cores]))
    before = run.stacks[target.server.installed_as]
    if (found.python, dict(found.packages)) != (before.python, dict(before.packages)):
        raise TargetError(f"{target.name} runs on other packages than before; start a new run")
