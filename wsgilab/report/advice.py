"""Which server to run, in sentences: for Markdown and for a terminal."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from wsgilab.model import Advice, Comparison, Run
from wsgilab.report import tables
from wsgilab.report.markdown import escape
from wsgilab.report.terminal import text

RULE = (
    "Advised is the server that is faster than every other one for sure. Of those that cannot be told from it, one is "
    "advised if it has 90 % of each other's speed for sure, costs at least a fifth less in memory, CPU time a request "
    "or p95 latency, and that much more in none. Advice, ranks and verdicts read the same intervals, all of which hold "
    "together with a chance of 95 %. It holds for what was measured here, under the load that is named."
)
NOTHING = "No two servers were measured under the same conditions, so there is nothing to advise."


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One advice in sentences."""

    title: str
    """What it is for."""
    verdict: str
    """`Run gunicorn-gevent.`, `Undecided.` or `None.`"""
    why: str
    runner_up: str
    """Its name and what it costs; empty without one."""
    changes: tuple[str, ...]
    left_out: tuple[str, ...]
    """Servers that were left out for the same reason are told together."""

    @property
    def points(self) -> Sequence[tuple[str, tuple[str, ...]]]:
        """What follows on the verdict: a heading and its sentences, one at least."""
        points = (
            ("Runner-up", (self.runner_up,) if self.runner_up else ()),
            ("Changes", self.changes),
            ("Left out", self.left_out),
        )
        return [(heading, sentences) for heading, sentences in points if sentences]


def told(comparison: Comparison) -> Sequence[Told]:
    """Every advice of a comparison."""
    return [
        Told(
            title=title(comparison.run, advice),
            verdict=_verdict(advice),
            why=advice.why,
            runner_up="" if advice.runner_up is None else f"{advice.runner_up}: {advice.costs}",
            changes=advice.changes,
            left_out=tuple(_left_out(advice)),
        )
        for advice in comparison.advice
    ]


def title(run: Run, advice: Advice) -> str:
    """The conditions that it is for and what was wished, such as `sleep 50 ms, 32 users, 1 core, connection: close`."""
    cell = advice.group
    *most, last = (tables.workload(run, name) for name in advice.workloads)
    conditions = tables.conditions(run, cell).removeprefix(tables.workload(run, cell.workload))
    limits = advice.wish.limits
    return (f"{', '.join(most)} and {last}" if most else last) + conditions + (f"; {limits}" if limits else "")


def _verdict(advice: Advice) -> str:
    if advice.server is not None:
        return f"Run {advice.server}."
    return "Undecided." if advice.tied else "None."


def _left_out(advice: Advice) -> Iterable[str]:
    servers: dict[str, list[str]] = {}
    for server, reason in advice.left_out.items():
        servers.setdefault(reason, []).append(server)
    return (f"{', '.join(names)}: {reason}" for reason, names in servers.items())


def lines(comparison: Comparison) -> Iterable[str]:
    """The advice as lines of Markdown, below a heading of the second rank."""
    yield "## Which server to run"
    yield ""
    yield escape(RULE if comparison.advice else NOTHING)
    yield ""
    for each in told(comparison):
        yield f"### {escape(each.title)}"
        yield ""
        yield f"**{escape(each.verdict)}** {escape(each.why)}"
        yield ""
        for heading, sentences in each.points:
            yield from (f"- {heading}: {escape(sentence)}" for sentence in sentences)
        if each.points:
            yield ""


def renderable(comparison: Comparison) -> RenderableType:
    """The same for a terminal."""
    parts: list[RenderableType] = []
    for each in told(comparison):
        style = "bold green" if each.verdict.startswith("Run ") else "bold yellow"
        parts += [text(each.title, "bold"), _indented(text(each.verdict, style)), _indented(text(each.why))]
        for heading, sentences in each.points:
            parts += [_indented(Text.assemble((f"{heading}: ", "dim"), text(sentence))) for sentence in sentences]
        parts.append(Text())
    return Group(*parts, text(RULE if comparison.advice else NOTHING, "dim"))


def _indented(content: Text) -> Padding:
    return Padding(content, (0, 0, 0, 2))
