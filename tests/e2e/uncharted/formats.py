"""Every format that a comparison is written in, but for what takes charts."""

from collections.abc import Callable, Mapping

from wsgilab.model import Comparison
from wsgilab.report.comparison import comparison_yaml
from wsgilab.report.experiment import experiment_yaml
from wsgilab.report.markdown import comparison_md


def _markdown(comparison: Comparison) -> Mapping[str, bytes]:
    return comparison_md(comparison)


FORMATS: Mapping[str, Callable[[Comparison], Mapping[str, bytes]]] = {
    "yaml": comparison_yaml,
    "experiment": experiment_yaml,
    "markdown": _markdown,
}
