"""What one request does: the workloads, their parameters, and what they need. Pure."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from wsgilab.model import Workload

WORKLOADS: Mapping[str, Workload] = {
    "hello": Workload(parameters={}),
    "sleep": Workload(parameters={"ms": 50.0}),
    "cpu": Workload(parameters={"ms": 5.0}),
    "db": Workload(parameters={"ms": 50.0}, backends=("postgres",)),
    "upstream": Workload(parameters={"ms": 50.0}, backends=("upstream",)),
    "large": Workload(parameters={"kib": 1024.0}),
    "slow-client": Workload(parameters={"send_ms": 100.0, "read_ms": 100.0, "kib": 1024.0}),
    "stall": Workload(parameters={"ms": 300.0}, parts=("sleep", "cpu"), needs_users=True),
    "mixed": Workload(
        parameters={"hello": 50.0, "db": 25.0, "upstream": 15.0, "cpu": 5.0, "large": 5.0},
        backends=("postgres", "upstream"),
        parts=("hello", "db", "upstream", "cpu", "large"),
    ),
}
"""By name. Each is a file in locustfiles/ (with _ for -), and its requests go to routes of services/app."""

_COMPUTING = frozenset({"cpu", "stall"})
"""Workloads whose `ms` is CPU time."""


def parameters(
    workloads: Collection[str], given: Mapping[str, Mapping[str, float]]
) -> Mapping[str, Mapping[str, float]]:
    """Workload -> parameter -> value, as `given` or else as usual: of `workloads` and of all that they are made of."""
    used = {part for name in workloads for part in (name, *WORKLOADS[name].parts)}
    return {name: {**WORKLOADS[name].parameters, **given.get(name, {})} for name in WORKLOADS if name in used}


def options(
    workload: str, given: Mapping[str, Mapping[str, float]], cpu_iterations: int | None
) -> Mapping[str, float | int]:
    """The options of a workload's Locust file for the parameters `given`: `{"slow_client_kib": 1024.0}`.

    Computing is told in iterations, of which `cpu_iterations` take the time that `cpu` is given; None: not calibrated.
    """
    found: dict[str, float | int] = {}
    for name, value in given[workload].items():
        if workload in _COMPUTING and name == "ms" and cpu_iterations is not None:
            found[f"{workload}_iterations"] = round(cpu_iterations * value / given["cpu"]["ms"])
        else:
            found[f"{workload}_{name}".replace("-", "_")] = value
    return found


def backends(workloads: Iterable[str]) -> Sequence[str]:
    """The names of the backends that requests of `workloads` wait for, in order."""
    return list(dict.fromkeys(backend for name in workloads for backend in WORKLOADS[name].backends))
