"""The story of a run, from what the command line asks to what the observations say."""

import contextlib
import functools
import time
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager

from rich.console import Console

from wsgilab.analysis.cell.disturbance import is_disturbed
from wsgilab.analysis.compare import unsettled
from wsgilab.model import Comparison, Run
from wsgilab.model.errors import Interrupted, LabError, StoreError
from wsgilab.model.text import counted, visible
from wsgilab.results.store import Journal, Store
from wsgilab.run import probe, startup, watch
from wsgilab.run.lane import Lane, ahead, carry_out, fitting, start_lane, take_turns, with_all_servers
from wsgilab.run.observer import RunObserver
from wsgilab.run.options import RunOptions
from wsgilab.run.prepare import Choose, Prepared, prepare
from wsgilab.run.room import Room
from wsgilab.run.stages import stages
from wsgilab.run.testbed import Testbed
from wsgilab.run.trial import describe
from wsgilab.run.watch import Watch
from wsgilab.run.workspace import Workspace, signals_raise
from wsgilab.runtime.protocol import Say
from wsgilab.system.cpus import Layout
from wsgilab.system.progress import reporter_for

Conclude = Callable[[Store, Console], Comparison]
"""Writes and prints what a run says that has ended, early or not."""

_NAMED = 6
"""How many cells a message names at most."""


def run(options: RunOptions, choose: Choose, conclude: Conclude, console: Console, workspace: Workspace) -> Comparison:
    """Measure what `choose` says, or what is left of an earlier run, and conclude it.

    Whatever ends it early, what was measured by then is concluded. Raises LabError or Interrupted.
    """
    reporter = reporter_for(console)
    repeats = not workspace.share_cores
    with signals_raise(), contextlib.ExitStack() as held:
        # Prepare: where, what, on which cores; nobody else is on them until `held` is left.
        prepared = prepare(options, choose, workspace, held, reporter.say)
        store = prepared.store
        try:
            with contextlib.ExitStack() as up:
                # Start: on each lane backends, fleets and the swarm; then the run's folder and the web UI.
                application, locks = prepared.application, store.locks() if store else {}
                is_race = prepared.experiment.tune is not None
                lanes = [
                    up.enter_context(
                        start_lane(
                            testbed,
                            layout,
                            prepared.fleets,
                            prepared.backends,
                            reporter.say,
                            application,
                            locks,
                            _room(testbed, layout, is_new=store is None) if is_race else None,
                        )
                    )
                    for testbed, layout in zip(prepared.testbeds, prepared.layouts, strict=True)
                ]
                lanes = with_all_servers(lanes)
                take_turns(lanes, [startup.first_of(lanes[0].started, prepared.experiment).name], (), reporter.say)
                current = prepared.begin(lanes, workspace, reporter.say)
                if store is None and current.experiment.tune is not None:
                    current = probe.of_race(current, lanes[0], reporter.say, is_bounded=options.is_bounded)
                elif store is None and application is not None and options.url is None:
                    if options.is_planned:
                        current = probe.planned(current, lanes[0], options.blocks, reporter.say, options.servers)
                    else:
                        probe.checked(current, lanes[0])
                web_ui = up.enter_context(_web_ui(prepared, lanes[0], current, reporter.say))
                if store is None:
                    store = Store.create(workspace.results, current)
                    store.write_locks(lanes[0].started.runtime.locks)
                observer = RunObserver(
                    up.enter_context(Journal(store)), web_ui, reporter, current, store.observations(), len(lanes)
                )
                # Blocks of trials, each saved before the next; with `precision`, until every comparison is settled; with a
                # budget, of those cells that are worth it, until it is used up.
                # What servers take to start once more is no part of a budget.
                turns_s: list[float] = []
                fits = functools.partial(fitting, lanes)
                for stage in stages(
                    current,
                    store,
                    len(lanes),
                    repeats=repeats,
                    clock=lambda: time.monotonic() - sum(turns_s),
                    fitting=fits,
                ):
                    if stage.words:
                        reporter.say(stage.words)
                    began_s = time.monotonic()
                    take_turns(lanes, stage.servers, {*stage.gone, *_others(prepared, current)}, reporter.say)
                    turns_s.append(time.monotonic() - began_s)
                    until_s = None if stage.until_s is None else stage.until_s + sum(turns_s)
                    with ahead(lanes, stage.servers, stage.next), observer.expecting(stage.trials, stage.done):
                        carry_out(current, lanes, stage.trials, observer, repeats=repeats, until_s=until_s)
            # Stop: everything has ended here, and nothing runs while the results are computed and written.
        except (LabError, Interrupted) as error:
            if isinstance(error, Interrupted):
                # It may have come between the start of a process and the note that it was started.
                _sweep(prepared)
            if store is not None:
                _conclude_early(error, store, options, conclude, console)
            raise
        comparison = _conclude(current, store, options, conclude, console)
        _say_unsettled(current, store, reporter.say)
        _say_disturbed(current, store, options, reporter.say)
        return comparison


