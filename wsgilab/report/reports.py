"""Reports under test: claims that have a thread, on a terminal, and as `reports.md` and `reports.yaml`."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from wsgilab.model import ClaimResult, ClaimVerdict, Evidence, Run
from wsgilab.model.text import called
from wsgilab.report import claims
from wsgilab.report.charts.figure import Figure
from wsgilab.report.markdown import escape, table
from wsgilab.report.terminal import VERDICT_STYLES, Item, text

_SUMMARY: Mapping[ClaimVerdict, str] = {
    "confirmed": "hold today",
    "refuted": "do not",
    "undecided": "undecided",
    "not tested": "not tested",
}
_WITH_RELEASE: Mapping[ClaimVerdict, str] = {
    "confirmed": "it holds",
    "refuted": "it does not hold",
    "undecided": "it is undecided",
    "not tested": "it was not tested",
}


def summary(results: Sequence[ClaimResult]) -> str:
    """How many have which verdict, such as `14 hold today, 6 do not, 2 undecided`."""
    counts = Counter(result.verdict for result in results)
    return ", ".join(
        f"{counts[verdict]} {words}"
        for verdict, words in _SUMMARY.items()
        if verdict != "not tested" or counts[verdict]
    )


def verdict(result: ClaimResult) -> str:
    """In words, with the release that it is about where that is known: `holds today, with gunicorn 27.0.1`."""
    release = f"{result.claim.package} {result.version}" if result.version else ""
    if result.verdict == "confirmed":
        return f"holds today{f', with {release}' if release else ''}"
    if result.verdict == "refuted":
        return f"not so with today's release, {release}" if release else "not so today"
    return result.verdict


def history(result: ClaimResult) -> str:
    """What earlier releases do, and since when it is as it is today: one sentence; empty where none was to be tested."""
    if not result.releases:
        return ""
    told = ", ".join(f"with {each.version or each.server} {_WITH_RELEASE[each.verdict]}" for each in result.releases)
    verdicts = [each.verdict for each in result.releases]
    if not {*verdicts, result.verdict} <= {"confirmed", "refuted"}:
        return f"{told[0].upper()}{told[1:]}."
    same = next((at for at, each in enumerate(reversed(verdicts)) if each != result.verdict), len(verdicts))
    versions = [*(each.version or each.server for each in result.releases), result.version or "today's release"]
    since = "" if same == len(verdicts) else f"; from {versions[len(verdicts) - same]} on it is as today"
    return f"Of the releases measured: {told}{since}."


def _release_name(result: ClaimResult, server: str) -> str:
    version = next((each.version for each in result.releases if each.server == server), "")
    return f"with {result.claim.package} {version}" if version else f"with {server}"


# --- on a terminal


def on_terminal(results: Sequence[ClaimResult]) -> RenderableType:
    """Of each report what was reported, the figures, the verdict, and what to do."""
    parts: list[RenderableType] = [text(f"Reports: {summary(results)}", "bold"), Text()]
    for result in results:
        parts += [*_on_terminal(result), Text()]
    return Group(*parts[:-1])


def _on_terminal(result: ClaimResult) -> Iterable[RenderableType]:
    claim = result.claim
    yield Text.assemble(text(claim.id, "bold"), "  ", text(verdict(result), VERDICT_STYLES[result.verdict]))
    decided = [*result.evidence, *(each for release in result.releases for each in release.evidence)]
    lines: Sequence[tuple[str, Iterable[str]]] = (
        ("thread", [claim.met]),
        ("reported", [claim.reported]),
        ("tested", [claim.claim]),
        ("figure", (claims.whole(each, result) for each in (*decided, *result.shown))),
        ("releases", [history(result)]),
        ("undecided", dict.fromkeys(each.reason for each in decided)),
        ("why", [claim.explanation]),
        ("what to do", [claim.advice]),
    )
    for heading, sentences in lines:
        yield from (Item(" ", f"{heading}: {sentence}") for sentence in sentences if sentence)


# --- Markdown and YAML


def reports_md(run: Run, results: Sequence[ClaimResult], pictures: Mapping[str, Figure]) -> Mapping[str, bytes]:
    """The reports as Markdown: a table of verdicts, then each with its evidence. `pictures`: id -> a figure, whose file is beside it."""
    return {"reports.md": ("\n".join(_lines(run, results, pictures)).rstrip() + "\n").encode()}


def reports_yaml(run: Run, results: Sequence[ClaimResult]) -> Mapping[str, bytes]:
    """The reports as YAML, as claims are."""
    (content,) = claims.claims_yaml(run, results).values()
    return {"reports.yaml": content}


_COLUMNS = ("report", "tested", "verdict", "evidence")


def _lines(run: Run, results: Sequence[ClaimResult], pictures: Mapping[str, Figure]) -> Iterable[str]:
    yield f"# Reports: {summary(results)}"
    yield ""
    yield (
        f"What users and maintainers reported in public threads, measured again (`{called('lab.reports')}`). A verdict is of the "
        "figures alone; below the table each report has its thread, all its figures and what to do."
    )
    yield ""
    yield from claims.head(run)
    rows = [
        (result.claim.id, result.claim.claim, verdict(result), "; ".join(claims.deciding(result))) for result in results
    ]
    yield from table(_COLUMNS, rows, numeric=())
    for result in results:
        yield from _section(run, result, pictures.get(result.claim.id))
    yield "## How to read it"
    yield ""
    yield from (f"- **{term}**: {meaning}" for term, meaning in (*_LEGEND, *claims.LEGEND))


def _section(run: Run, result: ClaimResult, picture: Figure | None) -> Iterable[str]:
    claim = result.claim
    yield f"## {escape(claim.id)}: {escape(verdict(result))}"
    yield ""
    yield f"{_link(result)}: {escape(claim.reported)}"
    yield ""
    yield f"Tested: {escape(claim.claim)}"
    yield ""
    if told := history(result):
        yield escape(told)
        yield ""
    yield f"Why: {escape(claim.explanation)}"
    yield ""
    yield f"What to do: {escape(claim.advice)}"
    yield ""
    if picture is not None:
        yield f"![{escape(picture.title)}](plots/{picture.name}.svg)"
        yield ""
        yield escape(picture.caption)
        yield ""
    every: Sequence[tuple[str, Evidence]] = [
        *(("", each) for each in (*result.evidence, *result.shown)),
        *((_release_name(result, release.server), each) for release in result.releases for each in release.evidence),
    ]
    yield from claims.evidence_table(run, every, result)


def _link(result: ClaimResult) -> str:
    """Of an address that the model has checked: it has nothing that Markdown would act on."""
    thread = result.claim.thread
    return escape(result.claim.met) if thread is None else f"[{escape(thread.name)}]({thread.url})"


_LEGEND: Sequence[tuple[str, str]] = (
    ("holds today", "what was reported was measured again, with the release that is named: `confirmed` in the tables"),
    (
        "not so with today's release",
        "the opposite was measured: `refuted`. Earlier releases are named where they were measured too",
    ),
)
