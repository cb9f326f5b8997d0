"""The runtime of a site's lane: targets and backends in containers of one machine's engine, the swarm on others'."""

import contextlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from wsgilab.model import Backend, Host, Machine, RuntimeName, Server, SiteMachine
from wsgilab.model.errors import LabError, SwarmError
from wsgilab.model.site import MASTER_PORT
from wsgilab.runtime.protocol import SWARM_MODULE, Backends, Fleet, Say
from wsgilab.system import cpus as cpusets
from wsgilab.system.ports import bracketed, port_range
from wsgilab.system.process import ChannelClosed, JsonChannel, tail

if TYPE_CHECKING:
    from wsgilab.runtime.compose import ComposeRuntime

OUTPOST_MODULE = "wsgilab.load.remote_workers"
_OUTPOST_S = 60.0

Entered = TypeVar("Entered")


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
        """As results know it."""
        return Machine(name=self.machine.name, host=self.host, cpus=cpusets.spell(self.cpus))


class RemoteRuntime:
    """One machine of targets, and those that load it."""

    name: RuntimeName = "compose"

    def __init__(self, targets: RemoteHost, swarm: Sequence[RemoteHost]) -> None:
        self.targets = targets
        self.swarm_hosts = tuple(swarm)
        self.versions: Mapping[str, str] = targets.runtime.versions
        self._is_loading = False
        """Whether the swarm is up: then a web UI only shows what that does."""

    def prepare(self, servers: Collection[Server], backends: Collection[Backend], say: Say) -> Mapping[str, str]:
        digests: dict[str, str] = {}
        # The targets' last: whatever an image is called on both, theirs is what was measured.
        for station in reversed(self._stations):
            here = station is self.targets
            with of(station):
                digests |= station.runtime.prepare(
                    servers if here else (),
                    backends if here else (),
                    lambda text, name=station.machine.name: say(f"{name}: {text}"),  # type: ignore[misc]
                )
        return digests

    # --- what is up

    @contextlib.contextmanager
    def backends(self, backends: Collection[Backend], cpus: frozenset[int]) -> Iterator[Backends]:
        with _entered(self.targets, self.targets.runtime.backends(backends, cpus)) as up:
            yield up

    @contextlib.contextmanager
    def start(self, servers: Collection[Server], cpus: frozenset[int]) -> Iterator[Fleet]:
        with _entered(self.targets, self.targets.runtime.start(servers, cpus)) as fleet:
            yield fleet

    @contextlib.contextmanager
    def swarm(self, cpus: frozenset[int]) -> Iterator[JsonChannel]:
        first = self.swarm_hosts[0]
        with self._beacon() as beacon, contextlib.ExitStack() as up:
            words, options = self._for_master(beacon)
            swarm = first.runtime.beside("swarm", [SWARM_MODULE, *words], cpus, options)
            channel = up.enter_context(_entered(first, swarm))
            self._add_outposts("swarm", beacon, up)
            self._is_loading = True
            try:
                yield channel
            finally:
                self._is_loading = False

    @contextlib.contextmanager
    def ui(self, cpus: frozenset[int], host: str, port: int) -> Iterator[JsonChannel]:
        first = self.swarm_hosts[0]
        if self._is_loading:
            with _entered(first, first.runtime.serving_ui(cpus, host, port, ())) as channel:
                yield channel
            return
        with self._beacon() as beacon, contextlib.ExitStack() as up:
            words, options = self._for_master(beacon)
            serving = first.runtime.serving_ui(cpus, host, port, words, options)
            channel = up.enter_context(_entered(first, serving))
            self._add_outposts("ui", beacon, up)
            yield channel

    def ui_host(self, host: str) -> str:
        """Where the web UI is that is asked for at `host`: there, unless nothing brings it to this machine."""
        return self.swarm_hosts[0].runtime.ui_host(host)

    @contextlib.contextmanager
    def _beacon(self) -> Iterator[str]:
        """A beacon on the targets' machine, as the swarm reaches it."""
        with _entered(self.targets, self.targets.runtime.beacon()) as port:
            yield f"{bracketed(self.targets.machine.address)}:{port}"

    def _for_master(self, beacon: str) -> tuple[Sequence[str], Sequence[str]]:
        """What Locust's master is told, and how its container is to be run."""
        first, *others = self.swarm_hosts
        words = ["--beacon", beacon]
        if not others:
            return words, []
        workers = sum(len(each.cpus) for each in others)
        published = f"{bracketed(first.machine.publish)}:{self._master_port}:{MASTER_PORT}"
        return [*words, "--listen", str(MASTER_PORT), "--workers", str(workers)], ["--publish", published]

    def _add_outposts(self, kind: str, beacon: str, up: contextlib.ExitStack) -> None:
        """Workers on the swarm's machines but the first."""
        first, *others = self.swarm_hosts
        words = [OUTPOST_MODULE, kind, first.machine.address, str(self._master_port), "--beacon", beacon]
        for other in others:
            named = [*words, "--machine", other.machine.name]
            outpost = up.enter_context(_entered(other, other.runtime.beside(f"{kind}-outpost", named, other.cpus)))
            _check_outpost(other, outpost)

    @property
    def _master_port(self) -> int:
        ports = self.swarm_hosts[0].machine.ports
        return port_range(ports)[0] if ports else MASTER_PORT

    def log(self, name: str, cores: int | None, *, follow: bool) -> Iterator[str]:
        return self.targets.runtime.log(name, cores, follow=follow)

    # --- beside others

    def is_here(self) -> bool:
        return False

    def owns(self, pid: int) -> bool:  # noqa: ARG002 - none of this machine's
        return False

    def other_labs(self) -> Sequence[str]:
        return [
            f"{told} (on {station.machine.name})" for station in self._stations for told in station.runtime.other_labs()
        ]

    # --- leaving nothing behind

    def sweep(self) -> int:
        """End what is left on every engine that can be reached. Raises LabError, at the end, for those that cannot."""
        return sum(self._on_each("sweep"))

    def clean(self) -> None:
        self._on_each("clean")

    def _on_each(self, what: str) -> list[int]:
        found: list[int] = []
        failed: list[LabError] = []
        for station in self._stations:
            try:
                with of(station):
                    found.append(getattr(station.runtime, what)() or 0)
            except LabError as error:
                failed.append(error)
        if failed:
            raise failed[0]
        return found

    @property
    def _stations(self) -> Sequence[RemoteHost]:
        return (self.targets, *self.swarm_hosts)


