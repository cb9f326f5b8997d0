"""The lab's questions to a server."""

import json
import os
import sys
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client

from wsgilab.load.samples import LATE_PAGE
from wsgilab.runtime import pages as asked
from wsgilab_door.late import LateFile
from wsgilab_door.pages import Pages


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [])
    return [b"application at ", environ["PATH_INFO"].encode()]


@pytest.fixture
def late(tmp_path: Path) -> LateFile:
    return LateFile(str(tmp_path / "late"))


@pytest.fixture
def client(late: LateFile) -> Client:
    return Client(Pages(application, late))


def test_ready_is_a_fixed_text(client: Client) -> None:
    answer = client.get(asked.READY)

    assert (answer.status_code, answer.data, answer.content_length) == (200, b"ready\n", 6)


def test_facts_tell_what_the_server_is_in_effect(client: Client) -> None:
    answer = client.get(asked.FACTS)
    told = json.loads(answer.data)

    assert answer.mimetype == "application/json"
    assert told["pid"] == os.getpid()
    assert told["cpus"] == sorted(os.sched_getaffinity(0))
    assert told["python"].count(".") == 2
    assert told["gil"] is True
    assert told["packages"]["flask"] == metadata.version("flask")
    assert told["packages"]["typing-extensions"] == metadata.version("typing_extensions"), "whatever is installed"
    assert "eventlet" not in told["packages"], "it is not installed beside the tests"
    assert "pip" not in told["packages"], "which only made the environment"


def test_the_facts_are_what_the_lab_reads(client: Client) -> None:
    found = asked.facts("one", client.get(asked.FACTS).text, frozenset(os.sched_getaffinity(0)))

    assert found.packages["flask"] == metadata.version("flask")


def test_a_python_without_a_gil_is_told_as_it_is_once_the_application_is_imported(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for is_on in (False, True):
        monkeypatch.setattr(sys, "_is_gil_enabled", lambda is_on=is_on: is_on, raising=False)
        found = asked.facts("one", client.get(asked.FACTS).text, frozenset(os.sched_getaffinity(0)))
        assert found.has_gil is is_on


def test_late_tells_each_line_once(client: Client, late: LateFile) -> None:
    late.append("1 2 3 4 5 6")
    late.append("1 2 3 4 7 8")

    assert client.get(LATE_PAGE).text == "1 2 3 4 5 6\n1 2 3 4 7 8\n"
    assert client.get(LATE_PAGE).text == ""


def test_where_nothing_is_recorded_nothing_was_late() -> None:
    answer = Client(Pages(application, None)).get(LATE_PAGE)

    assert (answer.status_code, answer.text) == (200, "")


@pytest.mark.parametrize("path", ["/", "/ready", "/__lab__", "/__lab__/redy", "/x/__lab__/ready", "/lab"])
def test_all_else_is_the_applications(client: Client, path: str) -> None:
    assert client.get(path).text == f"application at {path}"


def test_an_environment_without_a_path_is_the_applications_too() -> None:
    seen: list[object] = []
    Pages(lambda environ, _: [str(environ).encode()], None)({}, seen.append)

    assert seen == []
