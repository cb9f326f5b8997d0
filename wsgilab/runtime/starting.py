"""Waiting until what was started can be used, and finding out early where it listens at another address than asked."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple, Protocol

from wsgilab.model import Server
from wsgilab.model.errors import TargetError
from wsgilab.runtime.protocol import BeforeMore, LeaveOut, Running, Target
from wsgilab.system.cpus import spell
from wsgilab.system.ports import bracketed

START_S = 60.0
"""How long something may take until it is ready: since its start, or since another that was started with it got ready. They start on
the same cores, so that each is late where all are slow."""
LOOK_S = 5.0
"""How often to find out where the parts listen that are not ready. This costs CPU on a container's cores; and a server may
open another port first, such as one for metrics, while it still loads."""

NO_MEMORY = "for lack of memory"
"""In the message about a container that was killed because it had used all the memory that it may."""
TOLD = "wsgilab_door: "
"""How the line begins in which the door says why an application cannot be served."""

_LISTENS = "0A"
_RESOLVER = "127.0.0.11"
"""Docker's own, in every container's network namespace."""


class Address(NamedTuple):
    """An IP address, and a port of it."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{bracketed(self.host)}:{self.port}"

    def serves(self, wanted: "Address") -> bool:
        """Whether a connection to `wanted` reaches a listener here. An unspecified `wanted` is reached from another machine."""
        here, there = ip_address(_plain(self.host)), ip_address(wanted.host)
        if self.port != wanted.port:
            return False
        return here.is_unspecified or here == there or (there.is_unspecified and not here.is_loopback)


def listeners(table: str) -> frozenset[Address]:
    """The listeners in the text of /proc/net/tcp or tcp6 or both (proc_pid_net(5)), of a little-endian machine."""
    found = set()
    for line in table.splitlines():
        match line.split():
            case [_, local, _, state, *_] if state == _LISTENS:
                address, _, port = local.partition(":")
                words = (bytes.fromhex(address[at : at + 8])[::-1] for at in range(0, len(address), 8))
                found.add(Address(_plain(b"".join(words)), int(port, 16)))
    return frozenset(each for each in found if each.host != _RESOLVER)


def _plain(given: str | bytes) -> str:
    """An address; an IPv4 address that is mapped into IPv6 as that of IPv4 (RFC 4291, section 2.5.5.2)."""
    address = ip_address(given)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


class Starting(Running, Protocol):
    """A server or a backend that was started, and may not be ready yet."""

    @property
    def wanted(self) -> Address:
        """Where it is to listen."""

    def is_ready(self) -> bool:
        """Whether it can be used. Raises TargetError where it never will be."""

    def listening(self) -> Collection[Address]:
        """Where its processes listen by now, as far as that is known."""


class StartingServer(Starting, Target, Protocol):
    """A server that was started, and may not be ready yet."""


def wait_until_ready(
    started: Collection[Starting],
    cpus: frozenset[int],
    poll_s: float,
    start_s: float | None = None,
    page: str | None = None,
    leave_out: LeaveOut | None = None,
) -> Sequence[str]:
    """The names of `started`, once all of them are ready and pinned to `cpus`. They are polled every `poll_s`, for `start_s` at most.

    `page`: the one that they must answer with a status below 500, for the message; None: they must answer at all.

    Raises TargetError where one has ended, is not ready in time, listens only elsewhere at two looks, or where its
    processes may use other cores. With `leave_out`, only where all do: the others are waited for and named, and it is
    called with each that is not ready, which has been ended.
    """
    unfit = _wait(started, cpus, poll_s, start_s, page, is_strict=leave_out is None)
    return _fit(started, unfit, leave_out)


def bring_up(
    servers: Collection[Server],
    begin: Callable[[Collection[Server]], Collection[StartingServer]],
    cpus: frozenset[int],
    poll_s: float,
    start_s: float | None = None,
    page: str | None = None,
    leave_out: LeaveOut | None = None,
    before_more: BeforeMore | None = None,
    prepare_s: float = 0.0,
) -> Sequence[str]:
    """What `wait_until_ready` returns and raises of servers that `begin` starts; with `before_more` as `Runtime.start` has it.
    `prepare_s`: how much of `start_s` is for what they do before they listen."""
    rest, started, unfit = list(servers), list[StartingServer](), dict[str, TargetError]()
    is_strict = leave_out is None
    if before_more is not None:
        for server in rest[:_FIRST]:
            rest.remove(server)
            (first,) = begin([server])
            started.append(first)
            unfit |= _wait([first], cpus, poll_s, start_s, page, prepare_s, is_strict=is_strict)
            if first.failure() is None:
                break
    while rest:
        count = _TOGETHER
        if before_more is not None:
            count = min(count, before_more([each for each in started if each.failure() is None], rest))
            for each in started:
                if each.name in unfit:
                    # Now: what it takes, the others do not have.
                    each.end()
            if not count:
                break
        group = begin(rest[:count])
        del rest[:count]
        started += group
        unfit |= _wait(group, cpus, poll_s, start_s, page, prepare_s, is_strict=is_strict)
    return _fit(started, unfit, leave_out)


_TOGETHER = 16
"""So many servers start at once at most: all import the application on the same cores, and each has a time for it."""
_FIRST = 2
"""So many servers are started by themselves at most: where both have ended at once, the cause is most likely in all of them."""


