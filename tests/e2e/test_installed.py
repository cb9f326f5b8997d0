"""The lab as it is installed: a wheel of this checkout, and its command in a folder of somebody who has no checkout."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from uv import find_uv_bin

from tests.conftest import leftovers
from tests.e2e.conftest import Ended
from wsgilab import __version__, commands

pytestmark = pytest.mark.lab

TINY = """
name: tiny
blocks: 1
window_s: 1
reference: gunicorn-sync-1
cells: [{servers: [gunicorn-sync-1], workloads: [hello], users: [2]}]
"""


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command, installed from a wheel into an environment of its own; what it depends on comes from this one."""
    folder = tmp_path_factory.mktemp("installed")
    uv, python = find_uv_bin(), folder / "venv" / "bin" / "python"
    for words in (
        # By the backend of the development environment's lock, so that no package index is asked.
        ["build", "--wheel", "--no-build-isolation", "--python", sys.executable, "-o", folder, commands.PROJECT],
        ["venv", "--no-project", "--python", sys.executable, folder / "venv"],
        ["pip", "install", "--no-deps", "--python", python, folder / f"wsgilab-{__version__}-py3-none-any.whl"],
    ):
        subprocess.run([uv, *map(str, words), "--quiet"], check=True, cwd=folder)
    (here,) = (folder / "venv").glob("lib/python*/site-packages")
    shared = [path for path in sys.path if path.endswith("site-packages")]
    (here / "shared.pth").write_text("\n".join(shared))
    return python.with_name("wsgilab")


@dataclass(kw_only=True)
class User:
    """Somebody with an empty folder, and a home in which the lab has never been."""

    command: Path
    home: Path
    here: Path

    @property
    def cache(self) -> Path:
        return self.home / ".cache" / "wsgilab"

    def __call__(self, *words: str) -> Ended:
        own = {"HOME": str(self.home), "XDG_CACHE_HOME": "", "PYTHONPATH": ""}
        finished = subprocess.run(
            [self.command, *words],
            cwd=self.here,
            env={**os.environ, **own},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=240,
            check=False,
        )
        return Ended(code=finished.returncode, output=finished.stdout)


@pytest.fixture
def user(command: Path, stacks: Path, tmp_path: Path) -> Iterator[User]:
    """After the test nothing of the lab's may run or stand."""
    made = User(command=command, home=tmp_path / "home", here=tmp_path / "here")
    made.here.mkdir()
    # Installed already, which takes a package index and minutes otherwise.
    (made.cache / "state").mkdir(parents=True)
    (made.cache / "state" / "stacks").symlink_to(stacks)
    yield made
    assert leftovers(commands.workspace({"LAB_STATE": str(made.cache / "state")})) == []


def test_an_installed_lab_measures_from_an_empty_folder(user: User, tmp_path: Path) -> None:
    listed = user("list")
    assert listed.code == 0, listed.output
    assert (
        listed.output
        == subprocess.run(
            [sys.executable, "-m", "invoke", "lab.list"],
            cwd=commands.PROJECT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    )
    assert list(user.here.iterdir()) == []

    (tmp_path / "tiny.yaml").write_text(TINY)
    ran = user("run", "--runtime", "local", "--experiment", "../tiny.yaml")
    assert ran.code == 0, ran.output
    assert [each.name for each in user.here.iterdir()] == ["results"]
    folder = (user.here / "results" / "latest").resolve()
    assert {each.name for each in (user.here / "results").iterdir()} == {"latest", folder.name}
    assert f"results/{folder.name}/comparison.md" in ran.output
    assert "gunicorn-sync-1     1 of 1" in ran.output

    run = yaml.safe_load((folder / "run.yaml").read_text())
    assert run["origin"]["revision"] is None
    assert run["origin"]["dirty"] is None
    assert set(run["origin"]["files"]) == {"application", "Locust files", "generator", "locks"}
    assert all(run["origin"]["files"].values())
    again = f"wsgilab run --experiment results/{folder.name}/experiment.yaml --runtime local --seed {run['seed']}"
    assert f"    {again}\n" in (folder / "comparison.md").read_text()
    for written in ("comparison.md", "experiment.yaml", "report.html"):
        assert "invoke" not in (folder / written).read_text().replace("invoke 3", ""), "but for Invoke's own version"

    # Of the user's own, nothing else was touched.
    assert [each.name for each in user.home.iterdir()] == [".cache"]
    assert [each.name for each in user.cache.parent.iterdir()] == ["wsgilab"]
    (laid_out,) = user.cache.glob(f"{__version__}-*")
    assert {each.name for each in user.cache.iterdir()} == {laid_out.name, "lock", "state"}
    assert (laid_out / "services" / "Dockerfile").is_file()
    assert (laid_out / "wsgilab" / "load" / "driver.py").is_file()

    cleaned = user("clean")
    assert cleaned.code == 0, cleaned.output
    assert [each.name for each in user.cache.iterdir()] == ["lock"]
    assert (folder / "run.yaml").is_file()


def test_new_files_are_written_here_and_the_labs_own_are_found(user: User) -> None:
    written = user("new-experiment", "mine")
    assert written.output == "Wrote mine.yaml. Run it with: wsgilab run --experiment mine.yaml\n"
    assert [each.name for each in user.here.iterdir()] == ["mine.yaml"]
    schema = (user.here / "mine.yaml").read_text().splitlines()[0].partition("$schema=")[2]
    assert Path(schema).is_file()

    asked = user("run", "--runtime", "local", "--experiment", "experiments/worker.yaml")
    assert asked.code == 2
    assert asked.lines[-1].endswith("did you mean experiments/workers.yaml?")
    # That one is found: what is refused is its combination with another option.
    found = user("run", "--runtime", "local", "--experiment", "experiments/workers.yaml", "--blocks", "0")
    assert found.code == 2
    assert "blocks" in found.lines[-1]


def test_the_interactive_lab_names_the_command_too(user: User) -> None:
    words = ("--runtime", "local", "--servers", "gunicorn-sync-1", "--no-backends", "--port", "0")
    up = user("up", *words)
    try:
        assert up.code == 0, up.output
        assert up.lines[-1] == "End it all with: wsgilab down"
    finally:
        down = user("down")
    assert down.output == "Ended 2 processes or containers.\n"
    assert list(user.here.iterdir()) == []
