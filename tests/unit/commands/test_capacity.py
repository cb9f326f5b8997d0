"""`lab.capacity --need`: how a search ends, by what was found, on machines that are made up."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from tests.unit.queues import Queue, sought
from wsgilab import commands
from wsgilab.model.errors import Inconclusive, LabError, LimitBreached
from wsgilab.run import runner
from wsgilab.run.options import RunOptions

EIGHT = Queue(slots=8, held_s=0.05)
"""About 150 requests/s."""
SEARCHES = {
    "alone": sought({"eight": EIGHT}, budget_s=220),
    "two": sought({"eight": EIGHT, "slow": Queue(slots=1, held_s=0.25)}, budget_s=220),
    # The generator cannot make more.
    "busy": sought({"eight": replace(EIGHT, generator_from=80.0)}, budget_s=220),
    # It keeps the limit at no rate that was tried; whether at half of that is not known.
    "hasty": sought({"eight": Queue(slots=1, held_s=0.15, boasts=2.0)}, budget_s=40),
}


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[str, LabError | None]]:
    """What is printed of a search, and its error."""

    def end(search: str, need: float | None, **options: object) -> tuple[str, LabError | None]:
        found, file = SEARCHES[search].comparison(), io.StringIO()
        monkeypatch.setattr(runner, "run", lambda *_: found)
        asked = replace(RunOptions(task="lab.capacity", servers=("eight",)), **options)  # type: ignore[arg-type]
        limit = commands.Sought() if asked.resume else commands.Sought(p95_ms=200.0)
        try:
            commands.capacity(
                asked, limit, Console(file=file, width=200), commands.workspace({"LAB_RESULTS": str(tmp_path)}), need
            )
        except LabError as error:
            return file.getvalue(), error
        return file.getvalue(), None

    return end


Ended = Callable[..., tuple[str, LabError | None]]


def test_a_server_that_can_take_what_is_needed_is_said_to(ended: Ended) -> None:
    assert ended("alone", 100.0) == ("--need 100: 1 server can take as much\n", None)
    assert ended("alone", None) == ("", None)
    assert ended("alone", 100.0, servers=(), resume="latest") == ("--need 100: 1 server can take as much\n", None)


@pytest.mark.parametrize(
    ("search", "need", "kind", "message", "detail"),
    [
        ("alone", 300.0, LimitBreached, "--need 300: 1 of 1 server cannot take as much", "requests/s (1"),
        (
            "alone",
            150.0,
            Inconclusive,
            "--need 150: of 1 of 1 server that is not known",
            "); a longer --budget may tell",
        ),
        (
            "two",
            100.0,
            LimitBreached,
            "--need 100: 1 of 2 servers cannot take as much",
            "slow: sleep 50 ms, 1 core, connection: close: none",
        ),
        (
            "two",
            150.0,
            LimitBreached,
            "--need 150: 1 of 2 servers cannot take as much; of 1 of 2 servers that is not known",
            "slow: sleep 50 ms, 1 core, connection: close: none\neight: sleep 50 ms",
        ),
        (
            "busy",
            500.0,
            Inconclusive,
            "--need 500: of 1 of 1 server that is not known",
            "can make no more: --generator-cores 2",
        ),
    ],
)
def test_what_cannot_take_it_is_told_apart_from_what_may(
    ended: Ended, search: str, need: float, kind: type[LabError], message: str, detail: str
) -> None:
    printed, error = ended(search, need)
    assert printed == ""
    assert type(error) is kind
    assert error.message == message
    assert detail in error.detail
    assert error.exit_code == {LimitBreached: 4, Inconclusive: 5}[kind]


def test_a_server_that_was_asked_for_and_is_not_up_is_no_success(ended: Ended) -> None:
    _, error = ended("alone", 100.0, servers=("eight", "nine"))
    assert isinstance(error, Inconclusive)
    assert error.message == "--need 100: of 1 of 2 servers that is not known"
    assert error.detail == "nine: it was not measured; see above why it was left out"


def test_a_server_of_which_one_high_rate_alone_was_tried_may_take_less(ended: Ended) -> None:
    """It keeps the limit at none that was tried; that it would at half of it is not known."""
    _, error = ended("hasty", 7.0)
    assert isinstance(error, Inconclusive)
