"""The form of the web UI: what its fields may hold, what they hold at first, and which cell that is. Pure."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, get_args

from wsgilab.experiment import workloads
from wsgilab.model import Connection, Run

DEFAULT_USERS = 32
DEFAULT_WORKLOAD = "sleep"
NOT_HERE = frozenset({"request_timeout", "rate", "arrivals", "arrivals_seed", "application"})
"""Options of the Locust files that are for experiments alone: the lab's tab cannot show what they do."""
CONNECTIONS: Sequence[str] = get_args(Connection)
LIMITS: Mapping[str, tuple[type[int] | type[float], float, float]] = {
    "user_count": (int, 1, 10_000),
    **{name: (each.kind, each.least, each.most) for name, each in workloads.OPTIONS.items()},
}
"""The form's numbers: their type, least and most."""
SPAWN_RATE = (float, 0.01, 10_000)
"""Users that are started in a second."""


def complaint(form: Mapping[str, str], choices: Mapping[str, Collection[str]]) -> str | None:
    """What is wrong with a field by itself, in one line; None where nothing is. `choices`: of the fields that have some."""
    for name in NOT_HERE & form.keys():
        return f"{name.replace('_', ' ')}: is for experiments, not for the web UI"
    for name, (kind, least, most) in {**LIMITS, "spawn_rate": SPAWN_RATE}.items():
        if name in form and not _is_within(form[name], kind, least, most):
            return f"{name.replace('_', ' ')}: must be a number from {least:.15g} to {most:.15g}, not {form[name]!r}"
    for name, known in {**choices, "connection": CONNECTIONS}.items():
        if name in form and form[name] not in known:
            return f"{name}: must be one of {', '.join(known)}, not {form[name]!r}"
    return None


def usual(run: Run) -> Mapping[str, int | float]:
    """Option -> its default. Computing is given in iterations, as they were calibrated for this run."""
    given = run.experiment.parameters
    return {
        option: LIMITS[option][0](value)
        for workload in given
        for option, value in workloads.options(workload, given, run.cpu_iterations).items()
    }


def has_no_share(workload: str, options: Mapping[str, Any]) -> bool:
    """Whether it is a mixture of nothing: all of its shares are 0."""
    known = workloads.WORKLOADS[workload]
    return known.has_shares and not any(float(options[f"{workload}_{name}"]) for name in known.parameters)


def cell_name(workload: str, options: Mapping[str, Any], usual: Mapping[str, Any]) -> str:
    """A workload with those of its options, and of its parts', that are not as usual: `sleep-20-ms`."""
    found = workload
    for owner in (workload, *workloads.WORKLOADS[workload].parts):
        prefix = f"{owner}_".replace("-", "_")
        for option in usual:
            if option.startswith(prefix) and options[option] != usual[option]:
                name = option.removeprefix(prefix) if owner == workload else option
                found += f"-{options[option]:g}-{name.replace('_', '-')}"
    return found


def _is_within(text: str, kind: type[int] | type[float], least: float, most: float) -> bool:
    try:
        return least <= kind(text) <= most
    except ValueError:
        return False
