"""What one machine, worker, trial and request more cost the lab, and what a hundred machines would take: docs/scale.md.

Measured on this machine, which needs a Docker engine: Locust's master with up to 128 workers, the lab process with up to
100 lanes, a lane of a real site. From that a simulation says what experiments take on 1 to 100 machines. What it
takes to compare and render a large run is read from what `benchmarks.scale` has found, and from `benchmarks.efficiency` a run
to hold the simulation against.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter
from rich.console import Console

from benchmarks.bench import RESULTS
from benchmarks.machines import lanes, limits, master, pages, site, stand
from benchmarks.machines.found import Concluded, Found, Ran
from wsgilab import host, lab, spec
from wsgilab.errors import HostError, Interrupted, LabError
from wsgilab.places import Places, places, read_catalogue, shown, signals_raise

NAME = "scale_out"
ANSWER = lab.PROJECT / "experiments" / "answer.yaml"

Measured = TypeVar("Measured")


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much is measured."""

    workers: tuple[int, ...]
    processes: int
    """Workers that are a process each, to hold the others against."""
    idle_s: float
    trials: int
    """With each crew."""
    requests: tuple[int, ...]
    observations: int
    lanes: tuple[int, ...]
    lane_trials: int
    site_rounds: int
    site_trials: int
    """In each round."""
    site_servers: int


FULL = Effort(
    workers=(1, 2, 4, 8, 16, 32, 64, 128),
    processes=8,
    idle_s=8.0,
    trials=5,
    requests=(10_000, 100_000, 400_000),
    observations=300,
    lanes=(1, 10, 100),
    lane_trials=400,
    site_rounds=3,
    site_trials=8,
    site_servers=5,
)
QUICK = Effort(
    workers=(1, 4, 16),
    processes=4,
    idle_s=2.0,
    trials=3,
    requests=(2_000, 20_000),
    observations=50,
    lanes=(1, 10),
    lane_trials=60,
    site_rounds=1,
    site_trials=5,
    site_servers=2,
)


def measure(effort: Effort, at: Places, console: Console) -> Found:
    """All that is measured, about five minutes of it. Raises LabError."""
    engine, reports, ran = stand.engine(), concluded(), _ran()
    first, *_, last = sorted(host.usable_cpus())
    if first == last:
        raise HostError("only one core may be used: Locust's master needs one that nobody else does")
    own, others = frozenset({first}), frozenset({last})

    def told(what: str, measuring: Callable[[], Measured]) -> Measured:
        console.print(what, highlight=False)
        return measuring()

    with tempfile.TemporaryDirectory(prefix="wsgilab-scale-out-") as folder:
        # Its own state: nothing of another lab's is swept away. Results are on the disk that they are always on.
        mine = replace(at, state=Path(folder))
        return Found(
            date=host.now(),
            host=host.fingerprint(),
            engine=engine.version,
            quick=effort is QUICK,
            concluded=reports,
            ran=ran,
            crews=told(
                f"Locust's master, with up to {max(effort.workers)} workers ...",
                lambda: list(
                    master.crews(effort.workers, effort.processes, effort.idle_s, effort.trials, (own, others))
                ),
            ),
            gathered=told("Its requests ...", lambda: list(master.gathered(effort.requests, 4, own))),
            journaled=told("Observations ...", lambda: lanes.journaled(at.results, effort.observations)),
            sited=told(
                "A lane of a site ...",
                lambda: site.sited(mine, effort.site_rounds, effort.site_trials, effort.site_servers),
            ),
            lanes=told(
                f"The lab process, with up to {max(effort.lanes)} lanes ...",
                lambda: list(lanes.laned(mine, effort.lanes, effort.lane_trials, others)),
            ),
        )


def concluded() -> Concluded:
    """What `benchmarks.scale` has found on this machine."""
    told = _results_of("scale")
    [row] = told["summary"]
    seconds = middling(row["seconds"])
    return Concluded(date=told["date"], trials=int(row["trials"]), seconds=seconds, megabytes=row["MB"])


def _ran() -> Ran:
    told = _results_of("efficiency")
    seconds = {row["what"]: middling(row["seconds"]) for row in told["summary"] if row["runtime"] == "compose"}
    if not seconds:
        raise HostError("benchmarks.efficiency had no Docker engine; run it again with one")
    return Ran(date=told["date"], seconds=seconds["all"], windows_s=seconds["windows"])


def middling(told: float | Mapping[str, float]) -> float:
    """A figure of a benchmark's results, or the median of one that has an interval."""
    return told["median"] if isinstance(told, Mapping) else told


def measured_before() -> Found:
    """What the last run of this benchmark has written."""
    return TypeAdapter(Found).validate_python(_read_results(NAME))


def _results_of(name: str) -> Mapping[str, Any]:
    """Those of another benchmark, which must be of this machine."""
    found = _read_results(name)
    cpu, here = found["machine"]["cpu"], host.fingerprint().cpu
    if cpu != here:
        raise HostError(
            f"{NAME}: what benchmarks.{name} has found is of another machine ({cpu}, not {here}); run it here first"
        )
    return found


def _read_results(name: str) -> Mapping[str, Any]:
    path = RESULTS / f"{name}.yaml"
    if not path.exists():
        raise HostError(f"{shown(path)}: is not there; run python -m benchmarks.{name} first")
    found: Mapping[str, Any] = yaml.safe_load(path.read_text())
    return found


def _run(options: argparse.Namespace, console: Console) -> None:
    at = places()
    experiment = spec.parse(ANSWER.read_text(), ANSWER.name, read_catalogue(at), cores=1)
    page = lab.PROJECT / options.write if options.write else None
    # Before minutes of measuring.
    text = _read(page) if page else ""
    if options.again:
        found = measured_before()
    else:
        with signals_raise():
            found = measure(QUICK if options.quick else FULL, at, console)
    figures = pages.figures(found, limits.cases(experiment))
    for name, figure in figures.items():
        console.print(f"\n{name}\n\n{figure}", markup=False, highlight=False, soft_wrap=True)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{NAME}.yaml"
    path.write_text(yaml.safe_dump(_plain(asdict(found)), sort_keys=False, width=120, allow_unicode=True))
    written = [path]
    if page:
        page.write_text(pages.filled(text, figures))
        written.append(page)
    console.print(f"\nWritten to {' and '.join(map(shown, written))}.", highlight=False)


def _read(page: Path) -> str:
    try:
        text = page.read_text()
        pages.check(text)
    except OSError as error:
        raise LabError(f"{page}: cannot be read ({error.strerror}); name the page that the figures belong to") from None
    except ValueError as error:
        raise LabError(f"{page}: {error}") from None
    return text


def _plain(value: object) -> object:
    """Lists and numbers of six digits alone, as YAML has them: small figures keep theirs."""
    match value:
        case float():
            return float(f"{value:.6g}")
        case dict():
            return {key: _plain(each) for key, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
    return value


def main() -> None:
    """Exits with 1 after a failure, which is said in one line."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{NAME}", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--quick", action="store_true", help="fewer and shorter measurements, to see that it works")
    parser.add_argument("--again", action="store_true", help="make the figures of what was measured last, without load")
    parser.add_argument("--write", metavar="FILE", help="put the figures in their places of this page: docs/scale.md")
    console = lab.console()
    try:
        _run(parser.parse_args(), console)
    except LabError as error:
        console.print(f"error: {error.message}", error.detail, sep="\n", markup=False, highlight=False)
        sys.exit(1)
    except Interrupted as interrupted:
        sys.exit(128 + interrupted.signum)


if __name__ == "__main__":
    main()
