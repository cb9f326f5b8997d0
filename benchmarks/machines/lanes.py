"""What the lab process uses for an observation that it records, and for a trial, on so many lanes."""

import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import docker

from benchmarks.machines import stand
from benchmarks.machines.found import Journaled, Laned
from benchmarks.machines.master import companion
from wsgilab import plan, testing
from wsgilab.model import Server
from wsgilab.places import Places, read_catalogue
from wsgilab.runtime.containers import ContainerTarget
from wsgilab.runtime.engine import Engine
from wsgilab.sides import Lane
from wsgilab.store import OBSERVATIONS_FILE, Journal, Store
from wsgilab.swarm.client import LocustSwarm

_API_S = 60


def journaled(folder: Path, count: int) -> Journaled:
    """So many observations recorded one after the other, on the disk that has `folder`."""
    cell = testing.cell()
    run = testing.run(testing.experiment(cell, blocks=count))
    observation = testing.observation(cell, swarm=stand.report())
    with tempfile.TemporaryDirectory(prefix="scale-out-", dir=folder) as name:
        store = Store.create(Path(name), run)
        with Journal(store) as journal:
            began_s, used_s = time.monotonic(), time.process_time()
            for block in range(count):
                journal.append(replace(observation, block=block, position=block))
            wall_s, cpu_s = time.monotonic() - began_s, time.process_time() - used_s
        size = (store.folder / OBSERVATIONS_FILE).stat().st_size
    return Journaled(bytes_each=size / count, cpu_ms=cpu_s / count * 1000, wall_ms=wall_s / count * 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shared:
    """What all lanes have in common: a target, and what their generators say of it."""

    server: Server
    container: str
    core: frozenset[int]
    engine: Engine
    report: Path
    others: frozenset[int]
    """The cores of the generators, which are fakes."""


def laned(places: Places, counts: Sequence[int], trials: int, others: frozenset[int]) -> Iterator[Laned]:
    """So many lanes share about `trials` trials, all on one server of the engine, each with a client of its own."""
    engine = stand.engine()
    server = read_catalogue(places)[stand.SERVERS[0]]
    with ExitStack() as up:
        folder = Path(up.enter_context(tempfile.TemporaryDirectory(prefix="wsgilab-lanes-")))
        site = up.enter_context(stand.site(places, engine, folder))
        site.runtime.prepare([server], [], stand.silent)
        core = frozenset({min(site.usable)})
        up.enter_context(site.runtime.start([server], core))
        client = up.enter_context(closing(docker.DockerClient(base_url=engine.endpoint.host)))
        [container] = client.containers.list(filters={"name": f"wsgilab-{places.lab_id}-1c-{server.name}"})
        report = folder / "report.json"
        report.write_text(json.dumps(asdict(stand.report())))
        shared = _Shared(
            server=server, container=str(container.id), core=core, engine=engine, report=report, others=others
        )
        for lanes in counts:
            yield _laned(lanes, max(1, trials // lanes), shared, places)


def _laned(lanes: int, each: int, shared: _Shared, places: Places) -> Laned:
    names = [f"machine-{number}" for number in range(lanes)]
    run = stand.run_on(names, blocks=lanes * each, window_s=0.3)
    with ExitStack() as up:
        made = [_lane(name, shared, up) for name in names]
        scheduled = plan.schedule(run.experiment, run.seed)
        dealt = {name: scheduled[number * each : (number + 1) * each] for number, name in enumerate(names)}
        journal = up.enter_context(stand.journal(places, run))
        # The first trial of each lane opens its connections.
        stand.carry_out(run, made, {name: trials[:1] for name, trials in dealt.items()}, journal)
        began_s, used_s = time.monotonic(), time.process_time()
        stand.carry_out(run, made, dealt, journal)
        wall_s, cpu_s = time.monotonic() - began_s, time.process_time() - used_s
    trials = lanes * each
    return Laned(lanes=lanes, trials=trials, cpu_ms=cpu_s / trials * 1000, wall_ms=wall_s / trials * 1000)


def _lane(name: str, shared: _Shared, up: ExitStack) -> Lane:
    client = up.enter_context(closing(docker.DockerClient(base_url=shared.engine.endpoint.host, timeout=_API_S)))
    container = client.containers.get(shared.container)
    target = ContainerTarget(shared.server, shared.core, container, "", "127.0.0.1")
    words = [json.dumps(sorted(shared.core)), str(shared.report)]
    folder = shared.report.parent
    conversation = up.enter_context(companion("_canned", *words, cpus=shared.others, folder=folder))
    swarm = LocustSwarm(conversation, shared.core)
    return stand.lane({1: {shared.server.name: target}}, swarm, name, shared.core)
