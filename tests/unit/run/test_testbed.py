"""Where a run can stand: this machine's cores, and those of a site's machines."""

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from wsgilab import testing
from wsgilab.load.client import LinkReading
from wsgilab.model import Host, SiteMachine
from wsgilab.model.errors import HostError, SpecError
from wsgilab.run import testbed, workspace
from wsgilab.run.testbed import Testbed
from wsgilab.runtime.protocol import Runtime
from wsgilab.runtime.remote import RemoteHost, RemoteRuntime
from wsgilab.system import cpus, host, neighbours
from wsgilab.system.cpus import DoesNotFit, Layout, layout_remote

HOST = testing.run().host


def machine(name: str, **changes: Any) -> SiteMachine:
    plain: dict[str, Any] = {
        "engine": f"ssh://{name}",
        "address": "10.0.0.2",
        "publish": "10.0.0.2",
        "ports": "",
        "cores": "",
        "tls": "",
        "plain_tcp": False,
    }
    return SiteMachine(name=name, **{**plain, **changes})


class FakeComposeRuntime:
    """As much of a machine's runtime as is asked before anything is up."""

    versions: dict[str, str] = {}  # noqa: RUF012 - nobody writes to it


def station(name: str, cores: str, *, here: bool = False, of: Host = HOST) -> RemoteHost:
    return RemoteHost(
        machine=machine(name),
        runtime=cast("Any", FakeComposeRuntime()),
        host=of,
        cpus=cpus.parse(cores),
        is_this_machine=here,
    )


def lane(targets: RemoteHost, *swarm: RemoteHost) -> Testbed:
    apart = RemoteRuntime(targets, swarm or (station("beta", "2-3"),))
    return Testbed(runtime=apart, host=targets.host, remote=apart)


HERE = Testbed(runtime=cast("Runtime", None), host=host.fingerprint())


def test_cores_that_are_not_there_are_told_in_the_users_words() -> None:
    def lay_out(count: int, generator_cores: int) -> str:
        with pytest.raises(HostError) as caught:
            HERE.lay_out(
                {count},
                share=False,
                generator_cores=generator_cores,
                option="--workers",
                say=print,
                backends=False,
            )
        return caught.value.message

    assert "--share-generator" in lay_out(999, 1)
    assert lay_out(1, 999).endswith("ask for fewer with --workers")


@pytest.mark.parametrize("backends", [False, True])
def test_cores_of_this_machine_are_said(*, backends: bool) -> None:
    said: list[str] = []
    layout = HERE.lay_out({1}, share=True, generator_cores=1, option="--workers", say=said.append, backends=backends)
    assert said[0].startswith("Cores: servers on ")
    beside = f", backends on {cpus.spell(layout.backends)}" if backends else ""
    assert said[0].endswith(f", generator on {cpus.spell(layout.generator)}{beside}.")
    assert said[1:] == [f"Note: {note}." for note in layout.notes]
    assert HERE.own_cpus(layout) == layout.generator
    assert (HERE.machine, HERE.lane_record(None)) == ("", None)


def test_a_lanes_servers_have_all_cores_of_their_machine_and_its_generator_those_of_others() -> None:
    said: list[str] = []
    testbed = lane(station("alpha", "0-3"), station("beta", "2-3"), station("gamma", "0"))
    layout = testbed.lay_out({1, 3}, share=False, generator_cores=1, option="", say=said.append, backends=True)
    assert layout.servers == {1: frozenset({0}), 3: frozenset({0, 1, 2})}
    assert (layout.backends, layout.generator) == (frozenset({3}), frozenset({2, 3}))
    assert said == ["Cores of alpha: servers on 0; 0-2, backends on 3; generator on 2-3 of beta and 0 of gamma."]
    with pytest.raises(HostError, match="alpha: cores: 5 server cores asked for, but the machine of the targets has 4"):
        testbed.lay_out({5}, share=False, generator_cores=1, option="", say=print, backends=False)


def test_the_lab_keeps_off_the_servers_cores_where_a_lanes_targets_run_beside_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(host, "usable_cpus", lambda: frozenset({0, 1}))

    def own(testbed: Testbed, count: int) -> frozenset[int] | None:
        layout = testbed.lay_out({count}, share=False, generator_cores=1, option="", say=print, backends=False)
        return testbed.own_cpus(layout)

    assert own(lane(station("alpha", "0-1", here=True)), 1) == frozenset({1})
    assert own(lane(station("alpha", "0-1", here=True)), 2) is None, "there are no others"
    assert own(lane(station("alpha", "0-1")), 1) is None, "they are far away"


def test_results_are_told_of_machines_and_the_link_but_not_of_addresses() -> None:
    recorded = lane(station("alpha", "0")).lane_record(LinkReading(round_trip_ms=0.25, bandwidth_mbps=940.0))
    assert recorded is not None
    assert (recorded.targets.name, [each.name for each in recorded.swarm]) == ("alpha", ["beta"])
    assert (recorded.targets.cpus, recorded.round_trip_ms, recorded.bandwidth_mbps) == ("0", 0.25, 940.0)
    assert "10.0.0.2" not in repr(recorded)


