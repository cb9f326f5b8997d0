"""What a stack takes beside packages of the index, and that its servers are left out where a machine does not have it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wsgilab import testing
from wsgilab.model.errors import BuildError
from wsgilab.runtime import images
from wsgilab.runtime.environments import Environments
from wsgilab.runtime.protocol import NO_LOCKS, SWARM
from wsgilab.runtime.stacks import FILE, needs
from wsgilab.system import process
from wsgilab.system.process import Finished

STACKS = Path(__file__).parents[3] / "services" / "stacks"
TEXTS = {
    "compiled": 'debian = ["gcc", "libev-dev"]',
    "apart": 'runtime = "compose"',
    "usual": None,
    SWARM: None,
}
SERVERS = [replace(testing.server(f"{stack}-1"), stack=stack) for stack in ("compiled", "apart", "usual")]


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

    assert {name for name, each in found.items() if not each.are_usual} == {"bjoern", "mod-wsgi"}
    assert "libev-dev" in found["bjoern"].debian
    assert found["mod-wsgi"].runtime == "compose"


@pytest.mark.parametrize("text", ["debian = 3", 'debain = ["gcc"]', 'runtime = "moon"', "debian = ["])
def test_what_is_wrong_with_the_file_is_told_in_a_line(project: Path, text: str) -> None:
    folder = project / "services" / "stacks" / "compiled"
    (folder / FILE).write_text(text)

    with pytest.raises(BuildError, match=r"^services/stacks/compiled/stack\.toml: ") as caught:
        needs(folder)
    assert "\n" not in str(caught.value)


def prepared(project: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> tuple[Mapping[str, str], list[str]]:
    """The digests of what is installed, where the packages of the stack `failing` are not to be had; and what is said."""
    said: list[str] = []

    def run(argv: Sequence[str], **_: Any) -> Finished:
        # `uv venv ... FOLDER` makes it.
        if "venv" in argv:
            Path(argv[-1]).mkdir(parents=True)
        fails = "sync" in argv and f"/{failing}/" in argv[-1]
        return Finished(code=int(fails), stdout="", stderr="no ev.h" if fails else "")

    monkeypatch.setattr(process, "run", run)
    made = Environments(project, project / "state")
    return made.prepare(SERVERS, [], said.append, None, NO_LOCKS), said


def test_what_a_machine_does_not_have_leaves_its_servers_out_with_the_remedy(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests, said = prepared(project, monkeypatch, failing="compiled")

    assert digests.keys() == {"usual", SWARM}
    assert [line for line in said if line.startswith("Left out")] == [
        "Left out: apart-1: stack apart runs in containers only",
        "Left out: compiled-1: stack compiled does not install: no ev.h; it is compiled, for which Debian has gcc, libev-dev",
    ]


def test_where_it_compiles_it_is_measured_and_a_usual_stack_that_fails_ends_the_run(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert prepared(project, monkeypatch, failing="")[0].keys() == {"compiled", "usual", SWARM}
    for folder in (project / "state").glob("stacks/*"):
        (folder / ".complete").unlink()
        folder.rmdir()
    with pytest.raises(BuildError, match=r"stack usual does not install: no ev\.h; is the package index in reach"):
        prepared(project, monkeypatch, failing="usual")


@pytest.mark.parametrize(("failing", "left"), [("compiled", {"usual", "apart"}), ("usual", None)])
def test_an_image_that_does_not_build_leaves_its_servers_out_too(
    project: Path, monkeypatch: pytest.MonkeyPatch, failing: str, left: set[str] | None
) -> None:
    compose = SimpleNamespace(
        stacks=project / "services" / "stacks",
        server_files=[],
        lab_files=["compose.yaml"],
        image=lambda stack: stack,
        base_image=lambda: "base",
    )
    said: list[str] = []

    def build(_: object, stack: str, *_rest: object) -> None:
        if stack == failing:
            raise BuildError("it does not build")

    steps: Mapping[str, Callable[..., Any]] = {
        "_is_built": lambda *_: False,
        "_built": lambda *_: SimpleNamespace(code=1),
        "build": build,
        "_remove": lambda *_, **__: None,
        "_digest": lambda _compose, stack, _image: stack,
    }
    for name, step in steps.items():
        monkeypatch.setattr(images, name, step)

    if left is None:
        with pytest.raises(BuildError, match="it does not build"):
            images.prepare(compose, SERVERS, [], [], said.append)  # type: ignore[arg-type]
        return
    assert images.prepare(compose, SERVERS, [], [], said.append).keys() == left  # type: ignore[arg-type]
    assert said[-1] == "Left out: compiled-1: it does not build"
