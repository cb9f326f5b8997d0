"""Predictions from a run's cells, held to account by its own: every cell as the others predict it, and where none may be made. Pure.

A measured cell gives a model of its requests (`anchors`), which says what they do under other conditions
(`queueing.predict`). A prediction is the mean of what the nearest cells of the same kind of server say, the nearest first.
"""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from wsgilab.analysis import paired_ratio, stats
from wsgilab.analysis.prediction.anchors import Anchor, Kind, Size, expected, kinds
from wsgilab.analysis.prediction.queueing import Expected, Limit
from wsgilab.model import Arrivals, CellResult, Interval, Prediction, Run
from wsgilab.model.errors import SpecError

FARTHEST = 2.0
"""No prediction is made beyond so many times what was measured, on either side. docs/predict.md has the errors that this rests on."""
NEAREST = 4
"""From so many cells at most."""
FEWEST_ERRORS = 4
"""With fewer cells of a kind, the errors of others count for it too."""
_SAME = 0.05
"""How near the model of a cell is taken to be to that very cell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What is expected of conditions that may not have been measured, and how sure that is."""

    kind: Kind
    size: Size
    throughput_rps: Interval
    """Its interval holds what a measurement would find with a chance of 95 %, if the model errs there as on the cells of the run."""
    p95_ms: Interval | None
    """None where the rate is more than the server takes."""
    bound_by: Limit
    checked: tuple[Prediction, ...]
    """The cells of this kind, each predicted from the others."""
    measured: Prediction | None
    """The one of them that has these very conditions."""
    nearest: Anchor


def predictions(run: Run, results: Iterable[CellResult]) -> Iterable[Prediction]:
    """Every cell that has others of its kind which differ in load, workers, threads or cores, as these predict it."""
    for found in kinds(run, results).values():
        yield from held_out(found)


# --- from several cells


def combined(anchors: Sequence[Anchor], size: Size, arrivals: Arrivals | None) -> Expected:
    """What the nearest of some cells, one at least, let expect: the geometric means, each cell with the inverse square of its
    distance for a weight. The rest is as the nearest has it."""
    near = sorted(anchors, key=lambda each: _distance(each.size, size))[:NEAREST]
    found = [expected(each.model, size, arrivals) for each in near]
    weights = [1 / (_distance(each.size, size) ** 2 + _SAME**2) for each in near]

    def mean(read: Callable[[Expected], float | None]) -> float | None:
        known = [(weight, value) for weight, each in zip(weights, found, strict=True) if (value := read(each))]
        if read(found[0]) is None or not known:
            return None
        total = math.fsum(weight for weight, _ in known)
        return math.exp(math.fsum(weight * math.log(value) for weight, value in known) / total)

    return replace(
        found[0],
        throughput_rps=mean(lambda each: each.throughput_rps) or found[0].throughput_rps,
        latency_mean_ms=mean(lambda each: each.latency_mean_ms),
        p95_ms=mean(lambda each: each.p95_ms),
    )


def _distance(one: Size, other: Size) -> float:
    """How many times they differ in each of load, workers, threads and cores, as the sum of the logarithms."""
    pairs = [(one.load, other.load), (one.workers, other.workers), (one.cores, other.cores)]
    if one.threads is not None and other.threads is not None:
        pairs.append((one.threads, other.threads))
    return math.fsum(abs(math.log(a / b)) for a, b in pairs) + (one.threads is None) * (other.threads is not None)


def held_out(anchors: Sequence[Anchor]) -> Iterable[Prediction]:
    """Each cell from those that differ from it in more than their server's name."""
    for anchor in anchors:
        others = [each for each in anchors if each.size != anchor.size]
        if others:
            yield predicted(anchor, others)


def predicted(anchor: Anchor, others: Sequence[Anchor]) -> Prediction:
    """A cell as `others`, one at least, predict it. Its own figures take no part."""
    found = combined(others, anchor.size, anchor.cell.arrivals)
    rps, p95 = anchor.throughput_rps.median, anchor.p95_ms.median
    return Prediction(
        cell=anchor.cell,
        others=len(others),
        throughput_rps=found.throughput_rps,
        measured_rps=rps,
        throughput_error=found.throughput_rps / rps - 1,
        p95_ms=found.p95_ms,
        measured_p95_ms=p95,
        p95_error=None if found.p95_ms is None else found.p95_ms / p95 - 1,
    )


# --- of what was not measured


