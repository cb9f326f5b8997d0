"""The lab's side of the channel to the web UI."""

import base64
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType

from wsgilab.experiment.parsing import adapter
from wsgilab.load.client import START_S, ProcessClient
from wsgilab.model import Cell, Observation, Run, Usage
from wsgilab.model.text import program
from wsgilab.runtime.protocol import Target
from wsgilab.system.process import ChannelClosed, JsonChannel

NO_FOLDERS: Mapping[str, bytes] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """The UI's users load this server from now on; None: nobody is loaded."""

    server: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StartAgain:
    """Somebody has asked for a server that has ended to be started again."""

    server: str


class LabUI(ProcessClient):
    """The web UI, in a process or container of its own. Raises SwarmError whenever it fails."""

    def __init__(self, channel: JsonChannel, expected_cpus: frozenset[int]) -> None:
        super().__init__("the web UI", channel, expected_cpus)

    def open(
        self,
        run: Run,
        targets: Collection[Target],
        *,
        watching: bool,
        names: Collection[str] = (),
        password: str | None,
        folders: Mapping[str, bytes] = NO_FOLDERS,
    ) -> Sequence[str]:
        """Serve the UI: for tests of `targets`, or to watch `run`. Returns when it answers, with what the user must know of it.

        `folders` are those of the user's own Locust files, packed. `names` are the host names and addresses that it is reached by, beside loopback's; see `guard.Guard`. With
        `password`, a login (user `lab`) is required.
        """
        self._send(
            "open",
            run=adapter(Run).dump_python(run, mode="json"),
            targets=[_target(each) for each in targets],
            watching=watching,
            names=sorted(names),
            password=password,
            program=program(),
            folders={folder: base64.b64encode(archive).decode() for folder, archive in folders.items()},
        )
        return [str(note) for note in self._receive("open", START_S)["notes"]]

    def send_usage(self, server: str, usage: Usage) -> None:
        """What `server` has consumed by now. To be sent at once: the UI dates it by when it arrives."""
        self._send("usage", server=server, **asdict(usage))

    def send_target(self, target: Target, failure: str | None, log: str, *, restarting: bool = False) -> None:
        """The state of `target`, whenever that has changed."""
        self._send("target", **_target(target), failure=failure, log=log, restarting=restarting)

    def send_trial(self, cell: Cell, progress: str) -> None:
        """The trial of a watched run that begins now."""
        self._send("trial", cell=adapter(Cell).dump_python(cell, mode="json"), progress=progress)

    def send_observation(self, observation: Observation) -> None:
        """A trial of a watched run that has ended."""
        self._send("observation", observation=adapter(Observation).dump_python(observation, mode="json"))

    def send_end(self) -> None:
        """The watched run has ended."""
        self._send("end")

    def receive(self, timeout_s: float) -> Loading | StartAgain | None:
        """The UI's next request; None where there is none within `timeout_s`."""
        try:
            message = self._channel.poll(timeout_s)
        except ChannelClosed as error:
            raise self._lost(error) from None
        match message:
            case None:
                return None
            case {"event": "loading", "server": server}:
                return Loading(server=server)
            case {"event": "start-again", "server": str(server)}:
                return StartAgain(server=server)
        raise self._failed(message)


def _target(target: Target) -> dict[str, str]:
    return {"server": target.server.name, "base_url": target.base_url, "url": target.published_url}
