"""The lanes of a run, and trials on them: on one lane in this very thread, on several side by side, each in its own."""

import contextlib
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace

from wsgilab import campaign, launch, process
from wsgilab.campaign import Begin, Save
from wsgilab.cpus import Layout
from wsgilab.errors import EngineError, LabError
from wsgilab.grounds import Ground
from wsgilab.launch import Started
from wsgilab.model import Backend, Observation, Run, Server, Trial
from wsgilab.model import Lane as RecordedLane
from wsgilab.progress import Advance
from wsgilab.runtime.protocol import Say
from wsgilab.runtime.restarts import Restarts
from wsgilab.swarm.client import LocustSwarm, Swarm


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
    recorded: RecordedLane | None = None
    """What results tell of it; None where all is on one machine."""


@contextlib.contextmanager
def brought_up(
    ground: Ground,
    layout: Layout,
    fleets: Mapping[int, Collection[Server]],
    backends: Collection[Backend],
    say: Say,
) -> Iterator[Lane]:
    """A lane with everything that it needs, `fleets` by their number of cores. Leaving it leaves nothing behind."""
    with contextlib.ExitStack() as up:
        started = up.enter_context(launch.started(ground.runtime, layout, fleets, backends, say))
        swarm = LocustSwarm(up.enter_context(ground.runtime.swarm(layout.generator)), layout.generator)
        link = swarm.link() if ground.apart else None
        if link is not None:
            told = f"{link.round_trip_ms:.3g} ms there and back, {link.bandwidth_mbps:,.0f} Mbit/s"
            say(f"Between {ground.machine} and its swarm: {told}.")
        yield Lane(
            started=started,
            swarm=swarm,
            machine=ground.machine,
            lost=ground.lost,
            own_cpus=ground.own_cpus(layout),
            is_here=ground.runtime.is_here(),
            recorded=ground.lane(link),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """Who hears of every trial: `begin` before it, `save` and `advance` after it, `say` of what goes wrong."""

    begin: Begin
    save: Save
    advance: Advance
    say: Say

    def one_at_a_time(self) -> "Listener":
        """The same for several threads."""
        lock = threading.Lock()

        def begin(trial: Trial) -> None:
            with lock:
                self.begin(trial)

        def save(observation: Observation) -> None:
            with lock:
                self.save(observation)

        def advance(step: str) -> None:
            with lock:
                self.advance(step)

        def say(text: str) -> None:
            with lock:
                self.say(text)

        return Listener(begin=begin, save=save, advance=advance, say=say)


def side_by_side(
    run: Run, lanes: Sequence[Lane], dealt: Mapping[str, Sequence[Trial]], listener: Listener, *, repeats: bool = True
) -> None:
    """Carry out the trials that are `dealt` to each lane's machine, in order; with `repeats`, disturbed ones once more.

    What ends one lane does not end the others: it is raised when they have done theirs. An interrupt ends all.
    """
    if len(lanes) == 1:
        _carry_out(run, lanes[0], dealt[lanes[0].machine], listener, repeats)
        return
    together = listener.one_at_a_time()
    with ThreadPoolExecutor(max_workers=len(lanes)) as pool:
        under_way = {pool.submit(_carry_out, run, lane, dealt[lane.machine], together, repeats): lane for lane in lanes}
        try:
            first = _first_failure(under_way, together.say)
        except BaseException:
            for lane in lanes:
                lane.swarm.hush()
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


def _carry_out(run: Run, lane: Lane, trials: Sequence[Trial], listener: Listener, repeats: bool) -> None:
    started = lane.started
    # The lab itself must not run on the servers' cores while they are measured.
    with process.pinned(lane.own_cpus):
        try:
            campaign.execute(
                trials,
                run=run,
                fleets=started.fleets,
                backends=started.backends,
                swarm=lane.swarm,
                save=lambda observation: listener.save(replace(observation, machine=lane.machine)),
                say=listener.say,
                advance=listener.advance,
                begin=listener.begin,
                restarts=lane.restarts,
                owns=started.runtime.owns if lane.is_here else None,
                repeats=repeats,
            )
        except EngineError as error:
            # Only the targets' engine is asked for anything by then.
            if not lane.machine:
                raise
            raise EngineError(f"{lane.machine}: {lane.lost() or error.message}", detail=error.detail) from None
