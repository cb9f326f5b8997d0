"""Ports of 127.0.0.1 for targets: any that are free, or those of a range that the user names with LAB_PORTS."""

import contextlib
import socket

from wsgilab.errors import HostError

_HIGHEST = 65535


def port_range(text: str) -> range:
    """The ports of `8100` or `8100-8163`. Raises HostError for anything else."""
    first, dash, last = text.strip().partition("-")
    if not first.isdecimal() or (dash and not last.isdecimal()):
        raise HostError(f"LAB_PORTS={text}: must be a port or a range of ports such as 8100-8163")
    begin, end = int(first), int(last or first)
    if not 1 <= begin <= end <= _HIGHEST:
        raise HostError(f"LAB_PORTS={text}: ports go from 1 to {_HIGHEST}, the lower one first")
    return range(begin, end + 1)


def free_ports(count: int, wanted: str) -> list[int]:
    """`count` ports of 127.0.0.1 that nobody listens on: from the range `wanted`, or any where it is empty.

    Raises HostError where `wanted` has too few. Between this answer and its use another process may take one; then
    the server says so itself when it starts.
    """
    candidates = port_range(wanted) if wanted else [0] * count
    found: list[int] = []
    with contextlib.ExitStack() as held:
        for candidate in candidates:
            if len(found) == count:
                break
            probe = held.enter_context(socket.socket())
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", candidate))
                found.append(probe.getsockname()[1])
    if len(found) < count:
        raise HostError(
            f"LAB_PORTS={wanted}: {count} ports are needed on 127.0.0.1 but only {len(found)} of these are free; "
            "name a wider range, or unset LAB_PORTS to take any"
        )
    return found
