"""Sentences about servers, and what observations say of them."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from wsgilab.model.experiment import Cell
from wsgilab.model.limits import STRICT, Must, Pattern, Range
from wsgilab.model.rounding import Interval

ClaimVerdict = Literal["confirmed", "refuted", "undecided", "not tested"]
"""`not tested`: the run does not have what a claim is about, as this machine cannot have it, or it was not asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thread:
    """A public thread of a project on GitHub: an issue or a pull request."""

    __pydantic_config__: ClassVar = STRICT

    project: Annotated[
        str,
        Pattern("^[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}$"),
        Must("be the name of a project on GitHub, such as benoitc/gunicorn"),
    ]
    """Its owner and its name."""
    number: Annotated[int, Range(1, 10**9)]
    """Of the issue or of the pull request."""

    @property
    def name(self) -> str:
        """In words, such as `benoitc/gunicorn 3433`."""
        return f"{self.project} {self.number}"

    @property
    def url(self) -> str:
        """Of an issue; GitHub leads from there to a pull request that has the number."""
        return f"https://github.com/{self.project}/issues/{self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What must hold of one figure of a cell, or of its ratio to another cell's, for a claim to be true."""

    figure: str
    """A key of `claims.FIGURES`."""
    of: Cell
    over: Cell | None = None
    """With it, the figure is a ratio, paired by block."""
    at_least: float | None = None
    at_most: float | None = None
    """Without any limit the figure is shown beside the verdict, and decides nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """The conditions of a claim with an earlier release of the server that it is about."""

    server: str
    """The row that runs it."""
    holds: tuple[Condition, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A sentence about servers that people say, and what would make it true."""

    id: str
    claim: str
    met: str
    """Where such a claim is commonly met."""
    holds: tuple[Condition, ...]
    """It is true if all of these are."""
    shows: tuple[Condition, ...] = ()
    """Figures that are shown beside them."""
    explanation: str
    advice: str
    """What a reader should do about it."""
    thread: Thread | None = None
    """Where one user, or one maintainer, reported it; such a claim is a report."""
    reported: str = ""
    """What was reported there; empty without a thread."""
    package: str = ""
    """The package whose release it is about; empty without a thread."""
    releases: tuple[Release, ...] = ()
    """Earlier releases of it, the oldest first."""
    picture: Cell | None = None
    """A cell whose requests are drawn beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the blocks say of a condition."""

    condition: Condition
    blocks: int
    """So many that have the figure."""
    value: Interval | None
    """None where nothing was measured."""
    verdict: ClaimVerdict
    reason: str
    """Why it is undecided or not tested, or why a figure that is only shown cannot be relied on; empty otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseResult:
    """A claim under test with one release."""

    server: str
    """The row that ran it."""
    version: str
    """Of the package; empty where that is not known."""
    verdict: ClaimVerdict
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimResult:
    """A claim under test."""

    claim: Claim
    verdict: ClaimVerdict
    evidence: tuple[Evidence, ...]
    """Of `holds`, in order."""
    shown: tuple[Evidence, ...]
    """Of `shows`, in order."""
    version: str = ""
    """Which release of its package the run had; empty where that is not known."""
    releases: tuple[ReleaseResult, ...] = ()
    """Of the earlier releases, the oldest first."""
