"""A server that runs already, at a URL: nothing of it is started, pinned, read or ended. The generator is the runtime `local`'s."""

import contextlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urljoin, urlsplit

from wsgilab.experiment.running import split
from wsgilab.load.recorder import STAMP_HEADER
from wsgilab.model import Action, Backend, Server, Usage
from wsgilab.model.application import Application
from wsgilab.model.errors import TargetError
from wsgilab.runtime.application import ready_page
from wsgilab.runtime.local import LocalRuntime
from wsgilab.runtime.pages import answered, fetched
from wsgilab.runtime.protocol import NO_LOCKS, BeforeMore, Fleet, LeaveOut, Say

_ANSWER_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningTarget:
    """A server that the lab has not started."""

    server: Server
    base_url: str

    @property
    def name(self) -> str:
        return self.server.name

    @property
    def published_url(self) -> str:
        return self.base_url

    def fetch(self, page: str) -> str:
        return fetched(self.base_url + page)

    def failure(self) -> None:
        """None, whatever happens to it: its users find out whether it answers."""

    def restart(self, on: frozenset[int] | None = None) -> None:  # noqa: ARG002 - it is not pinned
        raise TargetError(f"{self.base_url}: is not the lab's to start")

    def pin(self) -> None:
        raise TargetError(f"{self.base_url}: is not the lab's to pin")

    def end(self) -> None:
        raise TargetError(f"{self.base_url}: is not the lab's to end")

    def log_tail(self, lines: int = 10) -> str:  # noqa: ARG002 - nobody else has it
        return ""

    def effective_cpus(self) -> frozenset[int]:
        raise TargetError(f"{self.base_url}: which cores it has is not known")

    def usage(self) -> Usage:
        raise TargetError(f"{self.base_url}: what it uses is not known")

    def act(self, do: Action, worker: int = 0) -> None:  # noqa: ARG002 - whatever it is
        raise TargetError(f"{self.base_url}: is not the lab's to act on")

    def limited(self, quota: float) -> contextlib.AbstractContextManager[None]:  # noqa: ARG002 - whatever it is
        raise TargetError(f"{self.base_url}: is not the lab's to give a quota")

    def memory(self) -> None:
        """None: it may be anywhere."""


class RunningServer(LocalRuntime):
    """The runtime `local` with a server that it has not started in place of fleets."""

    def prepare(
        self,
        servers: Collection[Server],
        backends: Collection[Backend],
        say: Say,
        application: Application | None = None,
        locks: Mapping[str, str] = NO_LOCKS,
    ) -> Mapping[str, str]:
        """Installs the swarm alone, and looks whether the server answers. Raises TargetError where that is no answer of its own."""
        path = "/" if application is None else ready_page(application)
        for server in servers:
            # One of a stored run may be anything.
            address, _ = split(server.command[0], None)
            say(f"Load goes to {address}.")
            self._look(address, path, say)
        return super().prepare((), backends, say, None, locks)

    def _look(self, address: str, path: str, say: Say) -> None:
        try:
            with answered(address + path, _ANSWER_S) as answer:
                status, stamp, location = answer.status, answer.getheader(STAMP_HEADER), answer.getheader("Location")
        except TargetError as error:
            raise TargetError(f"{error.message}; start the server first, or name one that runs") from None
        if location is not None and HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            elsewhere = urlsplit(urljoin(address + path, location))
            if f"{elsewhere.scheme}://{elsewhere.netloc}".lower() != address.lower():
                raise TargetError(
                    f"{address}{path}: redirects to {elsewhere.geturl()!r}; name the server that answers itself"
                )
        if status >= HTTPStatus.BAD_REQUEST:
            raise TargetError(f"{address}{path}: answers with status {status}; name a path that it has, with --get")
        if stamp is None:
            door = self._project / "services" / "door"
            say(
                "Its answers have no stamps, so in flight will not be known. With PYTHONPATH="
                f"{door}, this line after `app` brings them: from wsgilab_door.stamp import StampMiddleware; app = StampMiddleware(app)"
            )

    @contextlib.contextmanager
    def start(
        self,
        servers: Collection[Server],
        cpus: frozenset[int],  # noqa: ARG002 - it is not pinned
        leave_out: LeaveOut | None = None,  # noqa: ARG002 - there is one
        before_more: BeforeMore | None = None,  # noqa: ARG002
    ) -> Iterator[Fleet]:
        yield {each.name: RunningTarget(server=each, base_url=each.command[0]) for each in servers}
