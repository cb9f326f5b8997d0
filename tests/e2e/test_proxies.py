"""A run where the user has a proxy, as the environment and Docker's configuration name it: no request goes by it."""

import contextlib
import json
from pathlib import Path

import docker
import pytest

from tests.e2e.conftest import Cli
from tests.serving import site
from wsgilab.run.testbed import choose_runtime
from wsgilab.run.workspace import read_backends, read_catalogue

pytestmark = pytest.mark.lab

ASKING = """
name: asking
blocks: 1
window_s: 0.3
reference: gunicorn-gevent
workloads: {upstream: {ms: 20}}
cells:
  - {servers: [gunicorn-gevent], workloads: [hello, upstream], users: [4], connections: [close]}
patience_s: 5
"""


def where_containers_reach_this_machine() -> str:
    with contextlib.closing(docker.from_env()) as client:
        gateway: str = client.networks.get("bridge").attrs["IPAM"]["Config"][0]["Gateway"]
    return gateway


def test_a_run_goes_by_no_proxy(cli: Cli, tmp_path: Path) -> None:
    # What has to be had from elsewhere is had before: that may need a proxy that answers.
    runtime, _ = choose_runtime(cli.workspace, cli.runtime)
    servers, backends = read_catalogue(cli.workspace), read_backends(cli.workspace)
    runtime.prepare([servers["gunicorn-gevent"]], backends.values(), print)

    experiment = tmp_path / "asking.yaml"
    experiment.write_text(ASKING)
    address = "127.0.0.1" if cli.runtime == "local" else where_containers_reach_this_machine()
    with site("", 502, address) as proxy:
        kinds, url = ("http", "https", "all"), f"http://{proxy.address}"
        cli.variables |= {name: url for kind in kinds for name in (f"{kind}_proxy", f"{kind.upper()}_PROXY")}
        told = {"proxies": {"default": {f"{kind}Proxy": url for kind in kinds}}}
        (tmp_path / "config.json").write_text(json.dumps(told))
        if cli.runtime == "compose":
            cli.variables["DOCKER_CONFIG"] = str(tmp_path)
        ended = cli.run(experiment=str(experiment))
        assert ended.code == 0, ended.output
        assert proxy.asked == []
    for cell in cli.comparison()["cells"]:
        assert cell["throughput_rps"]["median"] > 0
        assert cell["failures"] == 0
