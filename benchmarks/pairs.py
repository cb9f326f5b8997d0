"""Two servers that are alike, and two that differ by 5 %: how soon the lab finds that, and how often it errs, by how it measures.

Measured live, on twins: two processes of one server. Each round starts them anew. Three ways take turns within seconds, so
that they meet the same noise:

- *alternation*: one server after the other, in short windows, the order of the two shuffled;
- *duet*: both at the same time on the same core, each loaded by all of its users (Bulej and others 2020, arXiv 2001.05811), for
  as long as two windows, and counted in the very same window, by throughput; *duet, cost*: by CPU time over requests, as the lab
  does;
- *cost*: CPU time over requests, in the windows of the alternation in which others took about as much from both.

*Clean windows* are those of the alternation in which others took no more of either core than the lab allows. What differs by 5 %
does so really in `cpu`, where one twin is sent requests that take 5 % more CPU time as a whole; which one it is changes from round
to round. In `hello` the recorded figures of one twin are scaled by 1.05. Half of each round is *quiet*; in the other half a
*neighbour* computes on the server's core, and rests, for 1 to 4 s at a time.

Each figure is a share of tries of 10, 30 and 60 s of windows a pair, those that were left out included. A try joins the pairs of
rounds that are drawn at random, with replacement, so that it is as if its servers were started anew every few seconds; either twin
may be the first. *5 % found* is how often the lab's interval lies beyond its margin on the right side; *false* is how often it does
so on either side for twins. How many independent tries the windows would make, none of them used twice, is said below: with less
than some tens the shares are an indication, and nothing is claimed. *Twins apart* has the lowest and the highest round's median
ratio. *Ratio at 5 %* is the median where the two differ: 0.952, or 1.05 of costs, if it is right. A duet's comes out nearer to 1
where users are late with their next requests, because a server without any leaves its turn to the other. *Took* is seconds for each
second of windows. Wanted are 5 % in at least 90 % of the tries, quiet within 30 s and beside the neighbour within 60 s, and false
verdicts in at most 5 %.
"""

import math
import os
import random
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.bench import Bench, main
from benchmarks.outcome import Block, Outcome, Scope
from benchmarks.pair_readings import (
    ALTERNATION,
    CPU,
    DIFFERENCE,
    DUET,
    HELLO,
    LENGTHS,
    LENGTHS_S,
    MORE,
    NEIGHBOUR,
    QUIET,
    Window,
    summary,
)
from benchmarks.truth import PATIENCE_S, USERS
from wsgilab import testing
from wsgilab.analysis.cell import disturbance
from wsgilab.load.client import LocustSwarm
from wsgilab.model import Run, Trial, TrialSpec
from wsgilab.model.errors import Interrupted, LabError, SwarmError
from wsgilab.run.meter import TrialMeter
from wsgilab.run.trial import DUET_WINDOWS, observe, trial_spec
from wsgilab.runtime.protocol import Fleet
from wsgilab.system import process

TWINS = ("twin-1", "twin-2")
CPU_MS = 2.0

