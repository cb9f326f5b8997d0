"""The lab as a user runs it: `invoke` in a process of its own, its results in a folder of the test's."""

import contextlib
import functools
import http.client
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import docker
import psutil
import pytest
import yaml

from tests.conftest import RUNTIMES, require
from tests.e2e import machines
from tests.e2e.machines import Machine
from wsgilab import commands
from wsgilab.commands import Workspace
from wsgilab.runtime import engine
from wsgilab.runtime.engine import Engine
from wsgilab.runtime.local import MARK
from wsgilab.session import state_file

HERE = Path(__file__).parent


@functools.cache
def has_engine() -> bool:
    return isinstance(engine.find(), Engine)


@dataclass(kw_only=True)
class Ended:
    """A command that has ended, and what a person saw."""

    code: int
    output: str

    @property
    def lines(self) -> list[str]:
        return self.output.splitlines()


@dataclass(kw_only=True)
class Cli:
    """`invoke` with the test's own places."""

    workspace: Workspace
    runtime: str
    variables: dict[str, str] = field(default_factory=dict)

    def start(
        self, *words: str, project: Path = commands.PROJECT, python: Sequence[str] = (), terminal: int | None = None
    ) -> "subprocess.Popen[str]":
        """`python`: its own options. `terminal`: a descriptor of one, for the command to be at."""
        environment = {
            **os.environ,
            "LAB_STATE": str(self.workspace.state),
            "LAB_RESULTS": str(self.workspace.results),
            "LAB_CATALOGUE": str(self.workspace.catalogue),
            **self.variables,
        }
        return subprocess.Popen(
            [*([] if terminal is None else ["setsid", "--ctty"]), sys.executable, *python, "-m", "invoke", *words],
            cwd=project,
            env=environment,
            stdin=subprocess.DEVNULL if terminal is None else terminal,
            stdout=subprocess.PIPE if terminal is None else terminal,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __call__(self, *words: str, seconds: float = 110) -> Ended:
        with self.start(*words) as child:
            output, _ = child.communicate(timeout=seconds)
        return Ended(code=child.returncode, output=output)

    def run(self, *words: str, experiment: str = "small.yaml") -> Ended:
        return self("lab.run", "--runtime", self.runtime, "--experiment", str(HERE / experiment), *words)

    @property
    def latest(self) -> Path:
        return (self.workspace.results / "latest").resolve()

    def comparison(self) -> dict[str, Any]:
        loaded: dict[str, Any] = yaml.safe_load((self.latest / "comparison.yaml").read_text())
        return loaded

    def up(self, *words: str, servers: str = "gunicorn-sync-4") -> Ended:
        """The interactive lab, its web UI at any free port."""
        return self("lab.up", "--runtime", self.runtime, "--servers", servers, "--port", "0", *words)

    def standing(self) -> state_file.SessionState:
        """What the state file says is up."""
        found = state_file.read(self.workspace.state)
        assert found is not None
        return found

    def targets(self) -> list["psutil.Process"]:
        """The processes of the lab's own servers, swarm, keeper and web UI, on this machine."""
        return [
            each
            for each in psutil.process_iter(["environ", "status", "cmdline"])
            if (each.info["environ"] or {}).get(MARK) == self.workspace.lab_id
            and each.info["status"] != psutil.STATUS_ZOMBIE
        ]

    def leftovers(self) -> list[str]:
        """Everything of this lab that still runs or stands: processes, containers, networks, logs, what is said up."""
        found = [" ".join(each.info["cmdline"] or []) for each in self.targets()]
        if has_engine():
            with contextlib.closing(docker.from_env()) as client:
                names = [str(each.name) for each in client.containers.list(all=True, ignore_removed=True)]
                names += [str(each.name) for each in client.networks.list()]
            found += [name for name in names if self.workspace.lab_id in name]
        found += [str(path) for path in (self.workspace.state / "logs").glob("*")]
        found += [str(path) for path in Path(tempfile.gettempdir()).glob(f"wsgilab-{self.workspace.lab_id}-*")]
        return found + [str(path) for path in self.workspace.state.glob("*up.json*")]

    def assert_nothing_left(self) -> None:
        """And if there is something, no other test shall suffer from it."""
        left = self.leftovers()
        if left:
            self("lab.down")
        assert left == []


BUILT = """
  {trait}:
    <<: *server
    command: [python, "{script}", {trait}]
    x-lab: {{slots: {slots}, processes: {processes}, model: threads, summary: built for a test}}
"""
END_OF_SERVERS = "\n# Read at build time only"


def with_servers(cli: Cli, folder: Path, stanzas: str) -> None:
    """Give the lab a catalogue, in `folder`, that has the servers of `stanzas` too."""
    text = cli.workspace.catalogue.read_text()
    assert text.count(END_OF_SERVERS) == 1
    catalogue = folder / "servers.yaml"
    catalogue.write_text(text.replace(END_OF_SERVERS, stanzas + END_OF_SERVERS))
    cli.variables["LAB_CATALOGUE"] = str(catalogue)


def built(trait: str, slots: int, processes: int = 1) -> str:
    """The stanza of a server of `built.py`, which has these slots and processes indeed."""
    return BUILT.format(trait=trait, script=HERE / "built.py", slots=slots, processes=processes)


def wait_for(condition: Callable[[], object], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not happen within {seconds:.0f} s")
        time.sleep(0.05)


def observations(folder: Path) -> list[bytes]:
    """The lines of a run's journal that are whole."""
    path = folder / "observations.jsonl"
    return path.read_bytes().split(b"\n")[:-1] if path.exists() else []


def end(child: "subprocess.Popen[str]", signum: signal.Signals) -> Ended:
    child.send_signal(signum)
    output, _ = child.communicate(timeout=60)
    return Ended(code=child.returncode, output=output)


@dataclass(kw_only=True)
class Terminal:
    """A terminal of a test's own, and the command that is at it."""

    child: "subprocess.Popen[str]"
    master: int
    seen: str = ""

    def wait_for(self, condition: Callable[[], object], what: str) -> None:
        """Reads on meanwhile, as a terminal does."""

        def reached() -> object:
            while select.select([self.master], [], [], 0)[0]:
                self.seen += os.read(self.master, 4096).decode(errors="replace")
            return condition() or self.child.poll() is not None

        wait_for(reached, what)
        assert condition(), self.seen

    def hang_up(self) -> None:
        """As when its window is closed."""
        os.close(self.master)


@contextlib.contextmanager
def at_a_terminal(cli: Cli, *words: str) -> Iterator[Terminal]:
    """A command at a terminal of its own."""
    master, slave = os.openpty()
    with cli.start(*words, terminal=slave) as child:
        os.close(slave)
        try:
            yield Terminal(child=child, master=master)
        finally:
            child.kill()


def kill_target(cli: Cli, server: str, argument: str) -> None:
    """SIGKILL to a container of the lab by its service, or to its processes by a word of their command."""
    if cli.runtime == "compose":
        client = docker.from_env()
        for container in client.containers.list(
            filters={"label": f"wsgilab.lab={cli.workspace.lab_id}"}, ignore_removed=True
        ):
            if container.labels["com.docker.compose.service"] == server:
                container.kill()
        client.close()
        return
    victims = [each for each in cli.targets() if argument in each.info["cmdline"]]
    assert victims
    for each in victims:
        each.kill()


@dataclass(kw_only=True)
class Answer:
    """What an HTTP server answered."""

    status: int
    headers: Mapping[str, str]
    body: str


def fetch(url: str, form: Mapping[str, str] | None = None, **headers: str) -> Answer:
    """One GET, or a POST of `form`, without following redirects."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    try:
        if form is None:
            connection.request("GET", urlsplit(url).path, headers=headers)
        else:
            headers |= {"Content-Type": "application/x-www-form-urlencoded"}
            connection.request("POST", urlsplit(url).path, urlencode(form), headers)
        answer = connection.getresponse()
        return Answer(status=answer.status, headers=dict(answer.headers), body=answer.read().decode())
    finally:
        connection.close()


def make_cli(runtime: str, state: Path, results: Path, **variables: str) -> Cli:
    named: Mapping[str, str] = {"LAB_STATE": str(state), "LAB_RESULTS": str(results)}
    return Cli(workspace=commands.workspace(named), runtime=runtime, variables=dict(variables))


@pytest.fixture(params=RUNTIMES)
def cli(request: pytest.FixtureRequest, state: Path, tmp_path: Path) -> Iterator[Cli]:
    """The command line in each runtime. After the test nothing of it may run or stand."""
    require(request.param)
    made = make_cli(request.param, state, tmp_path / "results")
    yield made
    made.assert_nothing_left()


@pytest.fixture
def local(state: Path, tmp_path: Path) -> Iterator[Cli]:
    """The command line in the runtime that every machine has, for what does not depend on it."""
    made = make_cli("local", state, tmp_path / "results")
    yield made
    made.assert_nothing_left()


@pytest.fixture(scope="session")
def beta() -> Iterator[Machine]:
    """A second machine."""
    with machines.brought_up("beta") as machine:
        yield machine


@pytest.fixture(scope="session")
def gamma() -> Iterator[Machine]:
    """A third."""
    with machines.brought_up("gamma") as machine:
        yield machine
