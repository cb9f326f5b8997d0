"""What Docker itself says of the lab's containers while a run is under way."""

import contextlib
import signal

import docker
import pytest

from tests.e2e.conftest import HERE, Cli, end, observations, wait_for
from wsgilab import host

pytestmark = pytest.mark.lab


@pytest.mark.parametrize("cli", ["compose"], indirect=True)
def test_each_container_is_pinned_confined_and_published_on_loopback(cli: Cli) -> None:
    child = cli.start("lab.run", "--runtime", "compose", "--experiment", str(HERE / "small.yaml"), "--blocks", "20")
    wait_for(lambda: observations(cli.latest), "a trial")
    with contextlib.closing(docker.from_env()) as client:
        found = {
            container.labels["com.docker.compose.service"]: container.attrs
            for container in client.containers.list(filters={"label": f"wsgilab.lab={cli.places.lab_id}"})
        }
    end(child, signal.SIGINT)
    assert set(found) == {"gunicorn-sync-4", "gunicorn-gevent", "swarm"}
    server, generator = str(min(host.usable_cpus())), str(max(host.usable_cpus()))
    for name, attributes in found.items():
        settings = attributes["HostConfig"]
        assert settings["CpusetCpus"] == (generator if name == "swarm" else server)
        assert settings["NanoCpus"] == settings["CpuQuota"] == 0
        assert settings["ReadonlyRootfs"] is True
        assert settings["CapDrop"] == ["ALL"]
        assert settings["SecurityOpt"] == ["no-new-privileges:true"]
        assert settings["PidsLimit"] > 0
        assert settings["Memory"] > 0
        assert settings["Binds"] in (None, [])
        assert attributes["Mounts"] == []
        assert attributes["Config"]["User"] == "10001:10001"
        for bindings in settings["PortBindings"].values():
            assert {binding["HostIp"] for binding in bindings} == {"127.0.0.1"}