_MODEL = "gunicorn-gthread-8"
_WARM_UPS = 10
_COMES_AND_GOES = """
import random, time
source = random.Random({seed!r})
time.sleep(source.uniform(0, 4))
while True:
    until = time.monotonic() + source.uniform(1, 4)
    while time.monotonic() < until: pass
    time.sleep(source.uniform(1, 4))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What a request of `cpu` does, in iterations: as it is, and with 5 % more CPU time as a whole."""

    plain: int
    more: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lab:
    """One start of the twins, and the lab's own swarm."""

    bench: Bench
    fleet: Fleet
    swarm: LocustSwarm

    def window(self, name: str, iterations: int | None) -> Window:
        """One window of `cpu` with so many iterations, or of `hello`. Raises SwarmError where any request failed."""
        run, trial = self._trial(name, iterations)
        began_s = time.monotonic()
        found = observe(trial, run, self.fleet[name], [], self.swarm, owns=self.bench.runtime.owns)
        took_s = time.monotonic() - began_s
        swarm = found.swarm
        if swarm is None or swarm.failures or swarm.cut_off or found.server_cpu_s is None or not swarm.read_completed:
            raise SwarmError(f"the swarm: {name}: {found.reason or (swarm and swarm.errors) or 'it was not read'}")
        return Window(
            rps=swarm.throughput_rps,
            generator_cpu=swarm.generator_cpu,
            took_s=took_s,
            cost_ms=1000 * found.server_cpu_s / swarm.read_completed,
            others=disturbance.taken(run, found).server or 0.0,
            disturbed=disturbance.is_disturbed(run, found),
        )

    def both(self, names: Sequence[str], iterations: Sequence[int | None]) -> Sequence[Window]:
        """One window of two servers at a time, started in this order. Raises SwarmError where any request failed."""
        specs: list[TrialSpec] = []
        meters: list[TrialMeter] = []
        for name, each in zip(names, iterations, strict=True):
            run, trial = self._trial(name, each)
            spec = trial_spec(trial, run, self.fleet[name].base_url)
            specs.append(replace(spec, window_s=DUET_WINDOWS * spec.window_s))
            # As in a run, what else ran is looked at by the second alone: that takes a while.
            owns = self.bench.runtime.owns if meters else None
            meters.append(TrialMeter(run, trial.cell, self.fleet[name], (), owns))
        began_s = time.monotonic()
        reports = self.swarm.load_both(
            specs, lambda: [each.begin() for each in meters], lambda: [each.end() for each in meters]
        )
        took_s = (time.monotonic() - began_s) / 2
        windows = []
        for name, report, meter in zip(names, reports, meters, strict=True):
            if report.failures or report.cut_off or not meter.span_s or not meter.cpu_s or not report.read_completed:
                raise SwarmError(f"the swarm: {name}, beside another: {report.errors or 'it was not read'}")
            used = math.fsum((each.cpu_s or 0.0) / each.span_s for each in meters if each.span_s)
            windows.append(
                Window(
                    rps=report.throughput_rps,
                    generator_cpu=report.generator_cpu,
                    took_s=took_s,
                    cost_ms=1000 * meter.cpu_s / report.read_completed,
                    others=max(0.0, (meters[-1].refined(report).server_busy or 0.0) - used),
                )
            )
        return windows

    def _trial(self, name: str, iterations: int | None) -> tuple[Run, Trial]:
        workload = "hello" if iterations is None else "cpu"
        cell = testing.cell(name, workload=workload, users=USERS)
        experiment = testing.experiment(cell, window_s=self.bench.window_s, patience_s=PATIENCE_S)
        servers, generator = (
            ",".join(map(str, sorted(each))) for each in (self.bench.server_cpus, self.bench.generator_cpus)
        )
        run = testing.run(
            experiment,
            self.fleet[name].server,
            server_cpus={1: servers},
            generator_cpus=generator,
            cpu_iterations=iterations,
        )
        return run, Trial(block=0, position=0, cell=cell)


