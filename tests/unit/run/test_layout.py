"""Where an installed lab's files are laid out, and that they are whole there."""

import shutil
import threading
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from wsgilab import __version__, commands
from wsgilab.model.errors import LabError
from wsgilab.run import layout, workspace

BROUGHT = {
    "__init__.py": '__version__ = "1"\n',
    "load/driver.py": "pass\n",
    "load/__pycache__/driver.cpython-311.pyc": "bytecode",
    "_files/.dockerignore": "*\n",
    "_files/compose/compose.yaml": "name: wsgilab\n",
    "_files/experiments/answer.yaml": "name: answer\n",
}
LAID_OUT = {
    "wsgilab/__init__.py",
    "wsgilab/load/driver.py",
    ".dockerignore",
    "compose/compose.yaml",
    "experiments/answer.yaml",
}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package as it is installed."""
    made = tmp_path / "site-packages" / "wsgilab"
    for name, content in BROUGHT.items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text(content)
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "wsgilab" / "1-abc"


def files(folder: Path) -> set[str]:
    return {str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file()}


# --- where


def test_in_a_checkout_all_is_where_it_is(tmp_path: Path) -> None:
    assert not layout.is_installed()
    assert layout.project() == workspace.PROJECT == Path(__file__).resolve().parents[3]
    assert layout.project(tmp_path / "checkout" / "wsgilab", {"XDG_CACHE_HOME": "/caches"}) == tmp_path / "checkout"


def test_what_is_installed_has_a_folder_for_each_content_among_the_users_caches(package: Path) -> None:
    there = {"XDG_CACHE_HOME": "/caches"}
    assert layout.is_installed(package)
    found = layout.project(package, there)
    assert found.parent == Path("/caches/wsgilab")
    assert found.name.startswith(f"{__version__}-")
    shutil.rmtree(package / "load" / "__pycache__")
    assert layout.project(package, there) == found
    (package / "_files" / "compose" / "compose.yaml").write_text("name: another\n")
    assert layout.project(package, there) != found


@pytest.mark.parametrize("named", [{}, {"XDG_CACHE_HOME": ""}, {"XDG_CACHE_HOME": "relative"}])
def test_where_no_folder_is_named_it_is_the_usual_one(
    named: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert layout.cache(named) == tmp_path / ".cache" / "wsgilab"


def test_a_user_without_a_home_needs_a_folder_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert layout.cache({}) == Path("/nonexistent/wsgilab")
    assert layout.cache({"XDG_CACHE_HOME": "/caches"}) == Path("/caches/wsgilab")


# --- laid out


def test_all_is_laid_out_as_in_a_checkout_and_nothing_else(package: Path, folder: Path) -> None:
    layout.lay_out(folder, package)
    assert files(folder) == LAID_OUT
    assert (folder / "compose" / "compose.yaml").read_text() == "name: wsgilab\n"
    assert {each.name for each in folder.parent.iterdir()} == {folder.name, "lock"}
    assert not layout.is_installed(folder / "wsgilab")
    assert layout.project(folder / "wsgilab") == folder


def test_it_is_laid_out_once(package: Path, folder: Path) -> None:
    layout.lay_out(folder, package)
    before = folder.stat().st_ino
    bytecode = folder / "wsgilab" / "__pycache__"
    bytecode.mkdir()
    (bytecode / "__init__.cpython-311.pyc").touch()
    layout.lay_out(folder, package)
    assert folder.stat().st_ino == before


@pytest.mark.parametrize("damage", ["changed", "missing", "added", "empty"])
def test_what_is_damaged_is_laid_out_anew(damage: str, package: Path, folder: Path) -> None:
    layout.lay_out(folder, package)
    match damage:
        case "changed":
            (folder / "compose" / "compose.yaml").write_text("name: mine\n")
        case "missing":
            (folder / "compose" / "compose.yaml").unlink()
        case "added":
            (folder / "wsgilab" / "load" / "more.py").touch()
        case "empty":
            shutil.rmtree(folder)
            folder.mkdir()
    layout.lay_out(folder, package)
    assert files(folder) == LAID_OUT
    assert (folder / "compose" / "compose.yaml").read_text() == "name: wsgilab\n"
    assert {each.name for each in folder.parent.iterdir()} == {folder.name, "lock"}


def test_half_a_layout_is_none(package: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[object] = []

    def killed(source: Path, target: Path) -> None:
        if len(copied) == 2:
            raise KeyboardInterrupt
        copied.append(target.write_bytes(source.read_bytes()))

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copyfile", killed)
        with pytest.raises(KeyboardInterrupt):
            layout.lay_out(folder, package)
    assert not folder.exists()
    # Another was killed between its two last steps.
    for left in ("new", "old"):
        (folder.with_name(f".{folder.name}.{left}") / "left").mkdir(parents=True)
        (folder.with_name(f".{folder.name}.{left}") / "left" / "behind.py").touch()
    folder.mkdir()
    layout.lay_out(folder, package)
    assert files(folder) == LAID_OUT
    assert {each.name for each in folder.parent.iterdir()} == {folder.name, "lock"}


def test_several_at_once_lay_it_out_once(package: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replaced: list[Path] = []
    replace, is_whole = layout._replace, layout._is_whole
    together = threading.Barrier(4)
    has_looked = threading.local()

    def noted(folder: Path, files: Mapping[str, Path]) -> None:
        replaced.append(folder)
        replace(folder, files)

    def looked(folder: Path, files: Mapping[str, Path]) -> bool:
        found = is_whole(folder, files)
        if not vars(has_looked):
            # All have seen that there is none, before the first begins.
            has_looked.once = True
            together.wait(timeout=120)
        return found

    def one() -> None:
        layout.lay_out(folder, package)
        assert files(folder) == LAID_OUT

    monkeypatch.setattr(layout, "_replace", noted)
    monkeypatch.setattr(layout, "_is_whole", looked)
    failed: list[object] = []
    monkeypatch.setattr(threading, "excepthook", failed.append)
    threads = [threading.Thread(target=one) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert failed == []
    assert replaced == [folder]


def test_a_folder_that_cannot_be_written_is_told_with_the_remedy(package: Path, folder: Path) -> None:
    folder.parent.parent.mkdir()
    folder.parent.touch()
    with pytest.raises(LabError, match=r"1-abc: cannot be written \(.*\); name another folder .* XDG_CACHE_HOME"):
        layout.lay_out(folder, package)


# --- what a workspace makes of it


@pytest.fixture
def installed(package: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder of somebody who uses an installed lab."""
    lay_out = layout.lay_out
    monkeypatch.setattr(workspace, "PROJECT", folder)
    monkeypatch.setattr(layout, "is_installed", lambda: True)
    monkeypatch.setattr(layout, "lay_out", lambda folder: lay_out(folder, package))
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return here


