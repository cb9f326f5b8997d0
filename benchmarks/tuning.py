"""What `lab.tune` chooses, and how long it takes, against an exhaustive run of the same space.

`python -m benchmarks.tuning RUN...`, with the folders of runs: for each workload an *exhaustive* one, which measures every
configuration in whole blocks, as that of `benchmarks/tuning.yaml` does; as many of `lab.tune` with the same space, workloads and load
as there are; and for each workload one *final* at most: a run of a few of the configurations alone, in so many blocks that even a
machine that scatters tells them apart. It must have all that any race of its workload chose, and the three fastest of the exhaustive
run.

Races are replayed on the exhaustive run's trials, by five seeds: each block of a race is one of the recorded blocks, drawn without
replacement, and takes what that took. So what is common to a block is in it, and the race is the very one of the lab, with 30 % of
the exhaustive time for its budget, less two hundredths for its last block. Races are judged by the figures of the final or, without
one, of the exhaustive run. *Of the best* is the figure of what is chosen over that of the best configuration there, block by block; of several
races it is the worst, with its interval, since of configurations that are alike the best of two dozen is so by chance. The best has the highest
figure over the geometric mean of its block's, at the median, and is one of those that a race may advise: none with a broken gate but those of
`candidates.SLOWED`, which break where a configuration could have been faster. A replay is without the configurations that the queueing model leaves out, as `lab.tune` is, by
what a request took of the server of one slot. Without a final, the figures of replays and truth are of the same trials, which favours
the replays; those of live runs are not. *Blocks to know*: so many of what races are judged by, drawn at random, name a configuration with 97 % of
the best one's figure in 95 % of the draws; a machine that scatters more needs more of them, whoever chooses. Must show: at least 97 % of the best in at most 30 % of the exhaustive time, for each workload and seed.
"""

import random
import statistics
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from pathlib import Path

from benchmarks.bench import of_runs
from benchmarks.outcome import Claim, Outcome, Row, Scope
from wsgilab.analysis.advice.candidates import SLOWED
from wsgilab.analysis.budget.seconds import used_s
from wsgilab.analysis.cell.figures import cell_result
from wsgilab.analysis.cell.readings import compared_figure, cpu_ms_per_request
from wsgilab.analysis.compare import compare
from wsgilab.analysis.pairs.ratios import ByCell, by_block, grouped, intervals, paired
from wsgilab.analysis.tune.bounds import hopeless
from wsgilab.experiment.plan import RACE_BLOCKS
from wsgilab.model import Cell, Interval, Observation, Run, Trial, Tune
from wsgilab.model.errors import StoreError
from wsgilab.model.text import counted
from wsgilab.results.store import Store
from wsgilab.run.stages import stages

SEEDS = (1, 2, 3, 4, 5)
SHARE = 0.3
MUST = 0.97
DRAWS, SURE = 400, 0.95
"""How often blocks are drawn at random, and in what share of the draws they must name one that is as good as the best."""
_LATE = 0.02
"""What the last block may take longer than the budget, as a share of the exhaustive time."""


@dataclass(kw_only=True)
class Replay:
    """A race whose trials are recorded ones. It is the store that the lab's stages read, and their clock."""

    run: Run
    recorded: Mapping[int, Mapping[Cell, Observation]]
    """By block."""
    clock_s: float = 0.0
    found: list[Observation] = field(default_factory=list)

    def observations(self) -> list[Observation]:
        return list(self.found)

    def done(self, *, disturbed: bool = False) -> frozenset[tuple[int, Cell]]:  # noqa: ARG002 - as a store has it
        return frozenset((each.block, each.cell) for each in self.found if each.status == "measured")

    def carry_out(self) -> None:
        """The race to its end."""
        drawn = self._drawn()
        for stage in stages(self.run, self, 1, repeats=False, clock=lambda: self.clock_s):  # type: ignore[arg-type]
            for _, trials in groupby(stage.trials, key=lambda trial: trial.block):
                if stage.until_s is not None and self.clock_s >= stage.until_s:
                    break
                self._block(list(trials), next(drawn))

    def _drawn(self) -> Iterator[Mapping[Cell, Observation]]:
        source = random.Random(f"{self.run.seed}/replay")  # noqa: S311 - a simulation
        while True:
            yield from (self.recorded[block] for block in source.sample(list(self.recorded), len(self.recorded)))

    def _block(self, trials: Sequence[Trial], recorded: Mapping[Cell, Observation]) -> None:
        for trial in trials:
            each = recorded[trial.cell]
            self.clock_s += each.took_s or 0.0
            self.found.append(replace(each, block=trial.block, position=trial.position, look=trial.look))


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Configurations under one workload, in whole blocks: all of the exhaustive run, or a few of a final."""

    run: Run
    """Of that workload's cells alone."""
    by_cell: ByCell
    recorded: Mapping[int, Mapping[Cell, Observation]]
    speed: Mapping[str, float]
    """Server -> requests a second over the geometric mean of its block's, the median of its blocks."""
    sound: Collection[str]
    """Those that may be advised."""
    disturbed: int
    """How many of them others disturbed."""
    took_s: float

    @property
    def best(self) -> str:
        """The fastest of those."""
        return max(self.sound or self.speed, key=lambda name: self.speed[name])

    def of_the_best(self, server: str | None) -> Interval:
        """The figure of a configuration over that of the best; where both are one, 1."""
        if server is None or server == self.best or server not in self.speed:
            return _exactly(float(server == self.best))
        ours, best = (next(cell for cell in self.by_cell if cell.server == name) for name in (server, self.best))
        pair = paired(ours, best, compared_figure, (), self.by_cell)
        (found,) = intervals(self.run, [pair], lambda _, __: 1.0)
        return _exactly(self.speed[server] / self.speed[self.best]) if found is None else found


