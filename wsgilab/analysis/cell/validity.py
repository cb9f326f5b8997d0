"""What a reader must know beside a cell's figures, and the gates that keep it from being compared."""

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence

from wsgilab.analysis.cell.generator import GENERATOR_LIMIT, RATE_LIMIT, flow, generator_used
from wsgilab.analysis.cell.network import SENT_AGAIN_S, lossy
from wsgilab.experiment.masters import replaces_workers
from wsgilab.experiment.workloads import SLOW_CONNECTION_S
from wsgilab.model import Cell, CellFigures, CellWarning, Gate, Observation, Run, Server, TrialReport
from wsgilab.model.circumstances import PERIOD_MS
from wsgilab.model.text import counted
from wsgilab.system import cpus

FEWEST_SERVICE_TIMES = 3
"""A window should be at least so many service times long."""
LITTLE_TOLERANCE = 0.1
"""How far throughput x response time may be from the number of users: J. D. C. Little 1961, doi:10.1287/opre.9.3.383."""
FEWEST_BURSTS = 4
"""With so many in a window its rate is off by 6 % at most, with three by 11 %, whenever they fall; see `inflight.rate`."""
FAILURES_LIMIT = 0.01
"""Above this share of failed, late or cut-off requests, a cell is not compared with others."""
UNEVEN_USERS = 2.0
"""From this many times an even share of the answers on, the server favours a user: by chance alone none has so many."""
WRONG = "the declaration is wrong"
PIECES = (
    f"between the pieces of a body an event loop goes on with other requests; where no body comes in pieces, {WRONG}"
)
"""Of Gunicorn's tornado worker: tornado's WSGIContainer awaits each piece."""
STAMP = "the line `app = StampMiddleware(app)` brings them (docs/applications.md)"
"""How a server that is not the lab's comes to them."""


def failed_trials(observations: Sequence[Observation], planned: int, unit: str) -> Iterable[CellWarning]:
    """Warnings about the blocks of a cell that failed, or that were planned and not run. They call an observation `unit`."""
    failed = [observation for observation in observations if observation.swarm is None]
    if failed:
        yield CellWarning(
            kind="failed-trials",
            text=f"{len(failed)} of {len(observations)} {unit} failed: {first_line(failed[-1].reason)}",
            amount=len(failed),
        )
    if (missing := planned - len(observations)) > 0:
        yield CellWarning(kind="not-run", text=f"{missing} of {planned} blocks were not run", amount=missing)


def started_again(observations: Sequence[Observation], unit: str) -> Iterable[CellWarning]:
    """Warnings about the programs of a cell that ended within the run, and were started again."""
    names = Counter(name for observation in observations for name in observation.restarted)
    for name, count in sorted(names.items()):
        again = f"{name} had ended and was started again before {count} of {len(observations)} {unit}"
        yield CellWarning(kind="restarted", text=again, amount=count)


