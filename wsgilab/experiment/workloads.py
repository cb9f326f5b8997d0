"""What one request does: the workloads, their parameters, and what they need. Pure.

A workload is one stanza of `WORKLOADS`. Experiment files, the JSON Schema, the web UI's form and the options of the Locust
files all follow from it. So that a Locust file works by itself, this module and what it imports need nothing but the
standard library.
"""

import random
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from math import gcd, lcm

from wsgilab.model import Application, Parameter, Workload

LONGEST_MS = 60_000.0
LONGEST_COMPUTING_MS = 10_000.0
LARGEST_KIB = 65_536.0
"""The most that the routes of services/app/app.py take."""

SLOW_CONNECTION_S = 0.9
"""A connection that took so long to open was opened by a second attempt: the first SYN was dropped, and Linux sends the
next one after 1 s (RFC 6298, section 2.1). Clocks and timers may be a little early."""

WORKLOADS: Mapping[str, Workload] = {
    "hello": Workload(),
    "sleep": Workload(
        parameters={
            "ms": Parameter(usual=50.0, most=LONGEST_MS, about="how long a request waits, in milliseconds"),
        }
    ),
    "cpu": Workload(
        parameters={
            "ms": Parameter(
                usual=5.0,
                least=0.01,
                most=LONGEST_COMPUTING_MS,
                about="CPU time of a request, in milliseconds",
                is_computing=True,
            ),
        }
    ),
    "db": Workload(
        parameters={
            "ms": Parameter(usual=50.0, most=LONGEST_MS, about="how long the database waits, in milliseconds"),
        },
        backends=("postgres",),
    ),
    "upstream": Workload(
        parameters={
            "ms": Parameter(usual=50.0, most=LONGEST_MS, about="how long the other service waits, in milliseconds"),
        },
        backends=("upstream",),
    ),
    "large": Workload(
        parameters={
            "kib": Parameter(usual=1024.0, most=LARGEST_KIB, about="size of the answer, in KiB", is_whole=True),
        }
    ),
    "slow-client": Workload(
        parameters={
            "send_ms": Parameter(
                usual=100.0, most=LONGEST_MS, about="how long a user takes to send a request, in milliseconds"
            ),
            "read_ms": Parameter(
                usual=100.0, most=LONGEST_MS, about="how long a user takes to read an answer, in milliseconds"
            ),
            "kib": Parameter(usual=1024.0, most=LARGEST_KIB, about="size of the answer, in KiB", is_whole=True),
        }
    ),
    "upload": Workload(
        parameters={
            "kib": Parameter(
                usual=256.0, most=LARGEST_KIB, about="size of the body that is sent, in KiB", is_whole=True
            ),
            "send_ms": Parameter(
                usual=500.0, most=LONGEST_MS, about="how long a user takes to send it, in milliseconds"
            ),
        }
    ),
    "stream": Workload(
        parameters={
            "s": Parameter(usual=2.0, most=LONGEST_MS / 1000, about="how long a stream of events is, in seconds"),
            "every_ms": Parameter(
                usual=100.0,
                least=1.0,
                most=LONGEST_MS,
                about="how long after the one before an event comes, in milliseconds",
            ),
        }
    ),
    "burst": Workload(
        parameters={
            "every_ms": Parameter(
                usual=1000.0,
                least=1.0,
                most=LONGEST_MS,
                about="how far apart the moments are at which all users ask, in milliseconds",
            ),
            "ms": Parameter(usual=10.0, most=LONGEST_MS, about="how long a request waits, in milliseconds"),
        },
        needs_users=True,
    ),
    "stall": Workload(
        parameters={
            "ms": Parameter(
                usual=300.0,
                least=0.01,
                most=LONGEST_COMPUTING_MS,
                about="CPU time of each request of the one user, in milliseconds",
                is_computing=True,
            ),
        },
        parts=("sleep", "cpu"),
        needs_users=True,
    ),
    "mixed": Workload(
        parameters={
            kind: Parameter(usual=usual, most=1e6, about=f"share of requests of the kind {kind}")
            for kind, usual in (("hello", 50.0), ("db", 25.0), ("upstream", 15.0), ("cpu", 5.0), ("large", 5.0))
        },
        backends=("postgres", "upstream"),
        parts=("hello", "db", "upstream", "cpu", "large"),
        has_shares=True,
    ),
}
"""By name. Each is a file in locustfiles/ (with _ for -), and its requests go to routes of services/app."""


def of(application: Application | None) -> Mapping[str, Workload]:
    """The workloads that there are, by name: of a user's own application its requests, mixes and Locust files, and no others;
    with None, the lab's."""
    if application is None:
        return WORKLOADS
    usual = Workload(backends=application.backend_names)
    files = dict.fromkeys(application.locust_files, replace(usual, is_locust_file=True))
    return {**dict.fromkeys((*application.requests, *application.mixes), usual), **files}


