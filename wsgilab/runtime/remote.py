"""The runtime of a site's lane: targets and backends in containers of one machine's engine, the swarm on other machines."""

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from wsgilab.load.client import ProcessClient
from wsgilab.model import Backend, Host, Machine, RuntimeName, Server, SiteMachine
from wsgilab.model.application import Application
from wsgilab.model.errors import LabError, TargetError
from wsgilab.model.site import MASTER_PORT
from wsgilab.runtime.application import LOCUST
from wsgilab.runtime.protocol import NO_LOCKS, SWARM_MODULE, Backends, BeforeMore, Fleet, LeaveOut, Say
from wsgilab.system import cpus as cpusets
from wsgilab.system.ports import bracketed, port_range
from wsgilab.system.process import JsonChannel

if TYPE_CHECKING:
    from wsgilab.runtime.compose import ComposeRuntime

REMOTE_WORKERS_MODULE = "wsgilab.load.remote_workers"

Entered = TypeVar("Entered")
Done = TypeVar("Done")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteHost:
    """A machine of a site that was reached: its engine's runtime, what it is, and the cores that the lab may use."""

    machine: SiteMachine
    runtime: "ComposeRuntime"
    host: Host
    cpus: frozenset[int]
    is_this_machine: bool = False
    """Whether the lab itself runs there too."""

    @property
    def recorded(self) -> Machine:
        """As results record it."""
        return Machine(name=self.machine.name, host=self.host, cpus=cpusets.spell(self.cpus))


