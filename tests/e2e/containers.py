"""What Docker itself says of the lab's containers while a run is under way."""

from collections.abc import Collection

import yaml

from tests.conftest import containers
from tests.e2e.conftest import Cli
from wsgilab.system import host

BACKENDS = ("postgres", "upstream")


def assert_confined(cli: Cli, services: Collection[str]) -> None:
    """Those of `services` are there and no others: pinned, without privileges, and published on loopback only."""
    with containers(cli.workspace) as running:
        found = {each.labels["com.docker.compose.service"]: each.attrs for each in running}
    assert set(found) == set(services)
    server, generator = str(min(host.usable_cpus())), str(max(host.usable_cpus()))
    # The generator's too, where there are two in all.
    backends = yaml.safe_load((cli.latest / "run.yaml").read_text())["backend_cpus"]
    cores = {"swarm": generator} | dict.fromkeys(BACKENDS, str(backends))
    for name, attributes in found.items():
        settings = attributes["HostConfig"]
        assert settings["CpusetCpus"] == cores.get(name, server)
        assert settings["NanoCpus"] == settings["CpuQuota"] == 0
        assert settings["ReadonlyRootfs"] is True
        assert settings["CapDrop"] == ["ALL"]
        assert settings["SecurityOpt"] == ["no-new-privileges:true"]
        assert settings["PidsLimit"] > 0
        assert settings["Memory"] > 0
        assert settings["Binds"] in (None, [])
        assert attributes["Mounts"] == []
        # The official image's own user, who has no privileges either.
        assert attributes["Config"]["User"] == ("postgres" if name == "postgres" else "10001:10001")
        for bindings in (settings["PortBindings"] or {}).values():
            assert {binding["HostIp"] for binding in bindings} == {"127.0.0.1"}
