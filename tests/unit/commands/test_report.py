"""What `lab.report` prints of a stored run, and what it refuses."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.unit.said import refusal
from wsgilab import commands
from wsgilab.analysis.compare import compare
from wsgilab.commands import stored
from wsgilab.model import Comparison
from wsgilab.model.errors import SpecError, UsageError
from wsgilab.results.store import Store

RECORDED = Path(__file__).parents[2] / "recorded" / "answer"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The recorded run, in a folder of its own."""
    return Path(shutil.copytree(RECORDED, tmp_path / "run"))


def workspace(folder: Path) -> commands.Workspace:
    return commands.workspace({"LAB_STATE": str(folder.parent / "state"), "LAB_RESULTS": str(folder.parent)})


def printed(folder: Path, width: int = 80, **options: Any) -> str:
    file = io.StringIO()
    commands.report("run", Console(file=file, width=width), workspace(folder), **options)
    return file.getvalue()


def test_as_json_it_is_the_document_that_the_yaml_file_has(folder: Path) -> None:
    document = json.loads(printed(folder, form="json"))

    assert (document["schema"], document["run"]["experiment"]) == (1, "recorded")
    assert document["findings"][0]["kind"] == "best"
    assert len(document["cells"]) == 30
    cell = next(each for each in document["cells"] if each["warnings"])
    assert len(cell["warnings"]) == len(cell["warning_kinds"])


def test_columns_of_json_are_keys_of_its_cells(folder: Path) -> None:
    cells = json.loads(printed(folder, form="json", columns=("server", "workload", "bound_by")))

    assert cells[0] == {"server": "flask-threaded", "workload": "sleep", "bound_by": "demand"}


def test_as_markdown_it_is_the_file_without_its_figures(folder: Path) -> None:
    text = printed(folder, form="markdown")

    assert text.startswith("# How many requests at once, and which of 7 servers to run for sleep 50 ms and cpu 2 ms?\n")
    assert "plots/" not in text
    only = printed(folder, form="markdown", columns=("server", "p99 ms"))
    assert only.splitlines()[2:4] == ["| server | p99 ms |", "| --- | ---: |"]


def test_on_the_terminal_it_is_the_summary_and_with_verbose_every_table(folder: Path) -> None:
    summary, every = printed(folder, form="terminal"), printed(folder, form="terminal", verbose=True)

    assert "What was found" in summary
    assert "reference: gunicorn-sync-1" not in summary
    assert "reference: gunicorn-sync-1" in every
    assert "What was found" in every


@pytest.mark.parametrize("verbose", [False, True])
def test_at_the_end_of_a_run_it_says_where_the_rest_is(
    folder: Path, verbose: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compared_alone(store: Store) -> Comparison:
        """Without the charts, which take long."""
        return compare(store.run(), store.observations())

    monkeypatch.setattr(stored, "write", compared_alone)
    text = printed(folder, width=200, verbose=verbose)
    told = text[text.index("Every table and warning: ") :].splitlines()

    assert ("reference: gunicorn-sync-1" in text) == verbose
    assert told[0].endswith("/run/comparison.md")
    assert any(line.startswith("The same here: invoke lab.report --run ") for line in told) != verbose
    assert told[-1].startswith("Which server to run, and why: invoke lab.recommend --run ")


def test_what_is_only_printed_writes_nothing(folder: Path) -> None:
    for options in ({"form": "json"}, {"form": "terminal"}, {"columns": ("server",)}):
        printed(folder, **options)

    assert sorted(path.name for path in folder.iterdir()) == ["observations.jsonl", "run.yaml"]


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"form": "csv"}, SpecError, "--format: unknown format 'csv'; known are terminal, markdown, json"),
        (
            {"columns": ("cpu",)},
            SpecError,
            "--columns cpu: there is no such column; there are rank, server, in flight, ",
        ),
        (
            {"form": "json", "columns": ("p99",)},
            SpecError,
            "--columns p99: there is no such column; there are server, workload, cores, ",
        ),
        ({"form": "json", "verbose": True}, UsageError, "--verbose: prints every table on a terminal"),
        ({"columns": ("server",), "verbose": True}, UsageError, "--verbose: prints every table on a terminal"),
    ],
)
def test_what_cannot_be_printed_is_refused_in_one_line(
    folder: Path, options: Any, kind: type[UsageError], words: str
) -> None:
    assert refusal(kind, printed, folder, **options).startswith(words)