def gates(
    run: Run, server: Server, cell: Cell, swarms: Sequence[TrialReport], figures: CellFigures
) -> Iterable[CellWarning]:
    """Warnings that a reader must know beside the figures; with the broken gate, where they are not to be compared."""
    yield from _unanswered_requests(cell, swarms, figures)
    if (missed := unanswered(cell, swarms)) is not None:
        yield CellWarning(kind="unanswered", text=missed, amount=max(swarm.unanswered for swarm in swarms))
    yield from _connections(run, cell, swarms, figures)
    yield from _silence(cell, figures)
    yield from _given_up(cell, swarms, figures)
    if figures.busiest_user_share is not None and figures.busiest_user_share >= UNEVEN_USERS:
        had = f"the busiest of {cell.users} had {figures.busiest_user_share:.1f} times an even share of the answers"
        uneven = f"users were served unevenly: {had}, while others waited as long as p99 says"
        yield CellWarning(kind="uneven-users", text=uneven, amount=figures.busiest_user_share)
    if lost := lossy(figures.resent_share):
        waits = f"{lost}: each of them makes a request wait for {SENT_AGAIN_S * 1000:g} ms or more"
        yield CellWarning(kind="loss", text=waits, amount=figures.resent_share or 0.0)
    yield from _of_cores(run, cell, figures)
    if figures.peak is None:
        unknown = f"in flight is not known, because its answers have no stamps; {STAMP}"
        yield CellWarning(kind="no-stamps", text=unknown)
    yield from _declared(server, cell, figures)
    window_s = run.experiment.window_s
    pause_s = (cell.circumstances.gap_ms or 0.0) / 1000 if cell.circumstances is not None else 0.0
    if pause_s > window_s:
        short = (
            f"users pause for {pause_s:g} s, the window is {window_s:g} s: most of them ask once in it, or not at all"
        )
        yield CellWarning(kind="short-window", text=short, amount=pause_s)
    every_ms = run.experiment.parameters.get("burst", {}).get("every_ms", 0.0) if cell.workload == "burst" else 0.0
    if every_ms / 1000 * FEWEST_BURSTS > window_s:
        few = f"users ask at once every {every_ms:g} ms, the window is {window_s:g} s: with fewer than {FEWEST_BURSTS} bursts in it"
        yield CellWarning(
            kind="short-window", text=f"{few}, throughput depends on when they fall", amount=every_ms / 1000
        )
    if figures.service_ms is not None and figures.service_ms.median / 1000 * FEWEST_SERVICE_TIMES > window_s:
        takes = f"a request takes {figures.service_ms.median:.0f} ms, the window {window_s:g} s"
        short = f"{takes}: too short for a steady rate"
        yield CellWarning(kind="short-window", text=short, amount=figures.service_ms.median)
    answered, due = flow(swarms)
    if answered < RATE_LIMIT * due:
        kept = f"{answered} requests answered of {due} that were due"
        behind = f"{kept}: it does not keep up, and its latencies grow for as long as the window lasts"
        yield CellWarning(kind="behind-schedule", text=behind, amount=1 - answered / due)
    # Where silence holds slots, a user without an answer has waited for one all the time. Elsewhere that is what is to be found out.
    is_silent = cell.circumstances is not None and cell.circumstances.idle is not None
    little = statistics.median(
        in_system(swarm) + swarm.pausing + swarm.in_vain + (swarm.unanswered if is_silent else 0) for swarm in swarms
    )
    if cell.users is not None and cell.during is None and abs(away := little / cell.users - 1) > LITTLE_TOLERANCE:
        beside = " with those that paused or gave up" if any(swarm.pausing or swarm.in_vain for swarm in swarms) else ""
        law = f"throughput x response time is {little:.1f}{beside}, not the {cell.users} users"
        yield CellWarning(kind="little", text=f"{law}: the window was no steady state", gate="little", amount=abs(away))


def _unanswered_requests(cell: Cell, swarms: Sequence[TrialReport], figures: CellFigures) -> Iterable[CellWarning]:
    """Warnings about requests that failed, were given up, or began late: gates, where there are more than a few.

    Of what was done to the server come failures that are what was asked for: `acted` has them.
    """
    requests = sum(swarm.completed + swarm.failures + swarm.cut_off for swarm in swarms)

    def counting(count: int, gate: Gate, text: str) -> CellWarning:
        broken = gate if count > FAILURES_LIMIT * requests else None
        return CellWarning(kind=gate, text=text, gate=broken, amount=count)

    if figures.failures and cell.during is None:
        failed = f"{counted(figures.failures, 'request')} failed: {_kinds(swarms)}"
        yield counting(figures.failures, "failures", failed)
    if figures.cut_off and cell.during is None:
        effect = "latencies may be higher" if cell.rate else "requests in flight may be undercounted"
        given_up = f"{counted(figures.cut_off, 'request')} given up unanswered"
        yield counting(figures.cut_off, "cut-off", f"{given_up}; {effect}")
    if figures.late:
        late = f"{counted(figures.late, 'request')} begun late"
        yield counting(figures.late, "late", f"{late}: the generator could not keep to its schedule")


def _kinds(swarms: Sequence[TrialReport]) -> str:
    """What went wrong with requests that failed, two kinds at most."""
    kinds = sorted({error for swarm in swarms for error in swarm.errors})
    return "; ".join(kinds[:2]) + (" and others" if kinds[2:] else "")


