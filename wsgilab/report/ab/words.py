"""Two runs beside each other in words and tables of text, which every format shows."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import compress
from typing import Literal

from wsgilab.analysis.stats import ERROR_RATE, FEWEST_BLOCKS, SAME, detectable
from wsgilab.experiment import plan
from wsgilab.model import Cell, CellOfRuns, Interval, Limit, Metric, Run, RunsComparison, Weight, by_conditions
from wsgilab.model.text import number, percent
from wsgilab.report import tables
from wsgilab.report.ab import capacities
from wsgilab.report.machines import machine
from wsgilab.report.tables import MISSING, Column, Table

NOT_COMPARED = "not compared"
_BESIDE = "beside others"

UNITS: Mapping[Metric, str] = {"throughput": "requests/s", "latency": "mean ms"}


def title(comparison: RunsComparison) -> str:
    """Such as `answer-1 (A) and answer-2 (B): 1 slower, 0 faster, 4 same within 2 %, 2 undecided`."""
    found = f"{heading(comparison)}: {outcome(comparison)}"
    if comparison.versions is None:
        return found
    # Beside others it is what a comparison of versions is left with.
    costs = Counter(cell.cost.verdict for cell in comparison.cells if cell.cost is not None)
    return f"{found}; by CPU time {costs['more']} more, {costs['less']} less"


def heading(comparison: RunsComparison) -> str:
    """What the two are called: by their runs' ids or, in one run, by their versions."""
    if (named := comparison.versions) is not None:
        return f"{named.application}: {named.a} (A) and {named.b} (B)"
    return f"{comparison.a.id} (A) and {comparison.b.id} (B)"


def outcome(comparison: RunsComparison) -> str:
    """How many cells of B are slower, faster, the same and undecided, how many were not compared, and of how many servers the capacity is
    less or more."""
    counts = Counter(map(_verdict, comparison.cells))
    always = ("slower", "faster", "undecided")
    words = ("slower", "faster", tables.SAME_WITHIN, "undecided", NOT_COMPARED)
    found = ", ".join(f"{counts[word]} {word}" for word in words if word in always or counts[word])
    return "; ".join(filter(None, (found, capacities.counts(comparison))))


def identities(comparison: RunsComparison) -> Table:
    """What each of the two runs is."""
    return Table(
        title="The two runs" if comparison.versions is None else "The two versions",
        columns=(Column("", 0, numeric=False), Column("A", 0, numeric=False), Column("B", 0, numeric=False)),
        rows=tuple(
            (name, of_a, of_b)
            for (name, of_a), (_, of_b) in zip(_identity(comparison, "a"), _identity(comparison, "b"), strict=True)
        ),
    )


def _identity(comparison: RunsComparison, side: Literal["a", "b"]) -> Iterable[tuple[str, str]]:
    run, versions = (comparison.a if side == "a" else comparison.b), comparison.versions
    if versions is not None:
        run = comparison.b
        name, revision = (versions.a, versions.a_revision) if side == "a" else (versions.b, versions.b_revision)
        yield "version", name
        yield "git revision", revision or MISSING
    yield "run", run.id
    yield "begun", run.started
    yield "experiment", run.experiment.name
    yield "seed", str(run.seed)
    experiment = run.experiment
    if experiment.budget_s is None:
        yield "blocks", f"{experiment.blocks} of {experiment.window_s:g} s windows"
    else:
        yield "budget", f"{experiment.budget_s:g} s, {experiment.window_s:g} s windows"
    yield "runtime", f"{run.runtime}, lab {run.lab}"
    yield "machine", machine(run)


# --- what a reader must know before any ratio

_NAMED = 5
"""So many differences are named in the notes; a table lists all of them."""


