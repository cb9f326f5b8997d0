"""What blocks decide: every one of them, or the whole interval of a ratio, on one side of a limit. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wsgilab.model import ClaimVerdict, Condition, Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A figure, or a ratio, in one block."""

    value: float
    low: float
    high: float
    """The ends between which the load of the block keeps it, whatever the server does."""


Test = Callable[[float], bool]
"""Whether a value keeps to a limit."""


def limits_of(condition: Condition) -> Sequence[Test]:
    least, most = condition.at_least, condition.at_most
    limits: list[Test] = [] if least is None else [lambda value: value >= least]
    return limits if most is None else [*limits, lambda value: value <= most]


def _could_differ(limit: Test, block: Block) -> bool:
    """Whether the load would have let the block fall on either side of the limit."""
    return limit(block.low) != limit(block.high)


_UNLOADED = "too few users were really sending requests for it to come out otherwise"


def by_blocks(condition: Condition, blocks: Sequence[Block], value: Interval) -> tuple[ClaimVerdict, str]:
    """Confirmed or refuted by every block, or undecided with the reason."""
    limits = limits_of(condition)
    met: list[bool] = []
    for block in blocks:
        missed = [limit for limit in limits if not limit(block.value)]
        if not missed and all(_could_differ(limit, block) for limit in limits):
            met.append(True)
        elif any(_could_differ(limit, block) for limit in missed):
            met.append(False)
        else:
            return "undecided", _UNLOADED
    if all(met):
        return "confirmed", ""
    if not any(met):
        return "refuted", ""
    return "undecided", f"from {value.low:.4g} to {value.high:.4g} over the blocks"


def by_interval(condition: Condition, blocks: Sequence[Block], value: Interval) -> tuple[ClaimVerdict, str]:
    """Confirmed or refuted by the whole interval, or undecided with the reason."""
    assert value.low is not None
    assert value.high is not None
    limits = limits_of(condition)
    loaded = [limit for limit in limits if all(_could_differ(limit, block) for block in blocks)]
    if any(not limit(value.low) and not limit(value.high) for limit in loaded):
        return "refuted", ""
    if len(loaded) < len(limits):
        return "undecided", _UNLOADED
    if all(limit(value.low) and limit(value.high) for limit in loaded):
        return "confirmed", ""
    return "undecided", f"its interval, {value.low:.3g} to {value.high:.3g}, holds the limit"
