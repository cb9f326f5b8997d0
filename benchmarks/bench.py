"""What all benchmarks share: arguments, cores, servers, shuffled blocks, the table, and the file of results."""

import argparse
import http.client
import random
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from rich.console import Console

from wsgilab import host, lab, process, stats
from wsgilab.cpus import DoesNotFit, Layout, layout, spell
from wsgilab.errors import HostError, Interrupted, LabError
from wsgilab.model import Connection, Host, Interval, Server
from wsgilab.process import Conversation
from wsgilab.render import terminal
from wsgilab.runtime.local import LocalRuntime

RESULTS = Path(__file__).resolve().parent / "results"
MODES: tuple[Connection, ...] = ("close", "keep-alive")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """What one measurement saw."""

    rps: float
    generator_cpu: float
    """CPU seconds a second that making the load took: 1.0 is a whole core."""


Groups = Mapping[str, Mapping[str, Callable[[], Rate]]]
"""What is compared -> contender -> its measurement. Those of one group are measured one right after the other."""

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


class BenchRuntime(LocalRuntime):
    """The local runtime, which also starts programs of the benchmarks' own."""

    def companion(self, module: str, cpus: frozenset[int]) -> AbstractContextManager[Conversation]:
        """A module that runs with the swarm's packages, pinned to `cpus`, and takes orders."""
        return self._beside("companion", [module], cpus)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Where a benchmark runs, and how long."""

    rounds: int
    """How often everything is started anew, where a benchmark is told."""
    blocks: int
    """How often everything is measured: in each round, where there are several."""
    seed: int
    window_s: float
    project: Path
    servers: Mapping[str, Server]
    """The catalogue."""
    runtime: BenchRuntime
    layout: Layout
    ports: str
    console: Console

    @property
    def server_cpus(self) -> frozenset[int]:
        return self.layout.servers[1]

    @property
    def generator_cpus(self) -> frozenset[int]:
        return self.layout.generator

    def measure(self, number: int, groups: Groups) -> Block:
        """Block `number`: everything once, the groups shuffled, and the contenders within each."""
        order = random.Random(f"{self.seed}/{number}")  # noqa: S311 - an order, no secret
        block: dict[str, dict[str, Rate]] = {}
        for group in _shuffled(groups, order):
            block[group] = {contender: groups[group][contender]() for contender in _shuffled(groups[group], order)}
        self.console.print(f"Block {number + 1} of {self.rounds * self.blocks} is done.", highlight=False)
        return block


def _shuffled(names: Mapping[str, object], order: random.Random) -> Sequence[str]:
    return order.sample(list(names), len(names))


def rates(blocks: Sequence[Block], group: str, contender: str) -> Interval:
    """The contender's requests a second."""
    return stats.median_interval([block[group][contender].rps for block in blocks])


def generator_cpu(blocks: Sequence[Block], group: str, contender: str) -> float:
    """The median CPU seconds a second of making the contender's load."""
    return stats.median_interval([block[group][contender].generator_cpu for block in blocks]).median


def ratio(
    blocks: Sequence[Block],
    group: str,
    above: str,
    below: str,
    *,
    below_group: str | None = None,
    level: float = stats.ERROR_RATE,
) -> Interval:
    """Requests a second of one contender over those of another, of the same group or `below_group`, paired by block."""
    beside = below_group or group
    return stats.median_interval([block[group][above].rps / block[beside][below].rps for block in blocks], level)


