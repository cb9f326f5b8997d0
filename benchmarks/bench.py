"""What all benchmarks share: arguments, cores, servers and shuffled blocks."""

import argparse
import contextlib
import http.client
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import psutil
from rich.console import Console

from benchmarks.outcome import MODES, Block, Outcome, Rate, finish
from wsgilab import commands
from wsgilab.analysis import stats
from wsgilab.model import Connection, Interval, RuntimeName, Server
from wsgilab.model.errors import HostError, Interrupted, LabError, UsageError
from wsgilab.run.testbed import choose_runtime
from wsgilab.run.workspace import alone, read_catalogue, signals_raise
from wsgilab.runtime.local import LocalRuntime
from wsgilab.system import host, process
from wsgilab.system.cpus import DoesNotFit, Layout, layout, spell
from wsgilab.system.process import JsonChannel

_LOOK_S = 2.0
_LONGEST_S = 900.0
"""Of a task of the lab."""

Groups = Mapping[str, Mapping[str, Callable[[], Rate]]]
"""Group of what is compared -> contender -> its measurement. A group's contenders are measured right after each other."""


class BenchRuntime(LocalRuntime):
    """The local runtime, which also starts programs of the benchmarks' own."""

    def companion(self, module: str, cpus: frozenset[int]) -> AbstractContextManager[JsonChannel]:
        """A module that runs with the swarm's packages, pinned to `cpus`, and takes orders."""
        return self._beside("companion", [module], cpus)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Where a benchmark runs, and how long."""

    rounds: int
    """How often everything is started anew; 1 where a benchmark has no such option."""
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


def ratios(
    blocks: Sequence[Block], group: str, above: str, below: str, *, below_group: str | None = None
) -> Sequence[float]:
    """Requests a second of one contender over those of another, of the same group or `below_group`, block by block."""
    beside = below_group or group
    return [block[group][above].rps / block[beside][below].rps for block in blocks]


def ratio(blocks: Sequence[Block], group: str, above: str, below: str, *, level: float = stats.ERROR_RATE) -> Interval:
    """Their median, with its interval."""
    return stats.median_interval(ratios(blocks, group, above, below), level)


def modes(url: str) -> Sequence[Connection]:
    """The connection modes in which wrk can load the server: it keeps connections on request, and says so where it closes one.

    uWSGI with `--http-socket` does neither.
    """
    return [mode for mode in MODES if _supports(url, mode)]


def _supports(url: str, mode: Connection) -> bool:
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=5)
    with contextlib.closing(connection):
        for _ in range(2):
            try:
                connection.request("GET", "/hello", headers={"Connection": mode})
                answer = connection.getresponse()
            except (OSError, http.client.HTTPException):
                return False
            if mode == "close" or answer.will_close:
                return (mode == "close") == answer.will_close
            answer.read()
    return True


def runtimes() -> Sequence[RuntimeName]:
    """The runtimes that this machine has."""
    chosen, _ = choose_runtime(commands.workspace(), None)
    return ("local",) if chosen.name == "local" else ("local", "compose")


def invoke(*words: str) -> None:
    """Run a task of the lab as a process of its own. Raises LabError where it fails."""
    finished = process.run([sys.executable, "-m", "invoke", *words], timeout_s=_LONGEST_S, cwd=commands.PROJECT)
    if finished.code != 0:
        raise LabError(f"{' '.join(words)}: {finished.last_line}")


def main(
    name: str,
    description: str | None,
    measure: Callable[[Bench], Outcome],
    *,
    window_s: float,
    rounds: int | None = None,
    blocks: int | None = None,
    rows: bool = False,
) -> None:
    """Run a benchmark from the command line. Exits with 1 after a failure, with one line that says what went wrong.

    Of `rounds` and `blocks` those are options that have a default here; the others are 1. With `rows`, servers can be chosen.
    """
    parser = _parser(name, description)
    for option, default, what in (
        ("--rounds", rounds, "how often everything is started anew"),
        ("--blocks", blocks, "how often everything is measured, in each round"),
    ):
        if default is not None:
            parser.add_argument(option, type=_count, default=default, help=f"{what} (%(default)s)")
    if rows:
        parser.add_argument("--rows", metavar="NAME,...", default="", help="servers to measure (all of the catalogue)")
    parser.add_argument("--seed", type=int, default=1, help="makes the order repeatable (%(default)s)")
    parser.add_argument("--window", type=_seconds, default=window_s, help="seconds of a measurement (%(default)s)")
    options = parser.parse_args()
    _do(lambda console: _run(name, measure, options, console))


def analyse(name: str, description: str | None, measure: Callable[[], Outcome]) -> None:
    """Run a benchmark that starts no servers of its own, such as one that reads what another has recorded."""
    _parser(name, description).parse_args()
    _do(lambda console: finish(name, {}, host.fingerprint(), measure(), console))


def of_runs(
    name: str, description: str | None, measure: Callable[[Sequence[Path]], Outcome], *, least: int = 1
) -> None:
    """Run a benchmark that reads the folders of runs of the lab, `least` of them at least: 0 or 1."""
    parser = _parser(name, description)
    parser.add_argument("runs", type=Path, nargs="+" if least else "*", metavar="RUN", help="the folder of a run")
    folders = parser.parse_args().runs
    _do(lambda console: finish(name, {}, host.fingerprint(), measure(folders), console))


def repeat(name: str, description: str | None, measure: Callable[[int], Outcome], *, runs: int) -> None:
    """Run a benchmark that does the same thing `runs` times and starts its servers by the lab's own commands."""
    parser = _parser(name, description)
    parser.add_argument("--runs", type=_count, default=runs, help="how often it is done (%(default)s)")
    count = parser.parse_args().runs

    def work(console: Console) -> None:
        settings = {"runs": count, "busy_before": _busy()}
        finish(name, settings, host.fingerprint(), measure(count), console)

    _do(work)


