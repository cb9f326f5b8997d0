"""What the doctor finds of a site: how facts are judged, and how they are come by."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from wsgilab.doctor import Finding, examine_site
from wsgilab.doctor.judged import Asked, Way, judge
from wsgilab.experiment.site import parse_site
from wsgilab.model import Host, SiteMachine
from wsgilab.model.errors import EngineError
from wsgilab.runtime import compose
from wsgilab.runtime.clock_servers import MachineFacts, Probed
from wsgilab.runtime.engine import Endpoint, Engine

SITE = """
targets: [{name: alpha, engine: a, address: 10.0.0.2, ports: 8100-8199}]
swarm: [{name: beta, engine: b, address: 10.0.0.3}, {name: gamma, engine: c, address: 10.0.0.4}]
"""
TWO = """
targets: [{name: alpha, engine: a, address: 10.0.0.2}, {name: delta, engine: d, address: 10.0.0.5}]
swarm: [{name: beta, engine: b, address: 10.0.0.3}, {name: gamma, engine: c, address: 10.0.0.4}]
"""
HOST = Host(
    cpu="Model 1",
    architecture="x86_64",
    usable_cpus="0-3",
    siblings=("0-1", "2-3"),
    memory_bytes=1,
    kernel="6.1",
    python="3.13",
)


# Judging.


def told(machine: SiteMachine, **more: Any) -> Asked:
    """What a machine tells that is in order, but for `more`."""
    usual = Asked(
        machine=machine,
        engine="Docker Engine 26.1.5 at somewhere",
        compose="Compose 2.26.1",
        host=HOST,
        clocksource="tsc",
        boot=machine.name,
        engine_id=machine.name,
    )
    return replace(usual, **more)


def judged(text: str = SITE, ways: tuple[Way, ...] = (), servers: int = 13, **more: Mapping[str, Any]) -> list[Finding]:
    """The findings of a site whose machines tell what is usual, but for `more` by their names."""
    site = parse_site(text, "s.yaml")
    asked = {each.name: told(each, **more.get(each.name, {})) for each in (*site.targets, *site.swarm)}
    return list(judge(site, asked, ways, servers))


def trouble(text: str = SITE, ways: tuple[Way, ...] = (), servers: int = 13, **more: Mapping[str, Any]) -> Finding:
    """The one finding that is not well."""
    (found,) = [each for each in judged(text, ways, servers, **more) if each.remedy]
    return found


def of(name: str, text: str = SITE) -> SiteMachine:
    site = parse_site(text, "s.yaml")
    return next(each for each in (*site.targets, *site.swarm) if each.name == name)


@pytest.mark.parametrize("text", [SITE, TWO])
def test_a_site_in_order_needs_no_remedy(text: str) -> None:
    findings = judged(text, (Way(origin=of("beta"), to=of("alpha"), port=8100, round_trip_ms=0.2, bandwidth_mbps=940),))
    assert [each for each in findings if each.remedy] == []
    names = {"alpha", "beta", "gamma"} | ({"delta"} if text == TWO else set())
    for subject in ("engine", "compose", "machine", "cores", "clock", "clocksource"):
        assert {f"{name}: {subject}" for name in names} <= {each.subject for each in findings}
    assert findings[-1] == Finding(
        subject="beta to alpha", found="round trip 0.20 ms, 940 Mbit/s from 10.0.0.2:8100", remedy=""
    )


def test_a_machine_that_is_not_reached_is_told_once_and_costs_only_its_own_findings() -> None:
    failure = "beta: no Docker engine answers at tcp://h:1 (no route); start it there, and let this machine reach it"
    findings = judged(beta={"engine": "", "host": None, "failure": failure})
    assert [each for each in findings if "beta" in each.subject] == [
        Finding(
            subject="beta: engine",
            found="no Docker engine answers at tcp://h:1 (no route)",
            remedy="start it there, and let this machine reach it",
        )
    ]
    assert {"alpha: cores", "gamma: cores"} <= {each.subject for each in findings}


def test_an_engine_that_cannot_say_what_its_machine_is_has_a_remedy_all_the_same() -> None:
    found = trouble(beta={"host": None, "failure": "the beacon did not run: no space left"})
    assert (found.subject, found.found) == ("beta: engine", "the beacon did not run: no space left")
    assert found.remedy


def test_cores_that_there_are_not() -> None:
    text = SITE.replace("ports: 8100-8199", "cores: 2-5")
    found = trouble(text)
    assert (found.subject, found.found) == ("alpha: cores", "2-5 of 0-3, sharing physical cores: 2-3")
    assert found.remedy.startswith("there is no core 4-5; name others")


def test_a_core_on_each_physical_one_shares_none() -> None:
    text = SITE.replace("ports: 8100-8199", "cores: '0,2'")
    assert "0,2 of 0-3" in [each.found for each in judged(text) if each.subject == "alpha: cores"]


@pytest.mark.parametrize(
    ("off_s", "found"), [(2.4, "2 s ahead of this machine's"), (-90.0, "90 s behind this machine's")]
)
def test_a_clock_that_is_off(off_s: float, found: str) -> None:
    finding = trouble(alpha={"clock_off_s": off_s})
    assert (finding.subject, finding.found) == ("alpha: clock", found)
    assert "NTP" in finding.remedy


@pytest.mark.parametrize("off_s", [0.9, -0.9])
def test_a_clock_that_is_off_by_less_than_a_second_agrees(off_s: float) -> None:
    assert not any(each.remedy for each in judged(alpha={"clock_off_s": off_s}))


@pytest.mark.parametrize("source", ["hpet", "acpi_pm", "xen", "jiffies"])
def test_a_clock_that_only_the_kernel_reads(source: str) -> None:
    finding = trouble(alpha={"clocksource": source})
    assert (finding.subject, finding.found) == ("alpha: clocksource", source)
    assert "each stamp asks the kernel" in finding.remedy


@pytest.mark.parametrize("source", ["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter", ""])
def test_a_clock_that_is_read_without_the_kernel_or_not_known(source: str) -> None:
    assert not any(each.remedy for each in judged(alpha={"clocksource": source}))


def test_a_range_of_ports_that_is_too_short_for_the_servers_and_the_beacon() -> None:
    text = SITE.replace("8100-8199", "8100-8112")
    assert trouble(text, servers=13).remedy.startswith("name 14 for all 13 servers")
    assert not any(each.remedy for each in judged(text, servers=12))


@pytest.mark.parametrize(
    ("other", "told_of"),
    [
        ({"cpu": "Model 2"}, "CPU (Model 1 and Model 2)"),
        ({"architecture": "aarch64"}, "architecture (x86_64 and aarch64)"),
        ({"siblings": ("0", "1", "2", "3")}, "physical cores (2 and 4)"),
    ],
)
def test_targets_of_two_kinds(other: dict[str, Any], told_of: str) -> None:
    finding = trouble(TWO, delta={"host": replace(HOST, **other)})
    assert finding.subject == "delta: like alpha"
    assert finding.found == f"they differ in {told_of}"
    assert "blocks on machines of two kinds cannot be compared" in finding.remedy


def test_targets_with_other_numbers_of_cores() -> None:
    found = [each.found for each in judged(TWO.replace("10.0.0.5", "10.0.0.5, cores: 0-1")) if "like" in each.subject]
    assert found == ["they differ in cores (0-3 and 0-1), physical cores (2 and 1)"]


def test_machines_of_the_swarm_may_be_of_any_kind() -> None:
    assert not any(each.remedy for each in judged(beta={"host": replace(HOST, cpu="Model 2", architecture="aarch64")}))


def test_two_names_of_one_engine() -> None:
    finding = trouble(TWO, alpha={"boot": "x", "engine_id": "y"}, delta={"boot": "x", "engine_id": "y"})
    assert finding.subject == "alpha, delta: machine"
    assert finding.found == "one and the same engine"


def test_two_engines_of_one_machine_that_share_a_core() -> None:
    text = SITE.replace("ports: 8100-8199", "cores: 0-1").replace("10.0.0.3", "10.0.0.3, cores: 1-3")
    finding = trouble(text, alpha={"boot": "x"}, beta={"boot": "x"})
    assert (finding.subject, finding.found) == (
        "alpha, beta: machine",
        "one and the same, and both would use core 1",
    )


def test_two_engines_of_one_machine_that_share_a_physical_core() -> None:
    text = SITE.replace("ports: 8100-8199", "cores: 0").replace("10.0.0.3", "10.0.0.3, cores: 1-3")
    finding = trouble(text, alpha={"boot": "x"}, beta={"boot": "x"})
    assert finding.found == "one and the same, and both would use one physical core (logical cores 0-1)"


def test_two_engines_of_one_machine_with_cores_of_their_own() -> None:
    text = SITE.replace("ports: 8100-8199", "cores: 0-1").replace("10.0.0.3", "10.0.0.3, cores: 2-3")
    assert not any(each.remedy for each in judged(text, alpha={"boot": "x"}, beta={"boot": "x"}))


def test_machines_whose_start_is_not_known_are_not_taken_for_one() -> None:
    assert not any(each.remedy for each in judged(alpha={"boot": ""}, beta={"boot": ""}))


def test_a_swarm_with_fewer_cores_than_its_targets() -> None:
    text = SITE.replace("10.0.0.3", "10.0.0.3, cores: 0").replace("10.0.0.4", "10.0.0.4, cores: 0-1")
    finding = trouble(text)
    assert (finding.subject, finding.found) == ("beta, gamma: strength", "3 for the 4 of alpha, in cores")
    assert "more than 3 cores" in finding.remedy


def test_a_way_that_is_closed_names_address_and_ports() -> None:
    error = "10.0.0.2:8100 is not reached: timed out"
    finding = trouble(ways=(Way(origin=of("beta"), to=of("alpha"), port=8100, error=error),))
    assert (finding.subject, finding.found) == ("beta to alpha", error)
    assert "let beta through the firewalls of alpha to TCP ports 8100-8199" in finding.remedy
    assert "address 10.0.0.2" in finding.remedy


def test_a_way_to_any_free_port_names_those_that_there_are() -> None:
    finding = trouble(TWO, ways=(Way(origin=of("beta"), to=of("delta", TWO), port=32768, error="refused"),))
    assert "all TCP ports from 32768 to 60999" in finding.remedy


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (
            "listen tcp4 10.0.0.2:8100: bind: cannot assign requested address",
            "10.0.0.2 is no address of that machine's own; name one with publish",
        ),
        ("listen tcp4 10.0.0.2:8100: bind: address already in use", "a port of 8100-8199 is taken there"),
        ("Bind for 10.0.0.2:8100 failed: port is already allocated", "a port of 8100-8199 is taken there"),
        ("out of memory", "see that its engine can publish at 10.0.0.2:8100-8199"),
    ],
)
def test_a_machine_that_cannot_publish(error: str, remedy: str) -> None:
    finding = trouble(ways=(Way(origin=of("alpha"), to=of("alpha"), error=error),))
    assert (finding.subject, finding.found) == ("alpha: publish", error)
    assert finding.remedy.startswith(remedy)


# Asking.


@dataclass(kw_only=True)
class Machines:
    """What the machines of a site do when they are asked."""

    unreached: set[str] = field(default_factory=set)
    mute: set[str] = field(default_factory=set)
    """Those whose beacon does not run."""
    cannot_publish: set[str] = field(default_factory=set)
    off_s: float = 0.0
    reached: list[str] = field(default_factory=list)
    serving: list[str] = field(default_factory=list)
    probed: list[tuple[str, str, int]] = field(default_factory=list)
    interrupted: bool = False


class FakeRuntime:
    """Stands where Compose's runtime does."""

    def __init__(self, machines: Machines, machine: SiteMachine) -> None:
        self._machines = machines
        self._machine = machine

    def facts(self) -> MachineFacts:
        if self._machine.name in self._machines.mute:
            raise EngineError("the beacon did not run: no space left")
        return MachineFacts(host=HOST, time=1000.0 + self._machines.off_s, clocksource="tsc", boot=self._machine.name)

    def engine_id(self) -> str:
        return self._machine.name

    @contextlib.contextmanager
    def beacon(self) -> Iterator[int]:
        if self._machine.name in self._machines.cannot_publish:
            raise EngineError(
                "the beacon did not start: listen tcp4 10.0.0.2:8100: bind: cannot assign requested address",
            )
        self._machines.serving.append(self._machine.name)
        try:
            yield 8100
        finally:
            self._machines.serving.remove(self._machine.name)

    def probe(self, host: str, port: int) -> Probed:
        assert self._machines.serving, "nobody is there to answer"
        self._machines.probed.append((self._machine.name, host, port))
        if self._machines.interrupted:
            raise KeyboardInterrupt
        return Probed(round_trip_ms=0.2, bandwidth_mbps=940, error="not reached" if host == "10.0.0.3" else "")