def keeps_alive(url: str) -> bool:
    """Whether the server keeps a connection open when it is asked to."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=5)
    try:
        connection.request("GET", "/hello", headers={"Connection": "keep-alive"})
        return not connection.getresponse().will_close
    finally:
        connection.close()


def modes(url: str) -> Sequence[Connection]:
    """The connection modes that the server supports."""
    return MODES if keeps_alive(url) else ("close",)


def connections(groups: Iterable[str]) -> str:
    """The connection modes that the names of `groups` end with, in words."""
    words = {"close": "a connection each request", "keep-alive": "kept connections"}
    return ", ".join(words[mode] for mode in MODES if any(group.endswith(mode) for group in groups)) or "as it says"


def main(
    name: str,
    description: str | None,
    measure: Callable[[Bench], Outcome],
    *,
    window_s: float,
    rounds: int | None = None,
    blocks: int | None = None,
) -> None:
    """Run a benchmark from the command line. Exits with 1 after a failure, which is said in one line.

    Of `rounds` and `blocks` those are options that have a default here; the others are 1.
    """
    parser = _parser(name, description)
    for option, default, what in (
        ("--rounds", rounds, "how often everything is started anew"),
        ("--blocks", blocks, "how often everything is measured, in each round"),
    ):
        if default is not None:
            parser.add_argument(option, type=_count, default=default, help=f"{what} (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="makes the order repeatable (%(default)s)")
    parser.add_argument("--window", type=_seconds, default=window_s, help="seconds of a measurement (%(default)s)")
    options = parser.parse_args()
    console = lab.console()
    _told(console, lambda: _run(name, measure, options, console))


def analyse(name: str, description: str | None, measure: Callable[[], Outcome]) -> None:
    """Run a benchmark that starts no servers of its own, such as one that reads what another has recorded."""
    _parser(name, description).parse_args()
    console = lab.console()
    _told(console, lambda: _finish(name, {}, host.fingerprint(), measure(), console))


def repeat(name: str, description: str | None, measure: Callable[[int], Outcome], *, runs: int) -> None:
    """Run a benchmark that does the same thing `runs` times and starts its servers by the lab's own commands."""
    parser = _parser(name, description)
    parser.add_argument("--runs", type=_count, default=runs, help="how often it is done (%(default)s)")
    options = parser.parse_args()
    console = lab.console()
    _told(
        console,
        lambda: _finish(name, {"runs": options.runs}, host.fingerprint(), measure(options.runs), console),
    )


def _parser(name: str, description: str | None) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}", description=(description or "").partition("\n")[0]
    )


def _told(console: Console, work: Callable[[], None]) -> None:
    """What goes wrong in `work` is told in one line, with an exit code."""
    try:
        work()
    except LabError as error:
        console.print(f"error: {error.message}", error.detail, sep="\n", markup=False, highlight=False)
        sys.exit(1)
    except Interrupted as interrupted:
        sys.exit(128 + interrupted.signum)


def _run(name: str, measure: Callable[[Bench], Outcome], options: argparse.Namespace, console: Console) -> None:
    places = lab.places()
    machine = host.fingerprint()
    try:
        cores = layout(usable=host.usable_cpus(), siblings=host.siblings(), counts={1}, share=False)
    except DoesNotFit as error:
        raise HostError(f"cores: {error}") from None
    bench = Bench(
        rounds=getattr(options, "rounds", 1),
        blocks=getattr(options, "blocks", 1),
        seed=options.seed,
        window_s=options.window,
        project=places.project,
        servers=lab.read_catalogue(places),
        runtime=BenchRuntime(places.project, places.state, places.lab_id, places.ports),
        layout=cores,
        ports=places.ports,
        console=console,
    )
    # Neither the benchmark nor what it runs, such as wrk, may use the servers' core.
    with lab.signals_raise(), lab.alone(places), process.pinned(cores.generator):
        bench.runtime.sweep()
        bench.runtime.prepare(bench.servers.values(), [], console.print)
        outcome = measure(bench)
    settings = {
        "rounds": bench.rounds,
        "blocks": bench.blocks,
        "seed": bench.seed,
        "window_s": bench.window_s,
        "server_cpus": spell(bench.server_cpus),
        "generator_cpus": spell(bench.generator_cpus),
    }
    _finish(name, settings, machine, outcome, console)


def _finish(name: str, settings: Mapping[str, Any], machine: Host, outcome: Outcome, console: Console) -> None:
    _show(outcome, console)
    path = _write(name, settings, machine, outcome)
    console.print(f"Written to {path.relative_to(lab.PROJECT)}.", highlight=False)


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < 600:  # noqa: PLR2004 - ten minutes
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 600")
    return seconds


def _show(outcome: Outcome, console: Console) -> None:
    console.print(
        terminal.grid(tuple(outcome.rows[0]), [[_cell(value) for value in row.values()] for row in outcome.rows])
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


def _write(name: str, settings: Mapping[str, Any], machine: Host, outcome: Outcome) -> Path:
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
