"""Locust files, whatever they are called and whatever is wrong with them."""

import importlib
import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest
from locust import User

from wsgilab.load import locustfiles
from wsgilab.load.local import TargetCores
from wsgilab.load.locustfiles import BadLocustfile, every_user_class, user_classes
from wsgilab.load.reachability import Reachability, Unreachable

WHOLE = "from lab_user import Get, LabUser\n\n\nclass {name}(LabUser):\n    get = Get('/hello', b'hello')\n"


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """What a test imports is forgotten again."""
    modules, path = dict(sys.modules), list(sys.path)
    yield
    sys.modules.clear()
    sys.modules.update(modules)
    sys.path[:] = path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of Locust files."""
    made = tmp_path / "locustfiles"
    made.mkdir()
    monkeypatch.setattr(locustfiles, "LOCUSTFILES", made)
    monkeypatch.setattr(locustfiles, "_loaded", {})
    # A file that has just been written is found too.
    importlib.invalidate_caches()
    return made


def names(of: list[type[User]]) -> list[str]:
    return [each.__name__ for each in of]


@pytest.mark.parametrize("name", ["json", "queue", "locust", "gevent", "wsgilab", "__main__", "a.b"])
def test_a_locust_file_may_be_called_like_any_module_and_stays_out_of_its_way(folder: Path, name: str) -> None:
    taken = sys.modules.get(name)
    (folder / f"{name}.py").write_text(WHOLE.format(name="Mine"))

    assert names(user_classes(name)) == ["Mine"]
    assert sys.modules.get(name) is taken
    assert importlib.import_module("json").loads is json.loads


def test_what_locust_files_share_is_imported_once_and_never_hides_a_module_of_others(folder: Path) -> None:
    (folder / "shared.py").write_text("import json\n\nMADE = json.dumps([1])\n" + WHOLE.format(name="Shared"))
    (folder / "json.py").write_text("raise RuntimeError('not this one')\n")
    (folder / "one.py").write_text("import shared\n" + WHOLE.format(name="One"))
    (folder / "two.py").write_text("import shared\nfrom shared import MADE\n" + WHOLE.format(name="Two"))

    found = every_user_class()

    assert names(found) == ["One", "Shared", "Two"]
    assert sys.modules["one"].shared is sys.modules["two"].shared is sys.modules["shared"]
    assert found[1] is sys.modules["shared"].Shared


def test_the_labs_own_locust_files_all_have_users() -> None:
    found = names(every_user_class())

    assert {"Hello", "Sleep", "Cpu", "Db", "Upstream", "Large", "SlowClient", "Stall", "Stalled", "Mixed"} <= set(found)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("class Half(\n", ", line 1: '(' was never closed"),
        ("x = 1\nimport no_such_module\n", ", line 2: ModuleNotFoundError: No module named 'no_such_module'"),
        ("\n\n1 / 0\n", ", line 3: ZeroDivisionError: division by zero"),
        ("def f():\n    raise ValueError('one\\ntwo')\n\nf()\n", ", line 2: ValueError: one"),
        ("import sys\nsys.exit('enough')\n", ", line 2: SystemExit: enough"),
        ("x = '\0'\n", None),
        ("from lab_user import LabUser\n", " has no user: a class that is derived from LabUser, and is not abstract"),
    ],
)
def test_what_is_wrong_with_a_locust_file_is_one_line_that_says_where(
    folder: Path, text: str, told: str | None
) -> None:
    path = folder / "mine.py"
    path.write_text(text)

    for _ in range(2):
        with pytest.raises(BadLocustfile) as caught:
            user_classes("mine")
        message = str(caught.value)
        assert "\n" not in message
        assert message.startswith(str(path)) if told is None else message == f"{path}{told}"


def test_a_fault_in_an_imported_file_and_a_missing_file_are_named(folder: Path) -> None:
    (folder / "mine.py").write_text("import other\n")
    (folder / "other.py").write_text("\nbroken(\n")

    with pytest.raises(BadLocustfile, match=r"other\.py, line 2: '\(' was never closed$"):
        user_classes("mine")
    with pytest.raises(BadLocustfile, match=r"^there is no .*/theirs\.py$"):
        user_classes("theirs")


def test_a_locust_file_that_is_broken_troubles_no_other_workload(folder: Path) -> None:
    (folder / "broken.py").write_text("1 / 0\n")
    (folder / "whole.py").write_text(WHOLE.format(name="Whole"))

    assert names(every_user_class()) == ["Whole"]
    assert names(user_classes("whole")) == ["Whole"]


def test_of_two_users_with_one_name_the_first_is_known(folder: Path) -> None:
    """Locust cannot tell them apart; who asks for the other is told so."""
    for name in ("one", "two"):
        (folder / f"{name}.py").write_text(WHOLE.format(name="Same"))

    (found,) = every_user_class()

    assert [found] == user_classes("one")
    assert [found] != user_classes("two")


# How busy the target's cores are.


def test_cores_of_this_machine_are_busy_by_some_share_where_they_are_watched() -> None:
    watched, unwatched = TargetCores(str(min(os.sched_getaffinity(0))), None), TargetCores("", None)
    for _ in range(2):
        watched.mark()
        unwatched.mark()
        gevent.sleep(0.05)

    busy = watched.busy()
    assert busy is not None
    assert 0 <= busy <= 1
    assert unwatched.busy() is None


def test_a_machine_that_is_not_reached_is_told_by_the_reading_and_by_nothing_else(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = Reachability(f"127.0.0.1:{taken.getsockname()[1]}")
    cores = TargetCores("0", nobody)
    cores.mark()
    cores.mark()

    with pytest.raises(Unreachable, match="the targets' machine is not reached"):
        cores.busy()
    assert capfd.readouterr().err == ""
