"""Where the time of `make run` goes: seconds of windows over seconds of wall, for the experiment `answer`.

Runs the lab as `make run` does, everything installed already, and reads the rest from what it recorded. Must show: at
least 85 % of the wall time in windows.
"""

import sys
import time
from collections.abc import Sequence
from datetime import datetime

from benchmarks.bench import Claim, Outcome, Row, analyse
from wsgilab import lab, process
from wsgilab.errors import LabError
from wsgilab.model import Interval, Observation, RuntimeName
from wsgilab.store import Store

LEAST = 0.85
_LONGEST_S = 900.0


def measure() -> Outcome:
    """One run in each runtime that there is."""
    rows: list[Row] = []
    claims, runs = [], {}
    for runtime in _runtimes():
        began, wall_s = datetime.now().astimezone(), _run(runtime)
        store = Store.find(lab.places().results, "latest")
        parts = _parts(store.observations(), began, wall_s)
        rows += [
            {"runtime": runtime, "what": what, "seconds": seconds, "share": seconds / wall_s}
            for what, seconds in {**parts, "all": wall_s}.items()
        ]
        share = parts["windows"] / wall_s
        claims.append(
            Claim(what=f"{runtime}: in windows", ratio=Interval(median=share, low=share, high=share), at_least=LEAST)
        )
        runs[runtime] = store.run().id
    return Outcome(settings={"runs": runs}, blocks=(), rows=rows, claims=claims)


def _runtimes() -> Sequence[RuntimeName]:
    runtime, _ = lab.choose_runtime(lab.places(), None)
    return ("local",) if runtime.name == "local" else ("local", "compose")


def _run(runtime: RuntimeName) -> float:
    """Seconds that `invoke lab.run` takes, Python's own start included."""
    invoke = [sys.executable, "-m", "invoke"]
    # What is installed only once is not what is measured.
    _succeed([*invoke, "lab.build", "--runtime", runtime])
    began_s = time.monotonic()
    _succeed([*invoke, "lab.run", "--runtime", runtime])
    return time.monotonic() - began_s


def _succeed(argv: Sequence[str]) -> None:
    finished = process.run(argv, timeout_s=_LONGEST_S, cwd=lab.PROJECT)
    if finished.code != 0:
        raise LabError(f"{' '.join(argv[2:])}: {finished.last_line}")


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
    analyse("efficiency", __doc__, measure)
