"""One run from its beginning to what comes of it, on a fake lane: how it ends, and what is said then."""

import contextlib
import hashlib
import io
import itertools
import re
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import pytest
from rich.console import Console

from tests.unit.checkout import git
from tests.unit.lanes import lane as record_of
from wsgilab import commands, testing
from wsgilab.analysis.ab.checks import parse_limit
from wsgilab.commands import Workspace, compared, stored
from wsgilab.experiment.versions import doubled, settings_of
from wsgilab.model import Comparison, Experiment, Interval, Server, TrialReport, TrialSpec
from wsgilab.model.application import Application, LocustFile, Request, Version
from wsgilab.model.errors import HostError, Interrupted, LabError, LimitBreached, StoreError, TargetError
from wsgilab.report import formats
from wsgilab.report.comparison import comparison_yaml
from wsgilab.report.experiment import experiment_yaml
from wsgilab.report.markdown import comparison_md
from wsgilab.results.store import Store
from wsgilab.run import prepare, probe, runner, startup
from wsgilab.run.lane import Lane
from wsgilab.run.options import RunOptions
from wsgilab.run.testbed import Testbed
from wsgilab.run.workspace import with_catalogue
from wsgilab.runtime import source, versions
from wsgilab.system import host
from wsgilab.system.cpus import Layout


class FakeRuntime:
    """What of a runtime is asked for beside its fleets."""

    name = "local"
    versions: Mapping[str, str] = MappingProxyType({})

    def __init__(self) -> None:
        self.sweeps = 0
        self.locks: dict[str, str] = {}

    def sweep(self) -> int:
        self.sweeps += 1
        return 0

    def is_here(self) -> bool:
        return False

    def other_labs(self) -> list[str]:
        return []

    def identify(self, application: Application, *_: object) -> Mapping[str, str]:
        return source.recorded(source.read(application))


def nothing() -> None: ...


@dataclass(kw_only=True)
class Lab:
    """A run of two servers that takes no time, and what is to happen meanwhile."""

    workspace: Workspace
    experiment: Experiment
    swarm: testing.FakeSwarm
    at_the_end: Callable[[], None] = nothing
    """While all that was started is being ended."""
    runtime: FakeRuntime = field(default_factory=FakeRuntime)
    events: list[str] = field(default_factory=list)
    said: io.StringIO = field(default_factory=io.StringIO)
    left_out: list[set[str]] = field(default_factory=lambda: [set()])
    """Servers that do not get ready, for each lane."""
    given: tuple[object, ...] = ()
    """The application and the locks that a lane was started with."""

    def run(
        self,
        conclude: Callable[[Store, Console], Comparison] | None = None,
        task: str = "lab.run",
        resume: str | None = None,
        app: str | None = None,
    ) -> Comparison:
        console = Console(file=self.said, width=2000)
        return runner.run(
            RunOptions(task=task, seed=None if resume else 1, resume=resume, app=app),
            lambda _servers, _testbed: self.experiment,
            conclude or self.conclude,
            console,
            self.workspace,
        )

    def conclude(self, store: Store, console: Console) -> Comparison:
        self.events.append("concluded")
        return stored.conclude(store, console)

    @property
    def lines(self) -> list[str]:
        return self.said.getvalue().splitlines()

    @property
    def folder(self) -> Path:
        return (self.workspace.results / "latest").resolve()


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    workspace = commands.workspace({"LAB_STATE": str(tmp_path / "state"), "LAB_RESULTS": str(tmp_path / "results")})
    cells = [testing.cell("gunicorn-sync-1"), testing.cell("gunicorn-sync-4")]
    found = Lab(workspace=workspace, experiment=testing.experiment(*cells, blocks=2), swarm=testing.FakeSwarm())
    layout = Layout(servers={1: frozenset({0})}, generator=frozenset({1}), backends=frozenset(), notes=())
    testbed = Testbed(runtime=found.runtime, host=host.fingerprint())  # type: ignore[arg-type]

    @contextlib.contextmanager
    def opened(*_: object) -> Iterator[list[Testbed]]:
        yield [testbed] * len(found.left_out)

    lanes = itertools.count()

    @contextlib.contextmanager
    def start_lane(
        _testbed: Testbed,
        _layout: Layout,
        fleets: dict[int, list[Server]],
        _backends: object,
        _say: object,
        *given: object,
    ) -> Iterator[Lane]:
        found.given = given
        number = next(lanes) % len(found.left_out)
        with testing.fake_fleet([each for each in fleets[1] if each.name not in found.left_out[number]]) as fleet:
            started = startup.Started(
                runtime=testbed.runtime,
                layout=layout,
                fleets={1: fleet},
                digests={each.installed_as: "sha256:0" for each in fleets[1]},
            )
            try:
                record = record_of(f"m{number}") if len(found.left_out) > 1 else None
                machine = "" if record is None else record.targets.name
                yield Lane(started=started, swarm=found.swarm, machine=machine, record=record)
            finally:
                found.events.append("ended")
        found.at_the_end()

    monkeypatch.setattr(prepare, "open_testbeds", opened)
    monkeypatch.setattr(runner, "start_lane", start_lane)
    monkeypatch.setattr(Testbed, "lay_out", lambda *_, **__: layout)
    # Other formats take longer, and are nothing that a run knows of.
    monkeypatch.setattr(formats, "FORMATS", {"yaml": comparison_yaml})
    return found


