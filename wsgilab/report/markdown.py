"""`comparison.md`: the comparison for readers."""

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from wsgilab.analysis.stats import FEWEST_PAIRED
from wsgilab.experiment import plan
from wsgilab.model import Comparison, Run, by_conditions
from wsgilab.model.text import called, visible
from wsgilab.report import (
    at_once,
    budget,
    capacity,
    first_screen,
    machines,
    prediction,
    reproduce,
    tables,
    tune,
    versions,
)
from wsgilab.report.charts.figure import Figure, Section, one_line
from wsgilab.report.findings import findings, question, unless
from wsgilab.report.legend import legend
from wsgilab.report.recommendation import NOTHING, RULE, recommendations

# Names, versions and log lines come from files and servers: they must not become markup.
_SPECIAL = str.maketrans({character: "\\" + character for character in "\\`*_[]<>|#~&$"})


def interactive() -> str:
    """What a comparison of an interactive session says in place of its statistics."""
    return (
        "An interactive session: figures are medians over the seconds of one load test after another, so nothing is "
        f"compared, and no interval is claimed. `{called('lab.run')}` compares."
    )


def comparison_md(comparison: Comparison, figures: Sequence[Figure] = ()) -> Mapping[str, bytes]:
    """The comparison as Markdown (GitHub's flavour, for its tables), with the given figures, whose files are beside it."""
    return {"comparison.md": ("\n".join(_lines(comparison, figures)).rstrip() + "\n").encode()}


def _lines(comparison: Comparison, figures: Sequence[Figure]) -> Iterable[str]:
    yield from _head(comparison, figures)
    if (capacities := capacity.table(comparison)) is not None:
        yield from titled(replace(capacities, notes=tuple(capacity.sentences(comparison))))
        yield from _images(figures, "capacity")
    if (words := tune.tuned(comparison)) is not None:
        yield from _tuned(words)
    yield from _found(comparison)
    if (answer := at_once.answer(comparison)) is not None:
        yield from titled(answer)
    if comparison.advice:
        yield from advice(comparison)
    before = ""
    for conditions, table in zip(by_conditions(comparison.cells), tables.groups(comparison), strict=True):
        if conditions[0] != before:
            before = conditions[0]
            yield from _workload(comparison, before, figures)
        yield from titled(table)
        if (by_request := tables.by_request(comparison, conditions)) is not None:
            yield from titled(by_request)
    if (parts := tables.parts(comparison)) is not None:
        # Charts say it in their captions.
        yield from titled(parts if figures else replace(parts, notes=(tables.PARTS,)))
    for section, heading in _SECTIONS:
        yield from _section(figures, section, heading)
    if (predicted := prediction.predicted(comparison)) is not None:
        yield from titled(predicted)
    if (effects := machines.effects(comparison)) is not None:
        yield from titled(effects)
    if comparison.interleaved:
        yield from _reproduced(comparison.run)
    yield "## How to read it"
    yield ""
    for term, meaning in legend(comparison):
        yield f"- **{term}**: {meaning}"


def _head(comparison: Comparison, figures: Sequence[Figure]) -> Iterable[str]:
    run = comparison.run
    extent = f"{run.experiment.name}: {_extent(comparison)}"
    yield f"# {escape(question(comparison) if comparison.interleaved else extent)}"
    yield ""
    if comparison.versions is not None:
        yield from (f"- **{escape(each)}**" for each in versions.findings(comparison.versions))
        yield ""
        yield "What follows is of the application as it is; [against.md](against.md) has the two versions beside each other."
        yield ""
    elif comparison.interleaved:
        for sentence in first_screen.answer(comparison):
            yield escape(sentence)
            yield ""
    yield from _images(figures, "answer")
    first = f"{extent}. " if comparison.interleaved else ""
    yield escape(f"{first}Run {run.id}, runtime {run.runtime}, {windows(comparison)}. {machines.machine(run)}")
    yield ""
    yield escape(statistics(comparison)) if comparison.interleaved else interactive()
    for note in run.notes:
        yield f"- {escape(note)}"
    if comparison.failed:
        unit = "trials" if comparison.interleaved else "seconds"
        yield f"- {comparison.failed} {unit} failed; see the warnings."
    yield ""


def _found(comparison: Comparison) -> Iterable[str]:
    if found := findings(comparison):
        yield "## What was found"
        yield ""
        yield escape(f"With {unless(comparison)}:")
        yield ""
        yield from (f"- {escape(each.text)}" for each in found)
        yield ""
    if left := budget.sentences(comparison) or budget.open_questions(comparison):
        yield "## What is open"
        yield ""
        yield from (f"- {escape(each)}" for each in left)
        yield ""


def printed(comparison: Comparison, columns: Sequence[str] = ()) -> str:
    """The comparison without figures; with `columns`, the table of each workload and its conditions with these alone. Raises
    SpecError for a column that there is not."""
    if not columns:
        return "\n".join(_lines(comparison, ())).rstrip()
    shown = tables.with_columns(tables.groups(comparison), columns)
    return "\n".join(line for each in shown for line in titled(each)).rstrip()


def _tuned(words: tune.Tuned) -> Iterable[str]:
    """What a race says, below a heading of the second rank."""
    yield "## What to run"
    yield ""
    yield escape(f"Tuned for {words.title}.")
    yield ""
    yield f"**{escape(words.verdict)}** {escape(words.why)}"
    yield ""
    for heading, content in tune.lines(words):
        yield f"{escape(heading)}:"
        yield ""
        # Indented text is shown as it is, and one line cannot end the indented block.
        yield from (f"    {one_line(line)}" for line in content.rstrip().splitlines())
        yield ""
    for heading, sentences in words.points:
        yield from (f"- {escape(heading)}: {escape(sentence)}" for sentence in sentences)
    yield ""


