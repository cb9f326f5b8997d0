"""Duets: two servers that are loaded at once on the same cores, each by all of its users, in one window. Pure.

Whatever else is on the cores, and however fast these are, it is the same for both. So the ratio of what a request costs them
scatters much less than that of two windows one after the other, quiet and beside a neighbour (`benchmarks/pairs`; Bulej and others
2020, arXiv 2001.05811). Their throughputs are no measure of speed: neither need have half of the cores. And next to another server
a request does not cost quite what it costs alone, nor alike for servers that are unlike each other; so these must differ by more.

With a budget, some comparisons with the reference get duets before the rest of it is given away: those whose speed is open, and
likely to stay so for a while, of servers that are bound by CPU alone. Whole blocks choose them. Whether a comparison gets more than
the first few depends on whether these decide it, which is a look of its own with the share of the error rate that the first look at
speed has; and how many more, on how much they scatter and on what the whole blocks show, never on what they themselves say.
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from wsgilab.analysis import stats
from wsgilab.analysis.budget.needed import drawn, open_speeds, spreads
from wsgilab.analysis.budget.seconds import trial_s, used_s
from wsgilab.analysis.cell.bottleneck import CPU_LIMIT
from wsgilab.analysis.cell.disturbance import NEIGHBOUR_LIMIT, is_beyond, taken
from wsgilab.analysis.cell.generator import GENERATOR_LIMIT
from wsgilab.analysis.cell.readings import cpu_ms_per_request, server_cpu
from wsgilab.analysis.pairs.cost import is_alike, margin, verdict
from wsgilab.analysis.pairs.family import cost_share
from wsgilab.analysis.pairs.ratios import ByCell, Pair, Paired, Share, grouped, intervals, paired
from wsgilab.experiment import plan, workloads
from wsgilab.model import Cell, CostRatio, Duet, Gate, Observation, PairResult, Run
from wsgilab.model.text import counted

FIRST = stats.FEWEST_BLOCKS
"""So many duets of a comparison come first; where fewer count, none does."""
MOST = 16
"""A comparison that would take more gets the first ones alone."""
USUAL = 6
"""So many it is taken to get, when it is chosen."""
SHARE = 1 / 3
"""What duets may take, at most, of what the whole blocks leave of a budget."""
BEYOND = 0.04
"""Costs that differ by so much more than the margin are to be told apart, if not by what the whole blocks show: by 5 % where servers
are alike."""
FULL = 0.97
"""Cores bind if servers, with others, use so much of them."""
UNLIKE = 0.1
"""By how much more the costs of two servers that are no same program must differ to be told apart: measured at once, the ratio to
gunicorn-sync-1 was up to 10 % from that of windows one after the other (servers of one process in `hello` and `cpu`, ten windows each;
of four processes, 9 to 14 %)."""


# --- what they say


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratios:
    """Those duets of a comparison that count."""

    by_number: Mapping[int, float]
    """Number of the duet -> the cost of the one server over that of the other; empty where too few count."""
    others: float = 0.0
    """The share of the cores that others had, on average."""
    problem: str = ""
    """Why none counts; empty where they do, and where there are too few without a reason."""


def ratios_of(run: Run, duets: Sequence[Duet]) -> Ratios:
    """What counts of the duets of one comparison."""
    problems = [_problem(run, duet) for duet in duets]
    kept = [duet for duet, problem in zip(duets, problems, strict=True) if not problem]
    if len(kept) < FIRST:
        return Ratios(by_number={}, problem=next(filter(None, problems), ""))
    busy = statistics.fmean(_busy(duet) or 0.0 for duet in kept)
    if busy < FULL:
        return Ratios(
            by_number={}, problem=f"both together, with others, used {busy:.0%} of the cores, so these did not bind"
        )
    others = statistics.fmean(_others(run, duet) for duet in kept)
    return Ratios(by_number={duet.one.block: _ratio(duet) for duet in kept}, others=others)


def with_duets(run: Run, pairs: Iterable[PairResult], duets: Iterable[Duet]) -> Iterable[PairResult]:
    """The comparisons with the reference. Those whose cost is undecided have it by their duets, if enough of these count; if not, they
    say why."""
    known, made = {}, _by_pair(duets)
    results = [(pair, (pair.cell, replace(pair.cell, server=pair.reference))) for pair in pairs]
    for result, pair in results:
        if pair in made and result.broken_gates in ((), ("neighbour",)):
            known[pair] = ratios_of(run, made[pair])
    costs = _costs(run, {pair: each for pair, each in known.items() if each.by_number}, len(made))
    for result, pair in results:
        if pair in costs and (result.cost is None or result.cost.verdict == "undecided"):
            yield replace(result, cost=costs[pair])
        elif pair in known and known[pair].problem and result.cost is not None:
            why = f"{counted(len(made[pair]), 'window')} with both at once left out: {known[pair].problem}"
            yield replace(
                result, cost=replace(result.cost, because="; ".join(filter(None, (result.cost.because, why))))
            )
        else:
            yield result


def _by_pair(duets: Iterable[Duet]) -> Mapping[Pair, Sequence[Duet]]:
    found: dict[Pair, list[Duet]] = defaultdict(list)
    for duet in duets:
        found[duet.one.cell, duet.other.cell].append(duet)
    return found


def _share(run: Run, comparisons: int) -> Share:
    """The whole blocks have chosen so many comparisons, and duets have no part in that: so these are the family."""
    return lambda _one, _other: cost_share(run) / comparisons


def _costs(run: Run, known: Mapping[Pair, Ratios], made: int) -> Mapping[Pair, CostRatio]:
    """The cost of each comparison of which duets count, where duets were made of so many."""
    ratios = [_paired(pair, each.by_number) for pair, each in known.items()]
    found = {}
    for (pair, each), interval in zip(known.items(), intervals(run, ratios, _share(run, made)), strict=True):
        if interval is not None:
            least = _margin(run, pair, each.others)
            found[pair] = CostRatio(
                blocks=len(each.by_number),
                ratio=interval,
                verdict=verdict(interval, least),
                margin=least,
                because=_because(each, least),
                duet=True,
            )
    return found


def _paired(pair: Pair, ratios: Mapping[int, float]) -> Paired:
    """With the look that the duets wait for: the first ones have one of their own."""
    cell, other = pair
    look = plan.BUDGET_LOOKS[0 if len(ratios) <= FIRST else -1]
    return Paired(cell=cell, other=other, kin=(cell.workload, "cpu, duet"), ratios=ratios, look=look)


def _margin(run: Run, pair: Pair, others: float) -> float:
    """By what share the costs must differ where others had this share of the cores. They had it of both servers'."""
    alike, others = is_alike(run, *(cell.server for cell in pair)), others if others > NEIGHBOUR_LIMIT else 0.0
    return margin(others, others, alike=alike) + (0.0 if alike else UNLIKE)


