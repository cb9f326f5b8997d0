"""`lab.compare`: how it ends, and what is printed and written, in each format."""

import io
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.unit import two_versions
from tests.unit.report.test_ab import ONE, TWO, made, observed
from tests.unit.runs import TESTS
from wsgilab import commands
from wsgilab.commands import Workspace, compared
from wsgilab.model import Cell, Observation
from wsgilab.model.errors import Inconclusive, LabError, LimitBreached, SpecError, UsageError
from wsgilab.results.store import Journal, Store


@dataclass
class Ended:
    """A comparison, as a caller sees it."""

    printed: str
    error: LabError | None


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """With two recorded runs, `before` and `after`, in which one server is slower."""
    for name in ("before", "after"):
        shutil.copytree(TESTS / "recorded" / name, tmp_path / "results" / name)
    return commands.workspace({"LAB_RESULTS": str(tmp_path / "results")})


@pytest.fixture
def compare(workspace: Workspace) -> Callable[..., Ended]:
    def call(first: str = "before", second: str = "after", **options: Any) -> Ended:
        file = io.StringIO()
        console = Console(file=file, width=200)
        error = None
        try:
            commands.compare_runs(
                first, second, options.pop("fail_on", None), console, workspace, **{"environment": {}, **options}
            )
        except LabError as raised:
            error = raised
        return Ended(file.getvalue(), error)

    return call


Compare = Callable[..., Ended]


def store(workspace: Workspace, name: str, cells: Iterable[Cell], observations: Iterable[Observation]) -> None:
    kept = Store.create(workspace.results, made(tuple(cells), id=name))
    with Journal(kept) as journal:
        for observation in observations:
            journal.append(observation)


FORMATS = ("terminal", "junit", "github")
in_every_format = pytest.mark.parametrize("form", FORMATS)


@in_every_format
@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({}, None),
        ({"fail_on": "slower=20%"}, None),
        ({"fail_on": "slower=20%", "need": "7%"}, None),
        ({"need": "7%"}, None),
        ({"fail_on": "slower=5%"}, LimitBreached),
        ({"fail_on": "slower=20%", "need": "2%"}, Inconclusive),
        ({"need": "2%"}, Inconclusive),
        # What is found beyond doubt is found, whatever else could not be told.
        ({"fail_on": "slower=5%", "need": "2%"}, LimitBreached),
        ({"second": "before", "fail_on": "slower=5%"}, None),
        ({"second": "before", "fail_on": "slower=5%", "need": "5%"}, Inconclusive),
    ],
)
def test_it_ends_as_limit_and_need_say_whatever_is_printed(
    compare: Compare, form: str, options: dict[str, Any], kind: type[LabError] | None
) -> None:
    ended = compare(form=form, **options)

    assert type(ended.error) is (kind or type(None))
    if kind is not None and ended.error is not None:
        assert ended.error.exit_code == {LimitBreached: 4, Inconclusive: 5}[kind]
        assert "\n" not in ended.error.message
        assert ended.error.detail
    assert ended.printed


def test_what_is_breached_comes_before_what_could_not_tell(compare: Compare) -> None:
    error = compare(fail_on="slower=5%", need="2%").error

    assert error is not None
    assert error.message == (
        "--fail-on slower=5%: breached by 1 of 5 cells; --need 2%: 3 of 5 cells could not have shown it"
    )
    first, *others = error.detail.splitlines()
    assert "slower, requests/s 0.881 times A's" in first
    assert all("blocks of each run might" in line for line in others)
    assert len(others) == 3


@in_every_format
@pytest.mark.parametrize(("need", "kind"), [(None, SpecError), ("5%", Inconclusive)])
def test_two_runs_with_nothing_in_common_are_no_success(
    compare: Compare, workspace: Workspace, form: str, need: str | None, kind: type[LabError]
) -> None:
    store(workspace, "one", [ONE], observed(ONE))
    store(workspace, "two", [TWO], observed(TWO))

    ended = compare("one", "two", form=form, fail_on="slower=5%", need=need)
    assert type(ended.error) is kind
    assert "no cell in common" in ended.error.message
    if form == "terminal":
        assert ended.printed == ""
    else:
        assert "no cell in common" in ended.printed


