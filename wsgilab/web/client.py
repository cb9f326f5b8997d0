"""The lab's side of the conversation with the web UI."""

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter

from wsgilab.model import Cell, Observation, Run, Usage
from wsgilab.model.errors import SwarmError
from wsgilab.runtime.protocol import Target
from wsgilab.system.process import ChannelClosed, JsonChannel, tail

START_S = 90.0
"""Workers of other machines may come late, and a link may be down; what it says then comes sooner than this."""

_RUN = TypeAdapter(Run)
_CELL = TypeAdapter(Cell)
_OBSERVATION = TypeAdapter(Observation)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """The UI's users load this server from now on; None: nobody is loaded."""

    server: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StartAgain:
    """Somebody asks for a server that has ended to be started again."""

    server: str


Asked = Loading | StartAgain


class LabUI:
    """The web UI, in a process or container of its own. Raises SwarmError whenever it fails."""

    def __init__(self, channel: JsonChannel, expected_cpus: frozenset[int]) -> None:
        self._channel = channel
        effective = frozenset(self._expect("ready")["cpus"])
        if effective != expected_cpus:
            raise SwarmError(
                f"the web UI is pinned to cores {sorted(effective)}, not to {sorted(expected_cpus)} as asked; "
                "the engine does not honour cpusets"
            )

    def open(
        self,
        run: Run,
        targets: Collection[Target],
        *,
        watching: bool,
        names: Collection[str] = (),
        password: str | None,
    ) -> None:
        """Serve the UI: for tests of `targets`, or to watch `run`. Returns when it answers.

        `names` are the host names and addresses that it is reached by, beside loopback's; see `guard.Guard`. With
        `password`, a login (user `lab`) is required.
        """
        self._say(
            "open",
            run=_RUN.dump_python(run, mode="json"),
            targets=[_target(each) for each in targets],
            watching=watching,
            names=sorted(names),
            password=password,
        )
        self._expect("open")

    def tell_usage(self, server: str, usage: Usage) -> None:
        """What `server` has consumed by now, told at once: when it hears of it, the UI takes as about when it was so."""
        self._say("usage", server=server, **asdict(usage))

    def tell_target(self, target: Target, failure: str | None, log: str, *, restarting: bool = False) -> None:
        """How `target` fares, whenever that has changed."""
        self._say("target", **_target(target), failure=failure, log=log, restarting=restarting)

    def tell_trial(self, cell: Cell, progress: str) -> None:
        """The trial of a watched run that begins now."""
        self._say("trial", cell=_CELL.dump_python(cell, mode="json"), progress=progress)

    def tell_observation(self, observation: Observation) -> None:
        """A trial of a watched run that has ended."""
        self._say("observation", observation=_OBSERVATION.dump_python(observation, mode="json"))

    def tell_end(self) -> None:
        """The watched run has ended."""
        self._say("end")

    def receive(self, timeout_s: float) -> Asked | None:
        """What the UI asks for; None where that is nothing within `timeout_s`."""
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

    def _say(self, op: str, **fields: Any) -> None:
        try:
            self._channel.send({"op": op, **fields})
        except ChannelClosed as error:
            raise self._lost(error) from None

    def _expect(self, event: str) -> dict[str, Any]:
        try:
            message = self._channel.receive(START_S)
        except ChannelClosed as error:
            raise self._lost(error) from None
        if not isinstance(message, dict) or message.get("event") != event:
            raise self._failed(message)
        return message

    def _failed(self, message: object) -> SwarmError:
        cause = message["message"] if isinstance(message, dict) and "message" in message else str(message)[:200]
        return SwarmError(f"the web UI failed: {cause}", detail=tail(self._channel.log, 10))

    def _lost(self, error: ChannelClosed) -> SwarmError:
        return SwarmError(f"the web UI is lost: {error}", detail=tail(self._channel.log, 10))


def _target(target: Target) -> dict[str, str]:
    return {"server": target.server.name, "base_url": target.base_url, "url": target.published_url}
