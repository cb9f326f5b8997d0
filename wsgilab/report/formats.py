"""Every format that a comparison is written in.

A new format is a function and an entry in `FORMATS`. An import of this module is slow: it loads the drawing library.
"""

from collections.abc import Callable, Mapping

from wsgilab.model import Comparison
from wsgilab.report.charts.figures import figures
from wsgilab.report.comparison import comparison_yaml
from wsgilab.report.experiment import experiment_yaml
from wsgilab.report.html import report
from wsgilab.report.markdown import comparison_md


def _markdown(comparison: Comparison) -> Mapping[str, bytes]:
    """The comparison in Markdown, with links to the figures that `report` draws."""
    return comparison_md(comparison, figures(comparison))


FORMATS: Mapping[str, Callable[[Comparison], Mapping[str, bytes]]] = {
    "yaml": comparison_yaml,
    "experiment": experiment_yaml,
    "markdown": _markdown,
    "report": report,
}
