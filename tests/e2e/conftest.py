"""The lab as a user runs it: `invoke`, its results in a folder of the test's."""

import contextlib
import http.client
import io
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

import psutil
import pytest
import yaml
from invoke.program import Program
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests.conftest import RUNTIMES, containers, leftovers, processes, require
from tests.e2e import machines
from tests.e2e.machines import Machine
from tests.e2e.uncharted import formats as uncharted
from wsgilab import commands
from wsgilab.commands import Workspace
from wsgilab.model.errors import TrialsFailed
from wsgilab.session import state_file

HERE = Path(__file__).parent


def scope(nodeid: str) -> str:
    """Tests that share what is up: those of a file in the same runtime, and those on several machines."""
    file, *words = re.split(r"::|[\[\]-]", nodeid)
    runtime = next((each for each in RUNTIMES if each in words), "")
    # A user's own application, in several files: its images belong to one run at a time.
    if "test_own_image" in file:
        return "test_application.py compose"
    return "machines" if "test_site" in file else f"{Path(file).name} {runtime}".strip()


class ByWhatIsShared(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Tests of one scope run in one process."""

    def _split_scope(self, nodeid: str) -> str:
        return scope(nodeid)


LONGEST = (
    *(
        "machines",
        "test_runtime.py compose",
        "test_up.py local",
        "test_application.py compose",
        "test_faults.py compose",
    ),
    *("test_bad_input.py", "test_generator.py", "test_run.py local", "test_run.py compose", "test_claims.py"),
    *("test_runtime.py local", "test_tune.py", "test_up.py compose", "test_faults.py local"),
    *("test_application.py local", "test_up_ends.py", "test_backends.py local", "test_laptop.py"),
)
"""Scopes that take more than half a minute, longest first. Those that are not here are last: short ones fill what is left."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest in one process begins first, so that all end together."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(scope(item.nodeid), len(LONGEST)))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByWhatIsShared:
    return ByWhatIsShared(config, log)


STARVED = ("no answer within the window", "the window ended before", "what was to be done")
"""How the reason begins for which a trial fails whose server, or whose lab, had no CPU for its whole window."""
STARVED_AT_MOST = 3
"""How often at most a test measures again what a busy machine spoilt."""


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
    charts: bool = False
    """Whether runs have a report, with charts, which takes two seconds of computing."""

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables that the command has, beside this process' own."""
        return {
            "LAB_STATE": str(self.workspace.state),
            "LAB_RESULTS": str(self.workspace.results),
            "LAB_CATALOGUE": str(self.workspace.catalogue),
            **({} if self.charts else {"PYTHONPATH": str(HERE / "uncharted")}),
            **self.variables,
        }

    def start(self, *words: str, python: Sequence[str] = (), terminal: int | None = None) -> "subprocess.Popen[str]":
        """In a process of its own. `python`: its own options. `terminal`: a descriptor of one, for the command to be at."""
        return subprocess.Popen(
            [*([] if terminal is None else ["setsid", "--ctty"]), sys.executable, *python, "-m", "invoke", *words],
            cwd=commands.PROJECT,
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL if terminal is None else terminal,
            stdout=subprocess.PIPE if terminal is None else terminal,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def in_own_process(self, *words: str, seconds: float = 240) -> Ended:
        """As `start`, to its end."""
        with self.start(*words) as child:
            output, _ = child.communicate(timeout=seconds)
        return Ended(code=child.returncode, output=output)

    def __call__(self, *words: str) -> Ended:
        """In this process, to its end: a new one needs a second of computing to import the lab."""
        said = io.StringIO()
        code: Any = 0
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
        ):
            for name, value in self.environment.items():
                patch.setenv(name, value)
            if not self.charts:
                patch.setitem(sys.modules, "wsgilab.report.formats", uncharted)
            try:
                Program(binary="invoke").run(["invoke", *words])
            except SystemExit as ended:
                code = ended.code or 0
        return Ended(code=code, output=said.getvalue())

    def run(self, *words: str, experiment: str = "small.yaml") -> Ended:
        words = ("--runtime", self.runtime, "--experiment", str(HERE / experiment), *words)
        return self.gone_on_with(self("lab.run", *words))

    def gone_on_with(self, ended: Ended) -> Ended:
        """The end of a run, after the trials that failed because nobody got to do anything in their windows were repeated."""
        for _ in range(STARVED_AT_MOST):
            if ended.code != TrialsFailed.exit_code or not self._was_starved():
                break
            ended = self.resume()
        return ended

    def resume(self) -> Ended:
        return self("lab.run", "--resume", "latest")

    def _was_starved(self) -> bool:
        rows = [json.loads(row) for row in observations(self.latest)]
        return all(row["reason"].startswith(STARVED) for row in rows if row["status"] == "failed")

    @property
    def latest(self) -> Path:
        return (self.workspace.results / "latest").resolve()

    def comparison(self) -> dict[str, Any]:
        loaded: dict[str, Any] = yaml.safe_load((self.latest / "comparison.yaml").read_text())
        return loaded

    def up(self, *words: str, servers: str = "gunicorn-sync-4") -> Ended:
        """The interactive lab, its web UI at any free port."""
        # Its process has to end, as it does for a user: else the lab that stays up would be a child of the tests.
        return self.in_own_process("lab.up", "--runtime", self.runtime, "--servers", servers, "--port", "0", *words)

    def session(self) -> state_file.SessionState:
        """What the state file says is up."""
        found = state_file.read(self.workspace.state)
        assert found is not None
        return found

    def leftovers(self) -> list[str]:
        """Everything of this lab that still runs or stands: also logs, and what is said to be up."""
        found = [*leftovers(self.workspace), *map(str, (self.workspace.state / "logs").glob("*"))]
        return found + [str(path) for path in self.workspace.state.glob("*up.json*")]

    def assert_nothing_left(self) -> None:
        """And if there is something, no other test shall suffer from it."""
        left = self.leftovers()
        if left:
            self("lab.down")
        assert left == []