def _parser(name: str, description: str | None) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}", description=(description or "").partition("\n")[0]
    )


def _do(work: Callable[[Console], None]) -> None:
    """A failure of `work` is printed in one line, and ends the program with an exit code."""
    console = commands.console()
    try:
        work(console)
    except LabError as error:
        console.print(f"error: {error.message}", error.detail, sep="\n", markup=False, highlight=False)
        sys.exit(1)
    except Interrupted as interrupted:
        sys.exit(128 + interrupted.signum)


def _run(name: str, measure: Callable[[Bench], Outcome], options: argparse.Namespace, console: Console) -> None:
    workspace = commands.workspace()
    catalogue = _chosen(read_catalogue(workspace), getattr(options, "rows", ""))
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
        project=workspace.project,
        servers=catalogue,
        runtime=BenchRuntime(workspace.project, workspace.state, workspace.lab_id, workspace.ports),
        layout=cores,
        ports=workspace.ports,
        console=console,
    )
    # Neither the benchmark nor what it runs, such as wrk, may use the servers' core.
    with signals_raise(), alone(workspace), process.pinned(cores.generator):
        bench.runtime.sweep()
        installed = bench.runtime.prepare(bench.servers.values(), [], console.print)
        servers = {name: server for name, server in bench.servers.items() if server.stack in installed}
        bench = replace(bench, servers=servers)
        before = _busy()
        outcome = measure(bench)
        after = _busy()
    settings = {
        "rounds": bench.rounds,
        "blocks": bench.blocks,
        "seed": bench.seed,
        "window_s": bench.window_s,
        "server_cpus": spell(bench.server_cpus),
        "generator_cpus": spell(bench.generator_cpus),
        "busy_before": before,
        "busy_after": after,
    }
    finish(name, settings, machine, outcome, console)


def _chosen(catalogue: Mapping[str, Server], rows: str) -> Mapping[str, Server]:
    """Those of the catalogue that `rows` names, as `a,b`; all where it names none. Raises UsageError."""
    names = [name.strip() for name in rows.split(",")] if rows else list(catalogue)
    if unknown := [name for name in names if name not in catalogue]:
        raise UsageError(f"--rows: no server {unknown[0]!r} in compose/servers.yaml")
    return {name: catalogue[name] for name in names}


def _busy() -> str:
    """How busy each core is while nothing of the benchmark runs, so that a reader knows what else ran."""
    return ", ".join(f"{share:.0f} %" for share in psutil.cpu_percent(interval=_LOOK_S, percpu=True))


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