def examined(machines: Machines, monkeypatch: pytest.MonkeyPatch, text: str = SITE) -> list[Finding]:
    @contextlib.contextmanager
    def reach(machine: SiteMachine) -> Iterator[Engine]:
        if machine.name in machines.unreached:
            raise EngineError(f"{machine.name}: no Docker engine answers at {machine.engine}; start it there")
        machines.reached.append(machine.name)
        try:
            yield Engine(docker="docker", address="a", endpoint=Endpoint(host="unix:///s"), version="26", compose="2")
        finally:
            machines.reached.remove(machine.name)

    def runtime(*_: object, ports: str, machine: SiteMachine) -> FakeRuntime:
        assert ports == machine.ports
        return FakeRuntime(machines, machine)

    monkeypatch.setattr("wsgilab.doctor.site.reach", reach)
    monkeypatch.setattr("wsgilab.doctor.site.time.time", lambda: 1000.0)
    monkeypatch.setattr(compose, "ComposeRuntime", runtime)
    site = parse_site(text, "s.yaml")
    return list(examine_site(site, project=Path("p"), state=Path("s"), lab_id="id", servers=13))


def test_the_swarm_asks_the_targets_and_its_others_the_master(monkeypatch: pytest.MonkeyPatch) -> None:
    machines = Machines()
    findings = examined(machines, monkeypatch)
    assert machines.probed == [
        ("beta", "10.0.0.2", 8100),
        ("gamma", "10.0.0.2", 8100),
        ("gamma", "10.0.0.3", 8100),
    ]
    assert [each.subject for each in findings if each.remedy] == ["gamma to beta"], "which is not reached"
    assert machines.reached == machines.serving == []