def notes(comparison: RunsComparison) -> Iterable[str]:
    """What the ratios can tell and what they cannot, in sentences."""
    a, b = comparison.a, comparison.b
    if comparison.versions is not None:
        yield from _of_versions(comparison)
        return
    if comparison.same:
        yield "A and B are the same run: every ratio is 1."
        return
    if a.id == b.id:
        yield "A and B are the same run in two states: where they share blocks, the intervals do not hold."
    if heavy := [each.what for each in comparison.differences if each.weight != "told"]:
        more = f" and {len(heavy) - _NAMED} more" if len(heavy) > _NAMED else ""
        yield f"What differs and may matter: {', '.join(heavy[:_NAMED])}{more}."
    yield from capacities.sentences(comparison)
    yield from _shift(comparison)
    yield (
        f"A ratio is B over A, the median over all pairs of a block of each. The intervals {_worth(comparison)} They "
        "assume that what changed multiplied every block's figure by the same factor."
    )
    yield (
        "The intervals know the scatter of blocks within each run, and not what else changed on the machine between "
        "the two."
    )
    if sequential := [name for name, run in (("A", a), ("B", b)) if plan.is_sequential(run.experiment)]:
        whose = " and ".join(sequential)
        yield f"{whose} measured until its own comparisons were settled, so the intervals here are nearly exact only."


def _of_versions(comparison: RunsComparison) -> Iterable[str]:
    """The same of two versions in one run."""
    if differ := [each.what for each in comparison.differences if each.weight != "told"]:
        more = f" and {len(differ) - _NAMED} more" if len(differ) > _NAMED else ""
        yield f"What differs: {', '.join(differ[:_NAMED])}{more}."
    else:
        yield "Nothing differs between the two, as far as the lab records it: same files, same settings, same packages."
    yield (
        "A ratio is B over A in one block, in which either was measured right beside the other, and its interval that of the "
        f"median over all blocks. The intervals of all cells hold at once with a chance of {100 * (1 - ERROR_RATE):g} %."
    )


def _worth(comparison: RunsComparison) -> str:
    """What the intervals are worth with so many blocks."""
    together = f"of all cells hold at once with a chance of {100 * (1 - ERROR_RATE):g} %"
    compared = [cell for cell in comparison.cells if cell.ratio is not None]
    if all(cell.exact for cell in compared):
        return f"{together}, by ranks alone."
    return (
        f"{together} where each run has {comparison.blocks_needed} blocks of a cell; with fewer they are widened by the "
        f"scatter of their workload, and below {FEWEST_BLOCKS} there are none."
    )


def _shift(comparison: RunsComparison) -> Iterable[str]:
    shift = comparison.shift
    if shift is None:
        yield "Every cell that could be compared has a broken gate: nothing is concluded."
    elif shift.cells == 1:
        yield "Only one cell is compared: its figures cannot tell whether its server changed or the machine did."
    elif shift.direction != "undecided":
        many = shift.faster if shift.direction == "faster" else shift.slower
        yield (
            f"{many} of {shift.cells} cells are {shift.direction} in B by more than {100 * SAME:g} %, and all together are "
            f"{shift.speed:.3f} times as fast. What all cells have in common may be the machine and not the servers: "
            "see each cell beside the others. Runs taken alternately would tell."
        )
        if comparison.core_speed is not None:
            yield (
                f"When each run was calibrated, a core did {comparison.core_speed:.3f} times as much work in B as in A "
                "in the same time."
            )


# --- cells


def groups(comparison: RunsComparison) -> Iterable[tuple[Table, Sequence[CellOfRuns]]]:
    """One table for each workload and its conditions, and the cells that its rows are of, in order."""
    for cells in by_conditions(comparison.cells).values():
        yield _group(comparison, cells), cells


def _group(comparison: RunsComparison, cells: Sequence[CellOfRuns]) -> Table:
    unit = UNITS[cells[0].metric]
    columns = (
        Column("server", 0, numeric=False),
        Column(f"A {unit}", 0),
        Column(f"B {unit}", 0),
        Column("B/A", 0),
        Column("interval", 0),
        Column(_BESIDE, 2),
        Column("verdict", 0, numeric=False),
        Column("could show", 2),
        Column("cost B/A", 1, numeric=False),
        Column("cost interval", 3),
        Column("bound by", 3, numeric=False),
        Column("blocks", 4),
    )
    # Versions of one run have one machine in common, at one time.
    chosen = [comparison.versions is None or column.heading != _BESIDE for column in columns]
    return Table(
        title=tables.conditions(comparison.b, cells[0].cell),
        columns=tuple(compress(columns, chosen)),
        rows=tuple(tuple(compress(_row(cell), chosen)) for cell in cells),
        notes=tuple(_notes(cells)),
    )


