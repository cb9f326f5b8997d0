"""What a stack takes beside packages of the index, and that its servers are left out where a machine does not have it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wsgilab import testing
from wsgilab.experiment.parsing import load_yaml
from wsgilab.model.errors import BuildError
from wsgilab.runtime import images
from wsgilab.runtime.command import DEFAULT_PYTHON, OWN_BASE, Compose
from wsgilab.runtime.environments import Environments
from wsgilab.runtime.protocol import NO_LOCKS, SWARM
from wsgilab.runtime.stacks import ASK, FILE, is_wanted, named, needs
from wsgilab.system import process
from wsgilab.system.process import Finished

STACKS = Path(__file__).parents[3] / "services" / "stacks"
TEXTS = {
    "compiled": 'debian = ["gcc", "libev-dev"]',
    "apart": "root = false",
    "threads": 'python = "3.14t"',
    "usual": None,
    SWARM: None,
}
SERVERS = [replace(testing.server(f"{stack}-1"), stack=stack) for stack in ("compiled", "apart", "threads", "usual")]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for stack, text in TEXTS.items():
        folder = tmp_path / "services" / "stacks" / stack
        folder.mkdir(parents=True)
        (folder / "requirements.txt").write_text(f"{stack}==1\n")
        if text is not None:
            (folder / FILE).write_text(text)
    return tmp_path


def test_of_the_catalogues_stacks_those_that_are_compiled_say_with_what() -> None:
    found = {folder.name: needs(folder) for folder in STACKS.iterdir() if folder.is_dir()}

    assert {name for name, each in found.items() if each.debian} == {"bjoern", "mod-wsgi"}
    assert "libev-dev" in found["bjoern"].debian
    assert not found["mod-wsgi"].root


@pytest.mark.parametrize(
    "text", ["debian = 3", 'debain = ["gcc"]', "root = 3", "debian = [", 'python = "3"', "python = 3.14"]
)
def test_what_is_wrong_with_the_file_is_told_in_a_line(project: Path, text: str) -> None:
    folder = project / "services" / "stacks" / "compiled"
    (folder / FILE).write_text(text)

    with pytest.raises(BuildError, match=r"^services/stacks/compiled/stack\.toml: ") as caught:
        needs(folder)
    assert "\n" not in str(caught.value)


def python(version: str, abi: str = "", implementation: str = "CPython") -> dict[str, Any]:
    """What a Python says when it is asked which one it is."""
    return {"python": version, "abi": abi, "implementation": implementation, "build": f"{version} of some day"}


FREE_THREADED = python("3.14.2", "t")


def test_a_python_is_the_one_that_a_stack_is_for_by_version_threads_and_implementation() -> None:
    found = {"3.14.2": python("3.14.2"), "3.14.2t": FREE_THREADED, "PyPy": python("3.11.13", implementation="PyPy")}

    def those(wanted: str) -> set[str]:
        return {name for name, each in found.items() if is_wanted(wanted, each)}

    assert [those(wanted) for wanted in ("3.14", "3.14t", "pypy", "3.1", "3.11")] == [
        *({"3.14.2"}, {"3.14.2t"}, {"PyPy"}, set(), set()),
    ]
    assert [named(each) for each in found.values()] == ["Python 3.14.2", "Python 3.14.2t", "PyPy 3.11.13"]
    here = json.loads(subprocess.run([sys.executable, "-c", ASK], capture_output=True, check=True).stdout)
    assert is_wanted(f"{sys.version_info.major}.{sys.version_info.minor}", here)


def prepared(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    failing: str,
    found: dict[str, Any] | None = FREE_THREADED,
    user: int = 0,
) -> tuple[Mapping[str, str], list[str]]:
    """The digests of what is installed, where the packages of the stack `failing` are not to be had, and the Python that is `found`
    for the stack `threads` is the only one beside the lab's; and what is said."""
    said: list[str] = []

    def run(argv: Sequence[str], **_: Any) -> Finished:
        if "find" in argv:
            return Finished(code=int(found is None), stdout="/there/python\n", stderr="")
        if argv[-1] == ASK:
            return Finished(code=0, stdout=json.dumps(found), stderr="")
        # `uv venv ... FOLDER` makes it.
        if "venv" in argv:
            Path(argv[-1]).mkdir(parents=True)
            (Path(argv[-1]) / "python").write_text(argv[argv.index("--python") + 1])
        fails = "sync" in argv and f"/{failing}/" in argv[-1]
        return Finished(code=int(fails), stdout="", stderr="no ev.h" if fails else "")

    monkeypatch.setattr(process, "run", run)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    made = Environments(project, project / "state")
    return made.prepare(SERVERS, [], said.append, None, NO_LOCKS), said


