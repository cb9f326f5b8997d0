"""Claims under test: sentences about servers, what would make them true, and the verdict of a run on them. Pure.

`parse` reads a file of claims, `judge` gives their verdicts from recorded observations alone.
"""

from wsgilab.analysis.claims.figures import FIGURES
from wsgilab.analysis.claims.file import ClaimSet, feasible, only, parse
from wsgilab.analysis.claims.verdicts import judge

__all__ = ["FIGURES", "ClaimSet", "feasible", "judge", "only", "parse"]
