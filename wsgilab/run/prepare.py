"""Everything that is decided and checked before a run starts its servers: where, what, on which cores, and nobody else there."""

import contextlib
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from wsgilab.experiment import running, versions
from wsgilab.load.client import LinkReading
from wsgilab.model import Application, Backend, Experiment, LaneRecord, Origin, Run, Server
from wsgilab.model.errors import HostError, StoreError, UsageError
from wsgilab.results.store import Store, check_writable
from wsgilab.run import circumstances, resume, startup
from wsgilab.run.lane import Lane
from wsgilab.run.options import RunOptions
from wsgilab.run.testbed import Testbed, open_testbeds
from wsgilab.run.workspace import Workspace, alone, choose_backends, read_catalogue
from wsgilab.runtime import origin
from wsgilab.runtime import versions as of_versions
from wsgilab.runtime.protocol import SWARM, Say
from wsgilab.runtime.running import RunningServer
from wsgilab.runtime.source import locust_folders, recorded_locust
from wsgilab.system import host
from wsgilab.system.cpus import Layout
from wsgilab.web.access import HOST, PORT, choose_port

Choose = Callable[[Mapping[str, Server], Testbed], Experiment]
"""What to measure with the servers of a catalogue on such a testbed. A run that goes on is not asked."""


def chosen_before(*_: object) -> Experiment:
    """That of a run that can only go on."""
    raise AssertionError("a run that goes on has its experiment")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A run that may start."""

    earlier: Run | None
    """The run that goes on; None: a new one begins."""
    store: Store | None
    """Its folder."""
    experiment: Experiment
    application: Application | None
    """A user's own, with its files in place where it is compared with another revision of itself."""
    servers: Mapping[str, Server]
    """Those that the experiment uses."""
    backends: Collection[Backend]
    files: Origin
    testbeds: Sequence[Testbed]
    layouts: Sequence[Layout]
    """One for each testbed."""
    fleets: Mapping[int, Collection[Server]]
    """Number of cores -> the servers that are pinned to so many."""
    web_ui_at: tuple[str, int] | None
    """Address and port; None: the run is not watched."""
    seed: int

    def begin(self, lanes: Sequence[Lane], workspace: Workspace, say: Say) -> Run:
        """The run, once everything is up: the earlier one, if it can still go on, or a new one, of the servers that are up.

        Raises StoreError where an earlier one cannot, and TargetError where the servers of two lanes run on other packages.
        """
        first, *others = lanes
        up = first.started.names
        run = startup.describe(
            self.experiment,
            first.started,
            first.get,
            servers=self.servers,
            seed=self.seed,
            results=workspace.results,
            cpu_iterations=self.earlier.cpu_iterations if self.earlier else None,
            host=self.testbeds[0].host,
            origin=self.files,
        )
        run = startup.narrowed(run, up, say)
        for other in others:
            startup.check_same_packages(run, other.started, other.get, f"{first.machine} and {other.machine}")
        run = replace(run, lanes=tuple(lane.record for lane in lanes if lane.record is not None))
        if self.earlier:
            resume.check_same(self.earlier, run, *resume.BEFORE_START, *resume.ONCE_UP)
        return self.earlier or run