def _row(cell: CellOfRuns) -> tuple[str, ...]:
    return (
        cell.cell.server,
        figure(cell.a.figure),
        figure(cell.b.figure),
        MISSING if cell.ratio is None else times(cell.ratio.median),
        MISSING if cell.ratio is None else tables.ends(cell.ratio, times),
        tables.optional(cell.beside_others, "{:.3f}"),
        _verdict(cell),
        MISSING if cell.detectable is None else percent(cell.detectable),
        MISSING if cell.cost is None else f"{times(cell.cost.ratio.median)} {cell.cost.verdict}",
        MISSING if cell.cost is None else tables.ends(cell.cost.ratio, times),
        _both(cell.a.bound_by or MISSING, cell.b.bound_by or MISSING),
        f"{cell.a.blocks}, {cell.b.blocks}",
    )


def _verdict(cell: CellOfRuns) -> str:
    return NOT_COMPARED if cell.refused else tables.verdict(cell)


def times(ratio: float) -> str:
    return f"{ratio:.3f}"


def figure(of: Interval | None) -> str:
    """The median of what one of the two has; a dash where there is none."""
    return MISSING if of is None else number(of.median)


def _both(a: str, b: str) -> str:
    return a if a == b else f"{a}, then {b}"


def _notes(cells: Sequence[CellOfRuns]) -> Iterable[str]:
    if calibrated := next((cell.work for cell in cells if cell.work != 1), None):
        yield (
            f"The ratios are of work done, not of requests: by the runs' calibrations a request of B does "
            f"{times(calibrated)} times the work of one of A."
        )
    for cell in cells:
        if cell.refused:
            yield f"{cell.cell.server}: not compared: {cell.refused}"
        if cell.cost is not None and cell.cost.because:
            yield f"{cell.cell.server}: cost: {cell.cost.because}"
        yield from (f"{cell.cell.server}: {warning}" for warning in cell.warnings)
        for name, result in (("A", cell.a), ("B", cell.b)):
            yield from (f"{cell.cell.server} in {name}: {warning}" for warning in result.warnings)


def only(comparison: RunsComparison) -> Iterable[tuple[str, Sequence[str]]]:
    """For each run with cells of its own: a heading that names the run, and these cells in words."""
    for name, run, cells in (("A", comparison.a, comparison.only_a), ("B", comparison.b, comparison.only_b)):
        if cells:
            yield f"Only in {name}", [whole(run, cell) for cell in cells]


def whole(run: Run, cell: Cell) -> str:
    """Server and conditions, such as `gunicorn-gevent: sleep 50 ms, 32 users, 1 core, connection: close`."""
    return f"{cell.server}: {tables.conditions(run, cell)}"


def short_names(comparison: RunsComparison) -> Mapping[Cell, str]:
    """Each cell that both have by its server, with those of its conditions that not all have, such as `one (cpu 2 ms, 4 users)`."""
    run, cells = comparison.b, [each.cell for each in comparison.cells]
    known = {cell: (tables.workload(run, cell.workload), cell.load, cell.on, cell.connection) for cell in cells}
    common = [len(set(words)) == 1 for words in zip(*known.values(), strict=True)]
    unlike = {
        cell: ", ".join(word for word, is_common in zip(of, common, strict=True) if not is_common)
        for cell, of in known.items()
    }
    return {cell: f"{cell.server} ({words})" if words else cell.server for cell, words in unlike.items()}


def breached(comparison: RunsComparison, cells: Iterable[CellOfRuns], limit: Limit) -> Sequence[str]:
    """A line for each of `cells`, those that breach a limit: which, and by how much."""
    return [f"{whole(comparison.b, cell.cell)}: {breach(cell, limit)}" for cell in cells]


def breach(cell: CellOfRuns, limit: Limit) -> str:
    """By how much a cell breaches a limit, such as `slower, requests/s 0.881 times A's (0.853 to 0.912)`."""
    if limit.cost:
        what, ratio = "cost", None if cell.cost is None else cell.cost.ratio
    else:
        what = f"{cell.verdict}, {UNITS[cell.metric] if cell.work == 1 else 'work done'}"
        ratio = cell.ratio
    return what if ratio is None else f"{what} {times(ratio.median)} times A's ({tables.ends(ratio, times)})"


