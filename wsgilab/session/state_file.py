"""The interactive lab's state: what is up, and whether the daemon that keeps it up still lives.

The daemon writes `state/up.json`, and every command reads it. It may hold a password, so nobody else can read it.
"""

import contextlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import psutil
from pydantic import ValidationError

from wsgilab.experiment.parsing import adapter
from wsgilab.model import STRICT, Application, RuntimeName
from wsgilab.model.errors import StoreError
from wsgilab.model.text import called
from wsgilab.system import process
from wsgilab.system.host import boot_id, cannot_pin
from wsgilab.web.access import ui_url

FILE = "up.json"

_POLL_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerState:
    """One server that was brought up."""

    address: str
    """Where this machine reaches it, such as `http://127.0.0.1:40001`."""
    slots: int | None
    failure: str | None
    """Why it runs no more; None while it runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionState:
    """What is up, and who keeps it up."""

    __pydantic_config__: ClassVar = STRICT

    pid: int
    started_ticks: int
    """When the daemon was started, in clock ticks since boot: with `boot`, nobody else is ever taken for it."""
    boot: str

    runtime: RuntimeName
    site: str = ""
    """The site file's path; empty where all is on this machine."""
    catalogue: str = ""
    """The path of the user's own catalogue file; empty: there is none."""
    cores: int
    workers: int
    host: str
    """As it was asked for; or, where nothing brings it here, the swarm's machine."""
    port: int
    share_generator: bool
    application: Application | None = None
    """The user's own that the servers run; None: the lab's."""
    password: str | None
    """None where no login is required."""

    server_cpus: str = ""
    generator_cpus: str = ""
    backend_cpus: str = ""
    """Empty where there are no backends."""
    servers: Mapping[str, ServerState]
    """Empty before all are up, and after all have ended."""
    backends: Mapping[str, str | None] = field(default_factory=dict)
    """Why each runs no more; None while it runs."""
    answered: int = 0
    """So many times what had ended was started again because a command asked."""
    looked: int | None = None
    """So many times all was looked at because a command asked; None: by a daemon that cannot be asked to."""
    ended: str = ""
    """Why the daemon has ended, if that was not what anybody asked for."""
    evidence: str = ""
    """Lines that show why."""

    @property
    def failures(self) -> Mapping[str, str]:
        """Why each backend or server runs no more that does not."""
        states = {**self.backends, **{name: each.failure for name, each in self.servers.items()}}
        return {name: failure for name, failure in states.items() if failure is not None}

    @property
    def url(self) -> str:
        """Where the web UI is."""
        return ui_url(self.host, self.port)

    def is_alive(self) -> bool:
        """Whether the daemon is still there: not merely some process with its number."""
        return not self.ended and self.boot == boot_id() and started_ticks(self.pid) == self.started_ticks

    def signal(self, signum: int) -> bool:
        """Signal the daemon, and never another process. False where it is gone."""
        try:
            # psutil knows which process it is from here on: a signal to another process of that number is refused.
            daemon = psutil.Process(self.pid)
            if not self.is_alive():
                return False
            daemon.send_signal(signum)
        except psutil.Error:
            return False
        return True

    def wait_for_end(self, timeout_s: float) -> bool:
        """Whether the daemon is gone within `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while self.is_alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        return True


def started_ticks(pid: int) -> int | None:
    """When a process was started, in clock ticks since boot; None where it has ended. Fields 3 and 22 of proc(5).

    Where there is no /proc, in hundredths of a second since 1970.
    """
    if cannot_pin():
        return _started_by_psutil(pid)
    try:
        state, *fields = process.stat(pid)
    except OSError:
        return None
    return None if state in ("Z", "X") else int(fields[18])


def _started_by_psutil(pid: int) -> int | None:
    try:
        found = psutil.Process(pid)
        return None if found.status() == psutil.STATUS_ZOMBIE else round(found.create_time() * 100)
    except psutil.Error:
        return None


def read(state: Path) -> SessionState | None:
    """What the file says; None where there is none. Raises StoreError where it cannot be read."""
    path = state / FILE
    try:
        return adapter(SessionState).validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror}); see whose file it is") from None
    except ValidationError:
        raise StoreError(
            f"{path}: was changed or damaged, or is another version's; clean up with {called('lab.down')}"
        ) from None


def write(state: Path, what: SessionState) -> None:
    """Put `what` in place of what the file said, in one step. Raises StoreError."""
    temporary = state / f".{FILE}.new"
    try:
        temporary.unlink(missing_ok=True)
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123
            file.write(adapter(SessionState).dump_json(what, indent=2))
        temporary.replace(state / FILE)
    except OSError as error:
        raise StoreError(f"{state / FILE}: cannot be written ({error.strerror})") from None


def remove(state: Path) -> None:
    """Nothing is up any more."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        (state / FILE).unlink()


def own_identity() -> tuple[int, int, str]:
    """This process, as `pid`, `started_ticks` and `boot` have it."""
    ticks = started_ticks(os.getpid())
    assert ticks is not None, "it runs"
    return os.getpid(), ticks, boot_id()
