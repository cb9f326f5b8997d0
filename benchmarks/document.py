"""`docs/measured.md` from the files in `benchmarks/results/`: what each benchmark is for, and what it last found.

Run last, by `make bench`. No load is made.
"""

import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from benchmarks.bench import RESULTS
from wsgilab import commands
from wsgilab.report.markdown import escape

NAMES = (
    "disturbed",
    "twins",
    "power",
    "calibration",
    "generator",
    "truth",
    "efficiency",
    "stamp",
    "neighbours",
    "scale",
)
TARGET = Path("docs") / "measured.md"

INTRODUCTION = """\
# The lab, measured

The lab held against other protocols and other generators. Each section is one benchmark, `python -m benchmarks.NAME`;
`make bench` runs all of them, and `python -m benchmarks.document` writes this page from their files in `benchmarks/results/`,
which have everything that was measured, block by block. Nothing here is written by hand.

A figure in brackets is a 95 % interval by itself. The sampling unit is the **round**: whatever shares one start of the
servers and the same minutes of the machine is one sample, however often it was measured meanwhile; where a section
says *1 start*, its blocks are the samples, and it speaks of those very processes only. A claim *holds* where its whole
interval is on the right side, *fails* where it is on the wrong side, and is *undecided* otherwise; the 5 % are shared out
among the claims of a section (Bonferroni), so that the intervals of claims can be wider than those in the table. What was
measured once has no interval, and decides nothing. Absolute figures are those of one shared and noisy machine; the
ratios are of things measured in turn within seconds of each other.
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
        samples = claim.get("samples", "rounds not recorded")
        yield (
            f"- {escape(claim['what'])}: {_spelt(claim['ratio'])} ({samples}), must be at least "
            f"{claim['at_least']:g}: **{claim['verdict']}**"
        )
    if found["claims"]:
        yield ""
    scope = found.get("scope", {})
    for title, key in (("Rounds", "rounds"), ("Modes", "modes"), ("Left out", "left_out")):
        yield f"- {title}: {scope.get(key, 'not recorded')}."
    machine = found["machine"]
    read = dict(found["settings"])
    recorded = read.pop("recording", None)
    when = (
        f"Measured {found['date'][:10]}" if recorded is None else f"Recorded {recorded[:10]}, read {found['date'][:10]}"
    )
    settings = "".join(
        f"; {key.replace('_', ' ')} {escape(str(value))}"
        for key, value in read.items()
        if isinstance(value, int | float | str)
    )
    yield f"- {when}: {escape(machine['cpu'])}, usable cores {machine['usable_cpus']}{settings}.\n"


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


def page() -> str:
    """All of it."""
    return "\n".join(pages())


if __name__ == "__main__":
    (commands.PROJECT / TARGET).write_text(page())
    print(f"Written to {TARGET}.")  # noqa: T201 - its one line
