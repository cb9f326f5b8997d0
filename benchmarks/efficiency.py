"""Where the time of `make run` goes: seconds of windows over seconds of wall, for the experiment `answer`.

Runs the lab as `make run` does, everything installed already, and reads the rest from what it recorded. Must show: at
least 85 % of the wall time in windows.
"""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime

from benchmarks.bench import invoke, repeat, runtimes
from benchmarks.outcome import Claim, Outcome, Row, Scope, median_claims
from wsgilab import commands
from wsgilab.analysis import stats
from wsgilab.model import Observation, RuntimeName
from wsgilab.results.store import Store

LEAST = 0.85
_ALL = "all"


def measure(runs: int) -> Outcome:
    """Run the lab `runs` times in each runtime that there is, in turn."""
    known = runtimes()
    for runtime in known:
        # What is installed only once is not what is measured.
        invoke("lab.build", "--runtime", runtime)
    found = [(runtime, *_run(runtime)) for _ in range(runs) for runtime in known]
    rows: list[Row] = []
    claims: list[Claim] = []
    for runtime in known:
        parts = [seconds for name, _, seconds in found if name == runtime]
        rows += _rows(runtime, parts)
        shares = [each["windows"] / each[_ALL] for each in parts]
        claims += median_claims({f"{runtime}: in windows": shares}, LEAST)
    scope = Scope(
        rounds=f"{runs} run{'s' if runs > 1 else ''} in each runtime; fewer than six have no interval that decides",
        modes="the experiment `answer` as it is: 45 cells, 4 blocks; local processes and containers by themselves",
        left_out="the first run on a machine, which installs; sites of several machines",
    )
    names = {runtime: [run for name, run, _ in found if name == runtime] for runtime in known}
    return Outcome(settings={"run_names": names}, rows=rows, claims=claims, scope=scope)


def _rows(runtime: RuntimeName, parts: Sequence[Mapping[str, float]]) -> Sequence[Row]:
    return [
        {
            "runtime": runtime,
            "runs": str(len(parts)),
            "what": what,
            "seconds": stats.median_interval([each[what] for each in parts]),
            "share": stats.median_interval([each[what] / each[_ALL] for each in parts]),
        }
        for what in parts[0]
    ]


def _run(runtime: RuntimeName) -> tuple[str, Mapping[str, float]]:
    """The name of a run, and where the seconds of `invoke lab.run` went, Python's own start included."""
    began, began_s = datetime.now().astimezone(), time.monotonic()
    invoke("lab.run", "--runtime", runtime)
    wall_s = time.monotonic() - began_s
    store = Store.find(commands.workspace().results, "latest")
    return store.run().id, {**_parts(store.observations(), began, wall_s), _ALL: wall_s}


def _parts(observations: Sequence[Observation], began: datetime, wall_s: float) -> dict[str, float]:
    swarms = [each.swarm for each in observations if each.swarm is not None]
    windows_s = sum(each.window_s for each in swarms)
    warmups_s, drains_s = sum(each.warmup_s for each in swarms), sum(each.held_s + each.drain_s for each in swarms)
    first, last = (datetime.fromisoformat(observations[at].started) for at in (0, -1))
    ending = swarms[-1]
    trials_s = (last - first).total_seconds() + ending.warmup_s + ending.window_s + ending.held_s + ending.drain_s
    starting_s = (first - began).total_seconds()
    return {
        "windows": windows_s,
        "users starting": warmups_s,
        "drains": drains_s,
        "between trials": trials_s - windows_s - warmups_s - drains_s,
        "starting the fleet": starting_s,
        "stopping it, comparing": wall_s - starting_s - trials_s,
    }


if __name__ == "__main__":
    repeat("efficiency", __doc__, measure, runs=1)
