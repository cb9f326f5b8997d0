"""The same experiment on several machines: real engines, each with its own images and network, joined by wires."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import machines
from tests.e2e.conftest import HERE, Ended, fetch, observations
from tests.e2e.keys import make_certificates
from tests.e2e.machines import Machine
from tests.e2e.sites import FIRST, LAST, SECONDS, SiteCli, entry, experiment, first, site_cli
from tests.e2e.test_bad_input import USAGE, assert_one_line
from tests.e2e.test_run import PEAKS, UNBOUNDED, cells
from tests.e2e.wire import Detour
from wsgilab.analysis.cell.disturbance import is_disturbed
from wsgilab.results.store import Store

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

# One of each kind of slots, one that computes, and what is done to a server meanwhile.
SLEEPING = """
name: sleeping
blocks: 1
window_s: 1
reference: gunicorn-sync-4
workloads: {hello: {}, sleep: {ms: 50}, cpu: {ms: 5}}
cells:
  - servers: [gunicorn-sync-4, gunicorn-gthread-2x4, gunicorn-gevent]
    workloads: [sleep]
    users: [16]
    connections: [close]
  - {servers: [gunicorn-gevent], workloads: [cpu], users: [16], connections: [close]}
  - {servers: [gunicorn-sync-4], workloads: [hello], users: [4], connections: [close], during: {at_s: 0.3, do: stop}}
  - {servers: [gunicorn-gthread-2x4], workloads: [hello], users: [4], connections: [close], during: {at_s: 0.3, do: reload}}
  - {servers: [gunicorn-gevent], workloads: [hello], users: [4], connections: [close], during: {at_s: 0.3, do: kill-worker}}
"""
LOST = """
name: lost
blocks: 1
window_s: 1.5
reference: gunicorn-gthread-8
workloads: {hello: {}, sleep: {ms: 50}}
cells:
  - {servers: [gunicorn-gthread-8], workloads: [hello], users: [4], connections: [keep-alive]}
  - {servers: [gunicorn-sync-4], workloads: [sleep], users: [12], connections: [close]}
