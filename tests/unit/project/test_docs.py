"""What README, CONTRIBUTING and docs/ name exists: files, tasks, options; their table of claims is of one run; and what follows from
the code is as the code has it. Links are checked by `docs/build.py`, in `make check`."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from docs import reference
from tasks import namespace
from wsgilab.experiment.workloads import WORKLOADS

PROJECT = Path(__file__).resolve().parents[3]
PAGES = {name: (PROJECT / name).read_text() for name in ("README.md", "CONTRIBUTING.md")} | {
    f"docs/{page.name}": page.read_text() for page in sorted((PROJECT / "docs").glob("*.md"))
}
MADE = reference.pages()
FOLDERS = "benchmarks|compose|deploy|docs|experiments|locustfiles|requirements|schemas|services|tests|wsgilab"
A_PATH = re.compile(rf"(?<![\w./-])(?:{FOLDERS})/[\w./*-]*(?:\.\w+|/)(?![\w/*-])")
"""A file by its suffix, or a folder by its slash: `wsgilab/gunicorn` is an image."""
EXAMPLES = {
    "experiments/my-question.yaml",
    "locustfiles/echo_back.py",
    "services/stacks/aiohttp-wsgi/requirements.in",
    "benchmarks/results/NAME.yaml",
    "tests/unit/FOLDER/",
    "wsgilab/FOLDER/",
}
"""What the reader adds, or fills in."""


@pytest.mark.parametrize("name", PAGES)
def test_every_file_that_is_named_exists(name: str) -> None:
    missing = [path for path in A_PATH.findall(PAGES[name]) if path not in EXAMPLES and not list(PROJECT.glob(path))]
    assert missing == []
    for symbol, path in re.findall(r"`(\w+)`\s+in\s+`(\w+/[\w./-]+)`", PAGES[name]):
        place = PROJECT / path
        files = place.rglob("*.py") if place.is_dir() else [place]
        assert any(re.search(rf"\b{symbol}\b", file.read_text()) for file in files), f"{symbol} in {path}"


def test_a_file_that_is_missing_is_noticed() -> None:
    named = A_PATH.findall(
        "`wsgilab/gone.py`, wsgilab/also/gone/, and [one](../docs/gone.md); image wsgilab/gunicorn:1"
    )
    assert named == ["wsgilab/gone.py", "wsgilab/also/gone/"]


@pytest.mark.parametrize("name", PAGES)
def test_every_task_target_and_module_that_is_named_exists(name: str) -> None:
    tasks = namespace.task_names
    assert set(re.findall(r"\b(?:invoke |`)(lab\.[a-z][a-z-]*)", PAGES[name])) <= set(tasks)
    assert set(re.findall(r"`wsgilab ([a-z][a-z-]*)", PAGES[name])) <= {each.removeprefix("lab.") for each in tasks}
    targets = re.findall(r"^([a-z]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"(?:^    |`)make ([a-z]+)", PAGES[name], re.MULTILINE)) <= set(targets)
    for module in re.findall(r"python -m ((?:benchmarks|tests|wsgilab)\.[a-z0-9_.]*[a-z])", PAGES[name]):
        assert (PROJECT / f"{module.replace('.', '/')}.py").exists(), module


def options_of(task: str) -> set[str]:
    names = [argument.names for argument in namespace[task].get_arguments()]
    return {f"--{each.replace('_', '-')}" for every in names for each in every}


def calls(text: str) -> Sequence[tuple[str, Sequence[str]]]:
    """Each call of a task that is shown, with the options that its line names."""
    lines = re.findall(r"invoke (lab\.[a-z][a-z-]*)([^|`\n]*(?:`? \|[^|\n]*)?)", text)
    return [(task, re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", rest)) for task, rest in lines]


@pytest.mark.parametrize("name", PAGES)
def test_every_option_that_is_shown_is_one_of_its_task(name: str) -> None:
    unknown = [
        f"{task} {option}"
        for task, options in calls(PAGES[name])
        for option in options
        if option not in options_of(task) | {"--help"}
    ]
    assert unknown == []


def test_the_readme_is_short_and_says_how_to_call_invoke_first() -> None:
    readme = PAGES["README.md"]
    assert len(readme.splitlines()) <= 120
    assert readme.index(". .venv/bin/activate") < readme.index("invoke lab.")


@pytest.mark.parametrize("page", MADE)
def test_a_page_that_follows_from_the_code_is_renewed(page: str) -> None:
    assert PAGES[f"docs/{page}"] == MADE[page], "make schemas renews it"


def test_every_workload_is_explained() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \|", PAGES["docs/experiments.md"], re.MULTILINE)
    assert set(rows) >= set(WORKLOADS)


# --- claims


def rows_of_claims(text: str) -> list[list[str]]:
    """Claim, verdict, what was measured, and what to do: a row each."""
    rows = [re.split(r"(?:^| )\|(?: |$)", line)[1:-1] for line in text.splitlines() if " | **" in line]
    return [row[-4:] for row in rows]


def test_the_table_of_claims_is_of_the_run_that_is_kept() -> None:
    asked = yaml.safe_load((PROJECT / "experiments" / "claims.yaml").read_text())["claims"]
    kept = yaml.safe_load((PROJECT / "docs" / "claims.yaml").read_text())["claims"]
    assert [each["claim"] for each in kept] == [each["claim"] for each in asked]
    assert [[claim, verdict, advice] for claim, verdict, _, advice in rows_of_claims(PAGES["docs/claims.md"])] == [
        [each["claim"], f"**{each['verdict']}**", each["advice"]] for each in kept
    ]


def test_every_figure_of_the_table_of_claims_is_among_the_evidence() -> None:
    page = PAGES["docs/claims.md"]
    evidence = re.findall(r"^## \d+\. .*?\n(.*?)(?=^## )", page, re.MULTILINE | re.DOTALL)
    for (claim, _, measured, _), figures in zip(rows_of_claims(page), evidence, strict=True):
        numbers = set(re.findall(r"\d+(?:\.\d+)?", measured))
        assert numbers
        assert numbers <= set(re.findall(r"\d+(?:\.\d+)?", figures)), claim


def test_the_readme_shows_rows_of_the_table_of_claims() -> None:
    shown = rows_of_claims(PAGES["README.md"])
    assert shown
    assert [row for row in rows_of_claims(PAGES["docs/claims.md"]) if row in shown] == shown


# --- reports


def test_the_page_of_reports_is_of_the_run_that_is_kept_and_has_every_report() -> None:
    asked = [each["id"] for each in yaml.safe_load((PROJECT / "experiments" / "reports.yaml").read_text())["claims"]]
    kept = yaml.safe_load((PROJECT / "docs" / "reports.yaml").read_text())
    assert [each["id"] for each in kept["claims"]] == asked
    page = PAGES["docs/reports.md"]
    assert re.findall(r"^## ([a-z0-9-]+-\d+): ", page, re.MULTILINE) == asked
    assert kept["run"]["id"] in page
    for picture in re.findall(r"\((plots/[^)]+)\)", page):
        assert (PROJECT / "docs" / picture).is_file(), picture
