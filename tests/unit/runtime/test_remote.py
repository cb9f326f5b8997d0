"""A lane's runtime, on machines that only record what is done on them."""

import contextlib
from collections.abc import Collection, Iterator, Mapping
from typing import Any, cast

import pytest

from tests.unit.run.test_testbed import HOST, machine
from wsgilab import testing
from wsgilab.model import Server
from wsgilab.model.application import Application
from wsgilab.model.errors import BuildError, EngineError, SwarmError, TargetError
from wsgilab.runtime.protocol import Fleet, LeaveOut
from wsgilab.runtime.remote import RemoteHost, RemoteRuntime
from wsgilab.system import cpus

CORES = frozenset({2, 3})


class FakeChannel:
    """Reports that its workers are on these cores."""

    def __init__(self, cores: frozenset[int]) -> None:
        self._cores = sorted(cores)

    def receive(self, _: float) -> object:
        return {"event": "ready", "cpus": self._cores}


class FakeComposeRuntime:
    """One machine's runtime: what happens there, in order."""

    versions: Mapping[str, str] = {"docker engine": "26"}

    def __init__(self, name: str, seen: list[str], *, fails: str = "", elsewhere: bool = False) -> None:
        self._name = name
        self._seen = seen
        self._fails = fails
        self._elsewhere = elsewhere

    def _note(self, what: str) -> None:
        if self._fails and what.startswith(self._fails):
            raise EngineError("the Docker engine stopped answering")
        self._seen.append(f"{self._name}: {what}")

    def prepare(
        self, servers: Collection[Any], backends: Collection[Any], say: Any, application: Any = None, locks: Any = None
    ) -> Mapping[str, str]:
        if self._fails == "prepare":
            raise BuildError("stack swarm does not install")
        say("Building ...")
        self._note("prepare " + " ".join(each.name for each in (*servers, *backends)))
        assert not application or not application.locust_requirements, "Locust files run where users are"
        self.locks = locks if application else {}
        return {"swarm": f"swarm on {self._name}", "clock-server": f"clock-server on {self._name}"}

    def prepare_users(self, application: Application, say: Any, locks: Mapping[str, str]) -> Mapping[str, str]:
        say("Building ...")
        self._note(f"prepare users {' '.join(application.locust_requirements)} {locks.get('locust', '')}".rstrip())
        self.locks = {"locust": locks.get("locust", f"lock of {self._name}")}
        return {"swarm": f"swarm on {self._name}"}

    @contextlib.contextmanager
    def clock_server(self) -> Iterator[int]:
        self._note("clock-server up")
        yield 8100
        self._note("clock-server down")

    @contextlib.contextmanager
    def beside(
        self, name: str, module: Collection[str], cores: frozenset[int], options: Collection[str] = ()
    ) -> Iterator[Any]:
        self._note(" ".join([name, *module, "on", cpus.spell(cores), *options]))
        yield FakeChannel(frozenset({0}) if self._elsewhere else cores)
        self._note(f"{name} down")

    @contextlib.contextmanager
    def serving_ui(
        self, cores: frozenset[int], host: str, port: int, words: Collection[str], options: Collection[str] = ()
    ) -> Iterator[Any]:
        self._note(" ".join(["ui", f"{host}:{port}", *words, "on", cpus.spell(cores), *options]))
        yield FakeChannel(cores)
        self._note("ui down")

    @contextlib.contextmanager
    def start(
        self, servers: Collection[Server], cores: frozenset[int], leave_out: LeaveOut | None = None, _: Any = None
    ) -> Iterator[Fleet]:
        dead, *others = servers
        error = TargetError(f"{dead.name} did not start", detail="its last line")
        if leave_out is None:
            raise error
        leave_out(dead.name, error)
        with testing.fake_fleet(others, cores) as fleet:
            yield fleet

    def available_bytes(self) -> int:
        self._note("memory")
        return 1 << 30

    def sweep(self) -> int:
        self._note("sweep")
        return 2


def host(name: str, address: str, cores: frozenset[int], seen: list[str], **how: Any) -> RemoteHost:
    return RemoteHost(
        machine=machine(name, address=address, publish=address, ports="8100-8199" if name == "alpha" else "6000"),
        runtime=cast("Any", FakeComposeRuntime(name, seen, **how)),
        host=HOST,
        cpus=cores,
    )


def lane(seen: list[str], *others: str, failing: str = "", fails: str = "", **how: Any) -> RemoteRuntime:
    """Targets on alpha, users on beta and on others."""

    def made(name: str, address: str, cores: frozenset[int]) -> RemoteHost:
        return host(name, address, cores, seen, **({"fails": fails, **how} if name == failing else {}))

    swarm = [made(name, f"10.0.1.{number}", CORES) for number, name in enumerate(("beta", *others))]
    return RemoteRuntime(made("alpha", "10.0.0.1", frozenset({0})), swarm)


def test_one_machine_of_the_swarm_has_all_users_and_asks_the_clock_server() -> None:
    seen: list[str] = []
    with lane(seen).swarm(CORES):
        pass
    assert seen == [
        "alpha: clock-server up",
        "beta: swarm wsgilab.load.driver --clock-server 10.0.0.1:8100 on 2-3",
        "beta: swarm down",
        "alpha: clock-server down",
    ]


