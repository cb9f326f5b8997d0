"""`lab.claims` and `lab.reports`: from a file of claims and options to their verdicts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console, RenderableType

from wsgilab.analysis import claims as under_test
from wsgilab.analysis.claims import ClaimSet
from wsgilab.analysis.claims.file import cells_of
from wsgilab.commands import stored
from wsgilab.experiment import resolve
from wsgilab.experiment.parsing import check_known
from wsgilab.model import ClaimResult, Comparison, Experiment, Run, Server
from wsgilab.model.errors import UsageError
from wsgilab.report import reports as of_reports
from wsgilab.report import terminal
from wsgilab.report.claims import claims_md, claims_yaml
from wsgilab.results.store import Store
from wsgilab.run import runner
from wsgilab.run.options import RunOptions
from wsgilab.run.testbed import Testbed
from wsgilab.run.workspace import PROJECT, Workspace, given, read_catalogue, read_text, shown
from wsgilab.runtime.stacks import needs

CLAIM_GROUPS: Mapping[str, str] = {"flask": "claims", "servers": "claims-servers"}
"""The lab's own claims: a group's name -> that of its experiment, and of its file in experiments/. The first is the default."""
REPORTS = "experiments/reports.yaml"
"""The lab's own reports."""
_WHICH = ("file", "group", "only")
"""Options that say which claims to judge, of a stored run too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """What the two tasks differ in."""

    what: str
    """`claim` or `report`, for messages."""
    page: str
    """The file with the evidence."""
    write: Callable[[Store, Comparison, tuple[ClaimResult, ...]], None]
    """Write the verdicts into a run's folder."""
    show: Callable[[tuple[ClaimResult, ...]], RenderableType]


def claims(options: RunOptions, console: Console, workspace: Workspace) -> Comparison:
    """Test claims; write their verdicts beside the run's comparison, and print them.

    Whatever ends it early, what was measured by then is judged. Raises LabError or Interrupted.
    """
    _check(options)
    path = _claims_file(options, workspace)
    return _test(_read(path, "claims", workspace), options, console, workspace, _CLAIMS)


def reports(options: RunOptions, console: Console, workspace: Workspace) -> Comparison:
    """Measure again what users have reported; write what is so today beside the run's comparison, and print it.

    Whatever ends it early, what was measured by then is judged. Raises LabError or Interrupted.
    """
    _check(options)
    path = PROJECT / REPORTS if options.file is None else given(options.file)
    asked = _read(path, "reports", workspace)
    if options.group is not None:
        check_known([options.group], asked.groups, "--group", "group")
        if options.only:
            raise UsageError(
                f"--group {options.group}: says which reports to test, and so does --only; give one of them"
            )
        options = replace(options, only=asked.groups[options.group])
    return _test(asked, options, console, workspace, _REPORTS)


def _check(options: RunOptions) -> None:
    """Raises UsageError for options that do not go with a stored run."""
    if options.run is not None and options.others(("run", *_WHICH)):
        raise UsageError(f"--run {options.run}: judges what is stored, and measures nothing; give no other option")
    options.check_resumed("blocks and seed", _WHICH)


def _read(path: Path, what: str, workspace: Workspace) -> ClaimSet:
    return under_test.parse(read_text(path, what), shown(path), read_catalogue(workspace))


def _test(asked: ClaimSet, options: RunOptions, console: Console, workspace: Workspace, kind: _Kind) -> Comparison:
    chosen = under_test.only(asked, options.only, kind.what)

    def conclude(store: Store, console: Console) -> Comparison:
        return _judge(store, chosen if options.only else _of_run(chosen, store.run()), console, workspace, kind)

    if options.run is not None:
        return conclude(Store.find(workspace.results, options.run), console)

    def choose(catalogue: Mapping[str, Server], testbed: Testbed) -> Experiment:
        # On a site the generator takes none of the targets' cores.
        elsewhere = 0 if testbed.remote is None else chosen.experiment.generator_cores
        quotas = testbed.runtime.quota_refusal() is None
        feasible = under_test.feasible(chosen, len(testbed.usable) + elsewhere, quotas=quotas)
        return resolve.narrow(feasible, catalogue, blocks=options.blocks)

    # A run that goes on has the rows that it began with.
    there = workspace if options.resume is not None else replace(workspace, rows=chosen.rows)
    return runner.run(options, choose, conclude, console, there)


