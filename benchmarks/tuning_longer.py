"""What `lab.tune` chooses with more time, where requests compute: as `tuning`, against exhaustive runs of more blocks.

`python -m benchmarks.tuning_longer RUN...`, with the folders of runs as `tuning` has them, but for finals. Each exhaustive run is of one
workload of `benchmarks/tuning.yaml`, and judges by itself: how well it knows the best one is in *blocks to know*, and that it was the
best of two dozen in that very run makes it look a little better than it is. Must show: as `tuning`.
"""

from benchmarks.bench import of_runs
from benchmarks.tuning import measure

if __name__ == "__main__":
    of_runs("tuning_longer", __doc__, measure)