def web_ui(cli: Cli, *words: str) -> str:
    """Bring the interactive lab up, without backends; the URL of the lab's tab in its web UI."""
    ended = cli.in_own_process("lab.up", "--runtime", cli.runtime, "--no-backends", "--port", "0", *words)
    assert ended.code == 0, ended.output
    assert "ackends" not in ended.output
    found = re.search(r"http://127\.0\.0\.1:\d+/\?tab=lab", ended.output)
    assert found, ended.output
    return found[0]


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


Found = TypeVar("Found")


def wait_for(condition: Callable[[], Found], what: str, seconds: float = 240) -> Found:
    """What `condition` has found, when it is true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not happen within {seconds:.0f} s")
        time.sleep(0.05)
    return found


def is_disturbed(cell: Mapping[str, Any]) -> bool:
    """Whether others took so much of a cell's cores that the lab itself concludes nothing from its figures."""
    return "neighbour" in cell["broken_gates"]


def filled(
    found: Mapping[str, dict[str, Any]],
    slots: Mapping[str, int],
    measure: Callable[[Sequence[str]], Mapping[str, dict[str, Any]]],
) -> Mapping[str, int]:
    """The most requests at once in each of the cells `found` that has so many `slots`. A busy machine may leave some empty for as long as
    a window is: such cells are measured again, by `measure`."""
    peaks = {name: found[name]["in_flight"]["peak"] for name in slots}
    for _ in range(STARVED_AT_MOST):
        short = sorted(name for name, count in slots.items() if peaks[name] < count)
        if not short:
            break
        again = measure(short)
        peaks |= {name: max(peaks[name], again[name]["in_flight"]["peak"]) for name in short}
    return peaks


def observations(folder: Path) -> list[bytes]:
    """The lines of a run's journal that are whole."""
    path = folder / "observations.jsonl"
    return path.read_bytes().split(b"\n")[:-1] if path.exists() else []


def under_way(cli: Cli, *words: str, trials: int = 1, seconds: float = 240) -> "subprocess.Popen[str]":
    """`lab.run` with these words, when it has recorded so many trials more than before."""
    wanted = len(observations(cli.latest)) + trials
    child = cli.start("lab.run", *words)
    wait_for(lambda: len(observations(cli.latest)) >= wanted or child.poll() is not None, "a trial", seconds)
    assert child.poll() is None, child.communicate()[0]
    return child


def end(child: "subprocess.Popen[str]", signum: signal.Signals) -> Ended:
    child.send_signal(signum)
    output, _ = child.communicate(timeout=120)
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
        with containers(cli.workspace, server) as found:
            for each in found:
                each.kill()
        return
    victims = [each for each in processes(cli.workspace) if argument in each.info["cmdline"]]
    assert victims
    for each in victims:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()


@dataclass(kw_only=True)
class Answer:
    """What an HTTP server answered."""

    status: int
    headers: Mapping[str, str]
    body: str


def fetch(url: str, form: Mapping[str, str] | None = None, **headers: str) -> Answer:
    """One GET, or a POST of `form`, without following redirects."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
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
