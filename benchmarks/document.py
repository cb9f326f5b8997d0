"""`docs/measured.md` from the files in `benchmarks/results/`: what each benchmark is for, and what it last found.

Run last, by `make bench`. No load is made.
"""

import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from benchmarks.bench import RESULTS
from wsgilab import lab
from wsgilab.render.markdown import escape

NAMES = ("twins", "power", "calibration", "generator", "truth", "efficiency", "stamp", "neighbours", "scale")
TARGET = Path("docs") / "measured.md"

INTRODUCTION = """\
# The lab, measured

The lab held against other protocols and other generators. Each section is one benchmark, `python -m benchmarks.NAME`;
`make bench` runs all of them and writes this page. Everything that was measured, block by block, lies in
`benchmarks/results/`. A claim *holds* where its whole 95 % interval is on the right side, *fails* where it is on the
wrong side, and is *undecided* otherwise. Absolute figures are those of one shared and noisy machine; the ratios are of
things measured in turn within seconds of each other.
"""


def pages() -> Iterator[str]:
    """The page, part by part."""
    yield INTRODUCTION
    for name in NAMES:
        path = RESULTS / f"{name}.yaml"
        if path.exists():
            yield from _section(name, yaml.load(path.read_text(), Loader=yaml.CSafeLoader))


def _section(name: str, found: Mapping[str, Any]) -> Iterator[str]:
    title, _, body = (importlib.import_module(f"benchmarks.{name}").__doc__ or "").partition("\n")
    yield f"## `{name}`\n"
    yield f"{title}\n{body}".rstrip() + "\n"
    rows = found["summary"]
    yield "| " + " | ".join(escape(key) for key in rows[0]) + " |"
    yield "|" + "|".join(" --- " for _ in rows[0]) + "|"
    for row in rows:
        yield "| " + " | ".join(escape(_spelt(value)) for value in row.values()) + " |"
    yield ""
    for claim in found["claims"]:
        yield f"- {escape(claim['what'])}: {_spelt(claim['ratio'])}, must be at least {claim['at_least']:g}: **{claim['verdict']}**"
    machine = found["machine"]
    settings = ", ".join(
        f"{key.replace('_', ' ')} {value}"
        for key, value in found["settings"].items()
        if isinstance(value, int | float | str)
    )
    yield f"\n{found['date'][:10]}; {escape(machine['cpu'])}, usable cores {machine['usable_cpus']}; {escape(settings)}.\n"


def _spelt(value: Any) -> str:
    match value:
        case {"median": median, "low": None}:
            return _number(median)
        case {"median": median, "low": low, "high": high}:
            return (
                _number(median) if low == high == median else f"{_number(median)} ({_number(low)} to {_number(high)})"
            )
        case float() | int():
            return _number(value)
    return str(value)


def _number(value: float) -> str:
    if float(value).is_integer():
        return f"{value:.0f}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004 - rates are whole, ratios are not


if __name__ == "__main__":
    (lab.PROJECT / TARGET).write_text("\n".join(pages()))
    print(f"Written to {TARGET}.")  # noqa: T201 - its one line
