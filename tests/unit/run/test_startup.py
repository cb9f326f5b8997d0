"""What comes before load begins, on fakes."""

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from wsgilab import testing
from wsgilab.model import ApplicationSettings, Backend, Server
from wsgilab.model.application import Application, Version
from wsgilab.model.errors import HostError, TargetError
from wsgilab.run import startup
from wsgilab.run.room import Room
from wsgilab.run.startup import Started
from wsgilab.runtime.protocol import Backends, BeforeMore, Fleet, Target
from wsgilab.system import cpus
from wsgilab.system.cpus import Layout
from wsgilab.testing import FakeTarget

LAYOUT = Layout(
    servers={1: frozenset({0}), 2: frozenset({0, 1})},
    generator=frozenset({2}),
    backends=frozenset({3, 4}),
    notes=("a note",),
)


class FakeRuntime:
    """As much of a runtime as a run tells of."""

    name = "local"
    versions = MappingProxyType({"python": "3.11"})


HOST = testing.run().host


def started() -> Started:
    """Two servers on one core, and one of them on two cores too."""
    fleets = {
        count: {name: FakeTarget(server=testing.server(name), cpus=LAYOUT.servers[count]) for name in names}
        for count, names in ((1, ("one", "two")), (2, ("two",)))
    }
    return Started(runtime=FakeRuntime(), layout=LAYOUT, fleets=fleets, digests={"gunicorn": "sha256:1"})  # type: ignore[arg-type]


def answer(target: Target, page: str) -> str:
    """What a server answers."""
    if page.startswith("/calibrate"):
        return f"{len(page) + (target.server.name == 'two') * 1000}\n"
    told = {"cpus": sorted(target.effective_cpus()), "python": "3.13.0", "packages": {"flask": "3"}}
    return json.dumps({**told, "gil": target.server.name != "two"})


def test_a_run_is_described_by_what_its_targets_tell(tmp_path: Path) -> None:
    experiment = testing.experiment(testing.cell("one", workload="cpu"), testing.cell("two", workload="cpu"))
    servers = {name: testing.server(name) for name in ("one", "two")}

    run = startup.describe(experiment, started(), answer, servers=servers, seed=7, results=tmp_path, host=HOST)

    assert run.experiment == experiment
    assert (run.seed, run.runtime, run.notes) == (7, "local", ("a note",))
    assert (run.server_cpus, run.generator_cpus, run.backend_cpus) == ({1: "0", 2: "0-1"}, "2", "3-4")
    assert run.cpu_iterations == len("/calibrate?ms=2")
    stack = run.stacks["gunicorn"]
    assert (stack.digest, stack.python, stack.packages) == ("sha256:1", "3.13.0", {"flask": "3"})
    assert run.gil == {"one": True, "two": False}
    assert run.packages["python"] == "3.11"
    assert run.id.endswith("-trial-run")


def test_work_is_calibrated_only_where_it_is_needed_and_not_known(tmp_path: Path) -> None:
    def describe(workload: str, iterations: int | None) -> int | None:
        experiment = testing.experiment(testing.cell("two", workload=workload))
        return startup.describe(
            experiment, started(), answer, servers={}, seed=1, results=tmp_path, host=HOST, cpu_iterations=iterations
        ).cpu_iterations

    assert describe("sleep", None) is None
    assert describe("cpu", None) == 1000 + len("/calibrate?ms=2"), "the reference's"
    assert describe("cpu", 55) == 55
    for workload in ("stall", "mixed"):
        assert describe(workload, None) == 1000 + len("/calibrate?ms=2"), "they compute too"


def test_runs_that_begin_within_a_second_have_different_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "now", lambda: "2026-01-02T03:04:05.678+00:00")
    ids = []
    for _ in range(3):
        run = startup.describe(testing.experiment(), started(), answer, servers={}, seed=1, results=tmp_path, host=HOST)
        (tmp_path / run.id).mkdir()
        ids.append(run.id)
    plain = "20260102-030405-trial-run"
    assert ids == [plain, f"{plain}-2", f"{plain}-3"]


