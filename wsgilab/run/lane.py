"""The lanes of a run, each a fleet with its own swarm, and trials on them: on one lane in this very thread, on several side by
side, each in a thread of its own."""

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace

from wsgilab.experiment import plan
from wsgilab.load.client import LocustSwarm, Swarm
from wsgilab.model import Backend, Cell, LaneRecord, Run, Server, Trial
from wsgilab.model.application import Application
from wsgilab.model.errors import EngineError, LabError
from wsgilab.run import blocks, startup
from wsgilab.run.observer import Observer
from wsgilab.run.room import Room
from wsgilab.run.startup import Started
from wsgilab.run.testbed import Testbed
from wsgilab.runtime.pages import FACTS
from wsgilab.runtime.protocol import NO_LOCKS, Fleet, Say, Target
from wsgilab.runtime.restarts import Restarts
from wsgilab.runtime.source import locust_folders
from wsgilab.system import process
from wsgilab.system.cpus import Layout


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """Fleets that are up, and the swarm that loads them."""

    started: Started
    swarm: Swarm
    machine: str = ""
    """The targets'; empty where all is on one machine."""
    lost: Callable[[], str | None] = lambda: None
    """Why its targets are out of reach; None where they are not, or nobody knows."""
    own_cpus: frozenset[int] | None = None
    """The cores that the lab itself may use while they are measured; None: as it comes."""
    restarts: Restarts = field(default_factory=Restarts)
    """Of what ends on it while the run goes on."""
    is_here: bool = False
    """Whether its fleets run on this machine."""
    record: LaneRecord | None = None
    """What results say of it; None where all is on one machine."""
    room: Room | None = None
    """Of a race."""

    def get(self, target: Target, page: str) -> str:
        """The body of one plain GET of a page by the swarm. Raises TargetError unless it is a 200."""
        known = self.room.facts(target) if self.room is not None and page == FACTS else None
        if known is not None:
            return known
        return self.swarm.get(target.base_url + page)


@contextlib.contextmanager
def start_lane(
    testbed: Testbed,
    layout: Layout,
    fleets: Mapping[int, Collection[Server]],
    backends: Collection[Backend],
    say: Say,
    application: Application | None = None,
    locks: Mapping[str, str] = NO_LOCKS,
    room: Room | None = None,
) -> Iterator[Lane]:
    """A lane with everything that it needs, `fleets` by their number of cores. Leaving it leaves nothing behind.

    `application`: the user's own; `locks`: those of a run that goes on; `room`: of a race.
    """
    with contextlib.ExitStack() as up:
        started = up.enter_context(
            startup.started(testbed.runtime, layout, fleets, backends, say, application, locks, room)
        )
        swarm = LocustSwarm(up.enter_context(testbed.runtime.swarm(layout.generator)), layout.generator)
        link = swarm.link() if testbed.remote else None
        if link is not None:
            reading = f"{link.round_trip_ms:.3g} ms there and back, {link.bandwidth_mbps:,.0f} Mbit/s"
            say(f"Between {testbed.machine} and its swarm: {reading}.")
        for folder, source in locust_folders(application).items():
            swarm.bring(folder, source.archive())
        for file in application.locust_files.values() if application else ():
            # Now, and not with its first trial: what is wrong with it ends the run.
            for note in swarm.load_locust_file(file):
                say(note)
        yield Lane(
            started=started,
            swarm=swarm,
            machine=testbed.machine,
            lost=testbed.lost,
            own_cpus=testbed.own_cpus(layout),
            is_here=testbed.runtime.is_here(),
            record=testbed.lane_record(link),
            room=room,
        )


def with_all_servers(lanes: Sequence[Lane]) -> list[Lane]:
    """`lanes` without the servers that one of them lacks. Raises TargetError where none remains."""
    started = startup.on_all([lane.started for lane in lanes])
    return [replace(lane, started=each) for lane, each in zip(lanes, started, strict=True)]


