"""What a benchmark has found: figures and claims, what they are of, and the table and the file that show them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from wsgilab.analysis import stats
from wsgilab.model import Connection, Host, Interval
from wsgilab.report import terminal
from wsgilab.system import host

RESULTS = Path(__file__).resolve().parent / "results"
MODES: tuple[Connection, ...] = ("close", "keep-alive")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """What one measurement saw."""

    rps: float
    generator_cpu: float
    """CPU seconds a second that making the load took: 1.0 is a whole core."""


Block = Mapping[str, Mapping[str, Rate]]
"""One measurement of each contender of each group."""

Row = Mapping[str, str | float | Interval]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a ratio must show."""

    what: str
    ratio: Interval
    at_least: float
    blocks: int | None = None
    """How many blocks the interval of a median is of; None where it is no such interval."""
    level: float = stats.ERROR_RATE
    """How often the interval may miss the true value. A benchmark with several claims divides ERROR_RATE among them."""
    rounds: int | None = None
    """How many independent rounds are behind it, where each block is none."""

    @property
    def samples(self) -> str:
        """How much is behind it, in words."""
        number = self.rounds or self.blocks
        unit = "round" if self.rounds else "block"
        return "one measurement" if number is None else f"{number} {unit}{'s' if number > 1 else ''}"

    @property
    def verdict(self) -> str:
        """`holds` or `fails` where there are enough blocks and the whole interval says so, else `undecided`."""
        too_few = self.blocks is not None and self.blocks < stats.blocks_needed(self.level)
        if self.ratio.low is None or self.ratio.high is None or too_few:
            return "undecided"
        if self.ratio.low >= self.at_least:
            return "holds"
        return "fails" if self.ratio.high < self.at_least else "undecided"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What the figures are of, in words that stand beside them."""

    rounds: str
    """How many independent rounds, and what one is."""
    modes: str
    """Runtime, workload, connections."""
    left_out: str
    """What they say nothing of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a benchmark has found."""

    settings: Mapping[str, Any]
    """What it ran with, beside blocks, seed and window."""
    blocks: Sequence[Block]
    rows: Sequence[Row]
    """The summary, a line of the table each; all with the same keys."""
    claims: Sequence[Claim] = ()
    scope: Scope | None = None
    """None: one start of the servers, as local processes."""
    recording: Mapping[str, Any] | None = None
    """The results that the figures were read from, with the machine that they are of; None where they were measured."""


def connections(groups: Iterable[str]) -> str:
    """The connection modes that the names of `groups` end with, in words."""
    words = {"close": "a connection each request", "keep-alive": "kept connections"}
    return ", ".join(words[mode] for mode in MODES if any(group.endswith(mode) for group in groups)) or "as it says"


def show(outcome: Outcome, console: Console) -> None:
    console.print(
        terminal.grid(
            tuple(outcome.rows[0]), [[_cell(value) for value in row.values()] for row in outcome.rows], console.width
        )
    )
    for claim in outcome.claims:
        ratio = f"{_cell(claim.ratio)}, {claim.samples}"
        text = f"{claim.what}: {ratio}, must be at least {claim.at_least:g}: {claim.verdict}"
        console.print(text, markup=False, highlight=False)


def _cell(value: str | float | Interval) -> str:
    match value:
        case Interval(median=median, low=None):
            return _cell(median)
        case Interval(median=median, low=low, high=high):
            return f"{_cell(median)} ({_number(low)} to {_number(high)})"
        case str():
            return value
    return _number(value)


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f}" if value >= 100 else f"{value:.3f}"  # noqa: PLR2004 - rates are whole, ratios are not


def write(name: str, settings: Mapping[str, Any], machine: Host, outcome: Outcome) -> Path:
    source = outcome.recording
    read = {} if source is None else {"recording": source["date"]}
    document = {
        "benchmark": name,
        "date": host.now(),
        "machine": asdict(machine) if source is None else source["machine"],
        "settings": {**settings, **read, **outcome.settings},
        "scope": asdict(outcome.scope or _one_start(settings, outcome.blocks)),
        "claims": [{**asdict(claim), "samples": claim.samples, "verdict": claim.verdict} for claim in outcome.claims],
        "summary": [
            {key: asdict(value) if isinstance(value, Interval) else value for key, value in row.items()}
            for row in outcome.rows
        ],
        "blocks": [
            {group: {name: asdict(rate) for name, rate in rates.items()} for group, rates in block.items()}
            for block in outcome.blocks
        ],
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.yaml"
    text = yaml.safe_dump(_rounded(document), sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)
    path.write_text(text)
    return path


def _one_start(settings: Mapping[str, Any], blocks: Sequence[Block]) -> Scope:
    groups = {group for block in blocks for group in block}
    return Scope(
        rounds=f"1 start of the servers, in which everything was measured {settings.get('blocks', 1)} times in turn",
        modes=f"local processes; `hello`; {connections(groups)}",
        left_out="other starts of the same servers, other workloads, containers",
    )


def _rounded(value: Any) -> Any:
    """The same with four decimals, which is more than any of these figures is good for."""
    match value:
        case float():
            return round(value, 4)
        case dict():
            return {key: _rounded(each) for key, each in value.items()}
        case list() | tuple():
            return [_rounded(each) for each in value]
    return value
