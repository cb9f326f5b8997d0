"""What else holds while a cell is measured, beside its load: silent connections, pauses, impatient users, a restart, a quota."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from wsgilab.model.limits import STRICT, Count, Must, Range, Seconds
from wsgilab.model.text import counted

Sent = Literal["nothing", "half"]
"""What a silent connection sends: nothing, or half of a request."""
Action = Literal["reload", "kill-worker", "stop"]
_DEEDS: Mapping[Action, str] = {"reload": "a reload", "kill-worker": "the kill of a worker", "stop": "a stop"}
IdleConnections = Annotated[int, Range(1, 10_000)]
Pause = Annotated[float, Range(0, 600_000, above=True)]
"""Milliseconds."""
Quota = Annotated[float, Range(0.01, 100_000)]
"""CPU seconds a second."""
PERIOD_MS = 100.0
"""Of a quota: once it is used up, nothing runs for the rest of such a period."""
FEWEST_PERIODS = 10
"""A window under a quota has so many at least, whatever the experiment says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """Connections that are opened before a trial, and never ask for anything."""

    __pydantic_config__: ClassVar = STRICT

    connections: IdleConnections
    """How many."""
    send: Annotated[Sent, Must("be nothing or half")] = "nothing"
    """What they send once they are open: `nothing`, or `half` of a request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class During:
    """What is done to a server in the middle of a trial."""

    __pydantic_config__: ClassVar = STRICT

    at_s: Annotated[float, Range(0, 3600)]
    """When, in seconds after the window has opened."""
    do: Annotated[Action, Must("be reload, kill-worker or stop")]
    """`reload`: as its operator would (SIGHUP). `kill-worker`: one of its worker processes is killed (SIGKILL). `stop`: as its
    operator would (SIGTERM)."""

    @property
    def deed(self) -> str:
        """What is done, in words, such as `a reload`."""
        return _DEEDS[self.do]


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """All of it. A field that is None does not hold."""

    __pydantic_config__: ClassVar = STRICT

    idle: Idle | None = None
    gap_ms: Pause | None = None
    """How long a user pauses between an answer and its next request, in milliseconds."""
    abandon_ms: Pause | None = None
    """How long a user waits for an answer before it gives up, in milliseconds."""
    during: During | None = None
    quota: Quota | None = None
    """How much CPU time the server gets a second, in CPU seconds, on the cores that it is pinned to."""

    @property
    def of_users(self) -> str:
        """What users and connections do, in words, such as `4 silent connections, pauses of 2100 ms`; empty: nothing unusual."""
        parts = []
        if self.idle is not None:
            half = " with half of a request" if self.idle.send == "half" else ""
            parts.append(f"{counted(self.idle.connections, 'silent connection')}{half}")
        if self.gap_ms is not None:
            parts.append(f"pauses of {self.gap_ms:g} ms")
        if self.abandon_ms is not None:
            parts.append(f"users give up after {self.abandon_ms:g} ms")
        return ", ".join(parts)

    @property
    def of_server(self) -> str:
        """What happens to the server, in words, such as `quota 0.5 cores, reload after 2 s`; empty: nothing."""
        parts = []
        if self.quota is not None:
            parts.append(f"quota {self.quota:g} cores")
        if self.during is not None:
            parts.append(f"{self.during.do} after {self.during.at_s:g} s")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleReport:
    """What became of silent connections in one trial."""

    __pydantic_config__: ClassVar = STRICT

    opened: Count
    """How many were opened. One that the server closes is opened anew."""
    refused: Count
    """Attempts to open one that failed."""
    closed: Count
    """How many the server closed before the trial ended."""
    held_s: Seconds | None
    """How long it held those that it closed: the median. None where it closed none."""
    longest_s: Seconds
    """How long the one was open that was open longest, until the server closed it or the trial ended."""
    open: Annotated[float, Range(0, 10**6)]
    """How many were open in the window, on average."""
