"""What several suites share: the runtimes, on a state of their own so that no lab of the user's is touched."""

import contextlib
import fcntl
import functools
import os
import shutil
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import psutil
import pytest

from wsgilab import commands
from wsgilab.commands import Workspace
from wsgilab.run.testbed import choose_runtime
from wsgilab.run.workspace import read_backends, read_catalogue
from wsgilab.runtime import engine
from wsgilab.runtime.engine import Engine, NoEngine
from wsgilab.runtime.local import MARK
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


@functools.cache
def has_engine() -> bool:
    return isinstance(engine.find(), Engine)


def processes(workspace: Workspace) -> list[psutil.Process]:
    """Those of a lab that run on this machine; PostgreSQL's name the folder of their cluster instead."""
    return [
        each
        for each in psutil.process_iter(["environ", "status", "cmdline"])
        if (each.info["environ"] or {}).get(MARK) == workspace.lab_id
        or any(workspace.lab_id in word for word in each.info["cmdline"] or [])
        if each.info["status"] != psutil.STATUS_ZOMBIE
    ]


@contextlib.contextmanager
def containers(workspace: Workspace, service: str | None = None) -> Iterator[list[Any]]:
    """Those of a lab that run, all of them or those of one service."""
    with contextlib.closing(docker.from_env()) as client:
        labels = [f"wsgilab.lab={workspace.lab_id}"] + ([f"com.docker.compose.service={service}"] if service else [])
        yield client.containers.list(filters={"label": labels}, ignore_removed=True)


def leftovers(workspace: Workspace) -> list[str]:
    """Every process, container, network and temporary folder of a lab."""
    found = [" ".join(each.info["cmdline"] or []) for each in processes(workspace)]
    if has_engine():
        with contextlib.closing(docker.from_env()) as client:
            names = [str(each.name) for each in client.containers.list(all=True, ignore_removed=True)]
            names += [str(each.name) for each in client.networks.list()]
        found += [name for name in names if workspace.lab_id in name]
    temporary = (Path(tempfile.gettempdir()), Path("/dev/shm"))
    return found + [str(path) for folder in temporary for path in folder.glob(f"wsgilab-{workspace.lab_id}-*")]


CONTAINER_STACKS = {"gunicorn", "gunicorn-gevent", "gunicorn-nginx", "gunicorn-tornado", "gunicorn25-eventlet"}
"""Those of which servers run in containers too. The others are run by the same words as processes."""


def copy_checkout(folder: Path) -> Path:
    """What the lab's runtimes need of this checkout, in `folder`, to be changed there."""
    for name in ("compose", "services", "locustfiles", "wsgilab"):
        shutil.copytree(commands.PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(commands.PROJECT / ".dockerignore", folder)
    return folder


def prepare(workspace: Workspace, runtime: str) -> None:
    """Install everything in the catalogue; in containers, what is run there."""
    made, _ = choose_runtime(workspace, runtime)
    every = read_catalogue(workspace).values()
    servers = [each for each in every if runtime == "local" or each.stack in CONTAINER_STACKS]
    made.prepare(servers, read_backends(workspace).values(), print)


@pytest.fixture(scope="session")
def stacks(pytestconfig: pytest.Config) -> Path:
    """Every stack, installed once for all processes and test runs of this checkout: a new lock makes a new folder there."""
    folder = pytestconfig.cache.mkdir("lab")
    with (folder / "installing").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        prepare(commands.workspace({"LAB_STATE": str(folder)}), "local")
    return folder / "stacks"


@pytest.fixture(scope="session")
def make_state(stacks: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes the folder of a lab's state that no other test uses, with every stack in it."""

    def make(name: str) -> Path:
        state = tmp_path_factory.mktemp(name)
        (state / "stacks").symlink_to(stacks)
        return state

    return make


@pytest.fixture(scope="session")
def state(make_state: Callable[[str], Path]) -> Path:
    """The lab's state for the tests of this process."""
    return make_state("state")


@pytest.fixture(scope="session")
def session_places(state: Path) -> Workspace:
    return commands.workspace({"LAB_STATE": str(state)})


@pytest.fixture(scope="session", params=RUNTIMES)
def runtime(request: pytest.FixtureRequest, session_places: Workspace) -> Iterator[Runtime]:
    """Each runtime in turn, everything in the catalogue installed. Whatever the tests leave behind is ended."""
    require(request.param)
    prepare(session_places, request.param)
    made, _ = choose_runtime(session_places, request.param)
    yield made
    made.sweep()
