"""What was surprising in a run: slots not filled, a stall, a backlog that overflowed, and what else one would not expect."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from wsgilab.analysis.cell.bottleneck import SLOTS_LIMIT
from wsgilab.analysis.cell.validity import UNEVEN_USERS
from wsgilab.model import Cell, CellFigures, CellResult, Circumstances, Comparison, During, Interval, WarningKind
from wsgilab.model.text import counted, number
from wsgilab.report import tables
from wsgilab.report.findings.finding import (
    Finding,
    FindingKind,
    Findings,
    Part,
    figures_of,
    held_by_silence,
    idle_of,
    measured,
    median,
    more,
    named,
    percent,
)
from wsgilab.report.recommendation import names

UNEVEN_PROCESSES = 1.5
"""From this many times its even share on, the busiest process is worth a finding."""
STALL = 5.0
"""From this many times the median on, what one answer in a hundred takes is worth a finding..."""
STALL_MS = 25.0
"""... if that is so much more than the median."""
HELD_BACK = 0.2
"""From this share of its latency on, what an answer took to come back is worth a finding..."""
HELD_BACK_MS = 5.0
"""... if that is so long."""
DEARER = 1.5
"""From this many times the reference's CPU time on, what a request costs is worth a finding."""
_IDLE = 0.5
"""A server that uses less of its cores than this does not leave slots free because it computes."""


def silence(comparison: Comparison) -> Findings:
    """Slots that silent connections hold, so that no request gets them."""
    found = [
        (held / result.slots, result)
        for result, figures in measured(comparison)
        if result.slots and not result.broken_gates and (held := held_by_silence(result, figures))
    ]
    if not found:
        return
    share, worst = max(found, key=lambda each: each[0])
    figures, idle = figures_of(worst), idle_of(worst)
    slots, connections = worst.slots or 0, 0 if idle is None else idle.connections
    who = f"{counted(connections, 'silent connection')} {'holds' if connections == 1 else 'hold'}"
    what = "the only slot" if slots == 1 else f"{f'{share * slots:.1f}'.removesuffix('.0')} of {slots} slots"
    closed = figures.idle_held_s
    until = (
        f"for as long as {'it lasts' if connections == 1 else 'they last'}"
        if closed is None
        else f"until the server closes {'it' if connections == 1 else 'them'}, after {number(closed.median)} s"
    )
    unanswered = "" if figures.throughput_rps.median else "; no request was answered"
    text = f"Silence: {who} {what} of {named(comparison, worst)} {until}{unanswered}{more(found)}."
    yield Finding(kind="silence", text=text, part="load", workload=worst.cell.workload)


def given_up(comparison: Comparison) -> Findings:
    """Work for users who had given up."""
    found = [
        (figures.wasted_work.median, result)
        for result, figures in measured(comparison)
        if figures.abandoned and figures.wasted_work is not None and not result.broken_gates
    ]
    if found:
        share, worst = max(found, key=lambda each: each[0])
        given = worst.cell.circumstances
        after = "" if given is None or given.abandon_ms is None else f", after {given.abandon_ms:g} ms"
        work = f"{percent(share)} of the work of {named(comparison, worst)} was for users who had left{after}"
        yield Finding(
            kind="given-up", text=f"Given up: {work}{more(found)}.", part="load", workload=worst.cell.workload
        )


def during(comparison: Comparison) -> Findings:
    """What it cost that something was done to a server: of each kind of deed the dearest, beside the same server without it."""
    found: dict[str, list[tuple[tuple[float, ...], CellResult, During]]] = defaultdict(list)
    for result, figures in measured(comparison):
        if (done := result.cell.during) is not None and not result.broken_gates:
            cost = figures.failures + figures.cut_off, median(figures.lost_capacity), median(figures.longest_gap_ms)
            found[done.do].append((cost, result, done))
    for of_deed in found.values():
        _, worst, done = max(of_deed, key=lambda each: each[0])
        figures, plain = figures_of(worst), _undisturbed(worst.cell)
        # What was done is in the sentence.
        where = min((tables.brief(comparison, each) for each in (worst.cell, plain)), key=len)
        lost = figures.lost_capacity
        costs = [
            f"{_unanswered(figures)} in {counted(worst.blocks, 'trial')}",
            *([] if figures.longest_gap_ms is None else [_gap(figures.longest_gap_ms)]),
            *([] if lost is None else [f"{percent(lost.median)} of the capacity was lost until the window's end"]),
        ]
        beside = next((each.figures for each in comparison.cells if each.cell == plain and not each.broken_gates), None)
        without = []
        if beside is not None:
            without = [_unanswered(beside), *([] if beside.longest_gap_ms is None else [_gap(beside.longest_gap_ms)])]
        text = (
            f"{done.deed.capitalize()} {done.at_s:g} s into the window: with {worst.cell.server} ({where}), {names(costs)}"
            f"{f'; without it, {names(without)}' if without else ''}"
        )
        others = f"; it cost {counted(len(of_deed) - 1, 'other cell')} no more" if len(of_deed) > 1 else ""
        yield Finding(kind="during", text=f"{text}{others}.", part="load", workload=worst.cell.workload)