def test_an_installed_lab_has_its_results_here_and_its_state_among_the_caches(installed: Path, folder: Path) -> None:
    made = workspace.workspace({})
    assert made.project == folder
    assert files(folder) == LAID_OUT
    assert made.catalogue == folder / "compose" / "servers.yaml"
    assert made.results == installed / "results"
    assert made.state == folder.parent / "state"
    assert list(installed.iterdir()) == []


def test_every_version_that_was_laid_out_is_known(installed: Path, folder: Path) -> None:
    made = workspace.workspace({})
    layout.lay_out(folder.with_name("0.9-def"))
    made.state.mkdir()
    found = workspace.versions(made)
    assert [each.project for each in found] == [folder.with_name("0.9-def"), folder]
    assert {(each.state, each.results) for each in found} == {(made.state, installed / "results")}


def test_a_checkout_is_its_only_version() -> None:
    made = workspace.workspace({})
    assert workspace.versions(made) == [made]


def test_where_folders_are_named_they_are_from_here(installed: Path) -> None:
    made = workspace.workspace({"LAB_RESULTS": "mine", "LAB_STATE": "state", "LAB_CATALOGUE": "servers.yaml"})
    assert (made.results, made.state, made.catalogue) == tuple(
        installed / name for name in ("mine", "state", "servers.yaml")
    )


def test_a_file_is_one_from_here_or_else_one_of_the_labs(installed: Path, folder: Path) -> None:
    workspace.workspace({})
    assert workspace.given("experiments/answer.yaml") == folder / "experiments" / "answer.yaml"
    assert workspace.given("answer.yaml") == Path("answer.yaml")
    (installed / "experiments").mkdir()
    (installed / "experiments" / "answer.yaml").touch()
    assert workspace.given("experiments/answer.yaml") == Path("experiments/answer.yaml")


def test_the_labs_own_experiments_are_offered_as_they_are_found(installed: Path) -> None:
    workspace.workspace({})
    with pytest.raises(LabError, match=r"did you mean experiments/answer\.yaml"):
        workspace.read_text(workspace.given("answr"), "experiment")


def test_a_new_experiment_is_written_here(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = workspace.workspace({"LAB_CATALOGUE": str(commands.PROJECT / "compose" / "servers.yaml")})
    assert commands.new_experiment("mine", made) == "mine.yaml"
    text = (installed / "mine.yaml").read_text()
    assert text.startswith(f"# yaml-language-server: $schema={made.project}/schemas/experiment.json\n")
    assert "lab.run --experiment mine.yaml\n" in text


# --- what the package brings


def test_the_package_brings_all_that_images_are_built_from() -> None:
    project = commands.PROJECT
    targets = tomllib.loads((project / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
    brought = targets["wheel"]["force-include"]
    assert brought == {name: f"wsgilab/_files/{name}" for name in brought}
    assert sorted(targets["sdist"]["include"]) == sorted(f"/{name}" for name in {*brought, "wsgilab"})
    context = {
        line.removeprefix("!").split("/")[0]
        for line in (project / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    assert context
    assert {*context, ".dockerignore", "compose", "experiments", "schemas"} <= {*brought, "wsgilab"}
