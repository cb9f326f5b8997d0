"""What a benchmark has found: figures and claims, what they are of, and the table and the file that show them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from wsgilab.analysis import stats
from wsgilab.model import Connection, Host, Interval
from wsgilab.model.errors import StoreError
from wsgilab.report import terminal
from wsgilab.system import host

RESULTS = Path(__file__).resolve().parent / "results"
MODES: tuple[Connection, ...] = ("close", "keep-alive")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """The result of one measurement."""

    rps: float
    generator_cpu: float
    """CPU seconds a second that making the load took: 1.0 is a whole core."""


Block = Mapping[str, Mapping[str, Rate]]
"""One measurement of each contender of each group."""

Row = Mapping[str, str | float | Interval]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A ratio, and the value that it must reach."""

    what: str
    ratio: Interval
    at_least: float
    blocks: int | None = None
    """The number of blocks of a median's interval; None for other intervals."""
    level: float = stats.ERROR_RATE
    """How often the interval may miss the true value. A benchmark with several claims divides ERROR_RATE among them."""
    rounds: int | None = None
    """The number of independent rounds behind it; None where its samples are the blocks of one round."""

    @property
    def samples(self) -> str:
        """The number of its samples, in words."""
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


def median_claims(figures: Mapping[str, Sequence[float]], *at_least: float) -> Sequence[Claim]:
    """Claims of the medians of some figures, one of each round, with an equal share of ERROR_RATE each.

    `at_least`: one for all, or one for each.
    """
    level = stats.ERROR_RATE / len(figures)
    limits = at_least if len(at_least) > 1 else at_least * len(figures)
    return [
        Claim(
            what=what,
            ratio=stats.median_interval(of_rounds, level),
            at_least=limit,
            blocks=len(of_rounds),
            level=level,
            rounds=len(of_rounds),
        )
        for (what, of_rounds), limit in zip(figures.items(), limits, strict=True)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What the figures cover, in words that are printed beside them."""

    rounds: str
    """How many independent rounds, and what one is."""
    modes: str
    """Runtime, workload, connections."""
    left_out: str
    """What they do not cover."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a benchmark has found."""

    settings: Mapping[str, Any]
    """What it ran with, in addition to blocks, seed and window."""
    blocks: Sequence[Block] = ()
    rows: Sequence[Row]
    """The summary, a line of the table each; all with the same keys."""
    claims: Sequence[Claim] = ()
    scope: Scope
    recording: Mapping[str, Any] | None = None
    """The results that the figures were read from, with the machine that they are of; None where they were measured."""


def connections(groups: Iterable[str]) -> str:
    """The connection modes that the names of `groups` end with, in words."""
    words = {"close": "a connection each request", "keep-alive": "kept connections"}
    return (
        ", ".join(words[mode] for mode in MODES if any(group.endswith(mode) for group in groups))
        or "as the table names them"
    )


def finish(name: str, settings: Mapping[str, Any], machine: Host, outcome: Outcome, console: Console) -> None:
    """Print what was found, and write it to `benchmarks/results/NAME.yaml`."""
    source = outcome.recording
    recording = {} if source is None else {"recording": source["date"]}
    results = _plain(
        {
            "benchmark": name,
            "date": host.now(),
            "machine": asdict(machine) if source is None else source["machine"],
            "settings": {**settings, **recording, **outcome.settings},
            "scope": asdict(outcome.scope),
            "claims": [
                {**asdict(claim), "samples": claim.samples, "verdict": claim.verdict} for claim in outcome.claims
            ],
            "summary": outcome.rows,
            "blocks": outcome.blocks,
        }
    )
    rows = [[spell(value) for value in row.values()] for row in results["summary"]]
    console.print(terminal.grid(tuple(outcome.rows[0]), rows, console.width))
    for claim in results["claims"]:
        console.print(f"{describe(claim)}: {claim['verdict']}", markup=False, highlight=False)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.yaml"
    path.write_text(yaml.safe_dump(results, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True))
    console.print(f"Written to benchmarks/results/{path.name}.", highlight=False)


def read(name: str) -> Any:
    """What `finish` has written for a benchmark. Raises StoreError where there is nothing."""
    path = RESULTS / f"{name}.yaml"
    try:
        return yaml.load(path.read_text(), Loader=yaml.CSafeLoader)
    except OSError:
        raise StoreError(f"{path.name}: there are no results yet; make them with python -m benchmarks.{name}") from None


def describe(claim: Mapping[str, Any]) -> str:
    """A claim of some results in words, without its verdict."""
    return f"{claim['what']}: {spell(claim['ratio'])} ({claim['samples']}), must be at least {claim['at_least']:g}"


def spell(value: Any) -> str:
    """A value of a summary, with its interval where it has one."""
    match value:
        case {"median": median, "low": low, "high": high}:
            certain = low is None or low == high == median
            return number(median) if certain else f"{number(median)} ({number(low)} to {number(high)})"
        case float() | int():
            return number(value)
    return str(value)


def number(value: float) -> str:
    """Three digits that count: whole from 100 on, with commas between thousands."""
    if float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004 - rates are whole, ratios are not


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(each) + " |" for each in lines)


def _plain(value: Any) -> Any:
    """The same as YAML has it, with four decimals, which is more than any of these figures is good for."""
    match value:
        case float():
            return round(value, 4)
        case Rate() | Interval():
            return _plain(asdict(value))
        case dict():
            return {key: _plain(each) for key, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
    return value
