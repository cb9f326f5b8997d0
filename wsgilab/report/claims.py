"""Claims and their verdicts, as a table of text, and as `claims.yaml` and `claims.md`."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, get_args

from pydantic import TypeAdapter
from typing_extensions import TypedDict  # typing's own tells pydantic too little before Python 3.12

from wsgilab.model import Cell, ClaimResult, ClaimVerdict, Condition, Evidence, Interval, Run
from wsgilab.model.rounding import ROUNDED, Digits
from wsgilab.model.text import number, times
from wsgilab.report import tables
from wsgilab.report.machines import machine
from wsgilab.report.markdown import escape, table
from wsgilab.report.yaml import Identity, dump, entry, named

VERDICTS: Sequence[ClaimVerdict] = get_args(ClaimVerdict)


@dataclass(frozen=True, slots=True)
class _Words:
    """What a figure is called, and how its values are spelt."""

    name: str
    spelt: Callable[[float], str]


def _count(value: float) -> str:
    return f"{value:g}"


def _share(value: float) -> str:
    return f"{value:.0%}"


WORDS: Mapping[str, _Words] = {
    "peak_in_flight": _Words("peak in flight", _count),
    "mean_in_flight": _Words("mean in flight", number),
    "processes": _Words("processes", _count),
    "threads": _Words("threads", _count),
    "os_threads": _Words("OS threads", _count),
    "throughput_rps": _Words("requests/s", number),
    "latency_p50_ms": _Words("p50 ms", number),
    "latency_p99_ms": _Words("p99 ms", number),
    "latency_max_ms": _Words("longest ms", number),
    "service_ms": _Words("service ms", number),
    "server_cpu": _Words("CPU", _share),
    "cpu_ms_per_request": _Words("CPU ms a request", number),
    "memory_mb": _Words("MB", number),
    "memory_pss_mb": _Words("MB with shared pages once", number),
    "memory_private_mb": _Words("private MB", number),
    "memory_start_pss_mb": _Words("MB with shared pages once at start", number),
    "memory_start_private_mb": _Words("private MB at start", number),
    "throttled_share": _Words("stopped by its quota", _share),
    "busiest_share": _Words("busiest", number),
    "slow_connections": _Words("slow connections", _count),
    "failures": _Words("failures", _count),
    "unanswered": _Words("users without an answer", _count),
    "refused": _Words("refused connections", _count),
    "reopened": _Words("connections closed unannounced", _count),
    "reset": _Words("requests lost with a connection", _count),
    "idle_closed": _Words("silent connections closed", _count),
    "idle_held_s": _Words("silence held s", number),
    "abandoned": _Words("requests given up", _count),
    "wasted_work": _Words("work for nobody", _share),
    "first_event_ms": _Words("first event ms", number),
    "event_gap_ms": _Words("longest between events ms", number),
    "longest_gap_ms": _Words("longest gap ms", number),
    "lost_capacity": _Words("lost capacity", _share),
}
"""By the figure's name in a claim."""


def summary(results: Sequence[ClaimResult]) -> str:
    """How many claims have which verdict, such as `12 confirmed, 7 refuted, 1 undecided`; those that are not tested only where
    there are some."""
    counts = Counter(result.verdict for result in results)
    named = [verdict for verdict in VERDICTS if verdict != "not tested" or counts[verdict]]
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in named)


# --- the table of verdicts

COLUMNS = ("", "claim", "verdict", "evidence")


def verdicts(results: Sequence[ClaimResult]) -> Sequence[tuple[str, str, str, Sequence[str]]]:
    """The number of each claim, the claim, its verdict, and the figures that decided it."""
    return [
        (str(number), result.claim.claim, result.verdict, deciding(result)) for number, result in enumerate(results, 1)
    ]


def deciding(result: ClaimResult) -> Sequence[str]:
    """The figures that made the verdict what it is, such as `peak in flight 1 (flask-single)`; where it is undecided,
    the figures that could not decide, and why; where it is not tested, why."""
    chosen = [each for each in result.evidence if each.verdict == result.verdict]
    if result.verdict == "not tested":
        return list(dict.fromkeys(each.reason for each in chosen))
    return [line(each, result) for each in chosen]


def line(evidence: Evidence, result: ClaimResult) -> str:
    """A figure of a claim with its value, or why it decides nothing, such as `peak in flight 1 (flask-single)`."""
    if evidence.reason:
        return f"{_name(evidence, _cells(result))}: {evidence.reason}"
    return _value(evidence, _cells(result))