def take_turns(lanes: Sequence[Lane], needed: Collection[str], gone: Collection[str], say: Say) -> None:
    """Of a race: see that the servers that are `needed` are up, and that those which are `gone` are not."""
    for lane in lanes:
        if lane.room is not None:
            lane.room.turn(_fleet(lane), needed, gone, say)


@contextlib.contextmanager
def ahead(lanes: Sequence[Lane], needed: Collection[str], names: Collection[str]) -> Iterator[None]:
    """Of a race: meanwhile start those of `names`, whose turn is next, as far as memory and cores allow it beside those that are `needed`."""
    with contextlib.ExitStack() as starting:
        for lane in lanes:
            if lane.room is not None:
                starting.enter_context(lane.room.ahead(_fleet(lane), needed, names))
        yield


def fitting(lanes: Sequence[Lane], cells: Sequence[Cell]) -> Sequence[Cell]:
    """Those of `cells`, from the first on, whose servers are measured beside each other next: they can be up at once on each lane."""
    names = [cell.server for cell in cells]
    for lane in lanes:
        if lane.room is not None:
            names = list(lane.room.heat(_fleet(lane), names))
    return [cell for cell in cells if cell.server in names]


def _fleet(lane: Lane) -> Fleet:
    """The only one: a race is under one number of cores."""
    (fleet,) = lane.started.fleets.values()
    return fleet


def carry_out(
    run: Run,
    lanes: Sequence[Lane],
    trials: Sequence[Trial],
    observer: Observer,
    *,
    repeats: bool,
    until_s: float | None = None,
) -> None:
    """Carry out `trials`, whole blocks on each lane, in order; with `repeats`, disturbed ones once more. No block begins
    after `until_s`, a moment of `time.monotonic`.

    A failure that ends one lane does not end the others: it is raised when they are done. An interrupt ends all.
    """
    if len(lanes) == 1:
        _carry_out(run, lanes[0], trials, observer, repeats, until_s)
        return
    machines = [lane.machine for lane in lanes]
    dealt = {
        machine: [each for each in trials if plan.machine_of(each.block, machines, run.seed) == machine]
        for machine in machines
    }
    with ThreadPoolExecutor(max_workers=len(lanes)) as pool:
        under_way = {
            pool.submit(_carry_out, run, lane, dealt[lane.machine], observer, repeats, until_s): lane for lane in lanes
        }
        try:
            first = _first_failure(under_way, observer.say)
        except BaseException:
            for lane in lanes:
                lane.swarm.cancel()
            raise
    if first is not None:
        raise first


def _first_failure(under_way: "Mapping[Future[None], Lane]", say: Say) -> BaseException | None:
    """Why the first lane has failed that did, when all have ended."""
    failures: list[BaseException] = []
    left = set(under_way)
    while left:
        ended, left = wait(left, return_when=FIRST_COMPLETED)
        for each in ended:
            if (error := each.exception()) is not None:
                failures.append(error)
                if left and isinstance(error, LabError):
                    say(f"lost: {error.message}. The other machines go on with their blocks.")
    return failures[0] if failures else None


def _carry_out(
    run: Run, lane: Lane, trials: Sequence[Trial], observer: Observer, repeats: bool, until_s: float | None
) -> None:
    started = lane.started
    # The lab itself must not run on the servers' cores while they are measured.
    with process.pinned(lane.own_cpus):
        try:
            blocks.execute(
                trials,
                run=run,
                fleets=started.fleets,
                backends=started.backends,
                swarm=lane.swarm,
                observer=observer,
                machine=lane.machine,
                restarts=lane.restarts,
                owns=started.runtime.owns if lane.is_here else None,
                repeats=repeats,
                until_s=until_s,
            )
        except EngineError as error:
            # Only the targets' engine is asked for anything by then.
            if not lane.machine:
                raise
            raise EngineError(f"{lane.machine}: {lane.lost() or error.message}", detail=error.detail) from None
