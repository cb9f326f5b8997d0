"""What keeps the interactive lab up, on fakes of its targets and of the web UI's end of its channel."""

import json
import socket
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import TypeAdapter

from tests.unit.session.test_state_file import own
from wsgilab import testing
from wsgilab.experiment.parsing import adapter
from wsgilab.model import Experiment, text
from wsgilab.model.application import LocustFile
from wsgilab.model.errors import EngineError, SwarmError, TargetError
from wsgilab.run.workspace import workspace
from wsgilab.session import daemon, state_file
from wsgilab.session.spec import SessionSpec
from wsgilab.session.state_file import SessionState
from wsgilab.session.supervisor import ROUND_S, TICK_S, Supervisor
from wsgilab.system.process import ChannelClosed, JsonChannel
from wsgilab.testing import FakeBackend, FakeTarget
from wsgilab.web.client import LabUI


@dataclass
class FakeChannel:
    """The web UI's process: says what it is told to say, and remembers what it hears."""

    heard: list[dict[str, Any]] = field(default_factory=list)
    to_say: list[object] = field(default_factory=lambda: [{"event": "ready", "cpus": [1]}])
    log: Path = Path("/nowhere")
    ended: bool = False

    def send(self, message: dict[str, Any]) -> None:
        self.heard.append(json.loads(json.dumps(message)))

    def receive(self, _: float) -> object:
        return self.to_say.pop(0)

    def poll(self, _: float) -> object | None:
        if self.ended:
            raise ChannelClosed("it has ended")
        return self.to_say.pop(0) if self.to_say else None

    def told(self, op: str) -> list[dict[str, Any]]:
        return [message for message in self.heard if message["op"] == op]


@dataclass
class Unstartable(FakeTarget):
    """It never starts again."""

    def restart(self, on: frozenset[int] | None = None) -> None:  # noqa: ARG002 - it does not start
        self.log = "SyntaxError"
        raise TargetError("two did not start: ended with exit code 1", detail=self.log)


class Lab:
    """A supervisor of two servers, with everything that can be seen of it."""

    def __init__(self, state: Path, two: Callable[..., FakeTarget] = FakeTarget) -> None:
        self.state = state
        self.ui = FakeChannel()
        self.one = FakeTarget(server=testing.server("one"))
        self.two = two(server=testing.server("two", slots=None))
        ui = LabUI(cast("JsonChannel", self.ui), frozenset({1}))
        self.store = FakeBackend(backend=testing.backend("store"))
        fleet = {"one": self.one, "two": self.two}
        self.deaf: set[str] = set()
        """The URLs where nobody listens."""
        stands = own(servers={}, looked=0)
        self.supervisor = Supervisor(fleet, {"store": self.store}, ui, stands, state, lambda url: url not in self.deaf)
        self.supervisor.write()
        self.now = 100.0

    def step(self, *asked: object, after_s: float = TICK_S) -> None:
        self.now += after_s
        self.ui.to_say += asked
        self.supervisor.step(self.now)

    @property
    def stands(self) -> SessionState:
        found = state_file.read(self.state)
        assert found is not None
        return found

    @property
    def failures(self) -> dict[str, str | None]:
        return {name: each.failure for name, each in self.stands.servers.items()}


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def test_what_is_up_stands_in_the_file(lab: Lab) -> None:
    assert {name: (each.address, each.slots, each.failure) for name, each in lab.stands.servers.items()} == {
        "one": ("http://127.0.0.1:8000", 1, None),
        "two": ("http://127.0.0.1:8000", None, None),
    }


def test_the_usage_of_the_loaded_server_is_told_every_tick(lab: Lab) -> None:
    lab.step()
    assert lab.ui.told("usage") == []
    lab.step({"event": "loading", "server": "two"})
    lab.step()
    lab.step(after_s=TICK_S / 10)
    lab.step()
    told = lab.ui.told("usage")
    assert [each["server"] for each in told] == ["two"] * 3
    assert [each["cpu_s"] for each in told] == pytest.approx([0.01, 0.02, 0.03])
    assert told[0]["at_s"] < told[1]["at_s"] < told[2]["at_s"]
    lab.step({"event": "loading", "server": None})
    lab.step()
    # One more: the tick at which it was said that nobody is loaded.
    assert len(lab.ui.told("usage")) == 4
    assert lab.one.cpu_s == 0


def test_that_the_loaded_server_ended_is_told_within_a_tick_and_once(lab: Lab) -> None:
    lab.step({"event": "loading", "server": "one"})
    usages = len(lab.ui.told("usage"))
    lab.one.died, lab.one.log = "ended by signal 9", "its last words"
    lab.step()
    lab.step()
    (told,) = lab.ui.told("target")
    assert (told["server"], told["failure"], told["log"], told["restarting"]) == (
        "one",
        "ended by signal 9",
        "its last words",
        False,
    )
    assert lab.failures == {"one": "ended by signal 9", "two": None}
    assert len(lab.ui.told("usage")) == usages, "what a dead server has used is nothing"