def test_a_cell_that_was_not_measured_is_no_success(compare: Compare, workspace: Workspace) -> None:
    store(workspace, "whole", [ONE, TWO], [*observed(ONE), *observed(TWO)])
    store(workspace, "part", [ONE, TWO], observed(ONE))

    error = compare("whole", "part", fail_on="slower=5%", need="7%").error
    assert isinstance(error, Inconclusive)
    assert error.message == "--need 7%: 1 of 2 cells could not have shown it"
    assert error.detail == "two: sleep 50 ms, 32 users, 1 core, connection: close: it has no figure in B"
    assert compare("whole", "part", fail_on="slower=5%").error is None


def test_a_junit_report_is_all_that_is_printed(compare: Compare) -> None:
    ended = compare(form="junit", fail_on="slower=5%")

    assert ended.printed.startswith("<?xml version='1.0' encoding='us-ascii'?>\n<testsuites ")
    assert ET.fromstring(ended.printed).get("failures") == "1"


@in_every_format
def test_the_files_beside_the_run_are_written_whatever_is_printed(
    compare: Compare, workspace: Workspace, form: str
) -> None:
    compare(form=form)

    assert {path.name for path in (workspace.results / "after").glob("against-*")} == {
        f"against-before.{kind}" for kind in ("md", "yaml", "html")
    }


def test_the_summary_goes_after_what_is_in_the_file_that_github_names(compare: Compare, tmp_path: Path) -> None:
    file = tmp_path / "summary.md"
    file.write_text("before\n")
    ended = compare(form="github", fail_on="slower=5%", environment={"GITHUB_STEP_SUMMARY": str(file)})

    assert file.read_text().startswith("before\n# before-after: 1 slower")
    assert [line.partition(" ")[0] for line in ended.printed.splitlines()] == ["::error"]
    assert "# before-after: 1 slower" in compare(form="github").printed


def test_the_summary_says_too_that_nothing_was_compared(compare: Compare, workspace: Workspace, tmp_path: Path) -> None:
    store(workspace, "one", [ONE], observed(ONE))
    store(workspace, "two", [TWO], observed(TWO))
    file = tmp_path / "summary.md"
    compare("one", "two", form="github", environment={"GITHUB_STEP_SUMMARY": str(file)})

    assert file.read_text().startswith("# Nothing was compared\n\none and two: no cell in common")


def test_a_summary_that_cannot_be_written_is_an_error_with_the_remedy(compare: Compare, tmp_path: Path) -> None:
    error = compare(form="github", environment={"GITHUB_STEP_SUMMARY": str(tmp_path)}).error

    assert error is not None
    assert error.message.startswith(f"GITHUB_STEP_SUMMARY={tmp_path}: cannot be written (")


def test_an_error_beside_workflow_commands_is_none_itself(compare: Compare) -> None:
    missing = "##[error]no"
    for form, said in (("github", "# #[error]no"), ("terminal", missing)):
        error = compare(missing, form=form).error
        assert isinstance(error, UsageError)
        assert f"no run '{said}'" in error.message


def test_a_format_that_there_is_not_is_refused(compare: Compare) -> None:
    error = compare(form="junt").error

    assert isinstance(error, SpecError)
    assert error.message == "--format: unknown format 'junt'; did you mean junit?"
    assert compared.FORMATS == FORMATS


def test_runs_are_named_by_a_part_of_their_ids(compare: Compare) -> None:
    assert compare("bef", "aft", fail_on="slower=20%").error is None
    error = compare("e", "aft").error
    assert isinstance(error, UsageError)
    assert error.message.endswith("'e' is a part of 2 runs: before, after; give more of one")


def test_of_a_run_of_two_versions_the_application_as_it_is_is_compared(workspace: Workspace) -> None:
    for name in ("one", "other"):
        run = replace(two_versions.made(), id=name)
        with Journal(Store.create(workspace.results, run)) as journal:
            for observation in two_versions.observed(run, {}):
                journal.append(observation)
    found = commands.compare_runs("one", "other", None, Console(file=io.StringIO()), workspace)

    assert [each.cell.server for each in found.cells] == ["one", "two"]
    assert not found.only_a
    assert not found.only_b
