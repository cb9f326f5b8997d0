"""Which servers of a race are up at a time: as many as memory holds, and none that has left it.

Every server is started before the race begins, in batches that memory holds, so it is known that it starts and what it takes. Where
memory is full, those that were started last are ended again, until it is their turn.
"""

import contextlib
import itertools
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from wsgilab.model import Server
from wsgilab.model.errors import HostError, LabError, TargetError
from wsgilab.model.text import counted
from wsgilab.runtime.pages import FACTS
from wsgilab.runtime.protocol import Fleet, Say, Target
from wsgilab.system import process

HEADROOM = 1.25
"""A server is counted with so many times the memory that it had when it was looked at: under load it takes more."""
_TWO, _HALF = 2, 0.5
_NAMED = 4


class Room:
    """The memory of one machine of targets, and who has it."""

    def __init__(self, free: Callable[[], int], *, may_lack: bool = True, spare: frozenset[int] = frozenset()) -> None:
        """`free`: the bytes that programs can still have. `may_lack`: whether those that do not fit may be left out, because none of
        them was measured yet. `spare`: as many cores as the servers have, which nothing else is on; empty: there are none."""
        self.may_lack = may_lack
        self._free = free
        self._spare = spare
        self._taken: dict[str, int] = {}
        self._each = 0
        """What a process took of the server that was looked at last."""
        self._ended: set[str] = set()
        """Those that were ended for lack of memory, or because they have left."""
        self._ahead: set[str] = set()
        """Those that are up on the cores to spare."""
        self._facts: dict[str, str] = {}
        self._beyond: Sequence[Server] = ()
        """Those that were not started, because not even the first of them would fit by itself."""
        self.left_out: dict[str, str] = {}
        """Server -> why it is no part of the race."""

    # --- before the race

    def admit(self, up: Sequence[Target], rest: Sequence[Server]) -> int:
        """As many of the `rest` as fit into memory; see `BeforeMore`. In the order of their processes, so that each tells what the
        next may take."""
        for each in up:
            self._look(each)
        if not self._each:
            return 1
        expected, running = [self._expected(each) for each in rest], list(up)
        whole = self._free() + sum(self._taken.get(each.name, 0) for each in running)
        if expected[0] > whole:
            self._beyond = tuple(rest)
            return 0
        left = whole - sum(self._size(each.name) for each in running)
        while running and expected[0] > left:
            last = running.pop()
            left += self._size(last.name)
            self._end(last)
        return max(1, sum(total <= left for total in itertools.accumulate(expected)))

    def settle(self, fleet: Fleet, say: Say) -> Fleet:
        """Those of a fleet that can be measured beside another one, once all were started. Who cannot is named to `say`.

        Raises HostError where no two fit into memory at once, and where one does not that may not be left out.
        """
        if not fleet:
            return fleet
        whole = self._whole(fleet)
        taken = {name: self._taken.get(name, 0) for name in fleet}
        taken |= {each.name: round(self._expected(each) / HEADROOM) for each in self._beyond}
        in_order = sorted(taken, key=lambda name: taken[name])
        small, second = (in_order * _TWO)[:_TWO]
        if small != second and HEADROOM * (taken[small] + taken[second]) > whole:
            raise HostError(
                f"memory holds one configuration at a time: {small} takes {_spelt(taken[small])} and {second} about "
                f"{_spelt(taken[second])}, under load up to a quarter more, and {_spelt(whole)} are available; a race measures two "
                "beside each other: free memory, or name smaller ones with --space"
            )
        out = [name for name in taken if HEADROOM * (taken[name] + taken[second if name == small else small]) > whole]
        if out:
            named = ", ".join(out[:_NAMED]) + (f" and {len(out) - _NAMED} more" if len(out) > _NAMED else "")
            problem = (
                f"{named}: {out[0]} takes about {_spelt(taken[out[0]])}, for which, beside another, {_spelt(whole)} of memory are "
                "not enough"
            )
            if not self.may_lack:
                raise HostError(f"{problem}; free memory, and go on")
            say(f"Left out: {problem}")
            self.left_out |= {name: f"takes more memory than there is: about {_spelt(taken[name])}" for name in out}
        return {name: target for name, target in fleet.items() if name not in out}

    def facts(self, target: Target) -> str | None:
        """The page FACTS of one that was ended before anybody could ask for it; None of others."""
        return self._facts.get(target.name) if target.name in self._ended else None

    def taken(self, fleet: Fleet) -> Mapping[str, int]:
        """What each server of a fleet has taken at most, in bytes, so far; 0 where that is not known."""
        for name in fleet:
            if name not in self._ended:
                self._look(fleet[name])
        return {name: self._taken.get(name, 0) for name in fleet}

    # --- while it goes on

    def heat(self, fleet: Fleet, names: Sequence[str]) -> Sequence[str]:
        """Those of `names`, from the first on, that are measured beside each other next. Where there are cores to spare and memory does
        not hold all, half of it is left for those that are started meanwhile."""
        every = self.fitting(fleet, names)
        if len(every) < len(names) and self._spare:
            half = self.fitting(fleet, names, _HALF)
            return half if len(half) >= _TWO else every
        return every

    def fitting(self, fleet: Fleet, names: Iterable[str], share: float = 1.0) -> Sequence[str]:
        """Those of `names`, from the first on, that fit at once into this share of the memory; the first does in any case."""
        names = list(names)
        left, found = share * self._whole(fleet), list[str]()
        for name in names:
            if not found or self._size(name) <= left:
                found.append(name)
                left -= self._size(name)
        return found

    def turn(self, fleet: Fleet, needed: Collection[str], gone: Collection[str], say: Say) -> None:
        """End those that are `gone`, and see that those that are `needed` are up; others are ended where memory needs it."""
        for name in fleet:
            if name in gone:
                self._end(fleet[name])
        for name in self._ahead.intersection(needed):
            self._ahead.discard(name)
            try:
                fleet[name].pin()
            except TargetError:
                self._end(fleet[name])
        missing = [name for name in fleet if name in needed and name in self._ended]
        if not missing:
            return
        others = [name for name in fleet if name not in self._ended and name not in needed]
        wanted = [*needed, *others]
        if len(self.fitting(fleet, wanted)) < len(wanted):
            for name in others:
                self._end(fleet[name])
        say(f"Starting {counted(len(missing), 'server')} again, whose turn it is ...")
        for name in missing:
            self._ended.discard(name)
            # Where it does not start, its trial says so.
            with contextlib.suppress(TargetError):
                fleet[name].restart()

    @contextlib.contextmanager
    def ahead(self, fleet: Fleet, needed: Collection[str], names: Collection[str]) -> Iterator[None]:
        """Meanwhile start those of `names` that memory holds beside those that are `needed`, on the cores to spare, where nothing is
        measured. They are moved to their own when it is their turn."""
        starting = [name for name in fleet if name in names and name in self._ended]
        if not self._spare or not starting:
            yield
            return
        for name in fleet:
            if name not in needed and name not in names:
                self._end(fleet[name])
        is_over = threading.Event()
        thread = threading.Thread(target=self._start_ahead, args=(fleet, starting, is_over), daemon=True)
        thread.start()
        try:
            yield
        except BaseException:
            is_over.set()
            for name in starting:
                # One that is being started is not waited for.
                fleet[name].end()
            raise
        finally:
            is_over.set()
            thread.join()

    def _start_ahead(self, fleet: Fleet, names: Sequence[str], is_over: threading.Event) -> None:
        with process.pinned(self._spare):
            for name in names:
                up = [each for each in fleet if each not in self._ended]
                if is_over.is_set() or len(self.fitting(fleet, [*up, name])) <= len(up):
                    return
                self._ended.discard(name)
                try:
                    fleet[name].restart(self._spare)
                    self._ahead.add(name)
                except LabError:
                    # Its turn says why.
                    self._ended.add(name)

    # --- one server

    def _whole(self, fleet: Fleet) -> int:
        """What all may take together."""
        return self._free() + sum(self._look(fleet[name]) for name in fleet if name not in self._ended)

    def _look(self, target: Target) -> int:
        """What a server takes now, in bytes; 0 where it does not run."""
        with contextlib.suppress(TargetError):
            used = target.usage().resident_bytes
            if target.name not in self._taken:
                self._each = used // (target.server.processes or 1)
            self._taken[target.name] = max(used, self._taken.get(target.name, 0))
            return used
        return 0

    def _size(self, name: str) -> float:
        return HEADROOM * self._taken.get(name, 0)

    def _expected(self, server: Server) -> float:
        return HEADROOM * self._each * (server.processes or 1)

    def _end(self, target: Target) -> None:
        if target.name in self._ended:
            return
        if target.name not in self._facts:
            with contextlib.suppress(TargetError):
                self._facts[target.name] = target.fetch(FACTS)
        target.end()
        self._ended.add(target.name)
        self._ahead.discard(target.name)


def _spelt(size: float) -> str:
    return f"{size / 2**20:,.0f} MiB"
