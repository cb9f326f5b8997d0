"""What a race of `lab.tune` says, in sentences: every format of a comparison has the same."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from wsgilab.analysis.advice.candidates import NEAR_IN_RACE, NOT_RELIED_ON, SLOWED
from wsgilab.analysis.stats import FEWEST_PAIRED
from wsgilab.analysis.tune.outcome import AS_FAST
from wsgilab.analysis.tune.race import TIE
from wsgilab.experiment.space import rule_of_thumb
from wsgilab.model import Comparison, Interval, ServerContrast, TuneOutcome, Wish
from wsgilab.model.text import called, counted, number
from wsgilab.report import tables
from wsgilab.report.deploy import Deployment, deployment
from wsgilab.report.recommendation import beside, instead, recommendation

CHANGES = "Would change it"
"""A heading of points."""
_NAMED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """The outcome of a race in words."""

    outcome: TuneOutcome
    title: str
    """What it was tuned for."""
    verdict: str
    """`Run gunicorn-gthread-2x16.`, or that there is none."""
    why: str
    short: str
    """The same in one sentence."""
    deployment: Deployment | None
    """How to start it; None where there is no server, or it has no command line of its own."""
    points: tuple[tuple[str, tuple[str, ...]], ...]
    """Headings, each with one sentence at least."""


def tuned(comparison: Comparison) -> Tuned | None:
    """None of any run but one of `lab.tune`."""
    found, run = comparison.tune, comparison.run
    if found is None:
        return None
    cell, server, limits = run.experiment.cells[0], found.server, _limits(comparison)
    points = (
        ("Will do as well", _as_well(found)),
        ("Runner-up", tuple(_contrast(each) for each in found.runners_up)),
        (_reference(comparison), tuple(_beside_rule(comparison, found))),
        (CHANGES, tuple(_changes(comparison, found))),
        ("Race", (_race(found),)),
        ("Left the race", tuple(_grouped(found.gone))),
        ("Left out", tuple(_grouped(_left_out(comparison, found)))),
    )
    return Tuned(
        outcome=found,
        title=tables.conditions(run, cell) + (f"; {limits}" if limits else ""),
        verdict="None." if server is None else f"Run {server}.",
        why=_why(comparison, found),
        short=_short(comparison, found),
        deployment=None if server is None else deployment(run, run.servers[server], cell.cores),
        points=tuple((heading, sentences) for heading, sentences in points if sentences),
    )


def lines(words: Tuned) -> Iterable[tuple[str, str]]:
    """The command to copy, and the same for each file that names one: a heading, and the text."""
    found = words.deployment
    if found is None:
        return
    yield "Command", found.command
    if found.packages:
        yield "Packages", f"pip install {found.packages}"
    yield from found.files


# --- words


def _limits(comparison: Comparison) -> str:
    tune = comparison.run.experiment.tune
    return "" if tune is None else Wish(p95_ms=tune.p95_ms, memory_mb=tune.memory_mb).limits


def _figure(of: Interval, unit: str) -> str:
    ends = "" if of.low is None or of.high is None else f" ({number(of.low)} to {number(of.high)})"
    return f"{number(of.median)}{ends} {unit}"


def _why(comparison: Comparison, found: TuneOutcome) -> str:
    if found.server is None:
        if found.decides == "blocks":
            return f"Too little was measured: to compare takes {FEWEST_PAIRED} blocks."
        words = [recommendation(comparison, each).why for each in comparison.advice[:1]]
        return words[0] if words else "None of those measured may be advised."
    figures = _figures(comparison, found)
    others = [name for name in found.tied if name != found.server]
    reasons: Mapping[str, str] = {
        "fastest": "It is faster than every other that may be advised, for sure.",
        "cheaper": f"It has at least {NEAR_IN_RACE:.0%} of the speed of {_listed(others)} for sure, and costs clearly less.",
        "alone": "It is the only one that may be advised.",
        "memory": f"Of those that are as fast by what was measured (within {AS_FAST:.0%}) it takes the least memory.",
        "simplicity": f"Of those that are as fast by what was measured (within {AS_FAST:.0%}) and take as little memory it has "
        "the fewest processes and threads.",
    }
    alone = "It is the fastest of those that could not be told apart." if not others else reasons.get(found.decides, "")
    decided = found.decides in ("fastest", "alone", "cheaper")
    why = [reasons[found.decides] if decided else alone, *_disturbed(comparison, found.server)]
    return f"{', '.join(figures)}. {' '.join(each for each in why if each)}".rstrip()


def _disturbed(comparison: Comparison, server: str) -> Iterable[str]:
    gates = next(each.broken_gates for each in comparison.cells if each.cell.server == server)
    if "neighbour" in gates:
        yield (
            "Others took some of the cores while it was measured, so it is at least as fast as that; once the machine is quiet, "
            "--resume measures those windows again."
        )
    elif not SLOWED.isdisjoint(gates):
        yield "Something other than itself limited it (see the warnings), so it is at least as fast as that."


def _short(comparison: Comparison, found: TuneOutcome) -> str:
    if found.server is None:
        return f"No configuration to run was found. {_why(comparison, found)}"
    figures = f", with {_listed(_figures(comparison, found))}" if found.speed is not None else ""
    return f"Run {found.server}{figures}."


def _figures(comparison: Comparison, found: TuneOutcome) -> Sequence[str]:
    """Of the server to run: speed, p95 latency and memory, as far as they are known."""
    cell = comparison.run.experiment.cells[0]
    figures = [] if found.speed is None else [_speed(found.speed, is_rate=cell.rate is not None)]
    figures += [] if found.p95_ms is None else [f"p95 {_figure(found.p95_ms, 'ms')}"]
    figures += [] if found.memory_mb is None else [f"{number(found.memory_mb)} MB of memory"]
    return figures


def _speed(speed: Interval, *, is_rate: bool) -> str:
    return f"mean latency {_figure(speed, 'ms')}" if is_rate else _figure(speed, "requests/s")


def _listed(found: Sequence[str]) -> str:
    """`a, b and c`; of many the first ones, and how many others."""
    shown = list(found) if len(found) <= _NAMED else [*found[: _NAMED - 1], f"{len(found) - _NAMED + 1} others"]
    return "".join(shown) if len(shown) <= 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def _race(found: TuneOutcome) -> str:
    first, *after = found.rounds
    left = ", ".join(map(str, after))
    rounds = f"after {counted(len(after), 'round')}" if len(after) == 1 else f"after rounds 1 to {len(after)}"
    end = {
        "one": "one was left",
        "alike": f"those that are left are within {TIE:.0%} of each other for sure",
        "budget": "its time was used up" if len(found.left) > 1 else "one was left",
        "early": "it was ended before",
    }[found.ended]
    return (
        f"{counted(first, 'configuration')} began, and {left} {'was' if left == '1' else 'were'} left {rounds}. "
        f"It took {found.used_s:.0f} of {found.budget_s:g} s of trials: {end}."
    )


def _as_well(found: TuneOutcome) -> tuple[str, ...]:
    others = [name for name in found.tied if name != found.server]
    return (f"{_listed(others)}.",) if others and found.server is not None else ()


def costs(of: ServerContrast) -> str:
    """What it costs more and less than the one to run; empty where no difference is sure."""
    more = "; ".join(instead(each) for each in of.costs if each.ours > each.theirs)
    less = "; ".join(instead(each) for each in of.costs if each.ours <= each.theirs)
    return " ".join(filter(None, (f"Costs more: {more}." if more else "", f"Costs less: {less}." if less else "")))


def _contrast(of: ServerContrast) -> str:
    return f"{of.cell.server}: {beside(of)}. {costs(of)}".strip()


def _reference(comparison: Comparison) -> str:
    """What the reference is called."""
    experiment = comparison.run.experiment
    thumb = f"gunicorn-sync-{rule_of_thumb(experiment.cells[0].cores)}"
    return "Rule of thumb, 2n + 1 workers" if experiment.reference == thumb else "Reference"


def _beside_rule(comparison: Comparison, found: TuneOutcome) -> Iterable[str]:
    reference = comparison.run.experiment.reference
    if found.rule_of_thumb is not None:
        yield _contrast(found.rule_of_thumb)
    elif reference == found.server:
        yield f"{reference}, which is the one to run."
    elif reference in found.gone:
        yield f"{reference}: {found.gone[reference]}."


def _changes(comparison: Comparison, found: TuneOutcome) -> Iterable[str]:
    if found.server is None:
        return
    for advice in comparison.advice[:1]:
        yield from recommendation(comparison, advice).changes
    if len(found.left) > 1 and found.ended != "alike":
        yield f"more time may tell {_listed(found.left)} apart (--budget)"
    load = comparison.run.experiment.cells[0].load
    yield f"another load: this holds for {load}, and {called('lab.tune')} with others tells"


def _left_out(comparison: Comparison, found: TuneOutcome) -> Mapping[str, str]:
    """Those that did not leave the race, and may not be advised all the same: name -> why."""
    left_out = [each.left_out for each in comparison.advice[:1]]
    # Of broken gates the tables have the figures.
    return {
        name: why.partition(": ")[0] if why.startswith(NOT_RELIED_ON) else why
        for of in (*left_out, comparison.run.left_out)
        for name, why in of.items()
        if name not in found.gone
    }


def _grouped(reasons: Mapping[str, str]) -> Iterable[str]:
    """Configurations with the same reason in one sentence."""
    by_reason: dict[str, list[str]] = {}
    for name, why in reasons.items():
        reason, _, figures = why.partition(": ")
        by_reason.setdefault(reason, []).append(f"{name} {figures}".strip())
    for reason, servers in by_reason.items():
        yield f"{reason}: {'; '.join(servers)}"
