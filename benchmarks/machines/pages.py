"""What in docs/scale.md has figures in it, and its places there. Pure."""

import re
from collections.abc import Callable, Mapping, Sequence

from benchmarks.machines import extrapolated, measured
from benchmarks.machines.found import Found
from benchmarks.machines.limits import Case

_PLACE = re.compile(r"(<!-- figures:([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

_MAKERS: Mapping[str, Callable[[Found, Sequence[Case]], str]] = {
    "machine": lambda found, _: measured.machine(found),
    "master": lambda found, _: measured.master(found),
    "master-lines": lambda found, _: measured.master_lines(found),
    "requests": lambda found, _: measured.requests(found),
    "request-limits": lambda found, _: measured.request_limits(found),
    "lab": lambda found, _: measured.lab(found),
    "lab-limits": lambda found, _: measured.lab_limits(found),
    "lane": lambda found, _: measured.lane(found),
    "machines": extrapolated.machines,
    "check": lambda found, cases: extrapolated.check(found, cases[0]),
    "ends": extrapolated.ends,
    "ways": extrapolated.ways,
    "faults": lambda found, cases: extrapolated.faults(found, cases[-1]),
}


def figures(found: Found, cases: Sequence[Case]) -> Mapping[str, str]:
    """Name of a place -> what belongs there, in Markdown."""
    return {name: make(found, cases) for name, make in _MAKERS.items()}


def check(text: str) -> None:
    """Raises ValueError unless a page has a place for each of the figures, `<!-- figures:NAME -->` ... `<!-- end -->`."""
    places = sorted(match[2] for match in _PLACE.finditer(text))
    if places != sorted(_MAKERS):
        raise ValueError(f"has places for {', '.join(places)}; there are figures for {', '.join(sorted(_MAKERS))}")


def filled(text: str, figures: Mapping[str, str]) -> str:
    """A page that has a place for each of the figures, with the figures there."""
    return _PLACE.sub(lambda match: f"{match[1]}{figures[match[2]]}\n{match[3]}", text)
