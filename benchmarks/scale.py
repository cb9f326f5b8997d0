"""What a large run costs to compare and render: 10,000 trials, in every format, by `invoke lab.report`, Python's own start
included.

The observations are made up from a seed, with histograms of a thousand latencies each: 25 servers under 10 conditions
in 40 blocks. Must show: under 15 s and 500 MB.
"""

import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.bench import Claim, Outcome, analyse
from wsgilab import lab, process, testing
from wsgilab.errors import LabError
from wsgilab.model import Cell, Interval, Observation
from wsgilab.store import Journal, Store

SERVERS, CONDITIONS, BLOCKS = 25, 10, 40
LATENCIES = 1000
LONGEST_S, MOST_MB = 15.0, 500.0
SEED = 1


def measure() -> Outcome:
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
        began_s = time.monotonic()
        argv = [sys.executable, "-m", "invoke", "lab.report", "--run", str(store.folder)]
        finished = process.run(argv, timeout_s=600, cwd=lab.PROJECT)
        seconds = time.monotonic() - began_s
        size_mb = sum(path.stat().st_size for path in store.folder.rglob("*") if path.is_file()) / 1e6
    if finished.code != 0:
        raise LabError(f"lab.report failed: {finished.last_line}")
    # Kibibytes; the largest child, and there was one.
    most_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6
    trials = len(cells) * BLOCKS
    return Outcome(
        settings={"servers": SERVERS, "conditions": CONDITIONS, "blocks": BLOCKS, "latencies": LATENCIES},
        blocks=(),
        rows=[{"trials": str(trials), "seconds": seconds, "MB": most_mb, "files, MB": size_mb}],
        claims=[
            Claim(what="the time allowed over the time taken", ratio=_exactly(LONGEST_S / seconds), at_least=1),
            Claim(what="the memory allowed over the memory taken", ratio=_exactly(MOST_MB / most_mb), at_least=1),
        ],
    )


def _exactly(value: float) -> Interval:
    return Interval(median=value, low=value, high=value)


def _observations(cells: list[Cell]) -> Iterator[Observation]:
    source = random.Random(SEED)  # noqa: S311 - made-up figures
    histograms = [testing.histogram(*(source.lognormvariate(3, 0.5) for _ in range(LATENCIES))) for _ in range(20)]
    for block in range(BLOCKS):
        for cell in cells:
            users = cell.users or 1
            report = testing.swarm_report(
                throughput_rps=source.lognormvariate(5, 0.05),
                latency_histogram=source.choice(histograms),
                latency_ms={name: source.lognormvariate(3, 0.05) for name in ("p50", "p95", "p99", "max")},
            )
            yield testing.observation(
                cell, block=block, swarm=replace(report, latency_mean_ms=users / report.throughput_rps * 1000)
            )


if __name__ == "__main__":
    analyse("scale", __doc__, measure)