def _because(each: Ratios, least: float) -> str:
    words = f"by {len(each.by_number)} windows with both at once"
    if each.others > NEIGHBOUR_LIMIT:
        words += f", in which others had {each.others:.0%} of the cores"
    return words if least == stats.SAME else f"{words}; of servers that are unlike only more than {least:.1%} counts"


# --- one duet


def _problem(run: Run, duet: Duet) -> str:
    """Why it does not count; empty where it does."""
    for half in (duet.one, duet.other):
        swarm, server = half.swarm, half.cell.server
        if swarm is None:
            return f"{server}: {half.reason.partition(chr(10))[0]}"
        if swarm.failures or swarm.cut_off or swarm.unanswered:
            return f"not every request of {server} was answered"
        if half.throttled:
            return f"a CPU quota stopped {server}"
        if swarm.generator_cpu >= GENERATOR_LIMIT:
            return f"the generator used {swarm.generator_cpu:.0%} of its core"
        share = taken(run, half).generator
        if share is not None and is_beyond(share, swarm.window_s):
            return f"others took {share:.0%} of the generator's core"
    if not cpu_ms_per_request(duet.one) or not cpu_ms_per_request(duet.other) or _busy(duet) is None:
        return "what they used of the cores was not read"
    return ""


def _ratio(duet: Duet) -> float:
    """Of one that counts."""
    return (cpu_ms_per_request(duet.one) or 0.0) / (cpu_ms_per_request(duet.other) or math.inf)


def _busy(duet: Duet) -> float | None:
    return None if duet.one.swarm is None else duet.one.swarm.server_busy


def _others(run: Run, duet: Duet) -> float:
    """The share of the servers' cores that neither server had."""
    return max(0.0, (taken(run, duet.one).server or 0.0) - (server_cpu(duet.other) or 0.0))


# --- which comparisons get some


def until_s(run: Run, observations: Sequence[Observation], lanes: int = 1) -> float:
    """How much of the budget may be used when the last duet begins, after the `observations` of whole blocks."""
    return used_s(observations, lanes) + _time_s(run, observations, lanes) / lanes


def _time_s(run: Run, observations: Sequence[Observation], lanes: int) -> float:
    """How long duets may take, on all lanes together."""
    return lanes * SHARE * max(0.0, (run.experiment.budget_s or 0.0) - used_s(observations, lanes))


