"""Machines that are reached by SSH: one `ssh` process for each socket or port that is forwarded here.

The user's own ssh, with the user's own configuration, keys and known hosts. It never prompts: passwords and unknown hosts
have to be settled before. Its remote command waits for the end of a pipe, so it ends when the lab does, however that ends.
"""

import contextlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from wsgilab.experiment.site import SshAddress, ssh_address
from wsgilab.model.errors import EngineError
from wsgilab.system import process
from wsgilab.system.ports import bracketed
from wsgilab.system.process import ChannelClosed, JsonChannel

SOCKET = "/var/run/docker.sock"
"""Where an engine listens, unless its address names another path."""

_OPTIONS = (
    "BatchMode=yes",
    # A connection of its own: one that other programs share would go on forwarding after the lab has ended.
    "ControlMaster=no",
    "ControlPath=none",
    "ExitOnForwardFailure=yes",
    "StreamLocalBindUnlink=yes",
    # A machine that is gone is noticed within 15 s.
    "ConnectTimeout=10",
    "ServerAliveInterval=5",
    "ServerAliveCountMax=3",
)
_READY = "ready"
_REMOTE = f"echo '\"{_READY}\"'; cat >/dev/null"
_REPEATS = re.compile(r"request local forwarding|cannot listen to (?:port|path)")
"""Lines of ssh's that follow the one with the reason."""
_READY_S = 30.0
_POLL_S = 0.05
_END_S = 0.3
_PREFIX = "wsgilab-ssh-"


class Tunnel:
    """A machine's engine, forwarded here by SSH."""

    def __init__(self, name: str, address: str, folder: Path, channel: JsonChannel) -> None:
        self.socket = folder / "docker.sock"
        """Where the engine is reached on this machine."""
        self._name = name
        self._address = address
        self._channel = channel

    def failure(self) -> str | None:
        """Why the connection is lost; None while it is up."""
        code = self._channel.exit_code()
        return None if code is None else self.complaint() or _ended(code)

    def complaint(self) -> str:
        """The last error in ssh's log; empty where there is none."""
        return _complaint(self._channel.log)

    @contextlib.contextmanager
    def forward(self, host: str, port: int, remote_port: int) -> Iterator[None]:
        """Forward connections to `host:port` here, an IP address, to `remote_port` on that machine's loopback.

        Raises EngineError.
        """
        forwarded = f"{bracketed(host)}:{port}:127.0.0.1:{remote_port}"
        with _folder() as folder, _ssh(self._name, self._address, forwarded, folder):
            yield


@contextlib.contextmanager
def tunnel(name: str, address: str) -> Iterator[Tunnel]:
    """Forward the engine of the machine `name`, at `ssh://...`, to this machine. Raises EngineError."""
    with _folder() as folder:
        forwarded = f"{folder / 'docker.sock'}:{ssh_address(address).path or SOCKET}"
        with _ssh(name, address, forwarded, folder) as channel:
            yield Tunnel(name, address, folder, channel)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """A folder that only this user may enter, removed on exit; those that killed labs have left are removed first."""
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        owner = left.name.removeprefix(_PREFIX).partition("-")[0]
        if owner.isdecimal() and not psutil.pid_exists(int(owner)):
            # Those of other users cannot be removed.
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _ssh(name: str, address: str, forwarded: str, folder: Path) -> Iterator[JsonChannel]:
    """An ssh process that is forwarding. Raises EngineError."""
    options = [word for option in _OPTIONS for word in ("-o", option)]
    argv = ["ssh", "-T", "-a", "-x", *options, "-L", forwarded, *_destination(ssh_address(address)), _REMOTE]
    try:
        channel = JsonChannel(argv, cwd=folder, env=os.environ, cpus=None, log=folder / "log")
    except OSError as error:
        raise EngineError(f"{name}: ssh does not start ({error.strerror}); install an OpenSSH client") from None
    try:
        _wait(name, address, channel)
        yield channel
    finally:
        # At the end of its input it waits for connections that still go through it, though nobody needs them any more.
        channel.end(_END_S)


def _destination(address: SshAddress) -> list[str]:
    # After --, and without a hyphen in front, no part of an address can be taken for an option.
    user = ["-l", address.user] if address.user else []
    port = ["-p", address.port] if address.port else []
    return [*user, *port, "--", address.host]


def _wait(name: str, address: str, channel: JsonChannel) -> None:
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline:
        # A login script may write lines of its own first.
        with contextlib.suppress(ChannelClosed):
            if channel.poll(_POLL_S) == _READY:
                return
        if channel.exit_code() is not None:
            break
    code = channel.exit_code()
    cause = _complaint(channel.log) or (f"no answer within {_READY_S:.0f} s" if code is None else _ended(code))
    host = ssh_address(address)
    typed = f"ssh {'-p ' + host.port + ' ' if host.port else ''}{host.user + '@' if host.user else ''}{host.host}"
    raise EngineError(f"{name}: {address} is not reached: {cause}; make `{typed} true` work without a question")


def _ended(code: int) -> str:
    return f"ssh has ended with exit code {code}"


def _complaint(log: Path) -> str:
    """The last line of ssh's log that has a reason."""
    lines = [line.strip() for line in process.tail(log, 20).splitlines()]
    reasons = (line for line in reversed(lines) if line and not _REPEATS.search(line))
    return next(reasons, "").rstrip(".")
