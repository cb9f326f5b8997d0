"""The address of the web UI, and its login."""

import ipaddress
import os
import secrets
from collections.abc import Mapping

from wsgilab.model.errors import HostError, UsageError
from wsgilab.model.site import HIGHEST_PORT
from wsgilab.system.ports import check_free, free_ports, http_url

HOST, PORT = "127.0.0.1", 8089
USER = "lab"
"""The user of the login, where one is required."""


def ui_url(host: str, port: int) -> str:
    """The lab's own tab of a web UI."""
    return f"{http_url(host, port)}/?tab=lab"


def choose_port(host: str, port: int) -> tuple[str, int]:
    """The address that `host` resolves to, and `port` there, or any free one where it is 0.

    Raises UsageError for a host or port that cannot be, and HostError for one that is not this machine's, or not free.
    """
    if not 0 <= port <= HIGHEST_PORT:
        raise UsageError(f"--port {port}: must be a whole number from 1 to {HIGHEST_PORT}, or 0 for any that is free")
    if not host:
        raise UsageError(f"--host: must be an address of this machine, such as {HOST}")
    port = port or free_ports(1, "")[0]
    try:
        return check_free(host, port), port
    except UnicodeError:
        raise HostError(f"--host {host}: is no address of this machine; name another with --host") from None


def password_for(address: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """The login's password; None on loopback. Anybody who can reach the web UI can load this machine."""
    if ipaddress.ip_address(address).is_loopback:
        return None
    return environment.get("LAB_PASSWORD") or new_password()


def new_password() -> str:
    """A random password, 96 bits."""
    return secrets.token_urlsafe(12)
