"""What a new application file says of Locust files: found by their text, and offered as alternatives."""

from pathlib import Path

import pytest

from tests.unit.experiment.test_application_scaffold import ALTERNATIVE, about, checked
from tests.unit.experiment.test_entry_points import FLASK
from tests.unit.folders import make, seen
from wsgilab.experiment import locust_scaffold
from wsgilab.experiment.application_scaffold import new_application
from wsgilab.system.folder import look

SHOPPER = """\
import json, bs4
import locust as load, requests
from locust import FastHttpUser as Fast, HttpUser, LoadTestShape, task, User
from faker import Faker
from common.words import GREETING
from . import beside

raise SystemExit("not to be run")

class Base(HttpUser):
    abstract = True

class Shopper(Base): ...
class Buyer(Fast): ...
class Reader(load.HttpUser): ...
class Plain(User): ...
class Stages(LoadTestShape): ...
class Elsewhere(common.User): ...
"""
USER = "from locust import HttpUser\nclass Admin(HttpUser): ...\n"


def text_of(folder: Path) -> str:
    around = look(folder.parent, locust_scaffold.enters_beside, locust_scaffold.reads_beside)
    return new_application("shop", "../shop", seen(folder), ("postgres",), schema="x", around=around)


def offered(text: str) -> dict[str, object]:
    """The entries of Locust files, with every alternative taken."""
    document = checked(ALTERNATIVE.sub(r"\1", text))
    return {name: each for name, each in document["requests"].items() if "locustfile" in each}


def test_classes_of_users_and_packages_are_found_in_the_text_and_offered(tmp_path: Path) -> None:
    files = {"app.py": FLASK, "locustfile.py": SHOPPER, "common/words.py": "", "locustfiles/helpers.py": "import csv\n"}
    text = text_of(make(tmp_path / "shop", files))

    users = ("Shopper", "Buyer", "Reader")
    assert list(offered(text).values()) == [{"locustfile": "../shop/locustfile.py", "user": user} for user in users]
    assert "Found in locustfile.py: Shopper, Buyer, Reader" in text
    assert "\n  #locust_requirements: [bs4, faker]\n" in text
    assert "Fill in: the package that has bs4, which locustfile.py imports" in about(text, "locust_requirements")
    assert checked(text)["requests"] == {"index": {"get": "/"}}, "none is taken unasked"


def test_they_are_found_beside_the_folder_too_by_names_that_no_request_has(tmp_path: Path) -> None:
    make(tmp_path, {"locustfile.py": USER, "locustfiles/api.py": USER, "other/locustfile.py": USER})
    browse = FLASK + "@app.get('/')\ndef a(): ...\n@app.get('/browse')\ndef b(): ...\n"
    text = text_of(make(tmp_path / "shop", {"app.py": browse, "load/locustfile.py": USER}))

    assert [(name, each["locustfile"]) for name, each in offered(text).items()] == [  # type: ignore[index]
        ("browse-3", "../shop/load/locustfile.py"),
        ("browse-4", "../locustfile.py"),
        ("browse-5", "../locustfiles/api.py"),
    ]


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({}, "# None was found: neither locustfile.py nor locustfiles/*.py, in the folder or beside it."),
        ({"locustfile.py": "def:\n"}, "# Found locustfile.py, which could not be read as Python of today."),
        (
            {"locustfile.py": "from common import User\nclass Shopper(User): ...\n"},
            "# Found locustfile.py, but no class of HttpUser or FastHttpUser in it; fill in which one of its users to run.",
        ),
    ],
)
def test_what_is_not_found_is_told(tmp_path: Path, files: dict[str, str], told: str) -> None:
    text = text_of(make(tmp_path / "shop", {"app.py": FLASK, **files}))

    assert told in text
    assert len(offered(text)) == 1
