"""The form of the web UI: what its fields may hold, what they hold at first, and which cell that is. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, get_args

from wsgilab.experiment import workloads
from wsgilab.model import Connection, Run
from wsgilab.model.text import counted

DEFAULT_USERS = 32
DEFAULT_WORKLOAD = "sleep"
NOT_HERE = frozenset(
    {
        *("request_timeout", "rate", "arrivals", "arrivals_seed", "gap_ms", "abandon_ms", "application"),
        workloads.ITERATIONS_PER_MS,
    }
)
"""Options of the Locust files that nobody chooses here: the lab's tab cannot show what they do, or the lab knows them."""
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
    """Option -> its default: of every parameter of the run's workloads."""
    given = run.experiment.parameters
    return {
        option: LIMITS[option][0](value)
        for workload in given
        for option, value in workloads.options(workload, given, None).items()
    }


def calibration(run: Run) -> Mapping[str, float]:
    """The option by which users know how long computing takes on this run's servers; empty where it was not calibrated."""
    given = run.experiment.parameters
    found = workloads.options("cpu", given, run.cpu_iterations) if "cpu" in given else {}
    return {name: value for name, value in found.items() if name == workloads.ITERATIONS_PER_MS}


def fields(workload: str) -> Sequence[str]:
    """The options that say what a request of the workload does: its own parameters, and those of its parts."""
    known = workloads.WORKLOADS[workload]
    own = [workloads.option(workload, name) for name in known.parameters]
    # What computes has `cpu` for a part too, for its calibration; how long that computes is nothing to it.
    computes = any(each.is_computing for each in own)
    of_parts = [workloads.option(part, name) for part in known.parts for name in workloads.WORKLOADS[part].parameters]
    return [each.name for each in (*own, *of_parts) if each in own or not (computes and each.is_computing)]


def has_no_share(workload: str, options: Mapping[str, Any]) -> bool:
    """Whether it is a mixture of nothing: all of its shares are 0."""
    known = workloads.WORKLOADS[workload]
    return known.has_shares and not any(float(options[f"{workload}_{name}"]) for name in known.parameters)


def cell_name(workload: str, options: Mapping[str, Any], usual: Mapping[str, Any]) -> str:
    """A workload with those of its options, and of its parts', that are not as usual: `sleep-20-ms`."""
    found = workload
    for option in fields(workload):
        if option in usual and options[option] != usual[option]:
            name = option.removeprefix(f"{workload}_".replace("-", "_"))
            found += f"-{options[option]:g}-{name.replace('_', '-')}"
    return found


# --- tests that can be chosen whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A test that one click puts into the form, for the target that is chosen there."""

    text: str
    """Such as `32 users who wait 50 ms`."""
    fields: Mapping[str, str | int | float]
    """Field of the form -> value."""


_USERS: Mapping[str, tuple[int, str]] = {
    "sleep": (DEFAULT_USERS, "{} who wait {sleep_ms:g} ms"),
    "cpu": (8, "{} who compute {cpu_ms:g} ms"),
    "hello": (8, "{} who ask for next to nothing"),
    "mixed": (DEFAULT_USERS, "{} with a mix of requests"),
    "slow-client": (DEFAULT_USERS, "{} on slow lines"),
    "stall": (DEFAULT_USERS, "{}, one of whom computes {stall_ms:g} ms"),
}
"""Workload -> how many users, and what they do."""


def presets(run: Run) -> Sequence[Preset]:
    """Those of the run's workloads that have one; of a user's own application, all of its workloads."""
    if run.experiment.application is not None:
        return [_preset(name, DEFAULT_USERS, "{} of {name}", {}) for name in run.experiment.parameters]
    known = usual(run)
    return [
        _preset(workload, users, text, {name: known[name] for name in fields(workload)})
        for workload, (users, text) in _USERS.items()
        if workload in run.experiment.parameters
    ]


def _preset(workload: str, users: int, text: str, there: Mapping[str, int | float]) -> Preset:
    return Preset(
        text=text.format(counted(users, "user"), name=workload, **there),
        fields={"workload": workload, "user_count": users, "spawn_rate": users, "connection": "close", **there},
    )


def for_page(run: Run) -> Mapping[str, Any]:
    """What the page's script knows of the form: workload -> the fields of its parameters, and the presets."""
    own = run.experiment.application is not None
    return {
        "fields": {} if own else {name: fields(name) for name in run.experiment.parameters},
        "presets": [asdict(each) for each in presets(run)],
    }


def _is_within(text: str, kind: type[int] | type[float], least: float, most: float) -> bool:
    try:
        return least <= kind(text) <= most
    except ValueError:
        return False