def _of_run(asked: ClaimSet, run: Run) -> ClaimSet:
    """Without reports of which the run has nothing, as it was asked for others; all, where it has nothing of any."""
    cells = set(run.experiment.cells)
    kept = tuple(claim for claim in asked.claims if claim.thread is None or not cells.isdisjoint(cells_of(claim)))
    return replace(asked, claims=kept or asked.claims)


def _claims_file(options: RunOptions, workspace: Workspace) -> Path:
    """The file of the claims that the options name; where they name none, that of the group that a stored run was of, or else of
    the default one. Raises LabError."""
    if options.group is not None:
        check_known([options.group], CLAIM_GROUPS, "--group", "group")
    if options.file is not None:
        if options.group is not None:
            raise UsageError(
                f"--group {options.group}: is of the lab's own claims, and --claims {options.file} names others; give one of them"
            )
        return given(options.file)
    name = CLAIM_GROUPS[options.group or next(iter(CLAIM_GROUPS))]
    if options.group is None and (stored_run := options.run or options.resume) is not None:
        of_run = Store.find(workspace.results, stored_run).run().experiment.name
        name = of_run if of_run in CLAIM_GROUPS.values() else name
    return PROJECT / "experiments" / f"{name}.yaml"


def _judge(store: Store, asked: ClaimSet, console: Console, workspace: Workspace, kind: _Kind) -> Comparison:
    """Write comparison and verdicts, and print the verdicts."""
    comparison = stored.write(store)
    left_out = _left_out(comparison.run, asked, workspace)
    results = under_test.judge(comparison.run, store.observations(), asked.claims, left_out)
    kind.write(store, comparison, results)
    console.print(kind.show(results))
    stored.say(console, f"The evidence, and what to do about it: {shown(store.folder)}/{kind.page}")
    return comparison


def _left_out(run: Run, asked: ClaimSet, workspace: Workspace) -> Mapping[str, str]:
    """The servers of claims that the run does not have, and whose stacks need what not every machine has: name -> why. Raises
    LabError."""
    catalogue, stacks = {**read_catalogue(workspace), **asked.rows}, workspace.project / "services" / "stacks"
    absent = {cell.server for cell in asked.experiment.cells} - run.servers.keys()
    found = {name: needs(stacks / catalogue[name].stack) for name in sorted(absent)}
    return {name: f"as its stack {each.words}" for name, each in found.items() if not each.are_usual}


def _write_claims(store: Store, comparison: Comparison, results: tuple[ClaimResult, ...]) -> None:
    store.write({**claims_md(comparison.run, results), **claims_yaml(comparison.run, results)})


def _write_reports(store: Store, comparison: Comparison, results: tuple[ClaimResult, ...]) -> None:
    # Charts take a moment to import, which other tasks need not wait for.
    from wsgilab.report.charts import svg
    from wsgilab.report.charts.timeline import timeline_of

    drawn = {
        result.claim.id: timeline_of(comparison, result.claim.picture, f"report-{result.claim.id}")
        for result in results
        if result.claim.picture is not None
    }
    pictures = {claim: figure for claim, figure in drawn.items() if figure is not None}
    files = {
        f"plots/{figure.name}.svg": svg.as_file(figure, list(map(svg.draw, figure.panels)))
        for figure in pictures.values()
    }
    run = comparison.run
    store.write({**of_reports.reports_md(run, results, pictures), **of_reports.reports_yaml(run, results), **files})


_CLAIMS = _Kind(what="claim", page="claims.md", write=_write_claims, show=terminal.verdicts)
_REPORTS = _Kind(what="report", page="reports.md", write=_write_reports, show=of_reports.on_terminal)