def test_threads_of_one_physical_core_come_after_all_physical_cores() -> None:
    layout = layout_remote(usable=range(4), siblings=[{0, 2}, {1, 3}], counts=[1, 2, 3], generator={7}, backends=True)
    assert layout.servers == {1: frozenset({0}), 2: frozenset({0, 1}), 3: frozenset({0, 1, 2})}
    assert layout.backends == frozenset({3})
    assert layout.notes == ("servers and backends share a physical core (logical cores 1,3)",)
    with pytest.raises(DoesNotFit, match="4 server cores asked for beside one for the backends"):
        layout_remote(usable=range(4), siblings=[], counts=[4], generator={7}, backends=True)


def test_two_machines_that_are_one_engine_are_noticed() -> None:
    one, two = station("alpha", "0"), station("beta", "1")
    testbed._check_distinct([(one, "x"), (two, "y"), (station("gamma", "0"), "z")], targets=2)
    testbed._check_distinct([(one, "x"), (two, "x")], targets=1)
    with pytest.raises(HostError, match="targets: alpha and beta are one engine"):
        testbed._check_distinct([(one, "x"), (two, "x")], targets=2)
    with pytest.raises(HostError, match="cores: alpha and gamma are one engine, and both would use core 0;"):
        testbed._check_distinct([(one, "x"), (station("gamma", "0-1"), "x")], targets=1)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"cpu": "Another CPU"}, r"differ in CPU \(A CPU, Another CPU\)"),
        ({"architecture": "aarch64"}, "differ in architecture"),
        ({"siblings": ("0-1",)}, "differ in sibling cores"),
    ],
)
def test_blocks_are_dealt_to_machines_of_one_kind_only(changes: dict[str, Any], told: str) -> None:
    other = station("beta", "0", of=replace(HOST, **changes))
    with pytest.raises(HostError, match=told):
        testbed._check_alike([station("alpha", "0"), other])
    with pytest.raises(HostError, match=r"differ in cores \(0, 0-1\)"):
        testbed._check_alike([station("alpha", "0"), station("beta", "0-1")])
    testbed._check_alike([station("alpha", "0"), station("beta", "0", of=replace(HOST, kernel="7"))])


def test_folders_of_certificates_are_seen_from_the_site_file(tmp_path: Path) -> None:
    file = tmp_path / "sites.yaml"
    file.write_text(
        "targets: [{engine: 'tcp://10.0.0.2:2376', tls: certs, address: 10.0.0.2}]\n"
        "swarm: [{engine: default, address: 10.0.0.3}]\n"
    )
    site = testbed.read_site(file)
    assert (site.targets[0].tls, site.swarm[0].tls) == (str(tmp_path / "certs"), "")
    file.write_text("targets: []\n")
    with pytest.raises(SpecError, match="sites"):
        testbed.read_site(file)


# Beside others.


class Beside:
    """A runtime on this machine, or on another, where another lab runs too."""

    def __init__(self, *, here: bool) -> None:
        self._here = here

    def is_here(self) -> bool:
        return self._here

    def other_labs(self) -> list[str]:
        return ["another lab runs here, with 3 containers, from /elsewhere"]

    def owns(self, _: int) -> bool:
        return False


FAR = Layout(servers={1: frozenset({100_000})}, generator=frozenset({100_001}), backends=frozenset({100_002}), notes=())
"""Cores that no machine has, so that no lab holds them."""


def held(monkeypatch: pytest.MonkeyPatch, *, here: bool, **variables: str) -> tuple[list[str], list[object]]:
    """What is said while the cores of FAR are held, and which cores were looked at."""
    looked: list[object] = []

    def look(cores: object, owns: object) -> list[neighbours.CoreUse]:
        looked.append(cores)
        return [
            neighbours.CoreUse(core=100_000, share=0.97, who=["yes (4711)"]),
            neighbours.CoreUse(core=100_001, share=0.02, who=[]),
        ]

    monkeypatch.setattr(neighbours, "look", look)
    said: list[str] = []
    testbed = Testbed(runtime=cast("Runtime", Beside(here=here)), host=HOST)
    with testbed.reserved(FAR, workspace.workspace(variables), said.append):
        taken = contextlib.nullcontext() if not here or variables else pytest.raises(HostError, match="core 10000")
        with taken, neighbours.held({100_000}), neighbours.held({100_001}), neighbours.held({100_002}):
            """Another lab asks for them."""
    return said, looked


def test_cores_are_held_and_looked_at_before_anything_runs_on_them(monkeypatch: pytest.MonkeyPatch) -> None:
    said, looked = held(monkeypatch, here=True)

    assert looked == [{100_000, 100_001}]
    assert said == [
        "Note: another lab runs here, with 3 containers, from /elsewhere; it may disturb this one.",
        "Note: others use 97% of core 100000 (yes (4711)); windows that this disturbs are not compared by speed.",
    ]


def test_cores_are_shared_where_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    said, looked = held(monkeypatch, here=True, LAB_SHARE_CORES="1")

    assert looked == []
    assert len(said) == 1


def test_cores_of_another_machine_are_neither_held_nor_looked_at_here(monkeypatch: pytest.MonkeyPatch) -> None:
    said, looked = held(monkeypatch, here=False)

    assert looked == []
    assert len(said) == 1
