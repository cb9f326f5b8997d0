"""The doctor's findings about a site: how facts are judged, and how they are collected."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from wsgilab.doctor import Finding, examine_site
from wsgilab.doctor.findings import ExaminedMachine, NetworkPath, judge
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


def usual(machine: SiteMachine, **more: Any) -> ExaminedMachine:
    """The facts of a machine in order, but for `more`."""
    facts = ExaminedMachine(
        machine=machine,
        engine="Docker Engine 26.1.5 at somewhere",
        compose="Compose 2.26.1",
        host=HOST,
        clocksource="tsc",
        boot=machine.name,
        engine_id=machine.name,
    )
    return replace(facts, **more)


def judged(
    text: str = SITE, paths: tuple[NetworkPath, ...] = (), servers: int = 13, **more: Mapping[str, Any]
) -> list[Finding]:
    """The findings of a site whose machines are in order, but for `more` by their names."""
    site = parse_site(text, "s.yaml")
    found = {each.name: usual(each, **more.get(each.name, {})) for each in (*site.targets, *site.swarm)}
    return list(judge(site, found, paths, servers))


def trouble(
    text: str = SITE, paths: tuple[NetworkPath, ...] = (), servers: int = 13, **more: Mapping[str, Any]
) -> Finding:
    """The one finding that is not well."""
    (found,) = [each for each in judged(text, paths, servers, **more) if each.remedy]
    return found


def of(name: str, text: str = SITE) -> SiteMachine:
    site = parse_site(text, "s.yaml")
    return next(each for each in (*site.targets, *site.swarm) if each.name == name)


@pytest.mark.parametrize("text", [SITE, TWO])
def test_a_site_in_order_needs_no_remedy(text: str) -> None:
    findings = judged(
        text, (NetworkPath(origin=of("beta"), to=of("alpha"), port=8100, round_trip_ms=0.2, bandwidth_mbps=940),)
    )
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
    found = trouble(beta={"host": None, "failure": "the clock server did not run: no space left"})
    assert (found.subject, found.found) == ("beta: engine", "the clock server did not run: no space left")
    assert found.remedy


def cores(**of: str) -> str:
    """The site, with only these cores of its machines in use."""
    text = SITE.replace(", ports: 8100-8199", "")
    for name, used in of.items():
        text = text.replace(f"name: {name},", f"name: {name}, cores: '{used}',")
    return text


ONE = {"alpha": {"boot": "x"}, "beta": {"boot": "x"}}
"""One machine under two names."""
WRONG: list[tuple[str, dict[str, Any], str, str, str]] = [
    (cores(alpha="2-5"), {}, "alpha: cores", "2-5 of 0-3, sharing physical cores: 2-3", "there is no core 4-5; name o"),
    (SITE, {"alpha": {"clock_off_s": 2.4}}, "alpha: clock", "2 s ahead of this machine's", "set both by NTP"),
    (SITE, {"alpha": {"clock_off_s": -90.0}}, "alpha: clock", "90 s behind this machine's", "set both by NTP"),
    (SITE, {"alpha": {"clocksource": "hpet"}}, "alpha: clocksource", "hpet", "each stamp asks the kernel"),
    (SITE, {"alpha": {"clocksource": "xen"}}, "alpha: clocksource", "xen", "each stamp asks the kernel"),
    (SITE.replace("8199", "8112"), {}, "alpha: ports", "13 in 8100-8112", "name 14 for all 13 servers"),
    (
        TWO,
        {"alpha": {"boot": "x", "engine_id": "y"}, "delta": {"boot": "x", "engine_id": "y"}},
        *("alpha, delta: machine", "one and the same engine", "blocks side by side need a machine each"),
    ),
    (
        cores(alpha="0-1", beta="1-3"),
        ONE,
        *("alpha, beta: machine", "one and the same, and both would use core 1", "give each cores of its own"),
    ),
    (
        cores(alpha="0", beta="1-3"),
        ONE,
        "alpha, beta: machine",
        "one and the same, and both would use one physical core (logical cores 0-1)",
        "figures will be noisier",
    ),
    (
        cores(beta="0", gamma="0-1"),
        {},
        *("beta, gamma: strength", "3 for the 4 of alpha, in cores", "servers on more than 3 cores may outrun"),
    ),
    *(
        (TWO, {"delta": {"host": replace(HOST, **other)}}, "delta: like alpha", f"they differ in {what}", "blocks on")
        for other, what in (
            ({"cpu": "Model 2"}, "CPU (Model 1 and Model 2)"),
            ({"architecture": "aarch64"}, "architecture (x86_64 and aarch64)"),
            ({"siblings": ("0", "1", "2", "3")}, "physical cores (2 and 4)"),
        )
    ),
]


@pytest.mark.parametrize(("text", "more", "subject", "found", "remedy"), WRONG)
def test_what_is_wrong_with_machines_is_found_with_its_remedy(
    text: str, more: dict[str, Any], subject: str, found: str, remedy: str
) -> None:
    finding = trouble(text, **more)

    assert (finding.subject, finding.found) == (subject, found)
    assert finding.remedy.startswith(remedy)


RIGHT: list[tuple[str, dict[str, Any]]] = [
    (cores(alpha="0,2"), {}),
    (cores(alpha="0-1", beta="2-3"), ONE),
    (SITE, {"alpha": {"boot": ""}, "beta": {"boot": ""}}),
    (SITE, {"beta": {"host": replace(HOST, cpu="Model 2", architecture="aarch64")}}),
    (SITE.replace("8199", "8113"), {}),
    (SITE, {"alpha": {"clock_off_s": 0.9}}),
    (SITE, {"alpha": {"clock_off_s": -0.9}}),
    *(
        (SITE, {"alpha": {"clocksource": source}})
        for source in ("tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter", "")
    ),
]


@pytest.mark.parametrize(("text", "more"), RIGHT)
def test_what_is_well_needs_no_remedy(text: str, more: dict[str, Any]) -> None:
    assert not any(each.remedy for each in judged(text, **more))


def test_a_core_on_each_physical_one_shares_none() -> None:
    assert "0,2 of 0-3" in [each.found for each in judged(cores(alpha="0,2")) if each.subject == "alpha: cores"]


def test_targets_with_other_numbers_of_cores() -> None:
    found = [each.found for each in judged(TWO.replace("10.0.0.5", "10.0.0.5, cores: 0-1")) if "like" in each.subject]
    assert found == ["they differ in cores (0-3 and 0-1), physical cores (2 and 1)"]


def test_a_path_that_is_closed_names_address_and_ports() -> None:
    error = "10.0.0.2:8100 is not reached: timed out"
    finding = trouble(paths=(NetworkPath(origin=of("beta"), to=of("alpha"), port=8100, error=error),))
    assert (finding.subject, finding.found) == ("beta to alpha", error)
    assert "let beta through the firewalls of alpha to TCP ports 8100-8199" in finding.remedy
    assert "address 10.0.0.2" in finding.remedy


def test_a_path_to_any_free_port_names_those_that_there_are() -> None:
    finding = trouble(TWO, paths=(NetworkPath(origin=of("beta"), to=of("delta", TWO), port=32768, error="refused"),))
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
    finding = trouble(paths=(NetworkPath(origin=of("alpha"), to=of("alpha"), error=error),))
    assert (finding.subject, finding.found) == ("alpha: publish", error)
    assert finding.remedy.startswith(remedy)


# Examining.


@dataclass(kw_only=True)
class Machines:
    """How the machines of a site behave when they are examined."""

    unreached: set[str] = field(default_factory=set)
    mute: set[str] = field(default_factory=set)
    """Those whose clock server does not run."""
    cannot_publish: set[str] = field(default_factory=set)
    off_s: float = 0.0
    reached: list[str] = field(default_factory=list)
    serving: list[str] = field(default_factory=list)
    probed: list[tuple[str, str, int]] = field(default_factory=list)
    interrupted: bool = False


class FakeRuntime:
    """In place of Compose's runtime."""

    def __init__(self, machines: Machines, machine: SiteMachine) -> None:
        self._machines = machines
        self._machine = machine

    def facts(self) -> MachineFacts:
        if self._machine.name in self._machines.mute:
            raise EngineError("the clock server did not run: no space left")
        return MachineFacts(host=HOST, time=1000.0 + self._machines.off_s, clocksource="tsc", boot=self._machine.name)

    def engine_id(self) -> str:
        return self._machine.name

    @contextlib.contextmanager
    def clock_server(self) -> Iterator[int]:
        if self._machine.name in self._machines.cannot_publish:
            raise EngineError(
                "the clock server did not start: listen tcp4 10.0.0.2:8100: bind: cannot assign requested address",
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


def test_paths_lead_from_the_swarm_to_the_targets_and_to_the_master(monkeypatch: pytest.MonkeyPatch) -> None:
    machines = Machines()
    findings = examined(machines, monkeypatch)
    assert machines.probed == [
        ("beta", "10.0.0.2", 8100),
        ("gamma", "10.0.0.2", 8100),
        ("gamma", "10.0.0.3", 8100),
    ]
    assert [each.subject for each in findings if each.remedy] == ["gamma to beta"], "which is not reached"
    assert machines.reached == machines.serving == []


def test_each_lane_has_paths_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    machines = Machines()
    examined(machines, monkeypatch, TWO)
    assert machines.probed == [("beta", "10.0.0.2", 8100), ("gamma", "10.0.0.5", 8100)]


@pytest.mark.parametrize("how", ["unreached", "mute"])
def test_a_machine_without_facts_has_no_paths(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
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
