"""The generator in a cell's windows: how much of its core is used, and by whom, and how much of what it had due was answered."""

from collections.abc import Sequence
from dataclasses import dataclass

from wsgilab.analysis.cell.disturbance import NEIGHBOUR_LIMIT
from wsgilab.model import CellFigures, Run, TrialReport
from wsgilab.system import cpus

GENERATOR_LIMIT = 0.8
"""From this share of its core on, the generator may be what is measured."""
RATE_LIMIT = 0.95
"""From this share of the requests that were due on, a server keeps up with a fixed rate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorUse:
    """How much of the generator's core is used, and by whom."""

    share: float
    who: str
    it: str
    core: str

    def __str__(self) -> str:
        return f"{self.who} used {self.share:.0%} of {self.core}"


def generator_used(run: Run, figures: CellFigures) -> GeneratorUse:
    """The use of the core by the generator, by others, and by the backends where they share that core."""
    shared, others = shared_cores(run), figures.generator_others
    used, who = figures.generator_cpu.median, ["the generator"]
    if others is not None:
        used += others.median
        who += ["others"] if others.median > NEIGHBOUR_LIMIT else []
    core = cpus.named(run.generator_cpus)
    if figures.backend_cpu is not None and shared:
        used += figures.backend_cpu.median
        who += ["the backends"]
        core = cpus.named(cpus.spell(shared))
    if len(who) == 1:
        return GeneratorUse(share=used, who=who[0], it="it", core="its core")
    return GeneratorUse(share=used, who=" and ".join(who), it="they", core=core)


def shared_cores(run: Run) -> frozenset[int]:
    """The cores that the generator and the backends share: none where they are on machines of their own."""
    if run.lanes:
        return frozenset()
    backends = cpus.parse(run.backend_cpus) if run.backend_cpus else frozenset[int]()
    return backends & cpus.parse(run.generator_cpus)


def flow(swarms: Sequence[TrialReport]) -> tuple[int, int]:
    """Requests answered in the windows, and those that were due in them on a schedule."""
    return sum(swarm.completed for swarm in swarms), sum(swarm.due for swarm in swarms)