def test_what_a_machine_does_not_have_leaves_its_servers_out_with_the_remedy(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests, said = prepared(project, monkeypatch, failing="compiled")

    assert digests.keys() == {"threads", "usual", SWARM}
    assert [line for line in said if line.startswith("Left out")] == [
        "Left out: apart-1: stack apart does not run as root, but in containers",
        "Left out: compiled-1: stack compiled does not install: no ev.h; it is compiled, for which Debian has gcc, libev-dev",
    ]


def test_what_does_not_run_as_root_is_installed_for_another_user(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests, _ = prepared(project, monkeypatch, failing="compiled", user=1000)

    assert "apart" in digests


def test_where_it_compiles_it_is_measured_and_a_usual_stack_that_fails_ends_the_run(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert prepared(project, monkeypatch, failing="")[0].keys() == {"compiled", "threads", "usual", SWARM}
    for folder in (project / "state").glob("stacks/*"):
        shutil.rmtree(folder)
    with pytest.raises(BuildError, match=r"stack usual does not install: no ev\.h; is the package index in reach"):
        prepared(project, monkeypatch, failing="usual")


@pytest.mark.parametrize("found", [None, python("3.14.2"), python("3.13.5", "t")])
def test_a_stack_whose_python_is_not_here_is_left_out_with_the_remedy(
    project: Path, monkeypatch: pytest.MonkeyPatch, found: dict[str, Any] | None
) -> None:
    digests, said = prepared(project, monkeypatch, "", found)

    assert digests.keys() == {"compiled", "usual", SWARM}
    (line,) = [line for line in said if "threads" in line]
    assert line == (
        "Left out: threads-1: stack threads is for Python 3.14t, which is not on this machine; put it on PATH, or where "
        "`uv python install 3.14t` would"
    )


def test_a_stack_of_its_own_python_is_installed_on_that_and_anew_on_another_build_of_it(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = prepared(project, monkeypatch, "")[0]["threads"]
    installed = {folder.name.rpartition("-")[0]: folder for folder in (project / "state" / "stacks").iterdir()}

    assert (installed["threads"] / "python").read_text() == "/there/python"
    assert (installed["usual"] / "python").read_text() == sys.executable
    assert Environments(project, project / "state").folder("threads") == installed["threads"], (
        "also where it is not prepared"
    )
    later = python("3.14.3", "t")
    assert prepared(project, monkeypatch, "", later)[0]["threads"] != digest


class Engine:
    """An engine with images of `pythons`, on which the stack `failing` does not build."""

    def __init__(
        self, project: Path, monkeypatch: pytest.MonkeyPatch, pythons: Mapping[str, dict[str, Any]], failing: str = ""
    ) -> None:
        self.built: dict[str, str] = {}
        """Stack -> the image that its own is built on."""
        self.said: list[str] = []
        self._compose: Any = Compose.__new__(Compose)
        self._compose.stacks = project / "services" / "stacks"
        self._compose.lab_files, self._compose.own = [Path("compose.yaml")], None

        def build(_: object, stack: str, _service: str, _files: object, base: str) -> None:
            self.built[stack] = base
            if stack == failing:
                raise BuildError("it does not build")

        def pull(_: object, image: str, whose: str, remedy: str, _say: object) -> None:
            if image not in pythons:
                raise BuildError(f"the image {image} {whose}is not to be had; {remedy}")

        steps: Mapping[str, Callable[..., Any]] = {
            "_is_built": lambda *_: False,
            "_built": lambda *_: SimpleNamespace(code=1),
            "build": build,
            "pull": pull,
            "ask": lambda _compose, image: pythons[image],
            "_remove": lambda *_, **__: None,
            "_digest": lambda _compose, stack, _image: stack,
        }
        for name, step in steps.items():
            monkeypatch.setattr(images, name, step)
        monkeypatch.setattr(Compose, "server_files", [])
        monkeypatch.setattr(Compose, "image", lambda _, stack: stack)
        monkeypatch.setattr(Compose, "has", lambda _, image: image in pythons)

    def prepare(self) -> Mapping[str, str]:
        return images.prepare(self._compose, SERVERS, [], [], self.said.append)


@pytest.mark.parametrize(("failing", "left"), [("compiled", {"usual", "apart", "threads"}), ("usual", None)])
def test_an_image_that_does_not_build_leaves_its_servers_out_too(
    project: Path, monkeypatch: pytest.MonkeyPatch, failing: str, left: set[str] | None
) -> None:
    monkeypatch.setenv("LAB_BASE_IMAGE", "base")
    engine = Engine(project, monkeypatch, {"base": FREE_THREADED}, failing)
    if left is None:
        with pytest.raises(BuildError, match="it does not build"):
            engine.prepare()
        return
    assert engine.prepare().keys() == left
    assert engine.said[-1] == "Left out: compiled-1: it does not build"


REMEDY = "name an image for each Python by {python} in LAB_BASE_IMAGE (docs/engine.md)"
WITH_GIL = python("3.13.5")


@pytest.mark.parametrize(
    ("base", "pythons", "usual", "own"),
    [
        # A template has an image for each version.
        ("mine:{python}", {"mine:3.14t": FREE_THREADED}, "mine:3.13", "mine:3.14t"),
        ("", {"python:3.14t-slim-trixie": FREE_THREADED}, "python:3.13-slim-trixie", "python:3.14t-slim-trixie"),
        (
            "",
            {},
            "python:3.13-slim-trixie",
            "the image python:3.14t-slim-trixie with Python 3.14t for the stack threads is ",
        ),
        ("mine:{python}", {"mine:3.14t": WITH_GIL}, "mine:3.13", "the base image mine:3.14t has Python 3.13.5"),
        # Any other name is that of one image for all.
        ("mine", {"mine": FREE_THREADED}, "mine", "mine"),
        (
            "mine",
            {"mine": WITH_GIL},
            "mine",
            "stack threads is for Python 3.14t, and the base image mine has Python 3.13.5",
        ),
        ("", {OWN_BASE: WITH_GIL}, OWN_BASE, f"the base image {OWN_BASE} has Python 3.13.5"),
    ],
)
def test_an_image_is_built_on_one_with_the_stacks_python_or_its_servers_are_left_out(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    base: str,
    pythons: Mapping[str, dict[str, Any]],
    usual: str,
    own: str,
) -> None:
    """`own`: what that of the stack `threads` is built on, or a part of the line that says why it is not."""
    monkeypatch.setenv("LAB_BASE_IMAGE", base)
    engine = Engine(project, monkeypatch, pythons)

    digests = engine.prepare()

    assert {engine.built[stack] for stack in ("usual", "apart", "compiled")} == {usual}
    if "threads" in digests:
        assert engine.built["threads"] == own
        assert not any(line.startswith("Left out") for line in engine.said)
        return
    (line,) = [line for line in engine.said if "threads" in line]
    assert line.startswith("Left out: threads-1: ")
    assert own in line
    assert line.endswith(f"; {REMEDY}")


def test_by_hand_each_service_of_the_catalogue_has_the_base_image_that_it_has_in_the_lab() -> None:
    catalogue = load_yaml((STACKS.parents[1] / "compose" / "servers.yaml").read_text(), "servers.yaml")
    for name, service in catalogue["services"].items():
        arguments = service["build"]["args"]
        version = needs(STACKS / arguments["STACK"]).python or DEFAULT_PYTHON
        assert arguments["BASE_IMAGE"] == f"${{LAB_BASE_IMAGE:-python:{version}-slim-trixie}}", name