def test_each_lane_is_asked_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    machines = Machines()
    examined(machines, monkeypatch, TWO)
    assert machines.probed == [("beta", "10.0.0.2", 8100), ("gamma", "10.0.0.5", 8100)]


@pytest.mark.parametrize("how", ["unreached", "mute"])
def test_a_machine_that_cannot_be_asked_is_left_out(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    machines = Machines()
    setattr(machines, how, {"beta"})
    findings = examined(machines, monkeypatch)
    assert [each.subject for each in findings if each.remedy] == ["beta: engine"]
    assert machines.probed == [("gamma", "10.0.0.2", 8100)]


def test_why_a_machine_cannot_publish_is_what_its_engine_says(monkeypatch: pytest.MonkeyPatch) -> None:
    findings = examined(Machines(cannot_publish={"alpha"}), monkeypatch)
    (found,) = [each for each in findings if each.subject == "alpha: publish"]
    assert found.found.endswith("listen tcp4 10.0.0.2:8100: bind: cannot assign requested address")
    assert found.remedy == "10.0.0.2 is no address of that machine's own; name one with publish"


@pytest.mark.parametrize(("off_s", "found"), [(5.0, "5 s ahead of"), (-5.0, "5 s behind")])
def test_clocks_are_held_against_this_machines(off_s: float, found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    findings = examined(Machines(off_s=off_s), monkeypatch)
    assert [each.found for each in findings if each.subject == "alpha: clock"] == [f"{found} this machine's"]


def test_an_interruption_leaves_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    machines = Machines(interrupted=True)
    with pytest.raises(KeyboardInterrupt):
        examined(machines, monkeypatch)
    assert machines.probed
    assert machines.reached == machines.serving == []
