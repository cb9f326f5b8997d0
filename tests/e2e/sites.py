"""The lab as a user runs it on a site: site files of the tests' machines, and what is left on any of them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.conftest import Cli, Ended, make_cli
from tests.e2e.machines import Machine
from wsgilab.analysis.compare import compare
from wsgilab.report.comparison import comparison_yaml
from wsgilab.results.store import Store
from wsgilab.system import host

CORES = sorted(host.usable_cpus())
FIRST, LAST = str(CORES[0]), str(CORES[-1])
"""The servers' core and the generator's: all machines of the tests share this one's."""
SECONDS = 480
"""For a run, with images to build before it."""

Entry = Mapping[str, str]


def first(beside: Machine, **more: str) -> Entry:
    """The entry of the machine that the tests run on, as `beside` reaches it."""
    return {"name": "alpha", "engine": "default", "address": beside.near, "cores": LAST, **more}


def entry(machine: Machine, **more: str) -> Entry:
    """The entry of another machine."""
    return {"name": machine.name, "engine": machine.engine, "address": machine.address, "cores": FIRST, **more}


def write(folder: Path, targets: Sequence[Entry], swarm: Sequence[Entry]) -> Path:
    file = folder / "sites.yaml"
    file.write_text(
        yaml.safe_dump({"targets": [dict(each) for each in targets], "swarm": [dict(each) for each in swarm]})
    )
    return file


@dataclass(kw_only=True)
class SiteCli(Cli):
    """`invoke` with a site, whose other machines are `machines`."""

    machines: Sequence[Machine]
    folder: Path
    file: Path = Path()

    def on(self, targets: Sequence[Entry], swarm: Sequence[Entry]) -> "SiteCli":
        """From now on, with these."""
        self.file = write(self.folder, targets, swarm)
        return self

    def task(self, name: str, *words: str) -> Ended:
        return self(name, "--site", str(self.file), *words)

    def measure(self, experiment: Path, *words: str) -> Ended:
        return self.gone_on_with(self.task("lab.run", "--experiment", str(experiment), *words))

    def resume(self) -> Ended:
        return self.task("lab.run", "--resume", "latest")

    def run_file(self) -> dict[str, Any]:
        loaded: dict[str, Any] = yaml.safe_load((self.latest / "run.yaml").read_text())
        return loaded

    def comparison_apart(self) -> dict[str, Any]:
        """What the run says as if its machines were several: here the way between them is made by a program on their cores."""
        store = Store(self.latest)
        seen = [
            replace(each, swarm=None if each.swarm is None else replace(each.swarm, server_busy=None))
            for each in store.observations()
        ]
        loaded: dict[str, Any] = yaml.safe_load(comparison_yaml(compare(store.run(), seen))["comparison.yaml"])
        return loaded

    def leftovers(self) -> list[str]:
        found = super().leftovers()
        return found + [f"{each.name}: {name}" for each in self.machines for name in each.names(self.workspace.lab_id)]

    def assert_nothing_left(self) -> None:
        left = self.leftovers()
        if left:
            self("lab.down")
            for machine in self.machines:
                machine.empty()
        assert left == []


@contextmanager
def site_cli(state: Path, folder: Path, *machines: Machine) -> Iterator[SiteCli]:
    """The command line for a test on these machines and this one; after it nothing runs or stands on any."""
    made = make_cli("compose", state, folder / "results")
    cli = SiteCli(
        workspace=made.workspace, runtime=made.runtime, variables=made.variables, machines=machines, folder=folder
    )
    yield cli
    for machine in machines:
        machine.start()
    cli.assert_nothing_left()


def experiment(folder: Path, text: str) -> Path:
    file = folder / "experiment.yaml"
    file.write_text(text)
    return file