def advice(comparison: Comparison) -> Iterable[str]:
    """Which server to run, below a heading of the second rank."""
    yield "## Which server to run"
    yield ""
    yield escape(RULE if comparison.advice else NOTHING)
    yield ""
    for each in recommendations(comparison):
        yield f"### {escape(each.title)}"
        yield ""
        yield f"**{escape(each.verdict)}** {escape(each.why)}"
        yield ""
        for heading, sentences in each.points:
            yield from (f"- {heading}: {escape(sentence)}" for sentence in sentences)
        if each.points:
            yield ""


_SECTIONS: Sequence[tuple[Section, str]] = (
    ("balance", "Balance across processes"),
    ("scaling", "Scaling by cores"),
    ("cost", "Cost"),
    ("drift", "Drift"),
)

_TABLED: Collection[Section] = ("balance", "scaling", "drift")
"""Those whose figures are in no other table."""


def _images(figures: Sequence[Figure], section: Section, workload: str = "") -> Iterable[str]:
    for figure in figures:
        if figure.section == section and figure.workload == workload:
            yield f"![{escape(figure.title)}](plots/{figure.name}.svg)"
            yield ""
            yield escape(figure.caption)
            yield ""


def _workload(comparison: Comparison, workload: str, figures: Sequence[Figure]) -> Iterable[str]:
    """The figures of a workload under a heading; nothing where there are none."""
    images = [line for section in _OF_WORKLOADS for line in _images(figures, section, workload)]
    if images:
        yield f"## {escape(tables.workload(comparison.run, workload))}: throughput, latency, and who ran when"
        yield ""
        yield from images


_OF_WORKLOADS: Sequence[Section] = ("load", "timeline")


def _section(figures: Sequence[Figure], section: Section, heading: str) -> Iterable[str]:
    """A section of the report that is not a workload's; nothing where it has no figure."""
    found = [figure for figure in figures if figure.section == section]
    if found:
        yield f"## {heading}"
        yield ""
    for figure in found:
        yield from _images([figure], section)
        if section in _TABLED:
            numeric = {index for index, column in enumerate(figure.table.columns) if column.numeric}
            headings = [column.heading for column in figure.table.columns]
            yield from table(headings, figure.table.rows, numeric)


def _reproduced(run: Run) -> Iterable[str]:
    """How to repeat the run."""
    yield "## How to reproduce it"
    yield ""
    # Indented text is shown as it is, and one line cannot end the indented block.
    yield f"    {one_line(reproduce.command(run))}"
    yield ""
    yield from (f"- **{name}**: {escape(fact)}" for name, fact in reproduce.facts(run))
    for source in (reproduce.stacks(run), reproduce.servers(run)):
        for name, *rest in source.rows:
            values = zip((column.heading for column in source.columns[1:]), rest, strict=True)
            known = "; ".join(f"{heading} {value}" for heading, value in values if value != tables.MISSING)
            yield f"- {source.title.lower().removesuffix('s')} **{escape(name)}**: {escape(known)}"
    yield ""


def _extent(comparison: Comparison) -> str:
    if comparison.interleaved:
        return f"{comparison.measured} of {comparison.trials} trials measured"
    return f"{comparison.window_s:.0f} s of load"


def windows(comparison: Comparison) -> str:
    """How long the windows were and, of a run, how many blocks there were, and the seed of their order."""
    run = comparison.run
    each = f"{run.experiment.window_s:g} s windows"
    if not comparison.interleaved:
        return each
    if (limit := run.experiment.capacity) is not None:
        shortest_s = plan.rate_window_s(limit, math.inf)
        return f"seed {run.seed}, a budget of {run.experiment.budget_s:g} s, windows of {shortest_s:g} s and more"
    if run.experiment.budget_s is not None:
        return f"seed {run.seed}, a budget of {run.experiment.budget_s:g} s, {each}"
    return f"seed {run.seed}, {run.experiment.blocks} blocks of {each}"


def statistics(comparison: Comparison) -> str:
    """How reliable the intervals are with so many blocks."""
    if comparison.capacity is not None:
        return (
            "The interval of a capacity holds the true one with a chance of 95 %. Those of their ratios hold together with a chance "
            "of 95 %."
        )
    single = f"Intervals of single figures hold the true median with a chance of {comparison.confidence:.1%}. "
    least = min((pair.blocks for pair in comparison.pairs), default=None)
    if least is None:
        return single
    few = f" A comparison needs {FEWEST_PAIRED} blocks at least: some have only {least}, and are undecided."
    return f"{single}Those of ratios hold together with a chance of 95 %.{few if least < FEWEST_PAIRED else ''}"


def titled(source: tables.Table) -> Iterable[str]:
    """The lines of a table and its notes, below its title as a heading of the second rank."""
    yield f"## {escape(source.title)}"
    yield ""
    yield from untitled(source)


def untitled(source: tables.Table) -> Iterable[str]:
    """The lines of a table and its notes."""
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
    """`text` so that Markdown shows it as it is, on one line.

    Characters that do not print are spelt out. A web address does not become a link: a report must have no links that
    the lab did not make. GitHub's mentions (`@name`) and mail addresses become links however they are written.
    """
    line = " ".join(visible(text).translate(_SPECIAL).split())
    line = re.sub(r":(?=//)|(?<=www)\.", r"\\\g<0>", line, flags=re.IGNORECASE)
    # What begins a list, a rule or an underline does so only where a line begins.
    return re.sub(r"^(\d*)([.)](?=\s|$)|(?<!\d)[-+=:])", r"\1\\\2", line)