def forecast(found: Mapping[Kind, Sequence[Anchor]], of: Kind, size: Size) -> Forecast:
    """What is expected of a size, from the cells of a kind, which is one of `found`.

    Raises SpecError where the model was never checked: where the kind has no two cells that differ, or the size is more than
    FARTHEST times beyond them, on more cores or on fewer, or differs in what did not vary among them.
    """
    anchors = found[of]
    checked = tuple(held_out(anchors))
    if not checked:
        raise SpecError(
            f"{anchors[0].cell.server}, {of.workload}: was measured under one condition alone, so no prediction was ever checked; measure it with other users, "
            "workers or threads too"
        )
    for complaint in _beyond(anchors, size):
        raise SpecError(complaint)
    said = combined(anchors, size, of.arrivals)
    pool = _errors_of(found, of, checked)
    nearest = min(anchors, key=lambda each: _distance(each.size, size))
    p95_errors = [each.p95_error for each in pool if each.p95_error is not None]
    same = {each.cell for each in anchors if each.size == size}
    return Forecast(
        kind=of,
        size=size,
        throughput_rps=_interval(
            said.throughput_rps, [each.throughput_error for each in pool], nearest.throughput_rps, stats.SAME
        ),
        p95_ms=None if said.p95_ms is None else _interval(said.p95_ms, p95_errors, nearest.p95_ms, stats.ALIKE),
        bound_by=said.bound_by,
        checked=checked,
        measured=next((each for each in checked if each.cell in same), None),
        nearest=nearest,
    )


def _errors_of(found: Mapping[Kind, Sequence[Anchor]], of: Kind, checked: Sequence[Prediction]) -> Sequence[Prediction]:
    """The cells that say how far off predictions of a kind are: its own; where these are few, those of all kinds with its workload,
    and where these are, of all."""
    if len(checked) >= FEWEST_ERRORS:
        return checked
    every = [(kind, each) for kind, anchors in found.items() for each in held_out(anchors)]
    alike = [each for kind, each in every if kind.workload == of.workload]
    return alike if len(alike) >= FEWEST_ERRORS else [each for _, each in every]


def _interval(value: float, errors: Sequence[float], measured: Interval, least: float) -> Interval:
    """Around a prediction: as far as Student's distribution reaches with the errors of the cells that were held out, and as far
    as the nearest cell's own blocks scatter. A few errors may all be small by chance; each counts as `least`, at least."""
    if not errors:
        return Interval(median=value, low=None, high=None)
    logs = [max(abs(math.log1p(max(each, -0.99))), least) for each in errors]
    square = statistics.fmean(each * each for each in logs) * (1 + 1 / len(logs))
    of_model = paired_ratio.student(len(logs), stats.ERROR_RATE) * math.sqrt(square)
    ends = [end / measured.median for end in (measured.low, measured.high) if end]
    of_blocks = max((abs(math.log(end)) for end in ends), default=0.0)
    reach = min(paired_ratio.FURTHEST, math.hypot(of_model, of_blocks))
    return Interval(median=value, low=value * math.exp(-reach), high=value * math.exp(reach))


def _beyond(anchors: Sequence[Anchor], size: Size) -> Iterable[str]:
    """Where a size is out of what was measured and, by so much, of what was checked."""
    by_rate = size.rate is not None
    asked: Sequence[tuple[str, str, float, Sequence[float]]] = (
        (
            "--rate" if by_rate else "--users",
            "requests a second" if by_rate else "users",
            size.load,
            _of(anchors, "load"),
        ),
        ("--workers", "workers", size.workers, _of(anchors, "workers")),
        ("--threads", "threads", size.threads or 0, _of(anchors, "threads")),
        ("--cores", "cores", size.cores, _of(anchors, "cores")),
    )
    for option, noun, value, known in asked:
        low, high = min(known), max(known)
        margin = 1.0 if low == high or option == "--cores" else FARTHEST
        if not low / margin <= value <= high * margin:
            measured = f"{low:g} to {high:g}" if low != high else f"{low:g} alone"
            reach = f"; checked is {low / margin:g} to {high * margin:g}" if margin > 1 else ""
            yield f"{option} {value:g}: the run has {measured} {noun}{reach}; measure {value:g} {noun} too"


def _of(anchors: Sequence[Anchor], what: str) -> Sequence[float]:
    return [getattr(each.size, what) or 0 for each in anchors]


def seams(forecast: Forecast, backends: Sequence[str]) -> Iterable[str]:
    """Where the model is known to fail, of what applies here, in sentences."""
    size, model = forecast.size, forecast.nearest.model
    if model.sharing != "shared" and size.workers > 1 and size.threads is not None:
        yield (
            "A process takes requests before it has a thread for them, so some queue behind a busy process while others have threads "
            "to spare; the model takes it that they go to any process alike, and where they do not, it promises too much."
        )
    if size.threads is None:
        yield "Slots are unbounded: memory, file descriptors and a request that computes for long are not in the model."
    if forecast.bound_by == "gil":
        yield f"Each of {size.workers} process(es) computes one request at a time, so more cores than processes bring nothing."
    if backends:
        yield f"{' and '.join(backends)} has the limit that it had in the run: the model does not know when it is full."