def whole(evidence: Evidence, result: ClaimResult) -> str:
    """A figure with its value, its limit and its verdict: `peak in flight 1 (flask-single), at most 1: confirmed`."""
    among = _cells(result)
    figure = f"{_name(evidence, among)}: not measured" if evidence.value is None else _value(evidence, among)
    return f"{figure}, {_limit(evidence.condition)}: {evidence.verdict}" if _limits(evidence.condition) else figure


def _name(evidence: Evidence, among: Sequence[Cell]) -> str:
    return f"{WORDS[evidence.condition.figure].name} ({_whose(evidence.condition, among)})"


def _value(evidence: Evidence, among: Sequence[Cell]) -> str:
    condition, words = evidence.condition, WORDS[evidence.condition.figure]
    assert evidence.value is not None, "what decides was measured"
    value = _ends(evidence.value, words.spelt) if condition.over is None else f"x {_ends(evidence.value, times)}"
    return f"{words.name} {value} ({_whose(condition, among)})"


def _whose(condition: Condition, among: Sequence[Cell]) -> str:
    of = label(condition.of, among)
    return of if condition.over is None else f"{of} over {label(condition.over, among)}"


def _ends(value: Interval, spelt: Callable[[float], str]) -> str:
    """A single figure where both ends are spelt alike."""
    if value.low is None or value.high is None:
        return spelt(value.median)
    low, high = spelt(value.low), spelt(value.high)
    return low if low == high else f"{low} to {high}"


def label(cell: Cell, among: Iterable[Cell]) -> str:
    """The server's name, and what distinguishes its cell from others of `among`, such as `gunicorn-gthread-4, cpu, 2 cores`."""
    others = list(map(_apart, among))
    return ", ".join(
        [cell.server, *(each for at, each in enumerate(_apart(cell)) if any(each != other[at] for other in others))]
    )


def _apart(cell: Cell) -> Sequence[str]:
    return [cell.workload, cell.load, cell.on, cell.connection]


def _cells(result: ClaimResult) -> Sequence[Cell]:
    releases = (each for release in result.releases for each in release.evidence)
    evidence = (*result.evidence, *result.shown, *releases)
    both = (cell for each in evidence for cell in (each.condition.of, each.condition.over) if cell is not None)
    return list(dict.fromkeys(both))


# --- Markdown


def claims_md(run: Run, results: Sequence[ClaimResult]) -> Mapping[str, bytes]:
    """The claims as Markdown: the table of verdicts, then each claim with its evidence."""
    return {"claims.md": ("\n".join(_lines(run, results)).rstrip() + "\n").encode()}


def _lines(run: Run, results: Sequence[ClaimResult]) -> Iterable[str]:
    yield f"# Claims: {summary(results)}"
    yield ""
    yield from head(run)
    yield from table(COLUMNS, [(*words, "; ".join(evidence)) for *words, evidence in verdicts(results)], numeric={0})
    for at, result in enumerate(results, 1):
        yield from _section(run, at, result)
    yield "## How to read it"
    yield ""
    yield from (f"- **{term}**: {meaning}" for term, meaning in LEGEND)


def head(run: Run) -> Iterable[str]:
    """Which run it was, and what a reader must know of it."""
    yield escape(
        f"Run {run.id}, begun {run.started}, runtime {run.runtime}, seed {run.seed}, {run.experiment.blocks} blocks of "
        f"{run.experiment.window_s:g} s windows. {machine(run)}"
    )
    yield from (f"- {escape(note)}" for note in run.notes)
    yield ""


def _section(run: Run, number: int, result: ClaimResult) -> Iterable[str]:
    claim = result.claim
    yield f"## {number}. {escape(claim.claim)}"
    yield ""
    yield f"**{result.verdict.capitalize()}.** {escape(claim.explanation)}"
    yield ""
    yield f"What to do: {escape(claim.advice)}"
    yield ""
    yield f"Met in: {escape(claim.met)}"
    yield ""
    yield from evidence_table(run, [("", each) for each in (*result.evidence, *result.shown)], result)


def evidence_table(run: Run, every: Sequence[tuple[str, Evidence]], result: ClaimResult) -> Iterable[str]:
    """The evidence of a claim, and below it why some decides nothing. Each has words that come before its cell, or an empty text."""
    yield from table(_HEADINGS, [_row(run, words, each) for words, each in every], numeric={3, 4})
    reasons = [f"{_name(each, _cells(result))}: {each.reason}" for _, each in every if each.reason]
    yield from (f"- {escape(reason)}" for reason in reasons)
    if reasons:
        yield ""


_HEADINGS = ("figure", "cell", "limit", "blocks", "median", "range", "verdict")


