"""What Docker itself says of the lab's containers while a run is under way."""

import contextlib

import docker

from tests.e2e.conftest import Cli
from wsgilab import host


def assert_confined(cli: Cli) -> None:
    """Each container of `small.yaml` is pinned, without privileges, and published on loopback only."""
    with contextlib.closing(docker.from_env()) as client:
        found = {
            container.labels["com.docker.compose.service"]: container.attrs
            for container in client.containers.list(filters={"label": f"wsgilab.lab={cli.places.lab_id}"})
        }
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