def _undisturbed(cell: Cell) -> Cell:
    """The same without what is done to its server."""
    rest = replace(cell.circumstances or Circumstances(), during=None)
    return replace(cell, circumstances=None if rest == Circumstances() else rest)


def _unanswered(figures: CellFigures) -> str:
    """Such as `3 requests failed`; those that were given up unanswered count."""
    count = figures.failures + figures.cut_off
    return f"{counted(count, 'request')} failed" if count else "no request failed"


def _gap(longest_ms: Interval) -> str:
    return f"no answer came for {number(longest_ms.median)} ms"


def lost(comparison: Comparison) -> Findings:
    """Requests that were lost with their connection."""
    yield from _warned(comparison, ("reset",), "lost", "load")


def declaration(comparison: Comparison) -> Findings:
    """More slots or processes than are declared."""
    yield from _warned(comparison, ("slots", "processes"), "declaration", "load")


def _with_free_slots(comparison: Comparison) -> Sequence[tuple[float, CellResult]]:
    """The cells whose slots stay free although users wait and nothing computes, with the share that is filled."""
    return [
        (mean.median / result.slots, result)
        for result, figures in measured(comparison)
        if result.slots
        and result.cell.during is None
        and (result.cell.users or 0) >= result.slots
        and (mean := figures.mean_in_flight) is not None
        and mean.median < SLOTS_LIMIT * result.slots
        and figures.bound_by in ("balance", "unexplained")
        and (figures.server_cpu is None or figures.server_cpu.median < _IDLE)
    ]


def slots_not_filled(comparison: Comparison) -> Findings:
    """Slots that stay free although users wait, and nothing computes."""
    found = _with_free_slots(comparison)
    if not found:
        return
    _, worst = min(found, key=lambda each: each[0])
    figures = figures_of(worst)
    mean = figures.mean_in_flight
    users = counted(worst.cell.users or 0, "user")
    busiest = figures.busiest_share
    why = (
        f"; its busiest process had {busiest:.2f} times its even share"
        if busiest is not None and figures.bound_by == "balance"
        else "; why is not known"
    )
    text = (
        f"Slots not filled: {named(comparison, worst)} had {median(mean):.1f} of its {worst.slots} in flight on average, "
        f"with {users}{why}{more(found)}."
    )
    yield Finding(kind="slots-not-filled", text=text, part="balance")


def uneven_processes(comparison: Comparison) -> Findings:
    """Those of cells without free slots, of which that is the reason."""
    free = {result.cell for _, result in _with_free_slots(comparison)}
    found = [
        (figures.busiest_share, result)
        for result, figures in measured(comparison)
        if figures.busiest_share is not None
        and figures.busiest_share >= UNEVEN_PROCESSES
        and not result.broken_gates
        and result.cell not in free
    ]
    if found:
        most, worst = max(found, key=lambda each: each[0])
        has = f"the busiest process of {named(comparison, worst)} had {most:.2f} times its even share of requests"
        yield Finding(kind="uneven-processes", text=f"Uneven: {has}{more(found)}.", part="balance")


def backlog(comparison: Comparison) -> Findings:
    """Connections that waited because a backlog was full."""
    yield from _warned(comparison, ("slow-connections",), "backlog", "load")


