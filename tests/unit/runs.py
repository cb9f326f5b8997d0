"""The runs that are recorded below tests/, compared once for all tests of a process."""

import functools
from pathlib import Path

from wsgilab.analysis.ab.runs import runs
from wsgilab.analysis.compare import compare
from wsgilab.model import Comparison, RunsComparison
from wsgilab.results.store import Store

TESTS = Path(__file__).parents[1]


def stored(run: str) -> Store:
    """`run`: its folder below tests/, such as recorded/answer."""
    return Store(TESTS / run)


@functools.cache
def compared(run: str = "recorded/answer") -> Comparison:
    return compare(stored(run).run(), stored(run).observations())


@functools.cache
def before_and_after() -> RunsComparison:
    before, after = stored("recorded/before"), stored("recorded/after")
    return runs(before.run(), before.observations(), after.run(), after.observations())
