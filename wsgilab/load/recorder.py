"""Requests as their users saw them: a sample of each, kept from Locust's `request` event."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

STAMP_HEADER = "Lab-Stamp"

LONGEST_ERROR = 400
"""Characters of an error as it is counted."""


class Sample(NamedTuple):
    """One request as its user saw it."""

    latency_ms: float
    """From when it was due, or else begun, until it was answered, had failed, or was given up."""
    stamp: str | None
    """The answer's header, several joined by `, `; None where there was none."""
    error: str | None
    """Why it failed; None where the answer was right."""
    cut_off: bool
    """Given up, because the drain had ended."""
    due_ns: int
    """When it was due; 0 where it followed the one before."""
    late_ms: float
    """How long after that it was begun."""
    slow_connection: bool = False
    """Its connection took so long to open that the first attempt must have been dropped."""
    client_ms: float = 0.0
    """How long its user itself let pass while it sent and read."""
    reading_ms: float = 0.0
    """The part of it that passed while it read."""
    received_bytes: int = 0
    """Of the answer's body, or of as much as came of it."""
    reopened: bool = False
    """The server had closed the kept connection that it was sent on first."""
    begun_ns: int = 0
    """When it was begun; 0 where its user did not say."""
    connect_ns: int = 0
    """How long its connection took to open after that; 0 where it was open."""
    name: str = ""
    """Which request of a mix or of a Locust file it is, where each has figures of its own."""
    redirects: tuple[str | None, ...] = ()
    """The headers of the answers that led to this one, in order, as `stamp` has this one's."""
    user: int | str = 0
    """Whose it is, as its process numbers users; with the worker's name where there are several. 0 where that is not known."""
    reset: bool = False
    """It was lost with the kept connection that it was sent on, and sent again, or failed."""
    pause_ns: int = 0
    """How long its user pauses after it; 0 where it does not."""
    abandoned: bool = False
    """Given up by its user, who had waited for as long as it would."""
    first_event_ms: float = 0.0
    """How long it took until the first event of a stream was here; 0 where it is no stream."""
    event_gap_ms: float = 0.0
    """The longest time between two events of it."""

    @classmethod
    def sent(cls, row: Sequence[Any], worker: str) -> "Sample":
        """One as a worker has sent it."""
        sample = cls(*row)
        return sample._replace(user=f"{worker} {sample.user}") if sample.user else sample


class Recorder:
    """Listens to Locust's `request` event and keeps a sample of each. The figures are worked out after the trial."""

    def __init__(self, clock_offset_ns: int = 0) -> None:
        self.clock_offset_ns = clock_offset_ns
        """The clock that moments are recorded in, minus this machine's own."""
        self.samples: list[Sample] = []
        """All of them, once `parse_kept` was called."""
        self._kept: list[tuple[Any, ...]] = []
        """Requests whose answers are not parsed yet."""
        self.answered: set[int] = set()
        self.failed: set[int] = set()
        self.starting: set[int] = set()
        """Users who are not at work yet, because they still do what the user's own Locust file has them do first, such as log in."""

    def parse_kept(self) -> None:
        """Make samples of the answers that were kept."""
        kept, self._kept = self._kept, []
        for get, *known in kept:
            self.on_request(**get.request(*known))

    def __len__(self) -> int:
        """How many there are so far."""
        return len(self.samples) + len(self._kept)

    def keep(self, user: int, get: Any, begun_ns: int, ended_ns: int, connect_ns: int, received: bytes) -> None:
        """Keep a request of the lab's own users, answered with `received`, to be parsed later: `get.request` does that."""
        self.answered.add(user)
        self._kept.append((get, user, begun_ns, ended_ns, connect_ns, received))

    def on_request(self, **request: Any) -> None:
        """Keep a request. Locust drops what a listener raises, and the request would be lost with it."""
        try:
            self._record(**request)
        except Exception as error:  # noqa: BLE001 - whatever it is
            self.samples.append(Sample(0.0, None, f"not understood: {error_text(error)}", False, 0, 0.0))

    def _record(
        self,
        response_time: float,
        response_length: int = 0,
        response: Any = None,
        context: Mapping[str, Any] | None = None,
        exception: BaseException | None = None,
        **_: Any,
    ) -> None:
        known: Mapping[str, Any] = context or {}
        user, due_ns, begun_ns = known.get("user", 0), known.get("due_ns") or 0, known.get("begun_ns") or 0
        # gevent ends what is given up with GreenletExit, which is no Exception.
        cut_off = exception is not None and not isinstance(exception, Exception)
        # A user that has given up once has met what it will meet, as one that has had an answer.
        abandoned: bool = known.get("abandoned", False)
        failed = exception is not None and not abandoned
        (self.failed if failed else self.answered).add(user)
        self.samples.append(
            Sample(
                response_time,
                header(response, STAMP_HEADER),
                None if exception is None or abandoned else "given up" if cut_off else error_text(exception),
                cut_off,
                due_ns and due_ns + self.clock_offset_ns,
                (begun_ns - due_ns) / 1e6 if due_ns else 0.0,
                known.get("slow_connection", False),
                known.get("client_ms", 0.0),
                known.get("reading_ms", 0.0),
                response_length,
                known.get("reopened", False),
                begun_ns and begun_ns + self.clock_offset_ns,
                known.get("connect_ns", 0),
                known.get("name", ""),
                known.get("redirects", ()),
                user,
                known.get("reset", False),
                known.get("pause_ns", 0),
                abandoned,
                known.get("first_event_ms", 0.0),
                known.get("event_gap_ms", 0.0),
            )
        )


def error_text(error: BaseException) -> str:
    """An error in one short line, as a failure is counted under it."""
    return f"{type(error).__name__}: {error}"[:LONGEST_ERROR]


def header(response: Any, name: str) -> str | None:
    """A header of whatever a user calls its response: the lab's `Answer`, or that of one of Locust's own clients."""
    get = getattr(response, "get", None) or getattr(getattr(response, "headers", None), "get", None)
    found = get(name) if callable(get) else None
    if isinstance(found, list):
        # As RFC 9110, section 5.3, has it.
        return ", ".join(found)
    return found if isinstance(found, str) else None
