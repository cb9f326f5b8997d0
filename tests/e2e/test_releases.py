"""`lab.run --release`, as a user has it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.e2e.conftest import Cli
from tests.e2e.test_bad_input import assert_one_line
from wsgilab import commands
from wsgilab.model.errors import BuildError
from wsgilab.model.experiment import RELEASE

pytestmark = pytest.mark.lab

EXPERIMENT = """
name: two-releases
blocks: 1
window_s: 1
generator: shared
workloads: {sleep: {ms: 20}}
cells: [{servers: [gunicorn-sync-1], workloads: [sleep], users: [2]}]
reference: gunicorn-sync-1
"""


@pytest.fixture(autouse=True)
def _removed(local: Cli) -> Iterator[None]:
    """The stacks that a test makes, and none of the developer's; and their environments, which are of this test's folder."""
    stacks = commands.PROJECT / "services" / "stacks"
    before = set(stacks.iterdir())
    yield
    environments = (local.workspace.state / "stacks").glob(f"*{RELEASE}*")
    for made in (*(set(stacks.iterdir()) - before), *environments):
        shutil.rmtree(made)


def test_a_server_runs_on_two_releases_side_by_side(local: Cli, tmp_path: Path) -> None:
    """About ten seconds, most of them for two environments that no other test has."""
    file = tmp_path / "two.yaml"
    file.write_text(EXPERIMENT)
    words = ("--runtime", "local", "--experiment", str(file), "--servers", "gunicorn-sync-1")

    ended = local("lab.run", *words, "--release", "gunicorn=23.0.0,25.3.0")

    assert ended.code == 0, ended.output
    run = yaml.safe_load((local.latest / "run.yaml").read_text())
    names = ["gunicorn-sync-1-23-0-0", "gunicorn-sync-1-25-3-0"]
    assert [cell["server"] for cell in run["experiment"]["cells"]] == names
    assert [run["stacks"][run["servers"][name]["stack"]]["packages"]["gunicorn"] for name in names] == [
        "23.0.0",
        "25.3.0",
    ]

    ended = local("lab.run", *words, "--release", "gunicorn=23.0.0,99.9")
    assert_one_line(ended, "--release gunicorn=99.9: gunicorn 99.9 and the other packages", code=BuildError.exit_code)
