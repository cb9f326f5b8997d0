"""`comparison.md`: the reader's answer."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from wsgilab.model import Comparison, Run
from wsgilab.render import tables
from wsgilab.stats import FEWEST_BLOCKS

# Names, versions and log lines come from files and servers: they must not become markup.
_SPECIAL = str.maketrans({character: "\\" + character for character in "\\`*_[]<>|#~&"})

INTERACTIVE = (
    "An interactive session: figures are medians over the seconds of one load test after another, so nothing is "
    "compared, and no interval is claimed. `invoke lab.run` compares."
)


def comparison_md(comparison: Comparison) -> Mapping[str, bytes]:
    """The comparison as Markdown (GitHub's flavour, for its tables)."""
    return {"comparison.md": ("\n".join(_lines(comparison)).rstrip() + "\n").encode()}


def _lines(comparison: Comparison) -> Iterable[str]:
    run = comparison.run
    yield f"# {escape(run.experiment.name)}: {_extent(comparison)}"
    yield ""
    yield escape(f"Run {run.id}, runtime {run.runtime}, {_windows(comparison)}. {machine(run)}")
    yield ""
    yield escape(_statistics(comparison)) if comparison.interleaved else INTERACTIVE
    for note in run.notes:
        yield f"- {escape(note)}"
    if comparison.failed:
        unit = "trials" if comparison.interleaved else "seconds"
        yield f"- {comparison.failed} {unit} failed; see the warnings."
    yield ""
    if (answer := tables.answer(comparison)) is not None:
        yield from _table(answer)
    for table in tables.groups(comparison):
        yield from _table(table)
    yield "## How to read it"
    yield ""
    for term, meaning in tables.legend(comparison):
        yield f"- **{term}**: {meaning}"


def machine(run: Run) -> str:
    """What it ran on, and who had which cores."""
    pinned = ", or ".join(f"core{'s' * (count > 1)} {cpus}" for count, cpus in run.server_cpus.items())
    backends = f", backends on core {run.backend_cpus}" if run.backend_cpus else ""
    return (
        f"{run.host.cpu}, usable cores {run.host.usable_cpus}; "
        f"servers on {pinned}, generator on core {run.generator_cpus}{backends}."
    )


def _extent(comparison: Comparison) -> str:
    if comparison.interleaved:
        return f"{comparison.measured} of {comparison.trials} trials measured"
    return f"{comparison.window_s:.0f} s of load"


def _windows(comparison: Comparison) -> str:
    """How long each was, and how many there were by what order, where there is one."""
    run = comparison.run
    each = f"{run.experiment.window_s:g} s windows"
    return f"seed {run.seed}, {run.experiment.blocks} blocks of {each}" if comparison.interleaved else each


def _statistics(comparison: Comparison) -> str:
    """What the intervals are worth with so many blocks."""
    told = f"Intervals of single figures hold the true median with a chance of {comparison.confidence:.1%}. "
    least = min((pair.blocks for pair in comparison.pairs), default=None)
    if least is None:
        return told
    if least < FEWEST_BLOCKS:
        return told + f"Comparisons need {FEWEST_BLOCKS} blocks at least: some have only {least}, and are undecided."
    if least >= comparison.blocks_needed:
        return told + "Those of ratios are exact, and hold all at once with a chance of 95 %."
    return told + (
        f"Those of ratios are widened by the scatter of their workload, because {least} blocks are fewer than "
        f"the {comparison.blocks_needed} that exact ones need here: large differences are decided, small ones are not."
    )


def _table(source: tables.Table) -> Iterable[str]:
    yield f"## {escape(source.title)}"
    yield ""
    numeric = {index for index, column in enumerate(source.columns) if column.numeric}
    yield from table([column.heading for column in source.columns], source.rows, numeric)
    if source.notes:
        yield from (f"- {escape(note)}" for note in source.notes)
        yield ""


def table(headings: Sequence[str], rows: Iterable[Iterable[str]], numeric: Collection[int]) -> Iterable[str]:
    """The lines of a table, and an empty one; columns whose index is `numeric` are aligned right."""
    yield _row(headings)
    yield "|" + "|".join(" ---: " if index in numeric else " --- " for index in range(len(headings))) + "|"
    yield from map(_row, rows)
    yield ""


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(map(escape, cells)) + " |"


def escape(text: str) -> str:
    """`text` so that Markdown shows it as it is, on one line."""
    line = " ".join(text.translate(_SPECIAL).split())
    # What begins a list or a quotation does so only where a line begins.
    return re.sub(r"^([-+]|\d+[.)])(?=\s|$)", lambda begin: begin[0][:-1] + "\\" + begin[0][-1], line)
