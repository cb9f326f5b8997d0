"""What several suites share: the runtimes, on a state of their own so that no lab of the user's is touched."""

import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from wsgilab import commands
from wsgilab.commands import Workspace
from wsgilab.run.testbed import choose_runtime
from wsgilab.run.workspace import read_backends, read_catalogue
from wsgilab.runtime import engine
from wsgilab.runtime.engine import NoEngine
from wsgilab.runtime.protocol import Runtime

RUNTIMES = ("local", "compose")

# What tests ask is of this machine: a proxy that the environment names is for what is elsewhere.
urllib.request.install_opener(urllib.request.build_opener(urllib.request.ProxyHandler({})))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--renew",
        action="store_true",
        help="write the golden files of tests/golden anew, instead of comparing with them",
    )


def require(runtime: str) -> None:
    """Skip where `compose` has no engine; fail instead where LAB_REQUIRE_DOCKER=1 promises one."""
    if runtime != "compose":
        return
    found = engine.find()
    if isinstance(found, NoEngine):
        if os.environ.get("LAB_REQUIRE_DOCKER") == "1":
            pytest.fail(f"LAB_REQUIRE_DOCKER=1, but {found.reason}")
        pytest.skip(found.reason)


@pytest.fixture(scope="session")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lab's state for this test run: its stacks are installed once."""
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="session")
def session_places(state: Path) -> Workspace:
    return commands.workspace({"LAB_STATE": str(state)})


@pytest.fixture(scope="session", params=RUNTIMES)
def runtime(request: pytest.FixtureRequest, session_places: Workspace) -> Iterator[Runtime]:
    """Each runtime in turn, everything in the catalogue installed. Whatever the tests leave behind is ended."""
    require(request.param)
    made, _ = choose_runtime(session_places, request.param)
    made.prepare(read_catalogue(session_places).values(), read_backends(session_places).values(), print)
    yield made
    made.sweep()
