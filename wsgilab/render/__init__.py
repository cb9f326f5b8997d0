"""Renderings of a comparison: one table, many formats. Pure: a format maps a comparison to files as bytes.

A new format is a function here and an entry in `FORMATS`.
"""

from collections.abc import Callable, Mapping

from wsgilab.model import Comparison
from wsgilab.render.document import comparison_yaml
from wsgilab.render.markdown import comparison_md

FORMATS: Mapping[str, Callable[[Comparison], Mapping[str, bytes]]] = {
    "yaml": comparison_yaml,
    "markdown": comparison_md,
}