def test_that_another_server_ended_is_told_within_a_round(lab: Lab) -> None:
    lab.step()
    lab.two.died = "ended with exit code 3"
    lab.step()
    assert lab.ui.told("target") == []
    lab.step(after_s=ROUND_S)
    assert [told["server"] for told in lab.ui.told("target")] == ["two"]
    assert lab.failures["two"] == "ended with exit code 3"


def test_a_command_has_all_looked_at_now_and_the_web_ui_and_the_file_are_told_the_same(lab: Lab) -> None:
    lab.step()
    lab.two.published_url = "http://127.0.0.1:9000"
    lab.step(after_s=ROUND_S)
    lab.one.died, lab.store.died = "ended by signal 9", "was removed"
    lab.deaf.add(lab.two.published_url)
    lab.step()
    assert lab.stands.failures == {}
    lab.supervisor.ask_to_look()
    lab.step()
    assert lab.stands.looked == 1
    assert lab.stands.failures == {"store": "was removed", "one": "ended by signal 9", "two": "does not listen"}
    told = {each["server"]: each["failure"] for each in lab.ui.told("target")}
    assert told == lab.failures
    lab.step()
    assert lab.stands.looked == 1


def test_a_server_under_load_is_not_knocked_at(lab: Lab) -> None:
    lab.two.published_url = "http://127.0.0.1:9000"
    lab.step({"event": "loading", "server": "two"})
    lab.deaf.add(lab.two.published_url)
    lab.step(after_s=ROUND_S)
    assert lab.failures["two"] is None
    lab.step({"event": "loading", "server": None})
    lab.step(after_s=ROUND_S)
    assert lab.failures["two"] == "does not listen"


