"""The lab's side of the channel to the generator."""

import base64
import http
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from pydantic import ValidationError

from wsgilab.experiment.parsing import adapter
from wsgilab.model import TrialReport, TrialSpec
from wsgilab.model.application import LocustFile
from wsgilab.model.errors import SwarmError, TargetError
from wsgilab.system.process import ChannelClosed, JsonChannel, tail

START_S = 90.0
"""How long a process may take until it is ready. It reports missing remote workers, or a broken link, sooner than this."""

# Beyond what the generator itself takes to report an error.
_MARGIN_S = 60.0
_GET_S = 15.0
_LINK_S = 30.0
_LOAD_FILE_S = 60.0
_BRING_S = 120.0


class ProcessClient:
    """The lab's side of the channel to one of its own modules, in another process. Raises SwarmError whenever that fails."""

    def __init__(self, name: str, channel: JsonChannel, expected_cpus: frozenset[int]) -> None:
        """Wait until the module is ready on `expected_cpus`. `name` is the subject of error messages."""
        self._name = name
        self._channel = channel
        effective = frozenset(self._receive("ready", START_S)["cpus"])
        if effective != expected_cpus:
            raise SwarmError(
                f"{name} is pinned to cores {sorted(effective)}, not to {sorted(expected_cpus)} as asked; "
                "the engine does not honour cpusets"
            )

    def _send(self, op: str, **fields: Any) -> None:
        try:
            self._channel.send({"op": op, **fields})
        except ChannelClosed as error:
            raise self._lost(error) from None

    def _receive(self, event: str, timeout_s: float) -> dict[str, Any]:
        """The fields of the next message, which has to be this event."""
        try:
            message = self._channel.receive(timeout_s)
        except ChannelClosed as error:
            raise self._lost(error) from None
        if not isinstance(message, dict) or message.get("event") != event:
            raise self._failed(message)
        del message["event"]
        return message

    def _failed(self, message: object) -> SwarmError:
        """The error for a message other than the one expected: usually the module's own error."""
        cause = message["message"] if isinstance(message, dict) and "message" in message else str(message)[:200]
        return SwarmError(f"{self._name} failed: {cause}", detail=tail(self._channel.log, 10))

    def _lost(self, error: ChannelClosed) -> SwarmError:
        return SwarmError(f"{self._name} is lost: {error}", detail=tail(self._channel.log, 10))


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkReading:
    """The network between the generator and the targets' machine."""

    round_trip_ms: float
    bandwidth_mbps: float
    """Megabits a second that one connection brings from there."""


AtEnd = Callable[[], int | None]
"""Reads what the target has used. Returns when that was so, CLOCK_MONOTONIC of this machine in nanoseconds; None where nothing was
read."""

AtEndOfBoth = Callable[[], Sequence[int | None]]
"""The same of each of two targets."""


class Swarm(Protocol):
    """What loads a target."""

    def get(self, url: str) -> str:
        """The body of one plain GET, from where the load comes from. Raises TargetError unless it is a 200."""

    def cancel(self) -> None:
        """From another thread: make every call that waits for the swarm, now or later, raise SwarmError."""

    def load(self, spec: TrialSpec, at_window: AtEnd, at_close: AtEnd) -> TrialReport:
        """Carry out `spec`, calling back at both ends of the window. Load goes on until the second call returns, or for
        the time that `TrialReport.read_late` names."""

    def load_both(
        self, specs: Sequence[TrialSpec], at_window: AtEndOfBoth, at_close: AtEndOfBoth
    ) -> Sequence[TrialReport]:
        """Carry out two at once, on the same cores and in the same window, whose length is that of the first; else as `load`. For a
        swarm of one process."""

    def link(self) -> LinkReading:
        """Measure the network between the swarm and the targets, where these are on two machines."""

    def bring(self, folder: str, archive: bytes) -> None:
        """Give it a folder of Locust files of the user's own, as a compressed tar file."""

    def load_locust_file(self, file: LocustFile) -> Sequence[str]:
        """Import a Locust file of a folder that it was given; what the user must know of it, in sentences. Raises SwarmError where
        no users can be made of it."""


class LocustSwarm(ProcessClient):
    """A generator in a process or container of its own. Raises SwarmError whenever it fails."""

    def __init__(self, channel: JsonChannel, expected_cpus: frozenset[int]) -> None:
        super().__init__("the generator", channel, expected_cpus)

    def get(self, url: str) -> str:
        self._send("get", url=url)
        answer = self._receive("answer", _GET_S)
        if answer["status"] != http.HTTPStatus.OK:
            status = f"status {answer['status']}" if answer["status"] else "nothing"
            raise TargetError(f"{url} answered with {status}: {str(answer['body'])[:200]}")
        return str(answer["body"])

    def cancel(self) -> None:
        self._channel.cancel()

    def load(self, spec: TrialSpec, at_window: AtEnd, at_close: AtEnd) -> TrialReport:
        self._send("trial", **asdict(spec))
        return _checked(self._carried_out("report", spec, lambda: [at_window()], lambda: [at_close()]))

    def load_both(
        self, specs: Sequence[TrialSpec], at_window: AtEndOfBoth, at_close: AtEndOfBoth
    ) -> Sequence[TrialReport]:
        self._send("duet", halves=[asdict(spec) for spec in specs])
        # Each is drained in turn, with a patience of its own.
        whole = replace(specs[0], patience_s=sum(spec.patience_s for spec in specs))
        return [_checked(half) for half in self._carried_out("reports", whole, at_window, at_close)["halves"]]

    def _carried_out(
        self, event: str, spec: TrialSpec, at_window: AtEndOfBoth, at_close: AtEndOfBoth
    ) -> dict[str, Any]:
        """The event that ends what was ordered, after readings at both ends of its window."""
        self._receive("window", _MARGIN_S)
        self._send_reading("window", at_window())
        self._receive("closed", spec.patience_s + spec.window_s + _MARGIN_S)
        self._send_reading("closed", at_close())
        return self._receive(event, spec.patience_s + _MARGIN_S)

    def bring(self, folder: str, archive: bytes) -> None:
        self._send("folder", folder=folder, archive=base64.b64encode(archive).decode())
        self._receive("folder", _BRING_S)

    def _send_reading(self, event: str, read_ns: Sequence[int | None]) -> None:
        self._send("read", at=event, read_ns=read_ns, sent_ns=time.monotonic_ns())

    def load_locust_file(self, file: LocustFile) -> Sequence[str]:
        self._send("locust_file", **asdict(file))
        return [str(note) for note in self._receive("locust_file", _LOAD_FILE_S)["notes"]]

    def link(self) -> LinkReading:
        self._send("link")
        return LinkReading(**self._receive("link", _LINK_S))


def _checked(report: object) -> TrialReport:
    try:
        return adapter(TrialReport).validate_python(report)
    except ValidationError as error:
        raise SwarmError(f"the generator's report is not as agreed: {error.errors()[0]['msg']}") from None