def _room(testbed: Testbed, layout: Layout, *, is_new: bool) -> Room:
    """What memory a race has on a machine of targets."""
    return Room(testbed.runtime.available_bytes, may_lack=is_new, spare=testbed.spare(layout))


def _others(prepared: Prepared, run: Run) -> Collection[str]:
    """Servers that were started, and that the run is without."""
    return prepared.servers.keys() - run.servers.keys()


def _web_ui(prepared: Prepared, lane: Lane, run: Run, say: Say) -> AbstractContextManager[Watch]:
    """The web UI, where the run is watched, with what an earlier run has observed."""
    earlier = prepared.store.observations() if prepared.web_ui_at and prepared.store else ()
    return watch.opened(prepared.web_ui_at, prepared.testbeds[0], lane.started, run, earlier, say)


def _sweep(prepared: Prepared) -> None:
    """End what is still there. Where that fails, the engine is gone, and the interrupt is what to say."""
    with contextlib.suppress(LabError):
        for testbed in prepared.testbeds:
            testbed.runtime.sweep()


def _conclude(run: Run, store: Store, options: RunOptions, conclude: Conclude, console: Console) -> Comparison:
    """Conclude a run that went to its end. Raises StoreError where the results cannot be written, with how to do so later."""
    try:
        try:
            return conclude(store, console)
        except Interrupted:
            # All is measured, and this takes no more than moments. More signals are ignored by now.
            conclude(store, console)
            raise
    except StoreError as error:
        raise StoreError(
            f"{error.message}; all is measured and nothing is lost: once it can be written, "
            f"{options.report_command(run)} finishes it"
        ) from None


def _conclude_early(
    error: LabError | Interrupted, store: Store, options: RunOptions, conclude: Conclude, console: Console
) -> None:
    """Conclude what was measured before `error`, without hiding the error."""

    def say(text: str) -> None:
        console.print(visible(text), markup=False, highlight=False)

    with contextlib.suppress(LabError):
        if not store.done(disturbed=True):
            return
        run = store.run()
        cause = f"by {error}" if isinstance(error, Interrupted) else "by an error"
        go_on = f"Go on with: {options.resume_command(run)}"
        try:
            comparison = conclude(store, console)
        except LabError as unwritten:
            say(f"The results are not written: {unwritten.message}. Once they can be: {options.report_command(run)}")
            say(f"Ended early {cause}. {go_on}")
        else:
            say(f"Ended early {cause}: {comparison.measured} of {comparison.trials} trials measured. {go_on}")


def _say_unsettled(run: Run, store: Store, say: Say) -> None:
    """That a run with `precision` has ended at `max_blocks`, and what is not settled by then."""
    experiment = run.experiment
    if experiment.max_blocks is None or not (cells := unsettled(run, store.observations(), experiment.max_blocks)):
        return
    of = [cell for cell in cells if cell.server != experiment.reference] or cells
    named = sorted(map(describe, of))
    more = f"; and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    say(
        f"Ended at max_blocks, {experiment.max_blocks}, with what is neither decided nor known to "
        f"{experiment.precision:.3g} yet: {'; '.join(named[:_NAMED])}{more}. "
        "A new run with a higher --max-blocks, or longer windows, may settle it."
    )


def _say_disturbed(run: Run, store: Store, options: RunOptions, say: Say) -> None:
    """How to measure once more what others disturbed."""
    if disturbed := sum(is_disturbed(run, each) for each in store.observations()):
        trials = counted(disturbed, "trial")
        say(f"Others disturbed {trials}. Once they have ended, {options.resume_command(run)} measures these again.")