def stall(comparison: Comparison) -> Findings:
    """Answers that took far longer than most, where all users send the same request."""
    found = [
        (figures.latency_ms["p99"] / figures.latency_ms["p50"], result)
        for result, figures in measured(comparison)
        if {"p50", "p99"} <= figures.latency_ms.keys()
        and figures.latency_ms["p99"] >= STALL * figures.latency_ms["p50"] > 0
        and figures.latency_ms["p99"] - figures.latency_ms["p50"] >= STALL_MS
        and result.cell.during is None
        and len(figures.by_request) <= 1
        and not result.broken_gates
    ]
    if found:
        times, worst = max(found, key=lambda each: each[0])
        latency = figures_of(worst).latency_ms
        text = (
            f"A stall: with {named(comparison, worst)}, one answer in a hundred took {number(latency['p99'])} ms or more, "
            f"{times:.0f} times the median of {number(latency['p50'])}{more(found)}."
        )
        yield Finding(kind="stall", text=text, part="load", workload=worst.cell.workload)


def held_back(comparison: Comparison) -> Findings:
    """Answers that come long after the application has made them, though they are short and no network lies between."""
    found = [
        (parts.back.mean, result)
        for result, figures in measured(comparison)
        if (parts := figures.parts) is not None
        and parts.back.mean >= max(HELD_BACK_MS, HELD_BACK * parts.latency_mean)
        and not comparison.run.lanes
        and "kib" not in comparison.run.experiment.parameters.get(result.cell.workload, {})
        and not result.broken_gates
    ]
    if found:
        back, worst = max(found, key=lambda each: each[0])
        parts = figures_of(worst).parts
        of = "" if parts is None else f", of {number(parts.latency_mean)} in all"
        text = f"Held back: {named(comparison, worst)} kept finished answers for {number(back)} ms on average{of}{more(found)}."
        yield Finding(kind="held-back", text=text, part="load", workload=worst.cell.workload)


def uneven_users(comparison: Comparison) -> Findings:
    found = [
        (figures.busiest_user_share, result)
        for result, figures in measured(comparison)
        if figures.busiest_user_share is not None and figures.busiest_user_share >= UNEVEN_USERS
    ]
    if found:
        most, worst = max(found, key=lambda each: each[0])
        has = (
            f"the busiest of {worst.cell.users} users of {named(comparison, worst)} had {most:.1f} times an even share"
        )
        text = f"Unfair: {has} of the answers{more(found)}."
        yield Finding(kind="uneven-users", text=text, part="load", workload=worst.cell.workload)


def scaling(comparison: Comparison) -> Findings:
    """What more cores bring, by workload."""
    for workload in dict.fromkeys(each.cell.workload for each in comparison.scaling):
        found = [each for each in comparison.scaling if each.cell.workload == workload]
        most, least = (choose(found, key=lambda each: each.ratio.median) for choose in (max, min))
        cores = f"{counted(most.cell.cores, 'core')} in place of {most.over_cores}"
        brought = f"{most.cell.server} {most.ratio.median:.2f} times the throughput"
        fewest = f", and {least.cell.server} {least.ratio.median:.2f} times" if least is not most else ""
        where = tables.workload(comparison.run, workload)
        yield Finding(kind="scaling", text=f"More cores, for {where}: {cores} bring {brought}{fewest}.", part="scaling")


def cost(comparison: Comparison) -> Findings:
    """The dearest and the cheapest request against the reference's."""
    known = [(pair.cost, pair) for pair in comparison.pairs if pair.cost is not None]
    dearer = [each for each in known if each[0].verdict == "more" and each[0].ratio.median >= DEARER]
    cheaper = [each for each in known if each[0].verdict == "less" and each[0].ratio.median <= 1 / DEARER]
    for found, choose in ((dearer, max), (cheaper, min)):
        if found:
            cost, pair = choose(found, key=lambda each: each[0].ratio.median)
            where = tables.brief(comparison, pair.cell)
            text = (
                f"CPU time: a request takes {pair.cell.server} ({where}) {number(cost.ratio.median)} times what it takes "
                f"{pair.reference}{more(found)}."
            )
            yield Finding(kind="cost", text=text, part="cost")


def _warned(comparison: Comparison, kinds: Sequence[WarningKind], kind: FindingKind, part: Part) -> Findings:
    """The worst of the warnings of these kinds, in its own words."""
    found = [
        (each.amount, each.text, result)
        for result in comparison.cells
        for each in result.warnings
        if each.kind in kinds
    ]
    if found:
        _, text, worst = max(found, key=lambda each: each[0])
        said = f"{named(comparison, worst)}: {text}{more(found)}."
        yield Finding(kind=kind, text=said, part=part, workload=worst.cell.workload)