def first(
    run: Run, observations: Sequence[Observation], broken: Mapping[Cell, Collection[Gate]], lanes: int = 1
) -> Mapping[Pair, int]:
    """The comparisons that get duets after the whole blocks, with the number of the first ones."""
    by_cell = grouped(observations)
    # A neighbour on the servers' cores is no hindrance.
    sound = {cell: [gate for gate in gates if gate != "neighbour"] for cell, gates in broken.items()}
    needed = open_speeds(run, observations, sound)
    apart = {
        pair: _apart(pair, by_cell)
        for pair, blocks in needed.items()
        if (blocks is None or blocks > plan.WHOLE_BLOCKS + FIRST) and _suits(run, pair, by_cell)
    }
    took_s, left_s = trial_s(by_cell), _time_s(run, observations, lanes)
    chosen = {}
    # What seems to differ most in cost is decided first; what seems to differ by no more than the margin, most likely never.
    for pair in sorted(apart, key=lambda pair: -apart[pair]):
        of_pair_s = USUAL * (took_s[pair[0]] + took_s[pair[1]])
        if apart[pair] > math.log1p(_margin(run, pair, 0.0)) and of_pair_s <= left_s:
            chosen[pair] = FIRST
            left_s -= of_pair_s
    return chosen


def rest(run: Run, observations: Sequence[Observation], duets: Sequence[Duet], lanes: int = 1) -> Mapping[Pair, int]:
    """The comparisons that are worth more duets than the first ones, and how many of all."""
    before = [duet for duet in duets if duet.one.block < FIRST]
    made = _by_pair(before)
    known = {pair: each for pair, of_pair in made.items() if (each := ratios_of(run, of_pair)).by_number}
    is_open = [pair for pair, cost in _costs(run, known, len(made)).items() if cost.verdict == "undecided"]
    left_s = _time_s(run, observations, lanes) - used_s(before)
    chosen = {}
    by_cell = grouped(observations)
    asked = {pair: (known[pair], _apart(pair, by_cell)) for pair in is_open}
    for pair, count in _needed(run, asked, _share(run, max(1, len(made)))).items():
        of_pair_s = (count - FIRST) * statistics.fmean(duet.took_s or 0.0 for duet in made[pair])
        if of_pair_s <= left_s:
            chosen[pair] = count
            left_s -= of_pair_s
    return chosen


def _apart(pair: Pair, by_cell: ByCell) -> float:
    """By how much the costs of two servers seem to differ, as a logarithm; 0 where they were not read."""
    ratios = paired(*pair, cpu_ms_per_request, (), by_cell).ratios.values()
    return abs(math.log(statistics.median(ratios))) if ratios else 0.0


def _needed(run: Run, known: Mapping[Pair, tuple[Ratios, float]], share: Share) -> Mapping[Pair, int]:
    """How many duets of each comparison would show by how much its costs seem to differ, or BEYOND if that is more, the fewest first;
    without those for which MOST are too few."""
    kin: dict[tuple[str, ...], list[Paired]] = defaultdict(list)
    for pair, (ratios, _) in known.items():
        of_pair = _paired(pair, ratios.by_number)
        kin[of_pair.kin].append(of_pair)
    found: dict[Pair, int] = {}
    for alike in kin.values():
        least, sought = [], []
        for each in alike:
            ratios, apart = known[each.cell, each.other]
            least.append(_margin(run, (each.cell, each.other), ratios.others))
            sought.append(max(1 + least[-1] + BEYOND, math.exp(apart)))
        scatters = spreads(alike)
        for count in range(FIRST + 1, MOST + 1):
            likely = [
                drawn(replace(each, ratios={0: ratio}), spread, count, plan.BUDGET_LOOKS[-1])
                for each, ratio, spread in zip(alike, sought, scatters, strict=True)
            ]
            for each, enough, interval in zip(likely, least, intervals(run, likely, share), strict=True):
                if interval is not None and verdict(interval, enough) != "undecided":
                    found.setdefault((each.cell, each.other), count)
    return dict(sorted(found.items(), key=lambda each: each[1]))


def _suits(run: Run, pair: Pair, by_cell: ByCell) -> bool:
    """Whether the two can be loaded at once, and each is bound by CPU alone."""
    cell, other = pair
    own = run.experiment.application
    return (
        other.server == run.experiment.reference
        # At a rate it is the schedule that binds.
        and cell.users is not None
        and bool(cell.cores)
        # One process next to several has another share of the cores than it has next to one, and that shows in its cost.
        and run.servers[cell.server].processes == run.servers[other.server].processes is not None
        # What they wait for would have to be shared out too; and a Locust file has one environment at a time.
        and not workloads.backends([cell.workload], own)
        and not workloads.of(own)[cell.workload].is_locust_file
        and all(_is_bound_by_cpu(by_cell[each]) for each in pair)
    )


def _is_bound_by_cpu(observations: Sequence[Observation]) -> bool:
    busy = [each.swarm.server_busy for each in observations if each.swarm is not None]
    return bool(busy) and None not in busy and statistics.fmean(each or 0.0 for each in busy) >= CPU_LIMIT