def measure(bench: Bench) -> Outcome:
    """All rounds. What ends it early leaves those that were finished by then."""
    blocks: list[Block] = []
    work: _Work | None = None
    done, ended = 0, ""
    twins = [replace(bench.servers[_MODEL], name=name) for name in TWINS]
    with bench.runtime.swarm(bench.generator_cpus) as channel:
        swarm = LocustSwarm(channel, bench.generator_cpus)
        while done < bench.rounds:
            try:
                with bench.runtime.start(twins, bench.server_cpus) as fleet:
                    lab = _Lab(bench=bench, fleet=fleet, swarm=swarm)
                    work = work or _work(lab)
                    blocks += list(_round(lab, work, done))
            except (Interrupted, LabError) as error:
                if not done:
                    raise
                ended = f"; ended early by: {error}"
                break
            done += 1
            bench.console.print(f"Round {done} of {bench.rounds} is done.", highlight=False)
    assert work is not None
    pairs_s = done * bench.blocks * 2 * bench.window_s
    independent = ", ".join(f"{pairs_s / length_s:.1f}" for length_s in LENGTHS_S)
    settings = {"rounds": done, "users": USERS, "iterations": work.plain, "iterations_more": work.more}
    scope = Scope(
        rounds=f"{done} rounds, each a new start of the twins, with {bench.blocks} pairs of each kind quiet and as many beside the "
        f"neighbour: windows of {pairs_s:g} s for each figure, which are {independent} independent tries of {LENGTHS} s{ended}",
        modes=f"local processes; {_MODEL}; `hello`, and `cpu` of {CPU_MS:g} ms; a connection each request; {USERS} users; windows of "
        f"{bench.window_s:g} s, in the duet of {2 * bench.window_s:g} s",
        left_out="other servers, servers that are unlike each other, kept connections, containers, neighbours on the generator's core",
    )
    return Outcome(settings=settings, blocks=blocks, rows=summary(blocks, bench.window_s), scope=scope)


def _work(lab: _Lab) -> _Work:
    """Iterations of `cpu` by the server's own calibration, and how many more take 5 % of the whole request."""
    name, *_ = TWINS
    plain = int(lab.swarm.get(f"{lab.fleet[name].base_url}/calibrate?ms={CPU_MS:g}"))
    found = [(lab.window(name, None), lab.window(name, plain)) for _ in range(_WARM_UPS)]
    without, whole = (
        statistics.median(each.cost_ms or 0.0 for each in windows) for windows in zip(*found, strict=True)
    )
    return _Work(plain=plain, more=round(plain * (1 + DIFFERENCE * whole / (whole - without))))


def _round(lab: _Lab, work: _Work, number: int) -> Iterator[Block]:
    """Blocks of all pairs, each in either way: a half of them quiet, and a half beside the neighbour."""
    for condition in (QUIET, NEIGHBOUR)[:: 1 if number % 2 else -1]:
        with _neighbour(lab.bench, number) if condition == NEIGHBOUR else nullcontext():
            for block in range(lab.bench.blocks):
                source = random.Random(f"{lab.bench.seed}/{number}/{condition}/{block}")  # noqa: S311 - an order
                ways = [(kind, way) for kind in (HELLO, CPU, MORE) for way in (ALTERNATION, DUET)]
                yield {
                    f"{kind}, {way}, {condition} {number}": _pair(lab, work, kind, way, number, source)
                    for kind, way in source.sample(ways, len(ways))
                }


def _pair(lab: _Lab, work: _Work, kind: str, way: str, number: int, source: random.Random) -> Mapping[str, Window]:
    """The windows of `one` and `two`. The second process is `two`; in every other round, where `two` does more, the first."""
    names = dict(zip(("one", "two"), TWINS if kind != MORE or number % 2 else TWINS[::-1], strict=True))
    plain = None if kind == HELLO else work.plain
    iterations = {"one": plain, "two": work.more if kind == MORE else plain}
    order = source.sample(list(names), len(names))
    if way == ALTERNATION:
        return {each: lab.window(names[each], iterations[each]) for each in order}
    found = lab.both([names[each] for each in order], [iterations[each] for each in order])
    return dict(zip(order, found, strict=True))


@contextmanager
def _neighbour(bench: Bench, number: int) -> Iterator[None]:
    """A program that has the server's core half of the time, for 1 to 4 s each."""
    argv = [sys.executable, "-c", _COMES_AND_GOES.format(seed=f"{bench.seed}/{number}")]
    child = process.spawn(argv, cwd=bench.project, env={}, cpus=bench.server_cpus, log=Path(os.devnull))
    try:
        yield
    finally:
        child.end()


if __name__ == "__main__":
    main("pairs", __doc__, measure, rounds=8, blocks=6, window_s=0.2)