def test_on_a_site_only_the_swarm_need_reach_a_server(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    ui = LabUI(cast("JsonChannel", FakeChannel()), frozenset({1}))
    supervisor = Supervisor({"one": lab.one}, {}, ui, own(site="site.yaml"), tmp_path, lambda _: False)
    supervisor.write()
    assert lab.failures == {"one": None}


def test_the_web_ui_is_told_what_the_lab_is_called_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(text._called, "by", text.WSGILAB)
    channel = FakeChannel(to_say=[{"event": "ready", "cpus": [1]}, {"event": "open", "notes": []}])
    ui = LabUI(cast("JsonChannel", channel), frozenset({1}))
    ui.open(testing.run(testing.experiment(testing.cell())), [], watching=False, password=None)
    assert [message["program"] for message in channel.told("open")] == ["wsgilab"]


def test_while_a_server_is_started_again_the_file_and_the_web_ui_say_so(tmp_path: Path) -> None:
    seen: list[object] = []

    class Slow(FakeTarget):
        def restart(self, on: frozenset[int] | None = None) -> None:
            seen.append((made.failures["two"], made.ui.told("target")[-1]["restarting"]))
            super().restart(on)

    made = Lab(tmp_path, two=Slow)
    made.step()
    made.two.died = "ended by signal 9"
    made.step({"event": "start-again", "server": "two"})
    assert seen == [("starting again", True)]
    assert (made.failures["two"], made.ui.told("target")[-1]["restarting"]) == (None, False)


def test_a_server_that_listens_elsewhere_is_told(lab: Lab) -> None:
    lab.two.published_url = "http://127.0.0.1:9000"
    lab.step()
    (told,) = lab.ui.told("target")
    assert (told["url"], told["failure"]) == ("http://127.0.0.1:9000", None)
    assert lab.stands.servers["two"].address == "http://127.0.0.1:9000"


def test_a_server_is_started_again_when_the_ui_asks(lab: Lab) -> None:
    lab.step()
    lab.one.died = "ended by signal 9"
    lab.step({"event": "start-again", "server": "one"})
    told = [(each["failure"], each["restarting"]) for each in lab.ui.told("target")]
    assert told == [("ended by signal 9", False), ("ended by signal 9", True), (None, False)]
    assert lab.failures == {"one": None, "two": None}


def test_what_cannot_be_started_again_is_not(lab: Lab) -> None:
    lab.step({"event": "start-again", "server": "one"})
    lab.step({"event": "start-again", "server": "nobody knows"})
    lab.step({"event": "loading", "server": "nobody knows"})
    lab.step()
    assert lab.ui.heard == []


def test_a_start_that_fails_is_told_with_its_log_and_the_lab_goes_on(tmp_path: Path) -> None:
    lab = Lab(tmp_path, two=Unstartable)
    lab.step()
    lab.two.died = "ended with exit code 1"
    lab.step({"event": "start-again", "server": "two"})
    last = lab.ui.told("target")[-1]
    assert (last["failure"], last["log"], last["restarting"]) == ("ended with exit code 1", "SyntaxError", False)
    assert lab.failures == {"one": None, "two": "ended with exit code 1"}
    lab.step({"event": "loading", "server": "one"})
    assert lab.ui.told("usage")


def test_a_command_has_all_that_ended_started_again_and_sees_that_it_was_heard(lab: Lab) -> None:
    lab.step()
    lab.one.died = lab.two.died = "ended by signal 9"
    assert lab.stands.answered == 0
    lab.supervisor.ask()
    lab.step()
    assert lab.stands.answered == 1
    assert lab.failures == {"one": None, "two": None}
    lab.step()
    assert lab.stands.answered == 1


def test_a_backend_that_ended_stands_in_the_file_within_a_round_and_is_started_again_when_asked(lab: Lab) -> None:
    lab.step()
    assert lab.stands.backends == {"store": None}
    lab.store.died = "ended by signal 9"
    lab.step(after_s=ROUND_S)
    assert lab.stands.backends == {"store": "ended by signal 9"}
    assert lab.stands.failures == {"store": "ended by signal 9"}
    lab.supervisor.ask()
    lab.step()
    assert (lab.stands.backends, lab.stands.answered) == ({"store": None}, 1)
    assert lab.ui.heard == []


def test_a_backend_that_does_not_start_again_is_told_as_the_reason(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: FakeBackend) -> None:
        raise TargetError("store cannot be started again: it was removed")

    monkeypatch.setattr(FakeBackend, "restart", fail)
    lab.store.died, lab.two.died = "was removed", "ended by signal 9"
    lab.supervisor.ask()
    lab.step()
    assert lab.stands.failures == {"store": "was removed"}, "the servers are started again all the same"


def charge(state: Path, **changes: Any) -> SessionSpec:
    return replace(
        SessionSpec(
            workspace=workspace({"LAB_STATE": str(state)}),
            servers=(),
            cores=1,
            runtime=None,
            site=None,
            workers=1,
            host="127.0.0.1",
            address="127.0.0.1",
            port=8089,
            share_generator=False,
            no_backends=False,
            password=None,
            program="invoke",
        ),
        **changes,
    )


def test_the_web_ui_takes_the_run_of_an_interactive_lab(tmp_path: Path) -> None:
    """It has no cells and no reference, and is sent to another process."""
    experiment = daemon._experiment(charge(tmp_path))
    adapter = TypeAdapter(Experiment)

    assert adapter.validate_python(adapter.dump_python(experiment, mode="json")) == experiment


def test_without_backends_nobody_can_choose_what_waits_for_them(tmp_path: Path) -> None:
    everything, without = charge(tmp_path).workloads, charge(tmp_path, no_backends=True).workloads
    assert set(everything) - set(without) == {"db", "upstream", "mixed"}


def test_of_an_own_application_its_requests_mixes_and_locust_files_are_what_can_be_chosen(tmp_path: Path) -> None:
    own = LocustFile(path="locustfile.py", files={"locustfile.py": "a" * 64})
    spec = charge(tmp_path, application=testing.application(locust_files={"browse": own}))

    assert adapter(SessionSpec).validate_json(adapter(SessionSpec).dump_json(spec)) == spec
    assert list(spec.workloads) == ["orders", "buy", "shop", "browse"]
    experiment = daemon._experiment(spec)
    assert experiment.application == spec.application
    assert experiment.parameters == {"orders": {}, "buy": {}, "shop": {}, "browse": {}}


def test_the_web_ui_is_known_by_what_it_is_bound_to_and_everywhere_by_this_machines_name(tmp_path: Path) -> None:
    assert charge(tmp_path).names == {"127.0.0.1"}
    assert charge(tmp_path, host="box.lan", address="192.0.2.1").names == {"box.lan", "192.0.2.1"}
    for address in ("0.0.0.0", "::"):
        assert charge(tmp_path, host=address, address=address).names == {address, socket.gethostname()}


def test_a_web_ui_that_is_lost_is_an_error(lab: Lab) -> None:
    lab.ui.ended = True
    with pytest.raises(SwarmError, match="the web UI is lost: it has ended"):
        lab.supervisor.keep()


@dataclass
class Unreachable(FakeTarget):
    """Its engine stops when it is told to have died."""

    def failure(self) -> str | None:
        if self.died:
            raise EngineError("the Docker engine stopped answering")
        return None


def test_an_engine_that_took_the_web_ui_with_it_is_what_is_said(tmp_path: Path) -> None:
    lab = Lab(tmp_path, two=Unreachable)
    lab.step()
    lab.two.died, lab.ui.ended = "unreachable", True
    with pytest.raises(EngineError, match="the Docker engine stopped answering"):
        lab.supervisor.keep()
