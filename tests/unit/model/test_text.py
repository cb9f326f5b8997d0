"""How ratios are written and tasks are called, wherever a message names one."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from wsgilab.model import Interval, text
from wsgilab.report import capacity, markdown, recommendation, reproduce, tables, versions

PACKAGE = Path(__file__).resolve().parents[3] / "wsgilab"
A_CALL = re.compile(r"\binvoke lab\.|(?<!^)\blab\.(?!css|js)[a-z][a-z-]+\b(?!\.\w)")
"""The name of a task within a text; by itself it is an argument of `called`."""


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(text._called, "by", text.INVOKE)
    text.call_tasks_by(text.WSGILAB)


@pytest.mark.parametrize(
    ("ratio", "said"),
    [(0.004, "0.00"), (0.614, "0.61"), (999.99, "999.99"), (1000.0, "over 1,000"), (1e30, "over 1,000")],
)
def test_an_end_of_an_interval_beyond_all_bounds_is_no_number(ratio: float, said: str) -> None:
    assert text.times(ratio) == said


def test_no_ratio_that_a_person_reads_has_an_end_beyond_all_bounds() -> None:
    wide = Interval(median=0.16, low=0.001, high=1.6e12)

    assert recommendation._factor(wide) == f"x{versions._span(wide)}" == "x0.16 (0.00 to over 1,000)"
    assert tables.ends(wide, text.times) == "0.00 to over 1,000"
    assert capacity._times(0.16, 0.001, 1.6e12) == "x0.16 (0.00 to over 1,000)"


def test_in_a_checkout_tasks_are_invokes() -> None:
    assert text.called("lab.run") == "invoke lab.run"
    assert "`invoke lab.run` compares" in markdown.interactive()
    assert reproduce.place() == "In a checkout of the lab"


@pytest.mark.usefixtures("installed")
def test_where_the_lab_is_installed_tasks_are_its_own_commands() -> None:
    assert text.called("lab.new-experiment") == "wsgilab new-experiment"
    assert text.called("run") == "wsgilab run"
    assert "`wsgilab run` compares" in markdown.interactive()
    assert reproduce.place() == "With an installed lab"


def texts(file: Path) -> Iterator[tuple[int, str]]:
    """Every text of a module that is no docstring, with its line."""
    tree = ast.parse(file.read_text())
    said = {id(each.value) for each in ast.walk(tree) if isinstance(each, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
            yield node.lineno, node.value


def test_no_message_spells_a_task_by_itself() -> None:
    """It would be right for one of the two programs only."""
    found = [
        f"{file.relative_to(PACKAGE)}:{line}: {said}"
        for file in sorted(PACKAGE.rglob("*.py"))
        for line, said in texts(file)
        if A_CALL.search(said) and file.name != "testing.py"
    ]
    found += [
        f"{file.relative_to(PACKAGE)}"
        for file in sorted(PACKAGE.rglob("*.html"))
        if re.search(r"invoke lab\.|(?<!\")\blab\.(run|up|down|report)\b", file.read_text())
    ]
    assert found == []


@pytest.mark.parametrize("said", ["see invoke lab.run", "; lab.down ends it", "until lab.down."])
def test_a_task_that_is_spelt_is_noticed(said: str) -> None:
    assert A_CALL.search(said)
