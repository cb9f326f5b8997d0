"""What a request does in two runs: whether it is the same, and how much work it is."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

from wsgilab.experiment import workloads
from wsgilab.experiment.application import document, requests_of
from wsgilab.model import Application, Cell, Run

ALIKE = 0.01
"""Calibrations that differ by up to this share are listed without a warning."""

COMPUTING = "cpu"
"""The workload whose work is calibrated once a run. Workloads of which it is a part share its calibration."""

SHOWN = 12
"""How many characters of a digest or a revision are shown."""
_LONGEST = 80
"""How many characters of what a user's own application says are shown at most."""

Recorded = tuple[str, str | None, str | None]
"""What something is, and what it is in A and in B."""


def refusal(a: Run, b: Run, cell: Cell) -> str:
    """Why the two runs' figures of a cell must not be compared; empty where they may be."""
    different = [
        f"{what} is {of_a or 'none'} in A and {of_b or 'none'} in B" for what, of_a, of_b in parameters(a, b, [cell])
    ]
    if different:
        return f"a request is not the same: {', '.join(different)}"
    if _only_computes(a, cell) and (a.cpu_iterations is None) != (b.cpu_iterations is None):
        return "a request is not the same: its work is calibrated in only one of the runs"
    return ""


def work(a: Run, b: Run, cell: Cell, *, at_any_rate: bool = False) -> float:
    """The work of a request of B over that of one of A, where throughput can be given as work done: where requests do
    nothing but such work, and as many are sent as the server can take, or `at_any_rate`. Else 1.

    Where this is above 1, what a request costs beside its work is spread over more work: with calibrations that differ by
    a tenth, and a tenth of a request's time for all else, the work done is overrated by one percent.
    """
    if (
        not _only_computes(a, cell)
        or (cell.rate is not None and not at_any_rate)
        or not a.cpu_iterations
        or not b.cpu_iterations
    ):
        return 1.0
    return b.cpu_iterations / a.cpu_iterations


def speed_of_core(a: Run, b: Run) -> float | None:
    """The steps of work that a core did in B over those in A, in the same time, when each run was calibrated; None where
    one of them was not."""
    steps = [steps_per_ms(each) for each in (a, b)]
    return steps[1] / steps[0] if steps[0] and steps[1] else None


def uneven_work(a: Run, b: Run, cell: Cell) -> str:
    """A warning about a cell whose requests differ in their work by more than ALIKE, and are compared all the same;
    empty where they do not."""
    speed = speed_of_core(a, b)
    if speed is None or abs(speed - 1) <= ALIKE or work(a, b, cell) != 1 or not computes(a, cell.workload):
        return ""
    return f"where it computes, a request of B does {speed:.3f} times the work of one of A, by the runs' calibrations"


def mappings(of: str, a: Mapping[str, str], b: Mapping[str, str]) -> Iterable[Recorded]:
    """The keys in which two mappings differ, each with `of` before it."""
    for key in sorted(a.keys() | b.keys()):
        if a.get(key) != b.get(key):
            yield f"{of} {key}", a.get(key), b.get(key)


def _parts(run: Run, workload: str) -> Sequence[str]:
    """The workload and its parts; itself alone where this lab does not know it, as in a run of another lab."""
    known = workloads.of(run.experiment.application).get(workload)
    return (workload, *(known.parts if known else ()))


def computes(run: Run, workload: str) -> bool:
    """Whether its requests do work that is calibrated."""
    return run.experiment.application is None and COMPUTING in _parts(run, workload)


def _only_computes(run: Run, cell: Cell) -> bool:
    """Whether its requests do nothing but such work."""
    return run.experiment.application is None and cell.workload == COMPUTING


def parameters(a: Run, b: Run, cells: Iterable[Cell]) -> Iterable[Recorded]:
    """The parameters of the cells' workloads and of their parts; of a user's own application, its requests."""
    of_a, of_b = a.experiment.application, b.experiment.application
    if (of_a is None) != (of_b is None):
        yield "the application", _entry(of_a), _entry(of_b)
    for workload in dict.fromkeys(part for cell in cells for part in _parts(a, cell.workload)):
        values_a, values_b = (
            {name: f"{value:g}" for name, value in run.experiment.parameters.get(workload, {}).items()}
            for run in (a, b)
        )
        yield from mappings(workload, values_a, values_b)
        if of_a is not None and of_b is not None:
            yield from mappings(workload, _sent(of_a, workload), _sent(of_b, workload))


def _entry(application: Application | None) -> str:
    return "the lab's own" if application is None else application.entry


def _sent(application: Application, workload: str) -> Mapping[str, str]:
    """What users send for a workload, in words."""
    if workload not in workloads.of(application):
        return {}
    found = {}
    for name, request in requests_of(application, workload).items():
        headers = [f"{key}: {value}" for key, value in sorted(request.headers.items())]
        bodies = [f"body {body}" for body in (request.body, request.body_base64) if body is not None]
        found[f"sends {name}"] = brief(", ".join([f"{request.method} {request.path}", *headers, *bodies]))
    if (file := application.locust_files.get(workload)) is not None:
        texts = "".join(f"{path}\0{digest}\0" for path, digest in sorted(file.files.items()))
        digest = hashlib.sha256(texts.encode()).hexdigest()[:SHOWN]
        found["sends as"] = f"{file.user or 'the users'} of {file.name} ({digest})"
    shares = application.mixes.get(workload, {})
    return found | {f"share of {name}": f"{share:g}" for name, share in shares.items()}


def applications(a: Run, b: Run, cells: Iterable[Cell]) -> Iterable[Recorded]:
    """What two applications of users' own are and need, and what answers must be like. Where only one run has one, `parameters`
    says so."""
    if a.experiment.application is None or b.experiment.application is None:
        return
    of_a, of_b = (document(each) for each in (a.experiment.application, b.experiment.application))
    settings = ({key: brief(str(value)) for key, value in each["application"].items()} for each in (of_a, of_b))
    yield from mappings("application:", *settings)
    used = dict.fromkeys(name for cell in cells for name in requests_of(a.experiment.application, cell.workload))
    for name in used:
        expected = (each["requests"].get(name, {}).get("expect") for each in (of_a, of_b))
        in_a, in_b = (None if each is None else brief(str(each)) for each in expected)
        yield f"expected of {name}", in_a, in_b


def brief(text: str) -> str:
    """A text, or of a long one its beginning and the beginning of its digest."""
    if len(text) <= _LONGEST:
        return text
    return f"{text[:_LONGEST]}… ({hashlib.sha256(text.encode()).hexdigest()[:SHOWN]})"


def steps_per_ms(run: Run) -> float:
    """The steps of work that take a millisecond, by the run's calibration; 0 where it has none."""
    ms = run.experiment.parameters.get(COMPUTING, {}).get("ms")
    return (run.cpu_iterations or 0) / ms if ms else 0.0
