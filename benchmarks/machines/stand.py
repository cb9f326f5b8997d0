"""Lanes on this machine's engine, with or without a real swarm, and trials on them."""

import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import docker
import yaml

from wsgilab import cpus, grounds, host, testing
from wsgilab.errors import HostError
from wsgilab.grounds import Ground
from wsgilab.launch import Started
from wsgilab.model import Lane as RecordedLane
from wsgilab.model import Machine, Observation, Run, SwarmReport, Trial
from wsgilab.places import Places
from wsgilab.runtime import engine as engines
from wsgilab.runtime.engine import Engine, NoEngine
from wsgilab.runtime.protocol import Fleet
from wsgilab.sides import Lane, Listener, side_by_side
from wsgilab.store import Journal, Store
from wsgilab.swarm.client import Swarm

SERVERS = ("gunicorn-gthread-8", "gunicorn-sync-1", "gunicorn-sync-4", "gunicorn-gthread-2x4", "gunicorn-gevent")
"""The first is the one that is loaded."""
USERS = 8
LATENCIES = 1000
"""In a histogram that is made up."""


def engine() -> Engine:
    """The engine of this machine. Raises HostError where none answers."""
    found = engines.find()
    if isinstance(found, NoEngine):
        raise HostError(f"{found.reason}; {found.remedy}: what a lane costs is measured on an engine")
    return found


@contextmanager
def site(places: Places, here: Engine, folder: Path) -> Iterator[Ground]:
    """A lane whose two machines are one engine, each with a core of its own."""
    first, *_, last = sorted(host.usable_cpus())
    with closing(docker.DockerClient(base_url=here.endpoint.host)) as client:
        address = client.networks.get("bridge").attrs["IPAM"]["Config"][0]["Gateway"]
    machine = {"engine": here.endpoint.host, "address": address}
    targets = [{"name": "alpha", **machine, "cores": str(first)}]
    swarm = [{"name": "beta", **machine, "cores": str(last)}]
    file = folder / "sites.yaml"
    file.write_text(yaml.safe_dump({"targets": targets, "swarm": swarm}))
    with grounds.opened(places, None, file, silent) as [ground]:
        yield ground


def silent(_: str) -> None: ...


def report() -> SwarmReport:
    """One with a histogram as large as a real one's."""
    source = random.Random(1)  # noqa: S311 - made-up figures
    latencies_ms = [source.lognormvariate(3, 0.5) for _ in range(LATENCIES)]
    return testing.swarm_report(latency_histogram=testing.histogram(*latencies_ms))


def lane(fleets: Mapping[int, Fleet], swarm: Swarm, machine: str, core: frozenset[int]) -> Lane:
    layout = cpus.Layout(servers={1: core}, generator=core, notes=())
    # Nobody asks for the runtime any more.
    started = Started(runtime=None, layout=layout, fleets=fleets, digests={})  # type: ignore[arg-type]
    return Lane(started=started, swarm=swarm, machine=machine)


def run_on(machines: Sequence[str], blocks: int, window_s: float) -> Run:
    """A run of one cell, SERVERS' first under USERS, on lanes with such machines."""
    about = host.fingerprint()

    def recorded(name: str) -> Machine:
        return Machine(name=name, host=about, cpus=about.usable_cpus)

    lanes = tuple(
        RecordedLane(
            targets=recorded(name), swarm=(recorded(f"{name}-swarm"),), round_trip_ms=0.1, bandwidth_mbps=1000.0
        )
        for name in machines
    )
    cell = testing.cell(SERVERS[0], users=USERS)
    return testing.run(testing.experiment(cell, blocks=blocks, window_s=window_s), lanes=lanes)


@contextmanager
def journal(places: Places, run: Run) -> Iterator[Journal]:
    """On the disk that results are on."""
    places.results.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="scale-out-", dir=places.results) as folder,
        Journal(Store.create(Path(folder), run)) as opened,
    ):
        yield opened


def carry_out(run: Run, lanes: Sequence[Lane], dealt: Mapping[str, Sequence[Trial]], journal: Journal) -> None:
    """As a run does, each observation into the journal. Raises HostError where a trial fails."""

    def save(observation: Observation) -> None:
        if observation.status != "measured":
            raise HostError(f"a trial failed: {observation.reason}")
        journal.append(observation)

    side_by_side(run, lanes, dealt, Listener(begin=lambda _: None, save=save, advance=silent, say=silent))