def acted(
    server: Server, cell: Cell, observations: Sequence[Observation], figures: CellFigures
) -> Iterable[CellWarning]:
    """What came of what was done to the server in the middle of the measured trials, and of workers that ended by themselves."""
    swarms = [each.swarm for each in observations if each.swarm is not None]
    gaps = [swarm.longest_gap_ms for swarm in swarms if swarm.longest_gap_ms is not None]
    gap = f"no answer came for up to {max(gaps):.0f} ms" if gaps else ""
    if cell.during is not None:
        lost, ended = figures.lost_capacity, sum(each.ended for each in observations)
        came = (
            f"{counted(figures.failures, 'request')} failed ({_kinds(swarms)})"
            if figures.failures
            else "no request failed",
            f"{counted(figures.cut_off, 'request')} given up unanswered" if figures.cut_off else "",
            gap,
            "" if lost is None else f"{lost.median:.0%} of the capacity was lost from then until the end of the window",
            f"the server had ended by the end of {ended} of {counted(len(observations), 'trial')}" if ended else "",
        )
        text = f"{cell.during.deed} {cell.during.at_s:g} s into the window: {', '.join(filter(None, came))}"
        yield CellWarning(kind="during", text=text, amount=figures.failures + figures.cut_off)
    elif _are_replaced(server, figures):
        served = f"{figures.processes} processes answered in a window"
        text = f"its workers end by themselves and others take their place: {', '.join(filter(None, (served, gap)))}"
        yield CellWarning(kind="workers-replaced", text=text, amount=max(gaps, default=0.0))


def _are_replaced(server: Server, figures: CellFigures) -> bool:
    """Whether more processes answered than there are at a time, because workers end by themselves."""
    if server.processes is None or figures.processes is None:
        return False
    return figures.processes > server.processes and replaces_workers(server)


def _declared(server: Server, cell: Cell, figures: CellFigures) -> Iterable[CellWarning]:
    """Warnings about more slots or processes than are declared."""
    if cell.during is not None:
        # Those that take the place of others answer beside them.
        return
    if server.slots is not None and figures.peak is not None and figures.peak > server.slots:
        slots = f"{figures.peak} requests in flight, but {counted(server.slots, 'slot')} declared"
        why = PIECES if server.model == "event-loop" else WRONG
        yield CellWarning(kind="slots", text=f"{slots}: {why}", gate="slots", amount=figures.peak)
    if _are_replaced(server, figures):
        return
    if server.processes is not None and figures.processes is not None and figures.processes > server.processes:
        declared = f"{server.processes} {'is' if server.processes == 1 else 'are'} declared"
        answered = f"{figures.processes} processes answered, but {declared}: {WRONG}"
        yield CellWarning(kind="processes", text=answered, gate="processes", amount=figures.processes)


def _of_cores(run: Run, cell: Cell, figures: CellFigures) -> Iterable[CellWarning]:
    """Warnings about others on the cores."""
    if figures.disturbed:
        yield CellWarning(kind="neighbour", text=figures.disturbed, gate="neighbour", amount=_of_others(figures))
    if figures.throttled:
        yield CellWarning(kind="throttled", text=figures.throttled, gate="throttled")
    if figures.throttled_share is not None and figures.throttled_share.median:
        stopped = f"its quota of {cell.quota:g} cores stopped it for {figures.throttled_share.median:.0%} of the time"
        latencies = f"{stopped}, in steps of up to {PERIOD_MS:g} ms, which latencies have in them"
        yield CellWarning(kind="quota", text=latencies, amount=figures.throttled_share.median)
    generator = generator_used(run, figures)
    if generator.share >= GENERATOR_LIMIT:
        full = f"{generator}: {generator.it} may be what is measured"
        yield CellWarning(kind="generator", text=full, gate="generator", amount=generator.share)
    if not cell.cores:
        return
    if not run.lanes and cpus.parse(run.server_cpus[cell.cores]) & cpus.parse(run.generator_cpus):
        yield CellWarning(kind="shared-core", text="server and generator share a core: both are slower for it")
    if figures.backend_cpu is not None and cpus.parse(run.server_cpus[cell.cores]) & cpus.parse(run.backend_cpus):
        yield CellWarning(kind="shared-core", text="server and backends share a core: both are slower for it")


def _of_others(figures: CellFigures) -> float:
    """The share of the server's or the generator's cores that others took, whichever is more."""
    of_cores = (each for each in (figures.server_others, figures.generator_others) if each is not None)
    return max((each.high or each.median for each in of_cores), default=0.0)