def test_what_comes_of_it_is_written_when_all_has_ended(made: Lab) -> None:
    comparison = made.run()

    assert made.events == ["ended", "concluded"]
    assert comparison.measured == 4
    assert (made.folder / "comparison.yaml").exists()


@pytest.mark.parametrize(
    ("when", "signum"),
    [
        *(("in a trial", each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)),
        ("while it is ended", signal.SIGTERM),
        ("while it is concluded", signal.SIGTERM),
    ],
)
def test_whatever_signal_ends_it_when_what_was_measured_is_compared(
    made: Lab, when: str, signum: signal.Signals
) -> None:
    def in_a_trial(_: TrialSpec) -> TrialReport:
        if len(made.swarm.specs) == 3:
            signal.raise_signal(signum)
        return testing.trial_report()

    def conclude(store: Store, console: Console) -> Comparison:
        if not made.events.count("concluded"):
            made.events.append("concluded")
            signal.raise_signal(signum)
        return stored.conclude(store, console)

    if when == "in a trial":
        made.swarm.answer = in_a_trial
    elif when == "while it is ended":
        made.at_the_end = lambda: signal.raise_signal(signum)
    with pytest.raises(Interrupted) as ended:
        made.run(conclude if when == "while it is concluded" else None)

    assert ended.value.exit_code == 128 + signum
    # Before it starts, and once more: a signal may come between the start of a process and the note that it was started.
    assert made.runtime.sweeps == (1 if when == "while it is concluded" else 2)
    assert made.events == ["ended", "concluded"]
    measured = 2 if when == "in a trial" else 4
    assert re.search(rf"\bmeasured: {measured}\b", (made.folder / "comparison.yaml").read_text())


def test_a_hang_up_that_was_ignored_stays_so(made: Lab) -> None:
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        made.at_the_end = lambda: signal.raise_signal(signal.SIGHUP)
        assert made.run().measured == 4
    finally:
        signal.signal(signal.SIGHUP, before)


# --- a full disk


