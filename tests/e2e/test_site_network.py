"""What lies between the machines: delay, and a narrow link. It is told, and it does not touch what is counted. Loss: test_site.py."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.machines import Machine
from tests.e2e.sites import SiteCli, entry, experiment, first, site_cli
from tests.e2e.test_run import cells
from tests.e2e.wire import Detour

# What binds is a figure, which a busy machine changes.
pytestmark = [pytest.mark.lab, pytest.mark.alone, pytest.mark.timeout(600)]

DELAY_S = 0.02
"""Each way."""
MBPS = 40
PORTS = range(8300, 8330)

FAR = """
name: far
blocks: 1
window_s: 0.6
reference: gunicorn-gthread-8
workloads: {hello: {}, sleep: {ms: 50}, large: {kib: 64}}
cells:
  - {servers: [gunicorn-gthread-8], workloads: [hello], users: [4], connections: [close, keep-alive]}
  - {servers: [gunicorn-gthread-8], workloads: [sleep], users: [32], connections: [close]}
  - {servers: [gunicorn-gthread-8], workloads: [large], users: [8], connections: [keep-alive]}
"""


@pytest.fixture
def cli(state: Path, tmp_path: Path, beta: Machine) -> Iterator[SiteCli]:
    """The targets on beta, the swarm on the machine that the tests run on."""
    with site_cli(state, tmp_path, beta) as made:
        # The way between the machines is a program on their cores: no trial is measured again because of it.
        made.variables["LAB_SHARE_CORES"] = "1"
        yield made.on([entry(beta)], [first(beta)])


def test_a_long_and_narrow_way_is_told_and_named_and_peaks_are_right(
    cli: SiteCli, beta: Machine, tmp_path: Path
) -> None:
    published = {"address": beta.detour, "publish": beta.address, "ports": f"{PORTS[0]}-{PORTS[-1]}"}
    cli.on([entry(beta, **published)], [first(beta)])
    with Detour(beta.detour, beta.address, PORTS, delay_s=DELAY_S, mbps=MBPS).open():
        ended = cli.measure(experiment(tmp_path, FAR))
    assert ended.code == 0, ended.output
    comparison = cli.comparison_apart()
    for cell in comparison["cells"]:
        # No message is faster than the way allows, and few are half as fast.
        assert 2 * DELAY_S * 1000 <= cell["round_trip_ms"] < 4 * DELAY_S * 1000, cell
        assert cell["in_flight"]["peak"] <= cell["slots"], cell
        assert cell["failures"] == cell["cut_off"] == 0, cell

    answered_at_once = [each for each in comparison["cells"] if each["workload"] == "hello"]
    assert {each["connection"]: each["bound_by"] for each in answered_at_once} == {
        "close": "network",
        "keep-alive": "network",
    }
    assert all("on the wire" in each["because"] for each in answered_at_once)
    [large] = cells(comparison, workload="large").values()
    assert large["bound_by"] == "network", large
    assert "of the link" in large["because"]
    assert MBPS / 2 < large["received_mbps"] < MBPS * 1.1

    [sleeping] = cells(comparison, workload="sleep").values()
    assert sleeping["in_flight"]["peak"] == 8
    [lane] = cli.run_file()["lanes"]
    assert 2 * DELAY_S * 1000 <= lane["round_trip_ms"] < 4 * DELAY_S * 1000
    assert MBPS / 2 < lane["bandwidth_mbps"] < MBPS * 1.1
