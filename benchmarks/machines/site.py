"""What a lane of a real site takes, step by step: seconds, and what the lab and its Docker clients use meanwhile."""

import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median

import psutil

from benchmarks.machines import stand
from benchmarks.machines.found import Sited
from wsgilab import plan, process
from wsgilab.model import Server
from wsgilab.places import Places, read_catalogue
from wsgilab.runtime.engine import Engine
from wsgilab.sides import Lane
from wsgilab.swarm.client import LocustSwarm

WINDOW_S = 0.3


@dataclass(slots=True)
class _Watch:
    """Seconds since it was last asked."""

    at_s: float

    def lap(self) -> float:
        now_s = time.monotonic()
        passed_s, self.at_s = now_s - self.at_s, now_s
        return passed_s


def sited(places: Places, rounds: int, trials: int, more: int) -> Sited:
    """The medians of some rounds, each with so many trials."""
    engine = stand.engine()
    known = read_catalogue(places)
    used = [known[name] for name in stand.SERVERS[:more]]
    with tempfile.TemporaryDirectory(prefix="wsgilab-site-") as name:
        folder = Path(name)
        with stand.site(places, engine, folder) as ground:
            # What is built only once is not what is measured.
            ground.runtime.prepare(used, [], stand.silent)
        found = [_round(places, engine, folder, used, trials) for _ in range(rounds)]
    medians = {each.name: median(getattr(one, each.name) for one in found) for each in fields(Sited)}
    return Sited(**{**medians, "rounds": rounds})


def _round(places: Places, engine: Engine, folder: Path, used: Sequence[Server], trials: int) -> Sited:
    """Bring a lane up and down as `wsgilab.execution` does, with all of the servers and with the first."""
    with ExitStack() as kept:
        watch = _Watch(time.monotonic())
        ground = kept.enter_context(stand.site(places, engine, folder))
        reach_s = watch.lap() / 2
        ground.runtime.prepare(used, [], stand.silent)
        build_s = watch.lap() / 2
        with ExitStack() as fleet:
            fleet.enter_context(ground.runtime.start(used, ground.usable))
            more_fleet_s = watch.lap()
            fleet.close()
            more_fleet_stop_s = watch.lap()
        with ExitStack() as fleet, ExitStack() as swarm:
            up = fleet.enter_context(ground.runtime.start(used[:1], ground.usable))
            fleet_s = watch.lap()
            before = _children()
            assert ground.apart is not None, "it is a site's"
            own = ground.apart.swarm_stations[0].cpus
            generator = LocustSwarm(swarm.enter_context(ground.runtime.swarm(own)), own)
            swarm_s = watch.lap()
            generator.link()
            link_s = watch.lap()
            clients = [each for each in _children() if each not in before]
            spent = _spent(stand.lane({1: up}, generator, ground.machine, ground.usable), places, trials, clients)
            watch.lap()
            swarm.close()
            stop_s = watch.lap()
            fleet.close()
            fleet_stop_s = watch.lap()
    return Sited(
        reach_s=reach_s,
        build_s=build_s,
        fleet_s=fleet_s,
        few=1,
        more_fleet_s=more_fleet_s,
        more=len(used),
        swarm_s=swarm_s,
        link_s=link_s,
        stop_s=stop_s,
        fleet_stop_s=fleet_stop_s,
        more_fleet_stop_s=more_fleet_stop_s,
        rounds=1,
        trials=trials,
        **asdict(spent),
    )


def _children() -> Sequence[psutil.Process]:
    return psutil.Process().children(recursive=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spent:
    """As in `Sited`."""

    window_s: float
    trial_s: float
    lab_cpu_ms: float
    clients: int
    clients_cpu_ms: float
    clients_mb: float


def _spent(lane: Lane, places: Places, trials: int, clients: Sequence[psutil.Process]) -> _Spent:
    """What trials take, and what the lab and its Docker `clients` use meanwhile."""
    run = stand.run_on([lane.machine], blocks=trials + 1, window_s=WINDOW_S)
    scheduled = plan.schedule(run.experiment, run.seed)
    took_s: list[float] = []
    with stand.journal(places, run) as journal:
        # The first opens connections.
        stand.carry_out(run, [lane], {lane.machine: scheduled[:1]}, journal)
        used_s, clients_s = time.process_time(), _cpu_s(clients)
        for trial in scheduled[1:]:
            began_s = time.monotonic()
            stand.carry_out(run, [lane], {lane.machine: [trial]}, journal)
            took_s.append(time.monotonic() - began_s)
        cpu_s, clients_cpu_s = time.process_time() - used_s, _cpu_s(clients) - clients_s
    return _Spent(
        window_s=WINDOW_S,
        trial_s=median(took_s),
        lab_cpu_ms=cpu_s / trials * 1000,
        clients=len(clients),
        clients_cpu_ms=clients_cpu_s / trials * 1000,
        clients_mb=sum(_own_bytes(each.pid) for each in clients) / 1e6,
    )


def _cpu_s(processes: Sequence[psutil.Process]) -> float:
    return sum(process.cpu_s(each.pid) for each in processes)


def _own_bytes(pid: int) -> int:
    """Memory that a process shares with nobody, whoever else runs the same program: RssAnon of proc(5)."""
    status = Path(f"/proc/{pid}/status").read_text()
    [kibibytes] = (line.split()[1] for line in status.splitlines() if line.startswith("RssAnon:"))
    return int(kibibytes) * 1024
