"""The lab's side of the conversation with the generator."""

import http
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from pydantic import TypeAdapter, ValidationError

from wsgilab.model import TrialReport, TrialSpec
from wsgilab.model.errors import SwarmError, TargetError
from wsgilab.system.process import ChannelClosed, JsonChannel, tail

_REPORT = TypeAdapter(TrialReport)

# Beyond what the generator itself takes to say what is wrong: workers that come from other machines, or a link that is down.
_START_S = 90.0
_MARGIN_S = 60.0
_GET_S = 15.0
_LINK_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkReading:
    """What lies between the generator and the targets' machine."""

    round_trip_ms: float
    bandwidth_mbps: float
    """Megabits a second that one connection brings from there."""


class Swarm(Protocol):
    """What loads a target."""

    def get(self, url: str) -> str:
        """The body of one plain GET, from where the load comes from. Raises TargetError unless it is a 200."""

    def cancel(self) -> None:
        """From another thread: have whoever waits for it get a SwarmError, now and from now on."""

    def load(self, order: TrialSpec, at_window: Callable[[], None], at_close: Callable[[], None]) -> TrialReport:
        """Carry out `order`, calling back at both ends of the window. Load goes on until the second call returns, or for
        as long as `SwarmReport.read_late` says that it may take."""

    def link(self) -> LinkReading:
        """What lies between it and the targets' machine, where these are two machines."""


class LocustSwarm:
    """A generator in a process or container of its own. Raises SwarmError whenever it fails."""

    def __init__(self, channel: JsonChannel, expected_cpus: frozenset[int]) -> None:
        self._channel = channel
        effective = frozenset(self._hear("ready", _START_S)["cpus"])
        if effective != expected_cpus:
            raise SwarmError(
                f"the generator is pinned to cores {sorted(effective)}, not to {sorted(expected_cpus)} as asked; "
                "the engine does not honour cpusets"
            )

    def get(self, url: str) -> str:
        self._say({"op": "get", "url": url})
        answer = self._hear("answer", _GET_S)
        if answer["status"] != http.HTTPStatus.OK:
            told = f"status {answer['status']}" if answer["status"] else "nothing"
            raise TargetError(f"{url} answered with {told}: {str(answer['body'])[:200]}")
        return str(answer["body"])

    def cancel(self) -> None:
        self._channel.cancel()

    def load(self, order: TrialSpec, at_window: Callable[[], None], at_close: Callable[[], None]) -> TrialReport:
        self._say({"op": "trial", **asdict(order)})
        self._hear("window", _MARGIN_S)
        at_window()
        self._say({"op": "read", "at": "window"})
        self._hear("closed", order.patience_s + order.window_s + _MARGIN_S)
        at_close()
        self._say({"op": "read", "at": "closed"})
        report = self._hear("report", order.patience_s + _MARGIN_S)
        try:
            return _REPORT.validate_python(report)
        except ValidationError as error:
            raise SwarmError(f"the generator's report is not as agreed: {error.errors()[0]['msg']}") from None

    def link(self) -> LinkReading:
        self._say({"op": "link"})
        told = self._hear("link", _LINK_S)
        return LinkReading(round_trip_ms=told["round_trip_ms"], bandwidth_mbps=told["bandwidth_mbps"])

    def _say(self, message: Mapping[str, Any]) -> None:
        try:
            self._channel.send(message)
        except ChannelClosed as error:
            raise self._lost(error) from None

    def _hear(self, event: str, timeout_s: float) -> dict[str, Any]:
        try:
            message = self._channel.receive(timeout_s)
        except ChannelClosed as error:
            raise self._lost(error) from None
        if not isinstance(message, dict) or message.get("event") not in (event, "error"):
            raise SwarmError(f"the generator said {str(message)[:200]} where {event!r} was due")
        if message.pop("event") == "error":
            raise SwarmError(f"the generator failed: {message['message']}", detail=tail(self._channel.log, 10))
        return message

    def _lost(self, error: ChannelClosed) -> SwarmError:
        return SwarmError(f"the generator is lost: {error}", detail=tail(self._channel.log, 10))