class RemoteRuntime:
    """One machine of targets, and those that load it."""

    name: RuntimeName = "compose"

    def __init__(self, targets: RemoteHost, swarm: Sequence[RemoteHost]) -> None:
        self.targets = targets
        self.swarm_hosts = tuple(swarm)
        self.versions: Mapping[str, str] = targets.runtime.versions
        self._is_loading = False
        """Whether the swarm is up: then a web UI only watches it."""

    @property
    def locks(self) -> Mapping[str, str]:
        """Of the targets, and what the swarm has beside Locust."""
        beside = {name: lock for name, lock in self.swarm_hosts[0].runtime.locks.items() if name == LOCUST}
        return {**self.targets.runtime.locks, **beside}

    def prepare(
        self,
        servers: Collection[Server],
        backends: Collection[Backend],
        say: Say,
        application: Application | None = None,
        locks: Mapping[str, str] = NO_LOCKS,
    ) -> Mapping[str, str]:
        digests: dict[str, str] = {}
        beside: Mapping[str, str] = locks
        # The targets' last: where both have an image of one name, the targets' is what was measured.
        for host in reversed(self._hosts):
            with _named(host):

                def tell(text: str, name: str = host.machine.name) -> None:
                    say(f"{name}: {text}")

                if host is self.targets:
                    # Locust files run elsewhere.
                    own = None if application is None else replace(application, locust_requirements=())
                    digests |= host.runtime.prepare(servers, backends, tell, own, locks)
                elif application is not None and application.locust_requirements:
                    digests |= host.runtime.prepare_users(application, tell, beside)
                    # The same releases on the next machine.
                    beside = host.runtime.locks
                else:
                    digests |= host.runtime.prepare((), (), tell)
        return digests

    def identify(self, application: Application, backends: Collection[Backend], say: Say) -> Mapping[str, str]:
        with _named(self.targets):
            return self.targets.runtime.identify(application, backends, say)

    # --- what is up

    def backends(
        self, backends: Collection[Backend], cpus: frozenset[int]
    ) -> contextlib.AbstractContextManager[Backends]:
        return _entered(self.targets, self.targets.runtime.backends(backends, cpus))

    def start(
        self,
        servers: Collection[Server],
        cpus: frozenset[int],
        leave_out: LeaveOut | None = None,
        before_more: BeforeMore | None = None,
    ) -> contextlib.AbstractContextManager[Fleet]:
        def named(name: str, error: TargetError) -> None:
            assert leave_out is not None, "it is not called otherwise"
            leave_out(name, TargetError(f"{self.targets.machine.name}: {error.message}", detail=error.detail))

        up = self.targets.runtime.start(servers, cpus, None if leave_out is None else named, before_more)
        return _entered(self.targets, up)

    @contextlib.contextmanager
    def swarm(self, cpus: frozenset[int]) -> Iterator[JsonChannel]:
        runtime = self.swarm_hosts[0].runtime
        with self._with_workers(
            "swarm", lambda words, options: runtime.beside("swarm", [SWARM_MODULE, *words], cpus, options)
        ) as channel:
            self._is_loading = True
            try:
                yield channel
            finally:
                self._is_loading = False

    def ui(self, cpus: frozenset[int], host: str, port: int) -> contextlib.AbstractContextManager[JsonChannel]:
        first = self.swarm_hosts[0]
        if self._is_loading:
            return _entered(first, first.runtime.serving_ui(cpus, host, port, ()))
        return self._with_workers(
            "ui", lambda words, options: first.runtime.serving_ui(cpus, host, port, words, options)
        )

    def ui_host(self, host: str) -> str:
        """The host at which a web UI for `host` is reached: `host` itself, or the swarm's machine where nothing forwards to
        this one."""
        return self.swarm_hosts[0].runtime.ui_host(host)

    @contextlib.contextmanager
    def _with_workers(
        self,
        kind: str,
        start_master: Callable[[Sequence[str], Sequence[str]], contextlib.AbstractContextManager[JsonChannel]],
    ) -> Iterator[JsonChannel]:
        """A clock server on the targets' machine, Locust's master on the swarm's first, and workers on its others.

        `start_master` is given more arguments for the master, and options for its container.
        """
        first, *others = self.swarm_hosts
        with contextlib.ExitStack() as up:
            clock_port = up.enter_context(_entered(self.targets, self.targets.runtime.clock_server()))
            words = ["--clock-server", f"{bracketed(self.targets.machine.address)}:{clock_port}"]
            ports = first.machine.ports
            port = port_range(ports)[0] if ports else MASTER_PORT
            listening: list[str] = []
            options: list[str] = []
            if others:
                workers = sum(len(each.cpus) for each in others)
                listening = ["--listen", str(MASTER_PORT), "--workers", str(workers)]
                options = ["--publish", f"{bracketed(first.machine.publish)}:{port}:{MASTER_PORT}"]
            channel = up.enter_context(_entered(first, start_master([*words, *listening], options)))
            for other in others:
                name = other.machine.name
                argv = [REMOTE_WORKERS_MODULE, kind, first.machine.address, str(port), *words, "--machine", name]
                started = up.enter_context(_entered(other, other.runtime.beside(f"{kind}-workers", argv, other.cpus)))
                # Raises SwarmError where they do not run, or on other cores than these.
                ProcessClient(f"{name}: the process of the workers", started, other.cpus)
            yield channel

    def log(self, name: str, cores: int | None, *, follow: bool) -> Iterator[str]:
        return self.targets.runtime.log(name, cores, follow=follow)

    # --- beside others

    def quota_refusal(self) -> str | None:
        return self.targets.runtime.quota_refusal()

    def is_here(self) -> bool:
        return False

    def available_bytes(self) -> int:
        with _named(self.targets):
            return self.targets.runtime.available_bytes()

    def owns(self, pid: int) -> bool:  # noqa: ARG002 - none of this machine's
        return False

    def other_labs(self) -> Sequence[str]:
        return [f"{lab} (on {host.machine.name})" for host in self._hosts for lab in host.runtime.other_labs()]

    # --- leaving nothing behind

    def sweep(self) -> int:
        """End what is left on every engine that can be reached. Raises LabError, at the end, for those that cannot."""
        return sum(self._on_each(lambda runtime: runtime.sweep()))

    def clean(self) -> None:
        self._on_each(lambda runtime: runtime.clean())

    def _on_each(self, do: "Callable[[ComposeRuntime], Done]") -> Sequence[Done]:
        done: list[Done] = []
        failed: list[LabError] = []
        for host in self._hosts:
            try:
                with _named(host):
                    done.append(do(host.runtime))
            except LabError as error:
                failed.append(error)
        if failed:
            raise failed[0]
        return done

    @property
    def _hosts(self) -> Sequence[RemoteHost]:
        return (self.targets, *self.swarm_hosts)


@contextlib.contextmanager
def _named(host: RemoteHost) -> Iterator[None]:
    """Prefix errors with the machine's name."""
    try:
        yield
    except LabError as error:
        raise type(error)(f"{host.machine.name}: {error.message}", detail=error.detail) from None


@contextlib.contextmanager
def _entered(host: RemoteHost, manager: contextlib.AbstractContextManager[Entered]) -> Iterator[Entered]:
    """`manager`; errors while it is entered are prefixed with the machine's name."""
    with contextlib.ExitStack() as up:
        with _named(host):
            entered = up.enter_context(manager)
        yield entered
