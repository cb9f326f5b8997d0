"""Sentences about servers, and what observations say of them."""

from dataclasses import dataclass
from typing import Literal

from wsgilab.model.experiment import Cell
from wsgilab.model.rounding import Interval

ClaimVerdict = Literal["confirmed", "refuted", "undecided", "not tested"]
"""`not tested`: the run does not have what a claim is about, as this machine cannot have it, or it was not asked for."""


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
class ClaimResult:
    """A claim under test."""

    claim: Claim
    verdict: ClaimVerdict
    evidence: tuple[Evidence, ...]
    """Of `holds`, in order."""
    shown: tuple[Evidence, ...]
    """Of `shows`, in order."""