def kept(comparison: RunsComparison, limit: Limit) -> str:
    """What to say where no cell breaches a limit: how large a difference would have had to be."""
    costs = [(cell.cost.ratio, cell.cost.margin) for cell in comparison.cells if cell.cost is not None]
    speeds = [(cell.ratio, SAME) for cell in comparison.cells if cell.detectable is not None and cell.ratio is not None]
    of_capacity = [(each.ratio, SAME) for each in comparison.capacities if each.ratio is not None]
    asked = costs if limit.cost else of_capacity if limit.capacity else speeds
    shown = (detectable(ratio, max(margin, limit.share)) for ratio, margin in asked)
    found = sorted(each for each in shown if each is not None)
    blind = len(comparison.cells) - len(found)
    sentences = (
        [f"{blind} of {len(comparison.cells)} cells could not have breached it, whatever the difference"]
        if blind
        else []
    )
    if found:
        span = percent(found[0]) + (f" to {percent(found[-1])}" if len(found) > 1 else "")
        what = "windows" if limit.capacity else "blocks"
        sentences.insert(0, f"a difference of {span}, as each cell's {what} scatter, would have breached it")
    return "; ".join(sentences)


# --- what differs

_MEANING: Mapping[Weight, str] = {"refuses": NOT_COMPARED, "warns": "warning", "told": ""}


def differences(comparison: RunsComparison) -> Table:
    """What is not the same in the two runs, as each of them has it, and what that means for the ratios."""
    # Between versions it is what the ratios are of.
    is_meant = comparison.versions is not None
    return Table(
        title="What differs",
        columns=tuple(Column(heading, 0, numeric=False) for heading in ("what", "A", "B", "")),
        rows=tuple(
            (each.what, each.a or MISSING, each.b or MISSING, "" if is_meant else _MEANING[each.weight])
            for each in comparison.differences
        ),
    )


def alike(comparison: RunsComparison) -> str:
    """What to say where no difference matters; empty where one does."""
    if (
        comparison.same
        or comparison.versions is not None
        or any(each.weight != "told" for each in comparison.differences)
    ):
        return ""
    if comparison.a.origin is None:
        return (
            "Machine, cores, windows, servers and stacks are the same in both, as far as the lab records them. Whether "
            "application and Locust files are too is not known: neither run has recorded them."
        )
    return (
        "Machine, cores, windows, servers, stacks, application and Locust files are the same in both, as far as the lab "
        "records them."
    )


LEGEND: Sequence[tuple[str, str]] = (
    ("A, B", "the median of the blocks; at a fixed rate of requests it is the mean latency that is compared"),
    ("B/A", "the median of the ratios of every block of B to every block of A"),
    ("interval", "where the true ratio lies; those of all cells together with a chance of 95 %"),
    (
        _BESIDE,
        "the ratio over what all other cells have in common: what is the server's alone, if not all changed",
    ),
    (
        "verdict",
        (
            f"of B: faster or slower where the whole interval is beyond {100 * SAME:g} %, which two starts of one server "
            f"may differ; {tables.SAME_WITHIN} where the whole interval is, whatever the difference within it"
        ),
    ),
    (
        "could show",
        "the smallest difference, to either side, that so many blocks with this scatter could have shown",
    ),
    (
        "cost",
        (
            "the server's CPU time a request: less or more in B where the whole interval is beyond 1 %, or beyond what others on "
            "the cores may have made of it"
        ),
    ),
    ("bound by", "what held the figure where it is, in A and then in B where that changed"),
    ("blocks", "those that were measured, in A and in B"),
)


def legend(comparison: RunsComparison) -> Sequence[tuple[str, str]]:
    """What its words mean."""
    if comparison.versions is None:
        return LEGEND
    of_versions = {
        "B/A": "the median of the ratios of B to A, block by block",
        _BESIDE: "",
        "bound by": "what held the figure where it is, in A and then in B where that is another reason",
    }
    return [(term, of_versions.get(term, meaning)) for term, meaning in LEGEND if of_versions.get(term, meaning)]