def test_a_server_that_answers_from_other_cores_is_an_error(tmp_path: Path) -> None:
    up = started()
    moved = up.fleets[2]["two"]
    assert isinstance(moved, FakeTarget)
    moved.cpus = frozenset({0})
    with pytest.raises(TargetError, match=r"two answers from cores 0, not from 0-1 as asked; it moved itself"):
        startup.describe(testing.experiment(), up, answer, servers={}, seed=1, results=tmp_path, host=HOST)


def test_another_lanes_servers_must_run_on_the_same_packages(tmp_path: Path) -> None:
    run = startup.describe(testing.experiment(), started(), answer, servers={}, seed=1, results=tmp_path, host=HOST)
    startup.check_same_packages(run, started(), answer, "alpha and beta")

    def newer(target: Target, page: str) -> str:
        return answer(target, page).replace('"flask": "3"', '"flask": "4"')

    with pytest.raises(TargetError, match="alpha and beta: stack gunicorn has other packages on one than on the other"):
        startup.check_same_packages(run, started(), newer, "alpha and beta")


class Recording:
    """A runtime that says what happens to it."""

    name = "local"
    available = 10**12
    """Bytes of memory."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.given: object = None

    def prepare(
        self,
        servers: Collection[Server],
        backends: Collection[Backend],
        _: object,
        application: Application | None,
        locks: Mapping[str, str],
    ) -> Mapping[str, str]:
        self.seen.append("prepare " + " ".join([*(each.name for each in servers), *(each.name for each in backends)]))
        self.given = application, locks
        return {each.stack: "sha256:0" for each in servers if each.stack != "unfit"}

    def available_bytes(self) -> int:
        return self.available

    @contextmanager
    def backends(self, backends: Collection[Backend], cores: frozenset[int]) -> Iterator[Backends]:
        self.seen.append(f"backends up on {cpus.spell(cores)}")
        with testing.fake_backends(backends, cores) as up:
            yield up
        self.seen.append("backends down")

    @contextmanager
    def start(
        self,
        servers: Collection[Server],
        cores: frozenset[int],
        _leave_out: object = None,
        before_more: BeforeMore | None = None,
    ) -> Iterator[Fleet]:
        with testing.fake_fleet(servers, cores) as up:
            if before_more is not None:
                first = next(iter(up.values()))
                self.seen.append(f"{first.name} up")
                before_more([first], list(servers)[1:])
            self.seen.append(f"fleet up on {cpus.spell(cores)}" if len(servers) < 2 else f"{len(servers)} servers up")
            yield up
        self.seen.append("fleet down")


class Choosy(Recording):
    """One whose server `two` does not get ready on one core."""

    @contextmanager
    def start(
        self, servers: Collection[Server], cores: frozenset[int], leave_out: Any = None, _before_more: Any = None
    ) -> Iterator[Fleet]:
        names = {each.name for each in servers}
        if cores == LAYOUT.servers[1]:
            leave_out("two", TargetError("two did not answer", detail="1\n2\nlast"))
            names -= {"two"}
        with testing.fake_fleet([each for each in servers if each.name in names], cores) as up:
            yield up


def test_who_does_not_get_ready_under_an_application_is_left_out_wherever_it_would_be() -> None:
    said, servers = list[str](), [testing.server("one"), testing.server("two")]
    own = testing.application()
    with startup.started(Choosy(), LAYOUT, {1: servers, 2: servers}, [], said.append, own) as up:  # type: ignore[arg-type]
        assert {count: set(fleet) for count, fleet in up.fleets.items()} == {1: {"one"}, 2: {"one"}}
        assert up.names == {"one"}
    assert said[1:] == ["Left out: two did not answer", "  | 1", "  | 2", "  | last"]


def test_of_a_race_of_the_labs_own_those_that_do_not_start_are_left_out_too_with_the_reason() -> None:
    said, room = list[str](), Room(lambda: 10**12)
    servers = [testing.server("one"), testing.server("two")]
    with startup.started(Choosy(), LAYOUT, {1: servers}, [], said.append, room=room) as up:  # type: ignore[arg-type]
        assert up.names == {"one"}
    assert said[1] == "Left out: two did not answer"
    assert room.left_out == {"two": "does not start"}


def test_backends_come_before_the_fleets_and_go_after_them() -> None:
    runtime, said, servers = Recording(), list[str](), [testing.server("one")]
    with startup.started(runtime, LAYOUT, {1: servers}, [testing.backend()], said.append) as up:  # type: ignore[arg-type]
        assert list(up.backends) == ["postgres"]
    assert said == ["Starting 1 server and postgres ..."]
    assert runtime.seen == [
        "prepare one postgres",
        "backends up on 3-4",
        "fleet up on 0",
        "fleet down",
        "backends down",
    ]


def test_where_nothing_waits_for_a_backend_there_is_none() -> None:
    runtime = Recording()
    with startup.started(runtime, LAYOUT, {1: [testing.server("one")]}, (), print) as up:  # type: ignore[arg-type]
        assert up.backends == {}
    assert runtime.seen == ["prepare one", "fleet up on 0", "fleet down"]


class Left:
    """A runtime in which an earlier run has left something."""

    def __init__(self, left: int) -> None:
        self._left = left

    def sweep(self) -> int:
        return self._left


def test_what_was_left_in_any_lane_is_swept_and_told_once() -> None:
    said: list[str] = []
    startup.sweep([Left(2), Left(0), Left(1)], said.append)  # type: ignore[list-item]
    assert said == ["Ended 3 processes or containers that an earlier run had left behind."]
    startup.sweep([Left(0)], said.append)  # type: ignore[list-item]
    assert len(said) == 1


def test_of_an_own_application_the_servers_that_do_not_go_with_it_are_not_started() -> None:
    runtime, own = Recording(), Application(entry="app:app", source=".")
    unfit = testing.server("two", stack="unfit")
    fleets = {1: [testing.server("one"), unfit], 2: [unfit]}
    locks = {"gunicorn": "a lock"}
    with startup.started(runtime, LAYOUT, fleets, (), print, own, locks) as up:  # type: ignore[arg-type]
        assert up.names == {"one"}
    assert runtime.given == (own, locks)
    assert runtime.seen == ["prepare one two", "fleet up on 0", "fleet down"]


def test_what_is_left_out_is_no_cell_and_a_reference_that_is_has_a_successor() -> None:
    cells = [testing.cell(name, users=users) for name in ("one", "two", "three") for users in (8, 32)]
    experiment, said = testing.experiment(*cells), list[str]()
    assert startup.without_missing(experiment, {"one", "two", "three"}, said.append) is experiment

    fewer = startup.without_missing(experiment, {"one", "three"}, said.append)
    assert ([each.server for each in fewer.cells], fewer.reference) == (["one", "one", "three", "three"], "one")
    assert said == []

    fewer = startup.without_missing(experiment, {"two", "three"}, said.append)
    assert ([each.server for each in fewer.cells], fewer.reference) == (["two", "two", "three", "three"], "two")
    assert said == ["The reference one is left out; the others are compared with two."]


def lane(*names: str) -> Started:
    fleets = {count: {name: FakeTarget(server=testing.server(name)) for name in names} for count in (1, 2)}
    return Started(runtime=FakeRuntime(), layout=LAYOUT, fleets=fleets, digests={})  # type: ignore[arg-type]


def test_what_one_lane_lacks_is_measured_on_none() -> None:
    lanes = startup.on_all([lane("one", "two", "three"), lane("three", "one"), lane("one", "three", "four")])
    assert [[list(fleet) for fleet in each.fleets.values()] for each in lanes] == [
        [["one", "three"], ["one", "three"]],
        [["three", "one"], ["three", "one"]],
        [["one", "three"], ["one", "three"]],
    ]
    with pytest.raises(TargetError, match="no server is up on all machines of targets; see above which were left out"):
        startup.on_all([lane("one"), lane("two")])


MANY = {1: [testing.server("four", processes=4), testing.server("one"), testing.server("any", processes=None)]}
OWN = testing.application()


def test_of_an_own_application_the_smallest_server_is_up_first_to_see_that_memory_suffices_for_all() -> None:
    runtime = Recording()
    with startup.started(runtime, LAYOUT, {**MANY, 2: MANY[1]}, (), print, OWN) as up:  # type: ignore[arg-type]
        assert up.start_s > 0
        assert list(up.fleets[1]) == ["four", "one", "any"], "as it was"
    first, *fleets = "one up", "3 servers up", "3 servers up", "fleet down", "fleet down"
    assert runtime.seen == ["prepare four one any", first, *fleets]
    # A run that goes on has been through it, and needs all of them.
    runtime.seen.clear()
    with startup.started(runtime, LAYOUT, MANY, (), print, OWN, {"gunicorn": "a lock"}):  # type: ignore[arg-type]
        pass
    assert runtime.seen == ["prepare four one any", "3 servers up", "fleet down"]


@pytest.mark.parametrize(
    ("available", "memory_mb", "name", "fits"),
    # A fake server has 50 MB, and it is one of six processes.
    [
        (250_000_000, None, "local", True),
        (249_999_999, None, "local", False),
        (100_000_000, 40, "local", False),
        (100_000_000, 40, "compose", True),
    ],
)
def test_memory_that_does_not_suffice_for_all_servers_is_told(
    available: int, memory_mb: int | None, name: str, fits: bool
) -> None:
    runtime, own = Recording(), testing.application(memory_mb=memory_mb)
    runtime.name, runtime.available = name, available

    def check() -> None:
        with startup.started(runtime, LAYOUT, MANY, (), print, own):  # type: ignore[arg-type]
            pass

    if fits:
        check()
        return
    told = (
        r"3 servers would take about 0\.3 GiB of memory together, as one takes 48 MiB and they have 6 processes, but "
        r"0\.\d GiB are available, enough for \d of them; measure fewer"
    )
    with pytest.raises(HostError, match=told):
        check()
    assert runtime.seen[-1] == "one up", "and no other"


def test_memory_that_holds_too_few_says_how_many_and_the_option() -> None:
    # The fake has 50 MB, beside which 250 MB are free.
    first = FakeTarget(server=testing.server("server-0"))
    servers = [testing.server(f"server-{at}", processes=4) for at in range(12)]
    with pytest.raises(HostError, match=r"enough for 6 of them; measure fewer, with --servers$"):
        startup.check_memory({1: servers}, OWN, first, 250_000_000, confined=False)


class Lacking(Recording):
    """A runtime in which some servers do not start."""

    def __init__(self, *out: str) -> None:
        super().__init__()
        self.out = out

    def prepare(self, servers: Collection[Server], *given: object) -> Mapping[str, str]:
        super().prepare(servers, *given)  # type: ignore[arg-type]
        return {each.installed_as: "sha256:0" for each in servers}

    @contextmanager
    def start(
        self,
        servers: Collection[Server],
        cpus: frozenset[int],
        leave_out: Any = None,
        before_more: BeforeMore | None = None,  # noqa: ARG002 - it is for memory
    ) -> Iterator[Fleet]:
        for name in self.out:
            leave_out(name, TargetError(f"{name} did not start: no module named shop", detail="its last line"))
        with testing.fake_fleet([each for each in servers if each.name not in self.out], cpus) as fleet:
            yield fleet


def compared(*out: str) -> tuple[set[str], list[str]]:
    """Which of two servers in two versions are up where some do not start, and what is said."""
    said: list[str] = []
    servers = [
        testing.server(f"{name}{end}", is_against=bool(end)) for name in ("one", "two") for end in ("", "-against")
    ]
    version = Version(
        name="v1",
        revision=None,
        current="HEAD",
        current_revision=None,
        application=ApplicationSettings(entry="app:app"),
    )
    own = replace(OWN, against=version)
    with startup.started(Lacking(*out), LAYOUT, {1: servers}, (), said.append, own) as up:  # type: ignore[arg-type]
        return set(up.names), said


def test_of_two_versions_a_server_is_up_where_both_are() -> None:
    assert compared()[0] == {"one", "one-against", "two", "two-against"}
    up, said = compared("one-against")
    assert up == {"two", "two-against"}
    assert said[-2:] == ["Left out: one-against did not start: no module named shop", "  | its last line"]


def test_a_version_that_does_not_start_at_all_ends_the_run_with_its_log() -> None:
    with pytest.raises(TargetError, match=r"^one-against did not start: no module named shop$") as caught:
        compared("one-against", "two-against")
    assert caught.value.detail == "its last line"
