"""What a worker, a request, a trial and a server more cost the lab. docs/scale.md extrapolates that to many machines.

Measured on this machine alone, which needs two cores and a Docker engine: Locust's master by workers and by
requests, the lab process by lanes, and a lane of a real site. What comparing a large run and running `answer` took
here is read from the results of `scale` and `efficiency`. `--runs 1` is a quick try with small numbers: throw its
results away.
"""

import gc
import os
import resource
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import docker
import msgpack  # type: ignore[import-untyped]
import psutil
import yaml

from benchmarks import scale_page
from benchmarks.bench import repeat
from benchmarks.outcome import Outcome, Row, Scope, read
from wsgilab import commands, testing
from wsgilab.experiment import plan
from wsgilab.load.client import LocustSwarm
from wsgilab.load.recorder import Sample
from wsgilab.load.samples import Span, report
from wsgilab.model import Observation, Server, TrialSpec
from wsgilab.model.errors import HostError
from wsgilab.results.store import OBSERVATIONS_FILE, Journal, Store
from wsgilab.run.lane import Lane, carry_out, start_lane
from wsgilab.run.testbed import open_testbeds
from wsgilab.run.workspace import Workspace, read_catalogue, signals_raise, workspace
from wsgilab.runtime import engine
from wsgilab.runtime.restarts import Restarts
from wsgilab.system import cpus, host, process
from wsgilab.system.ports import free_ports
from wsgilab.system.process import JsonChannel

WORKERS, PROCESSES = (1, 4, 16, 32, 64), 8
THOUSANDS = (10, 100, 400)
"""Thousands of requests in a trial."""
LANES, LANE_TRIALS = (1, 10, 100), 400
SERVERS = ("gunicorn-gthread-8", "gunicorn-sync-1", "gunicorn-sync-4", "gunicorn-gthread-2x4", "gunicorn-gevent")
"""The servers of a real lane; the first is the one that is loaded."""
REAL_TRIALS = 8
USERS_EACH, USERS = 4, 8
IDLE_S, WINDOW_S, LANE_WINDOW_S = 4.0, 1.0, 0.3

Found = defaultdict[tuple[str, int], list[float]]
"""What was measured, and for how many -> the figure of each repetition."""


