"""What a large run costs to compare and render: 10,000 trials, in every format, by `invoke lab.report`, Python's own
start included.

The observations are made up from a seed, with histograms of a thousand latencies each: 25 servers under 10 conditions
in 40 blocks. Memory is the most that any run took. Must show: under 15 s and 500 MB.
"""

import random
import resource
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.bench import invoke, repeat
from benchmarks.outcome import Claim, Outcome, Row, Scope, median_claims
from wsgilab import testing
from wsgilab.analysis import stats
from wsgilab.model import Cell, Interval, Observation
from wsgilab.results.store import Journal, Store

SERVERS, CONDITIONS, BLOCKS = 25, 10, 40
LATENCIES = 1000
LONGEST_S, MOST_MB = 15.0, 500.0
SEED = 1


def measure(runs: int) -> Outcome:
    """Seconds and megabytes."""
    cells = [
        testing.cell(f"server-{server}", users=users + 1) for users in range(CONDITIONS) for server in range(SERVERS)
    ]
    run = testing.run(testing.experiment(*cells, blocks=BLOCKS))
    with tempfile.TemporaryDirectory(prefix="wsgilab-scale-") as name:
        store = Store.create(Path(name), run)
        # The journal syncs each line to the disk, which is not what is measured.
        with Journal(store) as journal:
            for observation in _observations(cells):
                journal.append(observation)
        seconds = [_report_s(store.folder) for _ in range(runs)]
        size_mb = sum(path.stat().st_size for path in store.folder.rglob("*") if path.is_file()) / 1e6
    # Kibibytes; the largest child of all runs.
    most_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6
    row: Row = {
        "trials": str(len(cells) * BLOCKS),
        "runs": str(runs),
        "seconds": stats.median_interval(seconds),
        "MB": most_mb,
        "files, MB": size_mb,
    }
    return Outcome(
        settings={"servers": SERVERS, "conditions": CONDITIONS, "blocks": BLOCKS, "latencies": LATENCIES},
        rows=[row],
        claims=[
            *median_claims({"the time allowed over the time taken": [LONGEST_S / each for each in seconds]}, 1),
            Claim(
                what="the memory allowed over the most that any run took",
                ratio=Interval(median=MOST_MB / most_mb, low=MOST_MB / most_mb, high=MOST_MB / most_mb),
                at_least=1,
                rounds=runs,
            ),
        ],
        scope=Scope(
            rounds=f"{runs} runs of `invoke lab.report` of the same observations, each a process of its own",
            modes="no load is made",
            left_out="other shapes of a run; real observations, whose histograms hold other numbers of latencies",
        ),
    )


def _report_s(folder: Path) -> float:
    began_s = time.monotonic()
    invoke("lab.report", "--run", str(folder))
    return time.monotonic() - began_s


def _observations(cells: list[Cell]) -> Iterator[Observation]:
    source = random.Random(SEED)  # noqa: S311 - made-up figures
    histograms = [testing.histogram(*(source.lognormvariate(3, 0.5) for _ in range(LATENCIES))) for _ in range(20)]
    for block in range(BLOCKS):
        for cell in cells:
            users = cell.users or 1
            report = testing.trial_report(
                throughput_rps=source.lognormvariate(5, 0.05),
                latency_histogram=source.choice(histograms),
                latency_ms={name: source.lognormvariate(3, 0.05) for name in ("p50", "p95", "p99", "max")},
            )
            yield testing.observation(
                cell, block=block, swarm=replace(report, latency_mean_ms=users / report.throughput_rps * 1000)
            )


if __name__ == "__main__":
    repeat("scale", __doc__, measure, runs=6)
