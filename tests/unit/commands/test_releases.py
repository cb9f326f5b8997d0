"""`lab.run --release`: the rows that it stands for, and what is refused before anything is locked."""

from pathlib import Path
from typing import Any

import pytest

from wsgilab import commands
from wsgilab.commands import RunOptions, releases
from wsgilab.model.errors import LabError
from wsgilab.runtime import releases as stacks

BOTH = "gunicorn=23.0.0,27.0.1"


@pytest.fixture(autouse=True)
def _locked(monkeypatch: pytest.MonkeyPatch) -> None:
    def stack_of(_: Path, stack: str, package: str, release: str, __: object) -> str:
        return f"{stack}-at-{package}-{release}"

    monkeypatch.setattr(stacks, "stack_of", stack_of)


def rows(release: str, **options: Any) -> Any:
    asked = RunOptions(task="lab.run", release=release, **{"servers": ("gunicorn-gthread-8",), **options})
    return releases.rows(asked, commands.workspace(), lambda _: None)


def test_a_server_is_there_once_for_each_release() -> None:
    found = rows(BOTH)

    assert list(found) == ["gunicorn-gthread-8-23-0-0", "gunicorn-gthread-8-27-0-1"]
    first = found["gunicorn-gthread-8-23-0-0"]
    assert (first.stack, first.extends, first.slots) == ("gunicorn-at-gunicorn-23.0.0", "gunicorn-gthread-8", 8)
    assert "--threads=8" in first.command
    assert first.summary.endswith(", with gunicorn 23.0.0")


@pytest.mark.parametrize(
    ("release", "options", "told"),
    [
        ("gunicorn", {}, "--release gunicorn: must be a package and two releases of it or more"),
        ("gunicorn=23.0.0", {}, "--release gunicorn=23.0.0: must be a package and two releases"),
        ("gunicorn=23.0.0,", {}, "--release gunicorn=23.0.0,: must be a package and two releases"),
        ("gunicorn=-r x,1", {}, "--release gunicorn=-r x,1: must be a package and two releases"),
        (BOTH, {"servers": ()}, f"--release {BOTH}: is of one server; name it with --servers"),
        (BOTH, {"servers": ("waitress", "cheroot")}, f"--release {BOTH}: is of one server"),
        (BOTH, {"servers": ("gunicron",)}, "--servers: unknown server 'gunicron'"),
        (
            BOTH,
            {"app": "shop.yaml"},
            f"--release {BOTH}: is of a server of the lab's with the lab's application; leave out --app",
        ),
        (
            "gunicorn=23.0.0,23.0.0",
            {},
            "--release gunicorn=23.0.0: there is a server gunicorn-gthread-8-23-0-0 already",
        ),
    ],
)
def test_what_is_wrong_is_refused_in_a_line(release: str, options: dict[str, Any], told: str) -> None:
    with pytest.raises(LabError) as caught:
        rows(release, **options)
    assert caught.value.message.startswith(told)