def measure(runs: int) -> Outcome:
    """Measure everything, in under four minutes. Raises LabError."""
    [compared] = _summary("scale")
    ran = [row for row in _summary("efficiency") if row["what"] == "all" and row["runtime"] == "compose"]
    if not ran:
        raise HostError("efficiency.yaml: is without a Docker engine; run python -m benchmarks.efficiency again")
    core, *others = sorted(host.usable_cpus())
    if not others:
        raise HostError("only one core may be used: Locust's master needs one that nothing else uses")
    found: Found = defaultdict(list)
    few = 2 if runs == 1 else None
    before = psutil.Process().memory_info().rss
    for thousands in THOUSANDS[:few]:
        measure_report(thousands, before, found)
    with tempfile.TemporaryDirectory(prefix="wsgilab-scale-out-") as name, signals_raise():
        folder = Path(name)
        for workers in WORKERS[:few]:
            _measure_master([workers], runs, core, others[-1], folder, found)
        _measure_master([1] * PROCESSES, runs, core, others[-1], folder, found)
        _measure_lanes(runs, LANES[:few], replace(workspace(), state=folder / "state"), folder, found)
    found[scale_page.COMPARED, int(compared["trials"]) // 1000] = [compared["seconds"]["median"]]
    found[scale_page.RAN, 1] = [ran[0]["seconds"]["median"]]
    rows: list[Row] = [
        {"what": what, "of": str(count), "figure": statistics.median(values)} for (what, count), values in found.items()
    ]
    scope = Scope(
        rounds=(
            f"each number of workers was started once, and its trial is the median of {runs} in a row; each number of "
            f"requests and of lanes was measured once; what a real lane takes is the median of {runs} starts"
        ),
        modes="workers share one process unless it says otherwise; both machines of every lane are one engine",
        left_out="networks, machines that differ, more than one machine of the swarm in a lane",
    )
    return Outcome(settings={}, rows=rows, scope=scope)


def _summary(name: str) -> Sequence[Mapping[str, Any]]:
    """What another benchmark found on this machine. Raises LabError."""
    results = read(name)
    if results["machine"]["cpu"] != host.fingerprint().cpu:
        raise HostError(f"{name}.yaml: is of another machine; run python -m benchmarks.{name} on this one first")
    summary: Sequence[Mapping[str, Any]] = results["summary"]
    return summary


def measure_report(thousands: int, before: int, found: Found) -> None:
    """Locust's master takes in a window's requests, which are made up, and makes the report; this process had `before`
    bytes."""
    count = 1000 * thousands
    end_ns = 1_000_000_000
    span = Span(started_ns=0, begin_ns=0, settled_ns=0, end_ns=end_ns, stopped_ns=end_ns, drained_ns=end_ns)
    message = msgpack.dumps([_sample(place, place * end_ns // count) for place in range(count)])
    # As while load is made, and after it.
    gc.disable()
    used_s = time.process_time()
    samples = [Sample(*row) for row in msgpack.loads(message)]
    gc.enable()
    completed = report(samples, span, unanswered=0, generator_cpu=0.0).completed
    found[scale_page.REPORT, thousands].append(time.process_time() - used_s)
    assert completed == count, "every sample is right, and within the window"
    found[scale_page.MEMORY, thousands].append(
        (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before) / 1e6
    )
    found[scale_page.SENT, thousands].append(len(message) / 1e6)


def _sample(place: int, left_ns: int) -> Sample:
    thread = place % 8
    stamp = f"{1_234_567 + place % 4} {1_234_600 + thread} {140_234_567_890_000 + thread} {left_ns // 2} {left_ns}"
    rest = (False, 0.051 + place % 10 / 997, 0.021, 6, False, left_ns // 2 - 60_000 - place % 997, 40_000 + place % 997)
    return Sample(50.3 + place % 1000 / 997, stamp, None, False, 0, 0.0, *rest)


def _measure_master(
    workers: Sequence[int], trials: int, core: int, others_core: int, folder: Path, found: Found
) -> None:
    """The lab's generator as Locust's master on `core`, its workers on the other one: in processes with so many each.

    As in a lane the master has one worker more on its own core: a process of its own, which does not count.
    """
    [port] = free_ports(1, "")
    count = sum(workers)
    with ExitStack() as up:
        start = partial(_channel, up, folder)
        crowds = [start({others_core}, "benchmarks._scale_workers", each, port) for each in workers]
        ports: Any
        ports, *_ = [each.receive(60) for each in crowds]
        words = ("--clock-server", f"127.0.0.1:{ports['clock']}", "--listen", port, "--workers", count)
        swarm = LocustSwarm(start({core}, "wsgilab.load.driver", *words), frozenset({core}))
        [master] = [each.pid for each in psutil.Process().children() if "wsgilab.load.driver" in each.cmdline()]
        # What is left to do of the start is done by then.
        time.sleep(1.0)
        used_s = process.cpu_s(master)
        time.sleep(IDLE_S)
        idle_s = process.cpu_s(master) - used_s
        spec = TrialSpec(
            locustfile="hello",
            base_url=f"http://127.0.0.1:{ports['target']}",
            server_cpus=str(others_core),
            users=USERS_EACH * (count + 1),
            rate=None,
            window_s=WINDOW_S,
            patience_s=30.0,
            options={"connection": "keep-alive", "request_timeout": 0},
        )
        # The first makes the users' classes known to all.
        _, *spent = [_trial_cpu_s(swarm, spec, master) for _ in range(1 + trials)]
    if len(workers) > 1:
        found[scale_page.REAL_WORKERS, count] = [whole * 1000 for whole, _ in spent]
        return
    found[scale_page.IDLE, count] = [idle_s / IDLE_S * 1000]
    found[scale_page.TRIAL, count], found[scale_page.WINDOW, count] = (
        [each * 1000 for each in part] for part in zip(*spent, strict=True)
    )


def _trial_cpu_s(swarm: LocustSwarm, spec: TrialSpec, master: int) -> tuple[float, float]:
    """CPU seconds that the master uses for a trial, and within its window."""
    used_s = [process.cpu_s(master)]
    done = swarm.load(spec, *[lambda: used_s.append(process.cpu_s(master))] * 2)
    used_s.append(process.cpu_s(master))
    if done.failures or not done.completed:
        raise HostError(f"Locust's master: {done.completed} requests were answered, and {done.failures} failed")
    return used_s[3] - used_s[0], used_s[2] - used_s[1]


def _channel(up: ExitStack, folder: Path, cores: set[int], module: str, *words: object) -> JsonChannel:
    argv, log = [sys.executable, "-m", module, *map(str, words)], folder / f"{module}.log"
    channel = JsonChannel(argv, cwd=commands.PROJECT, env=os.environ, cpus=cores, log=log)
    up.callback(channel.end)
    return channel


def _measure_lanes(starts: int, counts: Sequence[int], at: Workspace, folder: Path, found: Found) -> None:
    """Measure a lane of a site whose machines are one engine, and the lab process by lanes that share its server and
    client."""
    here = engine.find()
    if isinstance(here, engine.NoEngine):
        raise HostError(f"{here.reason}; {here.remedy}: what a lane costs is measured on an engine")
    servers = [read_catalogue(at)[name] for name in SERVERS]
    lane_of = partial(_lane, at, _site_file(here, folder))
    with lane_of(servers, defaultdict(list)):
        # What is built only once is not what is measured.
        pass
    for start in range(starts):
        with lane_of(servers, found):
            pass
        with lane_of(servers[:1], found) as lane:
            clients = psutil.Process().children(recursive=True)
            found[scale_page.CLIENTS, 1].append(sum(each.memory_full_info().uss for each in clients) / 1e6)
            wall_s, cpu_s, _ = _carry_out([lane], REAL_TRIALS, at)
            found[scale_page.BEYOND, 1].append(wall_s - LANE_WINDOW_S)
            found[scale_page.LAB, 1].append(cpu_s * 1000)
            for count in counts if start == 0 else ():
                lanes = [_without_load(lane, f"machine-{place}") for place in range(count)]
                _, cpu_s, size = _carry_out(lanes, LANE_TRIALS // count, at)
                found[scale_page.NO_LOAD, count], found[scale_page.RECORDED, 1] = [cpu_s * 1000], [size]


def _site_file(here: engine.Engine, folder: Path) -> Path:
    """A lane whose two machines are this engine, each with a core of its own."""
    first, *_, last = sorted(host.usable_cpus())
    with closing(docker.DockerClient(base_url=here.endpoint.host)) as client:
        address = client.networks.get("bridge").attrs["IPAM"]["Config"][0]["Gateway"]
    machine = {"engine": here.endpoint.host, "address": address}
    targets, swarm = {**machine, "name": "alpha", "cores": str(first)}, {**machine, "name": "beta", "cores": str(last)}
    file = folder / "sites.yaml"
    file.write_text(yaml.safe_dump({"targets": [targets], "swarm": [swarm]}))
    return file


@contextmanager
def _lane(at: Workspace, site: Path, servers: Sequence[Server], found: Found) -> Iterator[Lane]:
    """A lane of the site, brought up and down as a run does it."""
    began_s = time.monotonic()
    with ExitStack() as up:
        [testbed] = up.enter_context(open_testbeds(at, None, site, _silent))
        layout = testbed.lay_out({1}, share=False, generator_cores=1, option="", say=_silent, backends=False)
        lane = up.enter_context(start_lane(testbed, layout, {1: servers}, [], _silent))
        found[scale_page.UP, len(servers)].append(time.monotonic() - began_s)
        yield lane
        began_s = time.monotonic()
    found[scale_page.DOWN, len(servers)].append(time.monotonic() - began_s)


def _silent(_: object) -> None: ...


def _without_load(lane: Lane, name: str) -> Lane:
    """The same lane under another name, with a generator that answers at once. Its histograms have a usual size."""
    assert lane.record is not None, "a site's lane has one"
    swarm = tuple(replace(each, name=f"{name}-swarm") for each in lane.record.swarm)
    record = replace(lane.record, targets=replace(lane.record.targets, name=name), swarm=swarm)
    answer = testing.trial_report(latency_histogram=testing.histogram(*(1.01**power for power in range(1000))))
    generator = testing.FakeSwarm(answer=lambda _: answer)
    return replace(lane, swarm=generator, machine=name, record=record, restarts=Restarts())


@dataclass(frozen=True, slots=True)
class _Recording:
    """An observer that records every observation, as a run's does."""

    journal: Journal
    lock: threading.Lock = field(default_factory=threading.Lock)
    begin = advance = say = save_duet = staticmethod(_silent)

    def save(self, observation: Observation) -> None:
        if observation.status != "measured":
            raise HostError(f"a trial failed: {observation.reason}")
        with self.lock:
            self.journal.append(observation)


def _carry_out(lanes: Sequence[Lane], each: int, at: Workspace) -> tuple[float, float, float]:
    """Carry out `each` trials on every lane. Wall and CPU seconds of the lab process for a trial, and bytes recorded of
    it."""
    layout, count = lanes[0].started.layout, len(lanes)
    run = testing.run(
        testing.experiment(testing.cell(SERVERS[0], users=USERS), blocks=(1 + each) * count, window_s=LANE_WINDOW_S),
        server_cpus={1: cpus.spell(layout.servers[1])},
        generator_cpus=cpus.spell(layout.generator),
        lanes=tuple(lane.record for lane in lanes),
    )
    trials = plan.schedule(run.experiment, run.seed)
    at.results.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="scale-out-", dir=at.results) as name:
        store = Store.create(Path(name), run)
        with Journal(store) as journal:
            # The first trial of each lane opens its connections.
            carry_out(run, lanes, trials[:count], _Recording(journal), repeats=False)
            began_s, used_s = time.monotonic(), time.process_time()
            carry_out(run, lanes, trials[count:], _Recording(journal), repeats=False)
            wall_s, cpu_s = time.monotonic() - began_s, time.process_time() - used_s
        size = (store.folder / OBSERVATIONS_FILE).stat().st_size
    return wall_s / (each * count), cpu_s / (each * count), size / len(trials)


if __name__ == "__main__":
    repeat("scale_out", __doc__, measure, runs=3)