_TIMES_MS = {"ms": 1.0, "s": 1000.0}
"""Milliseconds of a unit, by which the names of parameters end."""
ITERATIONS_PER_MS = "iterations_per_ms"
"""The option that says how many iterations of the computing loop take a millisecond of CPU time on the target."""
UNCALIBRATED_PER_MS = 10_000.0
"""Its default, where nobody has calibrated a server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option(Parameter):
    """A parameter as its Locust file has it, on the command line and in the web UI's form."""

    name: str
    """As Locust's parsed options have it: `slow_client_send_ms`."""

    @property
    def kind(self) -> type[int] | type[float]:
        return int if self.is_whole else float

    @property
    def flag(self) -> str:
        return f"--{self.name.replace('_', '-')}"


def option(workload: str, parameter: str) -> Option:
    """The option by which users get a parameter."""
    known = WORKLOADS[workload].parameters[parameter]
    name = f"{workload}_{parameter}"
    usual = round(known.usual) if known.is_whole else known.usual
    return Option(name=name.replace("-", "_"), **{**asdict(known), "usual": usual})


OPTIONS: Mapping[str, Option] = {
    each.name: each for name, known in WORKLOADS.items() for each in (option(name, key) for key in known.parameters)
}
"""All options of all workloads, by name."""


def parameters(
    workloads: Collection[str], given: Mapping[str, Mapping[str, float]], application: Application | None = None
) -> Mapping[str, Mapping[str, float]]:
    """Workload -> parameter -> value, as `given` or else as usual: of `workloads` and of all that they are made of."""
    there = of(application)
    used = {part for name in workloads for part in (name, *there[name].parts)}
    return {
        name: {key: given.get(name, {}).get(key, each.usual) for key, each in workload.parameters.items()}
        for name, workload in there.items()
        if name in used
    }


def complaint(workload: Workload, given: Mapping[str, float]) -> str | None:
    """What is wrong with the values `given` for parameters that a workload has, to be read after its name: `.ms must be a
    number from 0 to 60000, not 60001`. None: nothing."""
    for name, value in given.items():
        each = workload.parameters[name]
        if not each.least <= value <= each.most or (each.is_whole and not value.is_integer()):
            what = "a whole number" if each.is_whole else "a number"
            return f".{name} must be {what} from {each.least:.15g} to {each.most:.15g}, not {value:.15g}"
    if workload.has_shares and not any(given.get(key, each.usual) for key, each in workload.parameters.items()):
        return ": one share at least must be more than 0"
    return None


def alone_ms(workload: str, given: Mapping[str, Mapping[str, float]]) -> float:
    """How many milliseconds a request of a workload takes at least, with the parameters `given`; 0 where that is not known."""
    known = {name: value for name, value in given.get(workload, {}).items() if name != "every_ms"}
    of_time = (
        value * _TIMES_MS[unit] for name, value in known.items() if (unit := name.rpartition("_")[2]) in _TIMES_MS
    )
    return sum(of_time) if workload in WORKLOADS else 0.0


def options(
    workload: str, given: Mapping[str, Mapping[str, float]], cpu_iterations: int | None
) -> Mapping[str, float | int]:
    """The options of a workload's Locust file for the parameters `given`: `{"slow_client_kib": 1024.0}`.

    With CPU time goes its calibration: `cpu_iterations` take as long as a request of `cpu` is to take; None: not calibrated.
    """
    known = {name: option(workload, name) for name in given[workload]}
    found: dict[str, float | int] = {known[name].name: value for name, value in given[workload].items()}
    if cpu_iterations is not None and any(each.is_computing for each in known.values()):
        found[ITERATIONS_PER_MS] = cpu_iterations / given["cpu"]["ms"]
    return found


def backends(workloads: Iterable[str], application: Application | None = None) -> Sequence[str]:
    """The names of the backends that requests of `workloads` wait for, in order."""
    there = of(application)
    return list(dict.fromkeys(backend for name in workloads for backend in there[name].backends))


def backend_variable(backend: str) -> str:
    """The environment variable that has a backend's address: `LAB_POSTGRES`."""
    return f"LAB_{backend.upper().replace('-', '_')}"


# --- requests in shares


def deck(shares: Mapping[str, float]) -> Sequence[str]:
    """The smallest deck that has each kind exactly in its share. Raises ValueError where there is none."""
    counts = _counts(shares)
    return [kind for kind, count in counts.items() for _ in range(count)]


def deck_size(shares: Mapping[str, float]) -> int:
    """How many cards `deck` would have. Raises ValueError as it does."""
    return sum(_counts(shares).values())


def _counts(shares: Mapping[str, float]) -> Mapping[str, int]:
    exact = {kind: Fraction(str(share)) for kind, share in shares.items()}
    if min(exact.values(), default=0) < 0 or not any(exact.values()):
        raise ValueError(f"shares must be 0 or more, and one of them more: {dict(shares)}")
    whole = lcm(*(share.denominator for share in exact.values()))
    counts = {kind: int(share * whole) for kind, share in exact.items()}
    common = gcd(*counts.values())
    return {kind: count // common for kind, count in counts.items()}


def shuffled(cards: Sequence[str], number: int) -> Iterator[str]:
    """The cards in the order of user `number`, again and again without end, shuffled anew each time."""
    source = random.Random(number)  # noqa: S311 - a load, not a secret
    while True:
        yield from source.sample(cards, len(cards))