def prepare(
    options: RunOptions, choose: Choose, workspace: Workspace, held: contextlib.ExitStack, say: Say
) -> Prepared:
    """Decide and check everything, and hold what the run needs until `held` is left. Raises LabError."""
    store = None if options.resume is None else Store.find(workspace.results, options.resume)
    earlier = store.run() if store else None
    if earlier:
        resume.check_options(earlier, options)
    web_ui_at = _web_ui_at(options)
    catalogue = read_catalogue(workspace)
    if options.url is not None:
        address, _ = running.split(options.url, options.get)
        catalogue = {running.NAME: running.server(address)}
    elif earlier:
        # What is the user's own is as it was.
        own_servers = {
            name: each for name, each in earlier.servers.items() if each.extends in catalogue or not each.is_started
        }
        catalogue = {**catalogue, **own_servers}
    is_running = not all(each.is_started for each in catalogue.values())
    if is_running and (why := host.cannot_pin()):
        raise HostError(
            f"--url: its users would be processes here, and {why}; --app measures your application in containers"
        )
    if options.site is not None:
        # The machines of a site are reached by containers, which no other lab of this checkout may sweep away.
        held.enter_context(alone(workspace))
    runtime = options.runtime or (earlier.runtime if earlier else None)
    testbeds = held.enter_context(open_testbeds(workspace, runtime, options.site_file, say))
    if is_running:
        there = RunningServer(workspace.project, workspace.state, workspace.lab_id, workspace.ports)
        testbeds = [replace(each, runtime=there) for each in testbeds]
    if earlier and earlier.runtime != testbeds[0].runtime.name:
        raise UsageError(
            f"--resume {earlier.id}: it ran in {earlier.runtime}, not {testbeds[0].runtime.name}; resume it there"
        )
    experiment = earlier.experiment if earlier else choose(catalogue, testbeds[0])
    servers = _used(experiment, {**catalogue, **versions.rows(experiment, catalogue)})
    circumstances.check(experiment, servers, testbeds[0].runtime)
    backends = choose_backends(workspace, {cell.workload for cell in experiment.cells}, experiment.application)
    stacks = {SWARM, *(each.stack for each in servers.values() if each.is_started), *(each.stack for each in backends)}
    if earlier and earlier.origin:
        # Those of servers too that did not go with the application: they were looked at when the run began.
        stacks |= {PurePosixPath(path).parent.name for path in earlier.origin.files.get(origin.LOCKS, ())}
    application = None if is_running else experiment.application
    is_compared = application is not None and application.against is not None
    if application is not None and is_compared:
        if options.site is None:
            # Nobody else shall have the folder of the other version's files.
            held.enter_context(alone(workspace))
        application = held.enter_context(of_versions.checked_out(application, workspace.state / "revision"))
    own = {} if application is None else _own(application, backends, testbeds[0], is_known=earlier is None, say=say)
    files = origin.read(workspace.project, stacks, backends=bool(backends), own=own)
    layouts = [_layout(testbed, experiment, bool(backends), say) for testbed in testbeds]
    if earlier:
        now = replace(earlier, servers=servers, host=testbeds[0].host, lanes=_with_links_of(earlier, testbeds))
        resume.check_same(earlier, now, *resume.BEFORE_START)
        resume.check_files(earlier, files, say)
    if options.site is None and not is_compared:
        held.enter_context(alone(workspace))
    check_writable(workspace.results)
    fleets = {
        count: [
            servers[name]
            for name in servers
            if any(cell.server == name for cell in experiment.cells if cell.cores == count)
        ]
        for count in layouts[0].servers
    }
    held.enter_context(_reserved(testbeds, layouts, fleets, workspace, say))
    return Prepared(
        earlier=earlier,
        store=store,
        experiment=experiment,
        servers=servers,
        backends=backends,
        files=files,
        testbeds=testbeds,
        layouts=layouts,
        application=application or experiment.application,
        fleets=fleets,
        web_ui_at=web_ui_at,
        seed=secrets.randbelow(2**31) if options.seed is None else options.seed,
    )


def _own(
    application: Application, backends: Collection[Backend], testbed: Testbed, *, is_known: bool, say: Say
) -> Mapping[str, Mapping[str, str]]:
    """The digests of what is the user's own, by the part that it is. `is_known`: as `locust_folders` has it."""
    own = {origin.OWN: testbed.runtime.identify(application, backends, say)}
    if application.against is not None:
        with of_versions.the_other(application, say) as (other, tell):
            own[f"{origin.OWN}{versions.PART}"] = testbed.runtime.identify(other, (), tell)
    if application.locust_files:
        own[origin.OWN_LOCUST] = recorded_locust(locust_folders(application, is_known=is_known))
    return own


@contextlib.contextmanager
def _reserved(
    testbeds: Sequence[Testbed],
    layouts: Sequence[Layout],
    fleets: Mapping[int, Collection[Server]],
    workspace: Workspace,
    say: Say,
) -> Iterator[None]:
    """The cores of all testbeds, for this run alone, with nothing on them of an earlier one. Raises HostError."""
    for testbed in testbeds:
        testbed.check_ports(workspace.ports, sum(map(len, fleets.values())))
    startup.sweep((testbed.runtime for testbed in testbeds), say)
    with contextlib.ExitStack() as reserving:
        for testbed, layout in zip(testbeds, layouts, strict=True):
            reserving.enter_context(testbed.reserved(layout, workspace, say))
        yield


def _web_ui_at(options: RunOptions) -> tuple[str, int] | None:
    if options.watch:
        return choose_port(HOST, PORT if options.port is None else options.port)
    if options.port is not None:
        raise UsageError(f"--port {options.port}: is where the web UI is to be; give --watch too")
    return None


def _used(experiment: Experiment, catalogue: Mapping[str, Server]) -> dict[str, Server]:
    names = {cell.server for cell in experiment.cells}
    if missing := sorted(names - catalogue.keys()):
        raise StoreError(f"server {missing[0]} of this run is no longer in the catalogue; start a new run")
    return {name: server for name, server in catalogue.items() if name in names}


def _layout(testbed: Testbed, experiment: Experiment, backends: bool, say: Say) -> Layout:
    return testbed.lay_out(
        {cell.cores for cell in experiment.cells},
        share=experiment.generator == "shared",
        generator_cores=experiment.generator_cores,
        option="--generator-cores",
        say=say,
        backends=backends,
    )


def _with_links_of(earlier: Run, testbeds: Sequence[Testbed]) -> tuple[LaneRecord, ...]:
    """The machines of today with the links of then, which may differ."""
    links = (
        LinkReading(round_trip_ms=lane.round_trip_ms, bandwidth_mbps=lane.bandwidth_mbps) for lane in earlier.lanes
    )
    records = (testbed.lane_record(link) for testbed, link in zip(testbeds, links, strict=False))
    return tuple(record for record in records if record is not None)
