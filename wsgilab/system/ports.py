"""Ports and addresses of this machine: which are free, who listens, and how they are written."""

import contextlib
import errno
import socket
from urllib.parse import urlsplit

from wsgilab.model.errors import HostError, UsageError
from wsgilab.model.site import HIGHEST_PORT

_CONNECT_S = 0.5


def port_range(text: str) -> range:
    """The ports of `8100` or `8100-8163`. Raises UsageError for anything else."""
    first, dash, last = text.strip().partition("-")
    if not first.isdecimal() or (dash and not last.isdecimal()):
        raise UsageError(f"LAB_PORTS={text}: must be a port or a range of ports such as 8100-8163")
    begin, end = int(first), int(last or first)
    if not 1 <= begin <= end <= HIGHEST_PORT:
        raise UsageError(f"LAB_PORTS={text}: ports go from 1 to {HIGHEST_PORT}, the lower one first")
    return range(begin, end + 1)


def check_enough(wanted: str, count: int, where: str, otherwise: str) -> None:
    """Raises HostError where the range `wanted`, empty for any, has fewer than `count` ports, free or not.

    `where` names the range for the user, and `otherwise` what to do without one.
    """
    if wanted and (there := len(port_range(wanted))) < count:
        raise HostError(
            f"{where}: {count} ports are needed, one for each server that is up at once, but the range has {there}; "
            f"name a wider range, choose fewer with --servers, or {otherwise}"
        )


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


def listens(url: str) -> bool:
    """Whether somebody listens where a URL leads. Who is busy with more than it can queue does."""
    address = urlsplit(url)
    try:
        socket.create_connection((address.hostname or "", address.port or 80), timeout=_CONNECT_S).close()
    except ConnectionRefusedError:
        return False
    except OSError:
        return True
    return True


def check_free(host: str, port: int) -> str:
    """The address of `host`, where nobody listens on `port`. Raises HostError where somebody does, or none can."""
    if not 1 <= port <= HIGHEST_PORT:
        raise UsageError(f"--port {port}: ports go from 1 to {HIGHEST_PORT}")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (socket.gaierror, UnicodeError):
            raise _nowhere(host) from None
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise taken(host, port) from None
            if error.errno == errno.EADDRNOTAVAIL:
                raise _nowhere(host) from None
            raise HostError(f"--port {port}: {error.strerror} on {host}; name another with --port") from None
        return str(probe.getsockname()[0])


def taken(host: str, port: int) -> HostError:
    """That somebody else listens there."""
    return HostError(f"--port {port}: is taken on {host}; name another with --port")


def _nowhere(host: str) -> HostError:
    return HostError(f"--host {host}: is no address of this machine; name one with --host")


def bracketed(address: str) -> str:
    """An address as it is written before a port: IPv6 in brackets."""
    return f"[{address}]" if ":" in address else address


def http_url(host: str, port: int | str) -> str:
    """The URL of an HTTP server, without a path."""
    return f"http://{bracketed(host)}:{port}"