def _wait(
    started: Collection[Starting],
    cpus: frozenset[int],
    poll_s: float,
    start_s: float | None,
    page: str | None,
    prepare_s: float = 0.0,
    *,
    is_strict: bool,
) -> dict[str, TargetError]:
    """Wait until all of `started` are ready or never will be: name -> why not. Where it `is_strict`, that is raised at once.

    Raises TargetError where one that is ready may use other cores than `cpus`.
    """
    start_s = START_S if start_s is None else start_s
    began = dict.fromkeys((each.name for each in started), time.monotonic())
    deadlines = {name: at + start_s for name, at in began.items()}
    look_due = time.monotonic() + LOOK_S
    waiting = list(started)
    elsewhere: set[str] = set()
    unfit: dict[str, TargetError] = {}
    while waiting:
        looks = time.monotonic() >= look_due
        for each in list(waiting):
            try:
                if _is_ready(each, elsewhere, page, looks=looks):
                    waiting.remove(each)
                    deadlines |= {other.name: time.monotonic() + start_s for other in waiting}
                elif time.monotonic() > deadlines[each.name]:
                    raise _not_ready(each, time.monotonic() - began[each.name], page)
                elif looks and prepare_s and _listens(each):
                    # The first time that it is seen to listen: what it has from then on is never more.
                    now = time.monotonic()
                    if now + start_s - prepare_s < deadlines[each.name]:
                        began[each.name], deadlines[each.name] = now, now + start_s - prepare_s
            except TargetError as error:
                if is_strict:
                    raise
                unfit[each.name] = error
                waiting.remove(each)
        if looks:
            look_due = time.monotonic() + LOOK_S
        if waiting:
            time.sleep(poll_s)
    for each in started:
        if each.name not in unfit:
            check_cores(each, cpus)
    return unfit


def _fit(started: Collection[Starting], unfit: Mapping[str, TargetError], leave_out: LeaveOut | None) -> Sequence[str]:
    """The names of those that are not `unfit`. The others are ended, and left out."""
    if len(unfit) == len(started) and unfit:
        raise next(iter(unfit.values()))
    for each in started:
        if each.name in unfit and leave_out is not None:
            each.end()
            leave_out(each.name, unfit[each.name])
    return [each.name for each in started if each.name not in unfit]


def _is_ready(started: Starting, elsewhere: set[str], page: str | None, *, looks: bool) -> bool:
    """Raises TargetError where it never will be. `elsewhere`: what listened at another address at an earlier look."""
    if (failure := started.failure()) is not None:
        raise _ended(started, failure, page)
    if started.is_ready():
        return True
    if looks and started.name in elsewhere:
        check_listening(started)
    elif looks and _is_elsewhere(started.listening(), started.wanted):
        elsewhere.add(started.name)
    return False


def check_cores(started: Running, cpus: frozenset[int]) -> None:
    """Raises TargetError where its processes may use other cores than `cpus`."""
    effective = started.effective_cpus()
    if effective != cpus:
        raise TargetError(
            f"{started.name} runs on cores {spell(effective)}, not on {spell(cpus)} as asked; the engine does "
            "not honour cpusets, or something moves processes, so nothing here could be compared"
        )


def check_listening(started: Starting) -> None:
    """Raises TargetError where it listens elsewhere, and not at the address that it was given."""
    if _is_elsewhere(found := started.listening(), started.wanted):
        raise _error(started, f"listens at {_listed(found)}, not at {started.wanted} as asked", _MUST_BIND)


_MUST_BIND = "have it bind LAB_BIND, or LAB_HOST and LAB_PORT"


def _listens(started: Starting) -> bool:
    """Whether it listens as asked, and so has prepared itself."""
    return any(each.serves(started.wanted) for each in started.listening())


def _is_elsewhere(found: Collection[Address], wanted: Address) -> bool:
    return bool(found) and not any(each.serves(wanted) for each in found)


def _not_ready(started: Starting, start_s: float, page: str | None) -> TargetError:
    found = started.listening()
    answer = "answer" if page is None else f"answer {page} with a status below 500"
    late = f"did not {answer} within {start_s:.0f} s of its start"
    longer = () if page is None else ("where it needs longer, say so with start_s in the application's file",)
    if any(each.serves(started.wanted) for each in found):
        return _error(started, f"{late}, though it listens at {started.wanted} as asked", *longer)
    where = (
        f"at {_listed(found)}, not at {started.wanted} as asked"
        if found
        else f"nowhere, not at {started.wanted} either"
    )
    return _error(started, f"{late}: it listens {where}", *(longer or (_MUST_BIND,)))


def _ended(started: Starting, failure: str, page: str | None) -> TargetError:
    # What follows is how the server takes it, several times where it has several processes.
    lines = started.log_tail(_LONG_TAIL).splitlines()
    told = next((at for at, line in enumerate(lines) if line.startswith(TOLD)), None)
    if told is None:
        more = ("say how much it may have with memory_mb in the application's file",)
        return _error(started, f"did not start: {failure}", *(more if page and NO_MEMORY in failure else ()))
    why, above = lines[told].removeprefix(TOLD), "\n".join(lines[max(0, told - _SHORT_TAIL) : told])
    if page and any(each in why for each in _NOT_WRITABLE):
        why += "; name the folders that it writes to with writable in the application's file"
    seen = "; see its last lines below" if above else ""
    return TargetError(f"{started.name} did not start: {why}{seen}", detail=above)


_LONG_TAIL, _SHORT_TAIL = 300, 12
_NOT_WRITABLE = ("Read-only file system", "Permission denied")


def _error(started: Starting, what: str, *remedy: str) -> TargetError:
    log = started.log_tail()
    last = "see its last lines below" if log.strip() else "it has written nothing"
    return TargetError("; ".join([f"{started.name} {what}", *remedy, last]), detail=log)


def _listed(found: Collection[Address]) -> str:
    return " and ".join(map(str, sorted(found)))
