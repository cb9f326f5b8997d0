"""Waiting until what was started can be used; and noticing, long before patience is at its end, that it listens elsewhere."""

import time
from collections.abc import Collection
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple, Protocol

from wsgilab.model.errors import TargetError
from wsgilab.runtime.protocol import Running, did_not_start, last_words
from wsgilab.system.ports import bracketed

START_S = 60.0
"""How long something may take until it is ready."""
LOOK_S = 5.0
"""How often it is looked at where those listen that are not ready. A look costs CPU on a container's cores; and a server may
open another port first, such as one for metrics, while it still loads."""

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
        """Whether who listens here is reached where it was `wanted`; at no address in particular: from elsewhere."""
        here, there = ip_address(_plain(self.host)), ip_address(wanted.host)
        if self.port != wanted.port:
            return False
        return here.is_unspecified or here == there or (there.is_unspecified and not here.is_loopback)


def listeners(table: str) -> frozenset[Address]:
    """Who listens, by the text of /proc/net/tcp or tcp6 or both (proc_pid_net(5)), of a little-endian machine."""
    found = set()
    for line in table.splitlines():
        match line.split():
            case [_, local, _, state, *_] if state == _LISTENS:
                address, _, port = local.partition(":")
                words = (bytes.fromhex(address[at : at + 8])[::-1] for at in range(0, len(address), 8))
                found.add(Address(_plain(b"".join(words)), int(port, 16)))
    return frozenset(each for each in found if each.host != _RESOLVER)


def _plain(given: str | bytes) -> str:
    """An address; one of IPv4 that IPv6 has mapped, as that of IPv4 (RFC 4291, section 2.5.5.2)."""
    address = ip_address(given)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


class Starting(Running, Protocol):
    """A server or a backend that was started, and is to be used once it is ready."""

    @property
    def wanted(self) -> Address:
        """Where it is to listen."""

    def is_ready(self) -> bool:
        """Whether it can be used. Raises TargetError where it never will be."""

    def listening(self) -> Collection[Address]:
        """Where its processes listen by now, as far as that can be told."""


def wait_until_ready(started: Collection[Starting], poll_s: float) -> None:
    """Returns when all of `started` are; they are asked every `poll_s`.

    Raises TargetError where one has ended, has not got ready in time, or is seen twice to listen elsewhere alone.
    """
    deadline = time.monotonic() + START_S
    look_due = time.monotonic() + LOOK_S
    waiting = list(started)
    elsewhere: set[str] = set()
    while waiting:
        looks = time.monotonic() >= look_due
        for each in list(waiting):
            if (failure := each.failure()) is not None:
                raise did_not_start(each, failure)
            if each.is_ready():
                waiting.remove(each)
            elif looks and each.name in elsewhere:
                check_listening(each)
            elif looks and _is_elsewhere(each.listening(), each.wanted):
                elsewhere.add(each.name)
        if looks:
            look_due = time.monotonic() + LOOK_S
        if waiting and time.monotonic() > deadline:
            raise _not_ready(waiting[0])
        time.sleep(poll_s)


def check_listening(started: Starting) -> None:
    """Raises TargetError where something listens elsewhere, and not where it is wanted."""
    if _is_elsewhere(found := started.listening(), started.wanted):
        raise _failed(started, f"listens at {_spelt(found)}, not at {started.wanted} as asked", _MUST_BIND)


_MUST_BIND = "have it bind LAB_BIND, or LAB_HOST and LAB_PORT"


def _is_elsewhere(found: Collection[Address], wanted: Address) -> bool:
    return bool(found) and not any(each.serves(wanted) for each in found)


def _not_ready(started: Starting) -> TargetError:
    found = started.listening()
    late = f"did not answer within {START_S:.0f} s of its start"
    if any(each.serves(started.wanted) for each in found):
        return _failed(started, f"{late}, though it listens at {started.wanted} as asked")
    where = (
        f"at {_spelt(found)}, not at {started.wanted} as asked" if found else f"nowhere, not at {started.wanted} either"
    )
    return _failed(started, f"{late}: it listens {where}", _MUST_BIND)


def _failed(started: Starting, what: str, *remedy: str) -> TargetError:
    told, detail = last_words(started)
    return TargetError("; ".join([f"{started.name} {what}", *remedy, told]), detail=detail)


def _spelt(found: Collection[Address]) -> str:
    return " and ".join(map(str, sorted(found)))