def measured(run: Run, observations: Sequence[Observation], workload: str) -> Measured:
    """Those of the workload. Only blocks that have every cell count, measured or not."""
    cells = tuple(cell for cell in run.experiment.cells if cell.workload == workload)
    chosen = [each for each in observations if each.cell in cells]
    by_block_ = {
        block: {each.cell: each for each in of}
        for block, of in groupby(sorted(chosen, key=lambda each: each.block), key=lambda each: each.block)
    }
    recorded = {block: of for block, of in by_block_.items() if len(of) == len(cells)}
    if not recorded:
        raise StoreError(
            f"{run.id}: has no block with every configuration of {workload}; give a run that went to its end"
        )
    by_cell = grouped(each for of in recorded.values() for each in of.values())
    speed = _beside_each_other({cell.server: by_block(by_cell[cell], compared_figure) for cell in cells})
    results = [cell_result(run, cell, by_cell[cell]) for cell in cells if cell.server in speed]
    sound = [each for each in results if {*each.broken_gates} <= SLOWED]
    return Measured(
        run=replace(run, experiment=replace(run.experiment, cells=cells)),
        by_cell=by_cell,
        recorded=recorded,
        speed=speed,
        sound=[each.cell.server for each in sound],
        disturbed=sum(bool(each.broken_gates) for each in sound),
        took_s=used_s(each for of in recorded.values() for each in of.values()),
    )


def _beside_each_other(figures: Mapping[str, Mapping[int, float]]) -> Mapping[str, float]:
    """How fast each is, over what is common to its block: a machine that is at half speed for a while is so for all of them."""
    found: dict[str, list[float]] = defaultdict(list)
    for block in sorted({block for of in figures.values() for block in of}):
        rates = {name: of[block] for name, of in figures.items() if of.get(block)}
        middle = statistics.geometric_mean(rates.values()) if rates else 0.0
        for name, rate in rates.items():
            found[name].append(rate / middle)
    return {name: statistics.median(each) for name, each in found.items()}


def replayed(truth: Measured, seed: int) -> Replay:
    """A race on what was recorded."""
    out, budget_s = left_out(truth), (SHARE - _LATE) * truth.took_s
    experiment = replace(truth.run.experiment, blocks=RACE_BLOCKS[0], budget_s=budget_s, precision=None, tune=Tune())
    cells = tuple(cell for cell in experiment.cells if cell.server not in out)
    experiment = replace(experiment, max_blocks=None, cells=cells)
    race = Replay(run=replace(truth.run, experiment=experiment, seed=seed, left_out=out), recorded=truth.recorded)
    race.carry_out()
    return race


def left_out(truth: Measured) -> Mapping[str, str]:
    """Those that the queueing model leaves out, by a server of one slot; none where there is no such server."""
    servers = truth.run.servers
    alone = [each for cell, of in truth.by_cell.items() if servers[cell.server].slots == 1 for each in of if each.swarm]
    service_ms = [each.swarm.parts.service.mean for each in alone if each.swarm is not None and each.swarm.parts]
    cpu_ms = [found for each in alone if (found := cpu_ms_per_request(each)) is not None]
    if not cpu_ms or not service_ms:
        return {}
    return hopeless(truth.run, statistics.median(service_ms), statistics.median(cpu_ms))


def blocks_to_know(judge: Measured) -> str:
    """How many of its blocks, drawn at random, name one that has MUST of the best one's figure in SURE of the draws."""
    figures = {cell.server: by_block(of, compared_figure) for cell, of in judge.by_cell.items()}
    source = random.Random(f"{judge.run.seed}/draws")  # noqa: S311 - a simulation
    for count in RACE_BLOCKS:
        if count > len(judge.recorded) / 2:
            # Draws of most of them are nearly the same.
            return f"more than {len(judge.recorded) // 2}"
        found = 0
        for _ in range(DRAWS):
            drawn = set(source.sample(list(judge.recorded), count))
            speed = _beside_each_other({name: {at: of[at] for at in of if at in drawn} for name, of in figures.items()})
            found += judge.speed[max(speed, key=lambda name: speed[name])] >= MUST * judge.speed[judge.best]
        if found >= SURE * DRAWS:
            return str(count)
    return f"more than {RACE_BLOCKS[-1]}"


FASTEST = 3
"""So many of the exhaustive run's fastest must be in a final."""


