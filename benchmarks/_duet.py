"""Two servers at the same time, each loaded by half of the users, for `benchmarks.pairs`.

Runs as `python -m benchmarks._duet` with the swarm's packages, pinned to one core. One JSON object a line:

    in   {"halves": [{...TrialSpec}, {...TrialSpec}]}  they are started in this order
    out  {"rps": [..., ...], "generator_cpu": ...}, or {"error": ...}

Both halves are counted in the very same window, which begins when every user of either has had an answer.
"""

# Locust patches the standard library for gevent when it is imported: it has to come first.
import locust  # noqa: F401  isort: skip

import gc
import time
from collections.abc import Mapping, Sequence
from typing import Any

import gevent

from benchmarks._companion import take_orders
from wsgilab.load.local import POLL_S, LocalLoad
from wsgilab.load.samples import Span, report
from wsgilab.model import TrialReport, TrialSpec


def duet(specs: Sequence[TrialSpec]) -> Sequence[TrialReport]:
    """What came of each half. Raises RuntimeError where a user had no answer, or a request failed."""
    loads = [LocalLoad(spec, None) for spec in specs]
    gc.collect()
    gc.disable()
    try:
        started_ns = time.monotonic_ns()
        for load in loads:
            load.start()
        begin_ns = _settled_ns(specs, loads, started_ns)
        end_ns = begin_ns + round(specs[0].window_s * 1e9)
        before_s = time.process_time()
        for load in loads:
            load.end_window(end_ns, end_ns)
        gevent.sleep((end_ns - time.monotonic_ns()) / 1e9)
        stopped_ns, used_s = time.monotonic_ns(), time.process_time() - before_s
        samples = [load.stop(spec.patience_s) for load, spec in zip(loads, specs, strict=True)]
    finally:
        gc.enable()
    span = Span(
        started_ns=started_ns,
        begin_ns=begin_ns,
        settled_ns=begin_ns,
        end_ns=end_ns,
        stopped_ns=stopped_ns,
        drained_ns=time.monotonic_ns(),
    )
    generator_cpu = used_s * 1e9 / (stopped_ns - begin_ns)
    reports = [report(each, span, unanswered=0, generator_cpu=generator_cpu) for each in samples]
    if failed := [each for each in reports if each.failures or each.cut_off]:
        raise RuntimeError(f"requests failed: {failed[0].errors}, cut off: {failed[0].cut_off}")
    return reports


def _settled_ns(specs: Sequence[TrialSpec], loads: Sequence[LocalLoad], started_ns: int) -> int:
    """When every user has had an answer."""
    halves = list(zip(specs, loads, strict=True))
    until_ns = started_ns + round(specs[0].patience_s * 1e9)
    while any(load.progress().answered < spec.users for spec, load in halves):
        if time.monotonic_ns() > until_ns:
            raise RuntimeError(f"a user had no answer within {specs[0].patience_s:g} s")
        gevent.sleep(POLL_S)
    return time.monotonic_ns()


def obey(halves: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Carry out one order."""
    reports = duet([TrialSpec(**each) for each in halves])
    return {"rps": [each.throughput_rps for each in reports], "generator_cpu": reports[0].generator_cpu}


if __name__ == "__main__":
    take_orders(obey)