def full(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(self: Store, files: dict[str, bytes]) -> None:
        raise StoreError(f"{self.folder / next(iter(files))}: cannot be written (No space left on device)")

    monkeypatch.setattr(Store, "write", write)


@pytest.mark.parametrize(("task", "again"), [("lab.run", "lab.report"), ("lab.claims", "lab.claims")])
def test_a_disk_that_is_full_at_the_end_loses_nothing_and_how_to_go_on_is_said(
    made: Lab, monkeypatch: pytest.MonkeyPatch, task: str, again: str
) -> None:
    made.at_the_end = lambda: full(monkeypatch)
    with pytest.raises(StoreError) as caught:
        made.run(task=task)

    told = caught.value.message
    assert "comparison.yaml: cannot be written (No space left on device); all is measured and nothing is lost" in told
    assert f"invoke {again} --run {made.folder.name} finishes it" in told
    monkeypatch.undo()
    assert stored.report(made.folder.name, Console(file=io.StringIO()), made.workspace).measured == 4


def test_a_disk_that_is_full_before_the_end_does_not_hide_what_ended_it(
    made: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: TrialSpec) -> TrialReport:
        if len(made.swarm.specs) == 3:
            full(monkeypatch)
            raise LabError("the generator is lost")
        return testing.trial_report()

    made.swarm.answer = fails
    with pytest.raises(LabError, match="the generator is lost"):
        made.run()

    unwritten, early = made.lines[-2:]
    assert "are not written: " in unwritten
    assert "No space left on device" in unwritten
    assert unwritten.endswith(f"invoke lab.report --run {made.folder.name}")
    assert early.endswith(f"Go on with: invoke lab.run --resume {made.folder.name}")


# --- how it ends with precision


def test_a_run_that_ends_at_its_most_blocks_says_what_is_not_settled(made: Lab) -> None:
    rates = iter(range(1000))

    def scattered(_: TrialSpec) -> TrialReport:
        rate = 20.0 + 10 * (next(rates) % 3)
        return testing.trial_report(throughput_rps=rate, latency_mean_ms=32_000 / rate)

    made.swarm.answer = scattered
    made.experiment = testing.experiment(*made.experiment.cells, blocks=4, precision=0.001, max_blocks=5)
    made.run()

    assert made.lines[-1].startswith(
        "Ended at max_blocks, 5, with what is neither decided nor known to 0.001 yet: gunicorn-sync-4, sleep, 32 users, "
        "close, 1 core. "
    )


def test_a_run_that_is_settled_says_nothing_of_it(made: Lab) -> None:
    made.experiment = testing.experiment(*made.experiment.cells, blocks=7, precision=0.5, max_blocks=8)
    made.run()

    assert "max_blocks" not in made.said.getvalue()


def test_a_run_whose_budget_has_nothing_more_to_decide_ends_and_says_what_is_left(made: Lab) -> None:
    made.experiment = testing.experiment(*made.experiment.cells, blocks=2, budget_s=60.0)
    assert made.run().measured == 4

    assert "- The budget of 60 s has decided 0 of 1 comparisons." in made.lines
    assert "- Too close to tell in any reasonable time: 1." in made.lines
    assert b"  decided: 0" in (made.folder / "comparison.yaml").read_bytes()


# --- ports


@pytest.mark.parametrize(("ports", "there"), [("8100", 1), ("8100-8102", 3)])
def test_fewer_ports_than_servers_are_told_before_anything_is_started(made: Lab, ports: str, there: int) -> None:
    cells = [testing.cell(name) for name in ("gunicorn-sync-1", "gunicorn-sync-4", "gunicorn-gevent", "flask-single")]
    made.experiment = testing.experiment(*cells)
    made.workspace = commands.workspace(
        {"LAB_STATE": str(made.workspace.state), "LAB_RESULTS": str(made.workspace.results), "LAB_PORTS": ports}
    )
    with pytest.raises(HostError, match=rf"LAB_PORTS={ports}: 4 ports are needed, .* but the range has {there}; "):
        made.run()
    assert made.events == []


def busy(_: TrialSpec) -> TrialReport:
    """What a trial saw all of whose cores others had."""
    return testing.trial_report(server_busy=1.0, generator_others=9.0)


def test_a_run_that_is_interrupted_while_all_is_disturbed_is_compared_all_the_same(made: Lab) -> None:
    def answer(order: TrialSpec) -> TrialReport:
        if len(made.swarm.specs) == 3:
            raise Interrupted(signal.SIGTERM)
        return busy(order)

    made.swarm.answer = answer
    with pytest.raises(Interrupted):
        made.run()

    assert made.events == ["ended", "concluded"]
    assert "2 of 4 trials measured" in made.lines[-1]


def test_a_run_that_others_disturbed_says_how_to_measure_that_again(made: Lab) -> None:
    made.swarm.answer = busy
    comparison = made.run()

    assert comparison.measured == 4
    assert made.lines[-1] == (
        f"Others disturbed 4 trials. Once they have ended, invoke lab.run --resume {comparison.run.id} measures these again."
    )


def test_where_cores_are_shared_with_other_labs_nothing_is_repeated(made: Lab) -> None:
    made.workspace = replace(made.workspace, share_cores=True)
    made.swarm.answer = busy
    made.experiment = replace(made.experiment, blocks=20)
    comparison = made.run()

    assert len(made.swarm.specs) == comparison.measured == 40
    assert len(Store(made.folder).done(disturbed=True)) == 40


@pytest.fixture
def own(made: Lab, tmp_path: Path) -> Application:
    """An application of the user's own, which the run is of."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "app.py").write_text("app = None\n")
    requests = {"sleep": Request(method="GET", path="/sleep")}
    found = Application(entry="app:app", source=str(tmp_path / "shop"), requests=requests)
    made.experiment = replace(made.experiment, application=found, parameters={"sleep": {}})
    return found


def test_of_an_own_application_source_and_locks_are_kept_and_who_does_not_go_with_it_is_no_part(
    made: Lab, own: Application, tmp_path: Path
) -> None:
    cells = (*made.experiment.cells, testing.cell("gunicorn-gevent"))
    made.experiment = replace(made.experiment, cells=cells)
    made.runtime.locks = {"gunicorn": "flask==3.0.3\n"}
    made.left_out = [{"gunicorn-sync-1", "gunicorn-gevent"}]

    comparison = made.run()
    assert made.given == (own, {}, None)
    assert {each.cell.server for each in comparison.cells} == {"gunicorn-sync-4"}
    assert "The reference gunicorn-sync-1 is left out; the others are compared with gunicorn-sync-4." in made.lines
    stored = Store(made.folder).run()
    assert (stored.experiment.reference, set(stored.servers)) == ("gunicorn-sync-4", {"gunicorn-sync-4"})
    assert set(stored.stacks) == {"gunicorn"}, "as it is when the run goes on"
    assert stored.origin is not None
    assert stored.origin.files["your application"].keys() == {"app.py", "(all files)"}
    assert (made.folder / "locks" / "gunicorn.txt").read_text() == "flask==3.0.3\n"

    made.run(resume="latest")
    assert made.given == (own, made.runtime.locks, None)
    (tmp_path / "shop" / "app.py").write_text("app = 1\n")
    with pytest.raises(StoreError, match=r"your application: app\.py and 1 more changed since it began"):
        made.run(resume="latest")


def test_two_versions_of_an_own_application_are_measured_side_by_side_and_compared(
    made: Lab, own: Application, tmp_path: Path
) -> None:
    shop = tmp_path / "shop"
    for text in ("one", "two"):
        (shop / "app.py").write_text(text)
        git(shop, "init", "-q")
        git(shop, "add", ".")
        git(shop, "commit", "-q", "-m", text)
    revision = versions.find(own, "HEAD~1").commit
    version = Version(
        name="HEAD~1", revision=revision, current="HEAD", current_revision=None, application=settings_of(own)
    )
    made.experiment = doubled(made.experiment, replace(own, against=version), {})
    made.runtime.locks = {"gunicorn": "flask==3.1\n", "gunicorn-against": "flask==3.0\n"}

    comparison = made.run()
    located, *_ = made.given
    assert isinstance(located, Application)
    assert located.against is not None
    there = made.workspace.state / "revision"
    assert located.against.application.source == str(there / ".")
    assert not there.exists(), "once the run has ended"
    kept = Store(made.folder)
    run = kept.run()
    assert run.experiment.application == replace(own, against=version), "as it is when the run goes on"
    assert run.origin is not None
    files = {part: each.get("app.py") for part, each in run.origin.files.items() if part.startswith("your application")}
    assert files == {
        "your application": hashlib.sha256(b"two").hexdigest(),
        "your application against": hashlib.sha256(b"one").hexdigest(),
    }
    assert set(run.stacks) == {"gunicorn", "gunicorn-against"}
    assert set(kept.locks()) == {"gunicorn", "gunicorn-against"}
    assert comparison.versions is not None
    assert [each.cell.server for each in comparison.versions.cells] == ["gunicorn-sync-1", "gunicorn-sync-4"]
    assert (comparison.trials, comparison.measured, len(comparison.cells)) == (8, 8, 2)
    assert all((made.folder / f"against.{each}").exists() for each in ("html", "md", "yaml"))

    made.run(resume="latest")
    assert made.given[1] == made.runtime.locks
    slow = Interval(median=0.9, low=0.8, high=0.95)
    cells = tuple(replace(each, verdict="slower", ratio=slow) for each in comparison.versions.cells)
    slower = replace(comparison.versions, cells=cells)
    with pytest.raises(LimitBreached, match=r"^--fail-on slower=0%: breached by 2 of 2 cells$"):
        compared.judge(slower, parse_limit("slower=0%"), None, Console(file=made.said))


def test_what_one_lane_has_left_out_is_measured_on_none(made: Lab) -> None:
    made.experiment = replace(made.experiment, cells=(*made.experiment.cells, testing.cell("gunicorn-gevent")))
    made.left_out = [{"gunicorn-sync-1"}, {"gunicorn-gevent"}]

    comparison = made.run()

    assert {each.cell.server for each in comparison.cells} == {"gunicorn-sync-4"}
    assert comparison.measured == made.experiment.blocks


def test_a_run_whose_locust_file_or_what_is_beside_it_has_changed_does_not_go_on(
    made: Lab, own: Application, tmp_path: Path
) -> None:
    (tmp_path / "load").mkdir()
    for name in ("shop.py", "users.csv"):
        (tmp_path / "load" / name).write_text("")
    file = LocustFile(path=str(tmp_path / "load" / "shop.py"), files={"shop.py": hashlib.sha256(b"").hexdigest()})
    made.experiment = replace(made.experiment, application=replace(own, locust_files={"browse": file}))

    made.run()
    made.run(resume="latest")
    (tmp_path / "load" / "users.csv").write_text("bob")
    with pytest.raises(StoreError, match=r"your Locust files: load/users\.csv changed since it began; put it back"):
        made.run(resume="latest")


def test_rows_of_the_users_own_are_recorded_and_a_run_goes_on_without_their_file(made: Lab, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("servers: {mine: {extends: gunicorn-gthread-8, options: [--threads=3]}}\n")
    plain, made.workspace = made.workspace, with_catalogue(made.workspace, str(file))
    made.experiment = testing.experiment(testing.cell("mine"), blocks=2)
    comparison = made.run()
    stored = Store(made.folder).run().servers["mine"]
    assert (stored.slots, stored.extends) == (3, "gunicorn-gthread-8")
    assert b"--catalogue mine.yaml" in b"".join(comparison_md(comparison).values())

    file.unlink()
    made.workspace = plain
    made.run(resume="latest")
    assert Store(made.folder).run().servers["mine"] == stored


@pytest.mark.usefixtures("own")
def test_without_an_experiment_a_run_is_planned_and_records_the_plan_which_it_keeps(made: Lab) -> None:
    comparison = made.run(app="app:app")

    first, *trials = made.swarm.specs
    assert (first.users, first.window_s) == (1, probe.PROBE_S)
    planned = Store(made.folder).run().experiment
    assert planned.blocks == 8
    assert [(spec.users, spec.window_s) for spec in trials] == [(32, planned.window_s)] * 16
    assert comparison.measured == 16
    assert f"window_s: {planned.window_s:g}".encode() in b"".join(experiment_yaml(comparison).values())
    assert [line.split(":")[0] for line in made.lines if "rom it:" in line or line.startswith("Probe")] == [
        "Probe",
        "Planned from it",
    ]
    last = "\n".join(made.lines[made.lines.index(f"To look at, in a browser: {made.folder}/report.html") :])
    assert "Which server to run, and why: invoke lab.recommend --run " in last

    made.run(resume="latest")
    assert len(made.swarm.specs) == 17


@pytest.mark.usefixtures("own")
def test_a_plan_for_a_budget_leaves_the_blocks_to_it(made: Lab) -> None:
    made.experiment = replace(made.experiment, blocks=2, budget_s=60.0)
    made.run(app="app:app")

    planned = Store(made.folder).run().experiment
    assert (planned.blocks, planned.budget_s) == (2, 60)
    assert any(line.startswith("Planned from it") and line.endswith(", a budget of 1 min 0 s.") for line in made.lines)


@pytest.mark.usefixtures("own")
def test_answers_that_are_wrong_from_the_first_on_end_a_run_before_it_begins(made: Lab) -> None:
    error = "WrongAnswer: /sleep: not below 400, status 404, body b'Not Found'"
    made.swarm.answer = lambda _: testing.trial_report(completed=0, failures=1, errors={error: 1})
    for app in ("app:app", None):
        with pytest.raises(TargetError, match=r"sleep has no right answer from gunicorn-sync-1.*status 404"):
            made.run(app=app)
    assert not made.workspace.results.exists() or not list(made.workspace.results.iterdir())