"""
ACCEPTED = "whoever reaches it is root there"


@pytest.fixture
def cli(state: Path, tmp_path: Path, beta: Machine) -> Iterator[SiteCli]:
    """The targets on beta, the swarm on the machine that the tests run on."""
    with site_cli(state, tmp_path, beta) as made:
        yield made.on([entry(beta)], [first(beta)])


def test_a_run_has_the_peaks_of_one_machine(cli: SiteCli, beta: Machine) -> None:
    with beta.sshd() as ssh:
        cli.variables["PATH"] = ssh.path()
        cli.on([entry(beta, engine=beta.by_ssh)], [first(beta)])
        findings = cli.task("lab.doctor")
        assert findings.code == 0, findings.output
        assert "remedy" not in findings.output, findings.output
        assert [line for line in findings.lines if "alpha to beta: round trip" in line], findings.output

        cannot = SLEEPING.replace("gunicorn-gevent], workloads: [hello]", "waitress], workloads: [hello]")
        told = "waitress: during: kill-worker: it is not known to have a master process that starts another worker"
        assert_one_line(cli.measure(experiment(cli.folder, cannot)), told, code=USAGE)
        assert beta.names(cli.workspace.lab_id) == []

        cli.charts = True
        ended = cli.measure(experiment(cli.folder, SLEEPING))
        assert ended.code == 0, ended.output
        assert ssh.clients() == []

        cli.on([entry(beta, engine=beta.by_ssh.replace("root@", "nobody@"))], [first(beta)])
        assert_one_line(cli.task("lab.build"), "beta", "Permission denied")

    comparison = cli.comparison()
    assert comparison["run"]["trials"]["failed"] == 0
    sleeping = cells(comparison, workload="sleep")
    assert len(sleeping) == 3
    for name, cell in sleeping.items():
        # As test_run.py finds them where all is on one machine.
        if name in UNBOUNDED:
            assert cell["in_flight"]["peak"] > max(PEAKS.values()), name
        else:
            assert cell["in_flight"]["peak"] == PEAKS[name], name
            assert cell["throughput_rps"]["median"] <= PEAKS[name] / 0.050 * 1.02, name
        assert cell["failures"] == cell["cut_off"] == 0, name
    assert cells(comparison, workload="cpu")["gunicorn-gevent"]["in_flight"]["peak"] == 1

    acted = {each.cell.during.do: each for each in Store(cli.latest).observations() if each.cell.during is not None}
    assert acted.keys() == {"kill-worker", "reload", "stop"}
    for do, each in acted.items():
        assert each.acted_s is not None, do
        # Within the window, or the trial would have failed.
        assert each.acted_s >= 0.3, do
        assert each.swarm is not None, do
        assert each.swarm.timeline is not None, do
        assert any(stay.left_us < (each.swarm.timeline.acted_us or 0) for stay in each.swarm.timeline.stays), do
    stopped = cells(comparison, workload="hello")["gunicorn-sync-4"]
    assert "during" in stopped["warning_kinds"], stopped
    assert stopped["longest_gap_ms"]["median"] > 200, stopped
    for cell in comparison["cells"]:
        if "during" not in cell:
            assert cell["slots"] == "unbounded" or cell["in_flight"]["peak"] <= cell["slots"], cell
        assert cell["round_trip_ms"] > 0

    [lane] = cli.run_file()["lanes"]
    assert (lane["targets"]["name"], lane["targets"]["cpus"]) == ("beta", FIRST)
    assert [(each["name"], each["cpus"]) for each in lane["swarm"]] == [("alpha", LAST)]
    assert lane["round_trip_ms"] > 0
    assert lane["bandwidth_mbps"] > 0
    assert {json.loads(line)["machine"] for line in observations(cli.latest)} == {"beta"}
    # Where machines are is the business of whoever has them.
    for file in cli.latest.rglob("*"):
        assert file.is_dir() or beta.address.encode() not in file.read_bytes(), file


# That it is what binds, which a busy machine changes: tests/unit/analysis/cell/test_network.py.
def test_what_is_lost_and_sent_again_is_told_and_peaks_are_right(cli: SiteCli, beta: Machine) -> None:
    # The way between the machines is a program on their cores: no trial is measured again because of it.
    cli.variables["LAB_SHARE_CORES"] = "1"
    with beta.lossy(0.05):
        ended = cli.measure(experiment(cli.folder, LOST))
    assert ended.code == 0, ended.output
    found = cells(cli.comparison_apart())
    for cell in found.values():
        assert cell["resent_share"] > 0.01, cell
        assert cell["in_flight"]["peak"] <= cell["slots"], cell
        assert any("sent again" in warning for warning in cell["warnings"]), cell
    assert found["gunicorn-sync-4"]["in_flight"]["peak"] == 4


def test_the_lab_is_open_where_its_swarm_is_reached_through_ssh(cli: SiteCli, beta: Machine) -> None:
    with beta.sshd() as ssh:
        cli.variables["PATH"] = ssh.path()
        cli.on([first(beta, cores=FIRST)], [entry(beta, engine=beta.by_ssh, cores=LAST)])
        words = ("--servers", "gunicorn-sync-4", "--no-backends", "--port", "0")
        ended = cli.in_own_process("lab.up", "--site", str(cli.file), *words, seconds=SECONDS)
        try:
            assert ended.code == 0, ended.output
            ui = f"http://127.0.0.1:{cli.session().port}"
            assert fetch(ui).headers["Location"] == "/?tab=lab"
            assert "gunicorn-sync-4" in fetch(f"{ui}/lab").body
            assert cli("lab.status").code == 0
        finally:
            down = cli("lab.down")
        assert down.code == 0, down.output
        assert cli.leftovers() == []
        assert ssh.clients() == []


def test_blocks_run_side_by_side_each_whole_on_one_machine(
    state: Path, tmp_path: Path, beta: Machine, gamma: Machine
) -> None:
    with site_cli(state, tmp_path, beta, gamma) as cli:
        # All these machines are one, so that each lane is the other's neighbour.
        cli.variables["LAB_SHARE_CORES"] = "1"
        cli.on(
            [entry(beta), entry(gamma)],
            [first(beta), entry(beta, name="delta", cores=LAST)],
        )
        # Both servers are of one stack: on every machine its image is built anew.
        small = (HERE / "small.yaml").read_text().replace("gunicorn-gevent", "gunicorn-gthread-8")
        ended = cli.measure(experiment(tmp_path, small), "--blocks", "8", "--seed", "7")
        assert ended.code == 0, ended.output
        rows = [json.loads(line) for line in observations(cli.latest)]
        assert len({row["position"] for row in rows}) == 16
        takers = {block: {row["machine"] for row in rows if row["block"] == block} for block in range(8)}
        assert all(len(each) == 1 for each in takers.values()), takers
        blocks = {name: sum(each == {name} for each in takers.values()) for name in ("beta", "gamma")}
        assert blocks == {"beta": 4, "gamma": 4}
        peaks = {name: cell["in_flight"]["peak"] for name, cell in cells(cli.comparison()).items()}
        # All eight users are inside at once only where the machine lets them.
        assert peaks["gunicorn-sync-4"] == 4 < peaks["gunicorn-gthread-8"] <= 8
        effects = {each["machine"]: each for each in cli.comparison()["machines"]}
        told = {name: each["blocks"] for name, each in effects.items()}
        store = Store(cli.latest)
        disturbed = sum(is_disturbed(store.run(), each) for each in store.observations())
        # Of blocks that others disturbed nothing is concluded, as long as there are some that nobody did.
        assert told == blocks or (disturbed and all(count <= blocks[name] for name, count in told.items())), told
        for each in effects.values():
            assert each["throughput"]["low"] <= each["throughput"]["median"] <= each["throughput"]["high"]
        assert [lane["targets"]["name"] for lane in cli.run_file()["lanes"]] == ["beta", "gamma"]


def test_an_engine_at_tcp_has_tls_or_the_site_says_so_in_so_many_words(cli: SiteCli, beta: Machine) -> None:
    def asked(task: str, *words: str, **more: str) -> Ended:
        cli.on([entry(beta, **more)], [first(beta)])
        return cli.task(task, *words)

    plain = f"tcp://{beta.near}:2375"
    with Detour(beta.near, beta.engine.removeprefix("unix://"), [2375]).open() as detour:
        assert_one_line(asked("lab.down", engine=plain), plain, "TLS", ACCEPTED, code=USAGE)
        assert_one_line(asked("lab.down", engine=plain, plain_tcp="yes"), ACCEPTED, code=USAGE)
        assert detour.connections == 0
        accepted = asked("lab.down", engine=plain, plain_tcp=ACCEPTED)
        assert accepted.code == 0, accepted.output
        assert detour.connections > 0

    assert_one_line(asked("lab.down", engine=beta.by_tcp), "TLS", ACCEPTED, code=USAGE)
    with_tls = asked("lab.build", "--servers", "gunicorn-sync-4", engine=beta.by_tcp, tls=str(beta.certificates))
    assert with_tls.code == 0, with_tls.output
    # Relative to the file; and whoever has no certificate of that authority's has no way in.
    make_certificates(cli.folder / "stranger", beta.address)
    assert_one_line(asked("lab.build", engine=beta.by_tcp, tls="stranger/client"), "beta", "certificate")


def test_the_wires_of_a_test_run_that_was_killed_go_with_the_next(beta: Machine) -> None:
    with subprocess.Popen(["true"]) as killed:
        killed.wait()
    namespace, link = machines.wire_names(killed.pid, "omega")
    machines.run("ip", "netns", "add", namespace)
    machines.run("ip", "link", "add", link, "type", "veth", "peer", "name", "wire", "netns", namespace)
    machines.run("iptables", "-w", "-I", "FORWARD", "-i", link, "-j", "ACCEPT")

    machines.sweep()

    assert not (machines.NAMESPACES / namespace).exists()
    assert link not in machines.run("ip", "link") + machines.run("iptables", "-w", "-S", "FORWARD")
    assert beta.names("no-lab") == [], "one that is at work is still reached"
    assert (machines.NAMESPACES / machines.wire_names(os.getpid(), "beta")[0]).exists()