def _connections(run: Run, cell: Cell, swarms: Sequence[TrialReport], figures: CellFigures) -> Iterable[CellWarning]:
    if figures.slow_connections:
        slow = counted(figures.slow_connections, "connection")
        why = "the backlog was full" + (", or the first segment was lost on the way" if run.lanes else "")
        yield CellWarning(
            kind="slow-connections",
            text=f"{slow} took {SLOW_CONNECTION_S:g} s or more to open: {why}",
            amount=figures.slow_connections,
        )
    anew = f"{counted(figures.reopened or 0, 'kept connection')} {'was' if figures.reopened == 1 else 'were'}"
    if figures.reset:
        were = f"{counted(figures.reset, 'request')} {'was' if figures.reset == 1 else 'were'}"
        beside = f"{sum(swarm.completed for swarm in swarms)} were answered in the windows"
        lost = f"{were} lost with a kept connection that the server closed, and sent again if it had not read them; {beside}"
        if figures.reopened and cell.circumstances is not None and cell.circumstances.gap_ms is not None:
            lost += f"; {anew} opened anew, with those that it closed while users paused"
        yield CellWarning(kind="reset", text=lost, amount=figures.reset)
    elif figures.reopened:
        # A request that was sent again was lost with such a connection, and both are one event.
        unannounced = f"{anew} closed by the server unannounced, and opened anew"
        yield CellWarning(kind="reopened", text=unannounced, amount=figures.reopened)
    if figures.refused:
        were = f"{counted(figures.refused, 'connection')} {'was' if figures.refused == 1 else 'were'}"
        refused = f"{were} refused: nobody listened, or the backlog was full"
        yield CellWarning(kind="refused", text=refused, amount=figures.refused)


def _silence(cell: Cell, figures: CellFigures) -> Iterable[CellWarning]:
    if figures.idle_closed is None or cell.circumstances is None or cell.circumstances.idle is None:
        return
    silent = counted(cell.circumstances.idle.connections, "silent connection")
    if figures.idle_held_s is None:
        held = f"{silent}: the server closed none, and held one for {figures.idle_longest_s or 0.0:.1f} s, until a trial ended"
    else:
        held = f"{silent}: the server closed {figures.idle_closed} in all, each after {figures.idle_held_s.median:.2g} s (median)"
    yield CellWarning(kind="idle", text=held, amount=figures.idle_longest_s or 0.0)


def _given_up(cell: Cell, swarms: Sequence[TrialReport], figures: CellFigures) -> Iterable[CellWarning]:
    if not figures.abandoned or cell.circumstances is None:
        return
    gave_up = (
        f"users gave up {_given_up_of(figures.abandoned, swarms)} after {cell.circumstances.abandon_ms or 0.0:g} ms"
    )
    wasted = figures.wasted_work
    work = "" if wasted is None else f"; {wasted.median:.0%} of the work inside the application was for nobody"
    answered = "; latencies are of those that were answered"
    yield CellWarning(kind="abandoned", text=gave_up + work + answered, amount=figures.abandoned)


def first_line(reason: str) -> str:
    """The summary of a failed trial's reason; log lines follow it."""
    return (reason.splitlines() or ["no reason recorded"])[0]


def in_system(swarm: TrialReport) -> float:
    """Mean number of requests that users had under way, by Little's law."""
    return swarm.throughput_rps * swarm.latency_mean_ms / 1000


def understated(cell: Cell, swarms: Sequence[TrialReport]) -> str | None:
    """Why the latencies of a cell are too low, because requests that waited for long are not in them; None where they are."""
    given_up = sum(swarm.abandoned or 0 for swarm in swarms)
    if given_up > FAILURES_LIMIT * (given_up + sum(swarm.completed for swarm in swarms)):
        return f"users gave up {_given_up_of(given_up, swarms)}; latencies are of those that were answered"
    return unanswered(cell, swarms)


def _given_up_of(given_up: int, swarms: Sequence[TrialReport]) -> str:
    return f"{given_up} of {counted(given_up + sum(swarm.completed for swarm in swarms), 'request')}"


def unanswered(cell: Cell, swarms: Sequence[TrialReport]) -> str | None:
    """A warning about users that never had an answer in a window; None where there were none."""
    most = max(swarm.unanswered for swarm in swarms)
    if not most:
        return None
    return f"up to {most} of {cell.users} users had no answer within the window; latencies may be too low"