Recorded = tuple[Run, Sequence[Observation]]


def _of(workload: str, recorded: Iterable[Recorded]) -> tuple[Recorded, list[Recorded]]:
    """The exhaustive run of the workload, which has the most configurations, and its finals."""

    def configurations(of: Recorded) -> int:
        return sum(cell.workload == workload for cell in of[0].experiment.cells)

    exhaustive, *finals = sorted(filter(configurations, recorded), key=configurations, reverse=True)
    return exhaustive, finals


def _judge(truth: Measured, finals: Sequence[Recorded], workload: str) -> Measured:
    """By whose figures races are judged."""
    if not finals:
        return truth
    if len(finals) > 1:
        raise StoreError(f"{finals[1][0].id}: is another final of {workload}; name one")
    run, observations = finals[0]
    judge = measured(run, observations, workload)
    fastest = sorted(truth.sound or truth.speed, key=lambda name: -truth.speed[name])[:FASTEST]
    _check(run, judge, fastest)
    return judge


def _check(run: Run, judge: Measured, wanted: Iterable[str]) -> None:
    if missing := [name for name in wanted if name not in judge.speed]:
        raise StoreError(f"{run.id}: has no figure of {', '.join(missing)}; measure a final with them")


def summary(runs: Sequence[Recorded]) -> Outcome:
    """A row for each workload and way, and the claims."""
    tuned = [of for of in runs if of[0].experiment.tune is not None]
    recorded = [of for of in runs if of[0].experiment.tune is None]
    if not recorded:
        raise StoreError(f"{runs[0][0].id}: is a race; name an exhaustive run too, of benchmarks/tuning.yaml")
    rows: list[Row] = []
    of_best: dict[str, list[Interval]] = {"replays": [], "live runs": []}
    longest: dict[str, list[float]] = {"replays": [], "live runs": []}
    for workload in dict.fromkeys(cell.workload for run, _ in recorded for cell in run.experiment.cells):
        (run, observations), finals = _of(workload, recorded)
        truth = measured(run, observations, workload)
        judge = _judge(truth, finals, workload)
        races = [(each.run, each.found) for each in (replayed(truth, seed) for seed in SEEDS)]
        live = [(of, found) for of, found in tuned if of.experiment.cells[0].workload == workload]
        for way, carried_out in (("replays", races), ("live runs", live)):
            found = [(compare(of, each).tune, used_s(each) / truth.took_s) for of, each in carried_out]
            chosen = sorted({each.server or "none" for each, _ in found if each is not None})
            _check(judge.run, judge, {*chosen} - {"none"})
            shares = sorted(
                (judge.of_the_best(each.server) for each, _ in found if each is not None), key=lambda each: each.median
            )
            if not shares:
                continue
            times = [time for _, time in found]
            of_best[way] += shares
            longest[way] += times
            rows.append(
                {
                    "workload": workload,
                    "races": f"{len(shares)} {way}",
                    "configurations": str(len(truth.run.experiment.cells)),
                    "of the exhaustive time": f"{min(times):.0%} to {max(times):.0%}",
                    "of the best": f"{shares[0].median:.1%} to {shares[-1].median:.1%}",
                    "the worst": shares[0],
                    "chosen": ", ".join(chosen),
                    "best": judge.best,
                    "judged by": "the exhaustive run" if judge is truth else f"a final of {len(judge.recorded)} blocks",
                    "blocks to know": blocks_to_know(judge),
                    "disturbed": str(truth.disturbed),
                    "left out": str(len(left_out(truth))),
                    "rule of thumb, of the best": f"{judge.of_the_best(run.experiment.reference).median:.0%}",
                    "exhaustive": f"{len(truth.recorded)} blocks, {truth.took_s:.0f} s",
                }
            )
    claims = [
        claim
        for way in of_best
        if of_best[way]
        for claim in (
            Claim(
                what=f"{way}: chosen over best, the worst",
                ratio=min(of_best[way], key=lambda each: each.median),
                at_least=MUST,
            ),
            Claim(
                what=f"{way}: exhaustive time over the race's, the longest",
                ratio=_exactly(1 / max(longest[way])),
                at_least=1 / SHARE,
            ),
        )
    ]
    run = recorded[0][0]
    scope = Scope(
        rounds=f"{len(SEEDS)} replays for each workload; {counted(len(tuned), 'live run')}",
        modes=f"runtime {run.runtime}; {run.experiment.cells[0].load}; a connection each request",
        left_out="other machines, cores and loads; limits of p95 and memory; what differs from start to start, but in live runs",
    )
    recording = {"date": run.started, "machine": asdict(run.host)}
    return Outcome(settings={"seeds": list(SEEDS)}, rows=rows, claims=claims, scope=scope, recording=recording)


def _exactly(value: float) -> Interval:
    return Interval(median=value, low=value, high=value)


def measure(folders: Sequence[Path]) -> Outcome:
    """Read the runs. No load is made."""
    return summary([(store.run(), store.observations()) for store in map(Store, folders)])


if __name__ == "__main__":
    of_runs("tuning", __doc__, measure)