def test_workers_of_other_machines_come_to_the_master_where_the_first_publishes_it() -> None:
    seen: list[str] = []
    with lane(seen, "gamma", "delta").swarm(CORES):
        pass
    come = "wsgilab.load.remote_workers swarm 10.0.1.0 6000 --clock-server 10.0.0.1:8100 --machine"
    listens = "--listen 5557 --workers 4 on 2-3 --publish 10.0.1.0:6000:5557"
    assert seen[1:4] == [
        f"beta: swarm wsgilab.load.driver --clock-server 10.0.0.1:8100 {listens}",
        f"gamma: swarm-workers {come} gamma on 2-3",
        f"delta: swarm-workers {come} delta on 2-3",
    ]
    assert seen[4:] == [
        "delta: swarm-workers down",
        "gamma: swarm-workers down",
        "beta: swarm down",
        "alpha: clock-server down",
    ]


def test_a_web_ui_has_users_of_its_own_unless_it_watches_a_run() -> None:
    seen: list[str] = []
    runtime = lane(seen, "gamma")
    with runtime.ui(CORES, "127.0.0.1", 8089):
        assert seen[1] == (
            "beta: ui 127.0.0.1:8089 --clock-server 10.0.0.1:8100 --listen 5557 --workers 2 on 2-3 --publish 10.0.1.0:6000:5557"
        )
        assert seen[2].startswith("gamma: ui-workers wsgilab.load.remote_workers ui 10.0.1.0 6000")
    seen.clear()
    with runtime.swarm(CORES):
        seen.clear()
        with runtime.ui(CORES, "127.0.0.1", 8089):
            assert seen == ["beta: ui 127.0.0.1:8089 on 2-3"]


def test_each_machine_is_given_what_it_needs_and_images_are_those_of_the_targets() -> None:
    seen: list[str] = []
    said: list[str] = []
    digests = lane(seen).prepare([testing.server("one")], [testing.backend()], said.append)
    assert seen == ["beta: prepare ", "alpha: prepare one postgres"]
    assert said == ["beta: Building ...", "alpha: Building ..."]
    assert digests == {"swarm": "swarm on alpha", "clock-server": "clock-server on alpha"}


def test_a_server_that_is_left_out_is_told_with_its_machine() -> None:
    out: dict[str, TargetError] = {}
    servers = [testing.server("one"), testing.server("two")]
    with lane([]).start(servers, CORES, out.__setitem__) as fleet:
        assert list(fleet) == ["two"]
    assert {name: (each.message, each.detail) for name, each in out.items()} == {
        "one": ("alpha: one did not start", "its last line")
    }
    with pytest.raises(TargetError, match=r"^alpha: one did not start"):
        lane([]).start(servers, CORES).__enter__()


def test_an_own_application_is_the_targets_and_so_are_its_locks() -> None:
    runtime, locks = lane([]), {"gunicorn": "a lock"}
    runtime.prepare([testing.server("one")], [], print, Application(entry="app:app", source="."), locks)
    assert runtime.locks == locks
    assert runtime.swarm_hosts[0].runtime.locks == {}


def test_what_locust_files_import_is_installed_where_users_are_in_the_same_releases_on_each_machine() -> None:
    seen: list[str] = []
    needing = Application(entry="app:app", source=".", locust_requirements=("faker",))
    runtime = lane(seen, "gamma")
    runtime.prepare([testing.server("one")], [], print, needing)
    assert seen == ["gamma: prepare users faker", "beta: prepare users faker lock of gamma", "alpha: prepare one"]
    assert runtime.locks == {"locust": "lock of gamma"}

    seen.clear()
    going_on = lane(seen, "gamma")
    going_on.prepare([testing.server("one")], [], print, needing, {"gunicorn": "a lock", "locust": "then"})
    assert seen[:2] == ["gamma: prepare users faker then", "beta: prepare users faker then"]
    assert going_on.locks == {"gunicorn": "a lock", "locust": "then"}


@pytest.mark.parametrize(
    ("failing", "fails"), [("alpha", "clock-server"), ("beta", "swarm"), ("gamma", "swarm-workers")]
)
def test_a_machine_that_fails_is_named_and_what_was_up_goes_down(failing: str, fails: str) -> None:
    seen: list[str] = []
    runtime = lane(seen, "gamma", failing=failing, fails=fails)
    with pytest.raises(EngineError, match=f"^{failing}: the Docker engine stopped answering"), runtime.swarm(CORES):
        pass
    ups = [each for each in seen if "down" not in each]
    assert len(ups) == ("alpha", "beta", "gamma").index(failing)


def test_an_image_that_does_not_build_and_workers_on_other_cores_are_named_with_their_machine() -> None:
    with pytest.raises(BuildError, match=r"^beta: stack swarm does not install"):
        lane([], failing="beta", fails="prepare").prepare([], [], print)
    pinned = r"^gamma: the process of the workers is pinned to cores \[0\], not to \[2, 3\] as asked"
    with pytest.raises(SwarmError, match=pinned), lane([], "gamma", failing="gamma", elsewhere=True).swarm(CORES):
        pass


def test_what_can_be_reached_is_swept_before_it_is_said_what_cannot() -> None:
    seen: list[str] = []
    assert lane(seen, "gamma").sweep() == 6
    seen.clear()
    with pytest.raises(EngineError, match=r"^alpha: "):
        lane(seen, "gamma", failing="alpha", fails="sweep").sweep()
    assert seen == ["beta: sweep", "gamma: sweep"]


def test_free_memory_is_that_of_the_targets_machine() -> None:
    seen: list[str] = []
    assert lane(seen).available_bytes() == 1 << 30
    assert seen == ["alpha: memory"]
    with pytest.raises(EngineError, match=r"^alpha: the Docker engine stopped answering"):
        lane([], failing="alpha", fails="memory").available_bytes()