def _check_outpost(station: RemoteHost, outpost: JsonChannel) -> None:
    """Raises SwarmError unless its workers run, on the cores that they were given."""
    try:
        told = outpost.receive(_OUTPOST_S)
    except ChannelClosed as error:
        raise SwarmError(
            f"{station.machine.name}: the workers did not start: {error}", detail=tail(outpost.log, 10)
        ) from None
    if not isinstance(told, dict) or frozenset(told.get("cpus", ())) != station.cpus:
        raise SwarmError(
            f"{station.machine.name}: the workers are not on cores {cpusets.spell(station.cpus)} as asked, but said "
            f"{str(told)[:200]}; the engine does not honour cpusets"
        )


@contextlib.contextmanager
def of(station: RemoteHost) -> Iterator[None]:
    """Name the machine in what goes wrong on it."""
    try:
        yield
    except LabError as error:
        raise type(error)(f"{station.machine.name}: {error.message}", detail=error.detail) from None


@contextlib.contextmanager
def _entered(station: RemoteHost, manager: contextlib.AbstractContextManager[Entered]) -> Iterator[Entered]:
    """`manager`, with the machine named in what goes wrong while it is entered."""
    with contextlib.ExitStack() as up:
        with of(station):
            entered = up.enter_context(manager)
        yield entered
