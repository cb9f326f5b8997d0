"""The comparison, the advice and the verdicts on claims, as values that rich prints on a terminal."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from wsgilab.model import CellWarning, ClaimResult, ClaimVerdict, Comparison, WarningKind, by_conditions
from wsgilab.model.text import counted, visible
from wsgilab.report import at_once, budget, capacity, claims, machines, prediction, tables, tune
from wsgilab.report.findings import findings, question, unless
from wsgilab.report.recommendation import NOTHING, RULE, recommendations
from wsgilab.report.tune import Tuned

_GAP = 2


def text(content: str, style: str = "") -> Text:
    """`content` without markup, and with the characters spelt out that would move the cursor or hide."""
    return Text(visible(content), style)


def summary(comparison: Comparison, width: int) -> RenderableType:
    """What was asked, the answer, what was found, what is open, and the warnings by kind. Where nothing waits, so that there is no
    answer, it has the table of the conditions with most servers."""
    if comparison.capacity is not None:
        return _capacity(comparison, width)
    parts: list[RenderableType] = [text(question(comparison), "bold"), Text()]
    if (table := at_once.answer(comparison) or tables.largest(comparison)) is not None:
        parts += [titled(table, width), Text()]
    return Group(*parts, *_conclusion(comparison, budget.open_questions(comparison)))


def comparison(comparison: Comparison, width: int) -> RenderableType:
    """Every table, then what was found, what is open, and the warnings by kind."""
    if comparison.capacity is not None:
        return _capacity(comparison, width)
    what_is_open = budget.sentences(comparison) or budget.open_questions(comparison)
    return Group(every_table(comparison, width), *_conclusion(comparison, what_is_open))


def every_table(comparison: Comparison, width: int) -> RenderableType:
    """The answer, then for each workload and its conditions one table, and one by request where there are several, each with the
    columns that fit `width`."""
    parts: list[RenderableType] = []
    shown = [at_once.answer(comparison)]
    for conditions, group in zip(by_conditions(comparison.cells), tables.groups(comparison), strict=True):
        shown += [group, tables.by_request(comparison, conditions)]
    for table in shown:
        if table is not None:
            parts += [titled(table, width), Text()]
    parts += map(text, prediction.sentences(comparison))
    return Group(*parts)


def _capacity(comparison: Comparison, width: int) -> RenderableType:
    parts = [titled(each, width) for each in [capacity.table(comparison)] if each is not None]
    return Group(*parts, Text(), *map(text, capacity.sentences(comparison)))


def chosen(comparison: Comparison, columns: Sequence[str], width: int) -> RenderableType:
    """The table of each workload and its conditions with these columns. Raises SpecError for one that there is not."""
    parts: list[RenderableType] = []
    for table in tables.with_columns(tables.groups(comparison), columns):
        parts += [titled(table, width), Text()]
    return Group(*parts[:-1])


def _conclusion(comparison: Comparison, what_is_open: Iterable[str]) -> Iterable[RenderableType]:
    """What was found, what is open, and the warnings, each below its heading."""
    sections: Sequence[tuple[str, str, Iterable[str]]] = (
        (f"What was found ({unless(comparison)})", "", [each.text for each in findings(comparison)]),
        ("What is open", "", what_is_open),
        ("Warnings", "yellow", [*warnings(comparison), *machines.warnings(comparison)]),
    )
    for heading, style, sentences in sections:
        if lines := list(sentences):
            yield text(heading, "bold")
            yield from (Item("!" if style else "-", line, style) for line in lines)
            yield Text()


@dataclass(frozen=True, slots=True)
class Item:
    """A line of a list, folded below its own beginning."""

    mark: str
    line: str
    style: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room = max(1, options.max_width - len(self.mark) - 1)
        for number, line in enumerate(text(self.line, self.style).wrap(console, room)):
            line.rstrip()
            yield Text.assemble((self.mark if number == 0 else " " * len(self.mark), self.style), " ", line)


def warnings(comparison: Comparison) -> Iterable[str]:
    """Each kind of warning once, the most frequent first: how many cells have it, and that of the cell that has most of it.
    `comparison.md` has them by cell."""
    pairs = {pair.cell: pair for pair in comparison.pairs}
    kinds: dict[WarningKind, list[tuple[str, CellWarning]]] = defaultdict(list)
    for result in comparison.cells:
        where = f"{result.cell.server} ({tables.brief(comparison, result.cell)})"
        for warning in tables.warnings(result, pairs.get(result.cell)):
            kinds[warning.kind].append((where, warning))
    for kind, found in sorted(kinds.items(), key=lambda each: len(each[1]), reverse=True):
        where, worst = max(found, key=lambda each: each[1].amount)
        of = f"{kind}, {len({where for where, _ in found})} of {counted(len(comparison.cells), 'cell')}"
        if len({warning.text for _, warning in found}) == 1 < len(found):
            yield f"{of}: {worst.text}"
        else:
            most = "most at " if len(found) > 1 and worst.amount else "such as " if len(found) > 1 else ""
            yield f"{of}, {most}{where}: {worst.text}"


def advice(comparison: Comparison) -> RenderableType:
    """Which server to run; the sentences of `comparison.md`."""
    parts: list[RenderableType] = []
    for each in recommendations(comparison):
        style = "bold green" if each.is_decided else "bold yellow"
        lines = [text(each.verdict, style), text(each.why)]
        for heading, sentences in each.points:
            lines += [Text.assemble((f"{heading}: ", "dim"), text(sentence)) for sentence in sentences]
        parts += [text(each.title, "bold"), *(Padding(line, (0, 0, 0, _GAP)) for line in lines), Text()]
    return Group(*parts, text(RULE if comparison.advice else NOTHING, "dim"))


def tuned(words: Tuned) -> RenderableType:
    """Which configuration to run, how to start it, and why; the sentences of `comparison.md`. To be printed with `crop=False`."""
    parts: list[RenderableType] = [
        text(f"Tuned for {words.title}", "bold"),
        _indented(text(words.verdict, "bold yellow" if words.outcome.server is None else "bold green")),
        _indented(text(words.why)),
        Text(),
    ]
    for heading, content in tune.lines(words):
        parts.append(_indented(text(f"{heading}:", "dim")))
        # These are copied: a line stays one, however long.
        for line in content.rstrip().splitlines():
            copied = text(2 * _GAP * " " + line)
            copied.no_wrap, copied.overflow = True, "ignore"
            parts.append(copied)
    for heading, sentences in words.points:
        parts += [_indented(Text.assemble((f"{heading}: ", "dim"), text(sentence))) for sentence in sentences]
    return Group(*parts)


def _indented(content: Text) -> RenderableType:
    return Padding(content, (0, 0, 0, _GAP), expand=False)


VERDICT_STYLES: Mapping[ClaimVerdict, str] = {
    "confirmed": "green",
    "refuted": "red",
    "undecided": "yellow",
    "not tested": "dim",
}


def verdicts(results: Sequence[ClaimResult]) -> RenderableType:
    """One row for each claim, with its verdict and the figures that decided it, which are folded and never cut."""
    table = RichTable(box=None, padding=(0, _GAP, 1, 0), pad_edge=False, header_style="dim", title_justify="left")
    table.title = text(f"Claims: {claims.summary(results)}", "bold")
    for heading in claims.COLUMNS:
        words = heading in ("claim", "evidence")
        table.add_column(heading, justify="left" if heading else "right", no_wrap=not words, overflow="fold")
    for result, (number, claim, verdict, evidence) in zip(results, claims.verdicts(results), strict=True):
        table.add_row(
            text(number), text(claim), text(verdict, VERDICT_STYLES[result.verdict]), text("\n".join(evidence))
        )
    return table


def grid(columns: Iterable[str], rows: Iterable[Iterable[str]], width: int) -> RenderableType:
    """A plain table of text, in which only the last column is folded, between words.

    Where `width` has no room for its longest word, the last column comes below the others, on lines of its own. So a name
    in the others, which a reader may want to copy, is never broken.
    """
    heading, body = tuple(columns), [tuple(row) for row in rows]
    widths = [max(cell_len(row[index]) for row in (heading, *body)) for index in range(len(heading))]
    longest = max((cell_len(word) for row in body for word in row[-1].split()), default=0)
    below = sum(each + _GAP for each in widths[:-1]) + longest > width
    if below:
        lines: list[RenderableType] = []
        for row, style in ((heading, "bold"), *((row, "") for row in body)):
            lines += [_aligned(row[:-1], widths, style), Padding(text(row[-1], style), (0, 0, 0, _GAP))]
        return Group(*lines)
    table = RichTable(box=None, header_style="bold", pad_edge=False)
    for number, column in enumerate(heading, start=1):
        table.add_column(column, no_wrap=number < len(heading), overflow="fold")
    for row in body:
        table.add_row(*map(text, row))
    return table


def _aligned(row: Sequence[str], widths: Sequence[int], style: str) -> Text:
    """The cells of one row, padded to the widths of their columns."""
    cells = (visible(cell) + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=False))
    return Text((" " * _GAP).join(cells).rstrip(), style)


def titled(source: tables.Table, width: int, styles: Sequence[Mapping[str, str]] = ()) -> RenderableType:
    """A table with its title and the columns that fit `width`; where those of the first rank do not, they are folded.

    `styles` has rich's style of each row's cells by the column's heading.
    """
    table = RichTable(box=None, pad_edge=False, header_style="dim")
    chosen = [(index, source.columns[index]) for index in _fitting(source, width)]
    for _, column in chosen:
        table.add_column(column.heading, justify="right" if column.numeric else "left", overflow="fold")
    for row, of_row in zip(source.rows, styles or [{}] * len(source.rows), strict=True):
        table.add_row(*(text(row[index], of_row.get(column.heading, "")) for index, column in chosen))
    return Group(text(source.title, "bold"), table)


def _fitting(source: tables.Table, width: int) -> list[int]:
    """The columns for which `width` has room, by rank; those of rank 0 always."""
    widths = [
        max(cell_len(each) for each in (column.heading, *(row[index] for row in source.rows))) + _GAP
        for index, column in enumerate(source.columns)
    ]
    chosen: list[int] = []
    for index in sorted(range(len(widths)), key=lambda index: source.columns[index].rank):
        room = width + _GAP - sum(widths[other] for other in chosen)
        if source.columns[index].rank == 0 or widths[index] <= room:
            chosen.append(index)
    return sorted(chosen)


def notes(lines: Iterable[str]) -> list[Text]:
    """What a reader must know of the table above."""
    return [text(f"  ! {line}", "yellow") for line in lines]
