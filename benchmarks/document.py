"""Write `docs/measured.md`, and the figures in `docs/scale.md`, from the files in `benchmarks/results/`.

Run last, by `make bench`. No load is made.
"""

import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import scale_page
from benchmarks.outcome import RESULTS, describe, read, spell, table
from wsgilab import commands
from wsgilab.report.markdown import escape

NAMES = (
    "disturbed",
    "twins",
    "power",
    "calibration",
    "noise",
    "budget",
    "pairs",
    "decided",
    "against",
    "capacity",
    "prediction",
    "tuning",
    "tuning_longer",
    "agreement",
    "generator",
    "truth",
    "clients",
    "efficiency",
    "stamp",
    "neighbours",
    "scale",
)
TARGET, SCALE = Path("docs") / "measured.md", Path("docs") / "scale.md"

INTRODUCTION = """\
# The lab, measured

The lab held against other protocols and other generators. Each section is one benchmark, `python -m benchmarks.NAME`;
`make bench` runs all of them, and `python -m benchmarks.document` writes this page from their files in `benchmarks/results/`,
which have everything that was measured, block by block. Nothing here is written by hand.

A figure in brackets is a 95 % interval by itself. The sampling unit is the **round**: whatever shares one start of the
servers and the same minutes of the machine is one sample, however often it was measured meanwhile; where a section
says *1 start*, its blocks are the samples, and its figures hold for those very processes only. A claim *holds* where its whole
interval is on the right side, *fails* where it is on the wrong side, and is *undecided* otherwise; the 5 % are shared out
among the claims of a section (Bonferroni), so that the intervals of claims can be wider than those in the table. What was
measured once has no interval, and decides nothing. Absolute figures are those of one shared and noisy machine; the
ratios are of things measured in turn within seconds of each other.
"""


def pages() -> Iterator[str]:
    """The page, part by part."""
    yield INTRODUCTION
    for name in NAMES:
        if (RESULTS / f"{name}.yaml").exists():
            yield from _section(name, read(name))


def _section(name: str, found: Mapping[str, Any]) -> Iterator[str]:
    title, _, body = (importlib.import_module(f"benchmarks.{name}").__doc__ or "").partition("\n")
    yield f"## `{name}`\n"
    yield f"{title}\n{body}".rstrip() + "\n"
    rows = [[escape(spell(value)) for value in row.values()] for row in found["summary"]]
    yield table([escape(key) for key in found["summary"][0]], rows) + "\n"
    for claim in found["claims"]:
        yield f"- {escape(describe(claim))}: **{claim['verdict']}**"
    if found["claims"]:
        yield ""
    for title, key in (("Rounds", "rounds"), ("Modes", "modes"), ("Left out", "left_out")):
        yield f"- {title}: {found['scope'][key]}."
    machine = found["machine"]
    settings = dict(found["settings"])
    recorded = settings.pop("recording", None)
    when = (
        f"Measured {found['date'][:10]}" if recorded is None else f"Recorded {recorded[:10]}, read {found['date'][:10]}"
    )
    ran_with = "".join(
        f"; {key.replace('_', ' ')} {escape(str(value))}"
        for key, value in settings.items()
        if isinstance(value, int | float | str)
    )
    yield f"- {when}: {escape(machine['cpu'])}, usable cores {machine['usable_cpus']}{ran_with}.\n"


def page() -> str:
    """All of `docs/measured.md`."""
    return "\n".join(pages())


if __name__ == "__main__":
    scale = commands.PROJECT / SCALE
    (commands.PROJECT / TARGET).write_text(page())
    scale.write_text(scale_page.filled(scale.read_text(), read("scale_out")))
    print(f"Written to {TARGET} and {SCALE}.")  # noqa: T201 - its one line