def _row(run: Run, before: str, evidence: Evidence) -> Sequence[str]:
    condition, value = evidence.condition, evidence.value
    words = WORDS[condition.figure]
    spelt = words.spelt if condition.over is None else times
    cell = f"{condition.of.server}, {tables.conditions(run, condition.of)}"
    over = "" if condition.over is None else f", over {condition.over.server}, {tables.conditions(run, condition.over)}"
    return (
        words.name + (" (ratio)" if condition.over else ""),
        f"{before}: {cell}{over}" if before else cell + over,
        _limit(condition),
        str(evidence.blocks),
        tables.MISSING if value is None else spelt(value.median),
        tables.MISSING if value is None else tables.ends(value, spelt),
        evidence.verdict if _limits(condition) else "shown",
    )


def _limit(condition: Condition) -> str:
    if not _limits(condition):
        return tables.MISSING
    if condition.at_least == condition.at_most:
        return f"exactly {condition.at_least:g}"
    return " and ".join(f"{name.replace('_', ' ')} {limit:g}" for name, limit in _limits(condition).items())


def _limits(condition: Condition) -> Mapping[str, float]:
    limits = {"at_least": condition.at_least, "at_most": condition.at_most}
    return {name: limit for name, limit in limits.items() if limit is not None}


LEGEND: Sequence[tuple[str, str]] = (
    ("confirmed, refuted", "every block was on the same side of the limit; of a ratio, its whole interval"),
    ("undecided", "neither, or the figure cannot be relied on; the reason is given"),
    ("not tested", "the run lacks what it is about, which this machine may not be able to have; the reason is given"),
    ("in flight", "requests inside the application at one moment; the peak is the most in a window"),
    ("OS threads", "threads of all the server's processes, as the operating system counts them; `threads` served"),
    ("slow connections", "connections that took so long to open that the server's backlog must have been full"),
    ("range", "lowest and highest block; of a ratio, the interval that holds its median, all ratios together 95 %"),
    ("shown", "given beside the others; it decides nothing"),
)

# --- YAML

_ROUNDED = TypeAdapter(Annotated[Interval, Digits(3)])


class ClaimsRun(Identity):
    """The run that the claims were tested with."""

    blocks: int
    window_s: float
    notes: tuple[str, ...]


class ClaimsDocument(TypedDict):
    """Schema 1. Keys may be added; those that are there stay."""

    schema: int
    run: ClaimsRun
    verdicts: Mapping[ClaimVerdict, int]
    claims: list[Mapping[str, object]]


def claims_yaml(run: Run, results: Sequence[ClaimResult]) -> Mapping[str, bytes]:
    """The claims as YAML."""
    planned = run.experiment
    document: ClaimsDocument = {
        "schema": run.schema,
        "run": entry(ClaimsRun, run, experiment=planned.name, blocks=planned.blocks, window_s=planned.window_s),
        "verdicts": {verdict: sum(result.verdict == verdict for result in results) for verdict in VERDICTS},
        "claims": [
            {
                "id": result.claim.id,
                "claim": result.claim.claim,
                "met": result.claim.met,
                **_reported(result),
                "verdict": result.verdict,
                "conditions": [_condition(each) for each in result.evidence],
                "shown": [_condition(each) for each in result.shown],
                "explanation": result.claim.explanation,
                "advice": result.claim.advice,
            }
            for result in results
        ],
    }
    return {"claims.yaml": dump(document, ClaimsDocument)}


def _reported(result: ClaimResult) -> Mapping[str, object]:
    """What a claim with a thread has beside the others."""
    thread = result.claim.thread
    if thread is None:
        return {}
    releases = [
        {
            "server": each.server,
            "version": each.version,
            "verdict": each.verdict,
            "conditions": [_condition(one) for one in each.evidence],
        }
        for each in result.releases
    ]
    return {
        "thread": {"project": thread.project, "number": thread.number},
        "reported": result.claim.reported,
        "package": result.claim.package,
        "version": result.version,
        "releases": releases,
    }


def _condition(evidence: Evidence) -> Mapping[str, object]:
    condition, value = evidence.condition, evidence.value
    return {
        "figure": condition.figure,
        "of": named(condition.of),
        **({} if condition.over is None else {"over": named(condition.over)}),
        **_limits(condition),
        "blocks": evidence.blocks,
        **dict.fromkeys(("median", "low", "high")),
        **({} if value is None else _ROUNDED.dump_python(value, context=ROUNDED)),
        **({"verdict": evidence.verdict} if _limits(condition) else {}),
        "reason": evidence.reason,
    }
