"""Pages for a browser: the templates, and that nothing of a run becomes markup in them."""

import functools

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from wsgilab.model.text import visible


def page(template: str, **values: object) -> str:
    """A template of render/templates with `values`. Text is escaped, and what does not print in it is spelt out; what is
    Markup, which only our own code makes, is left as it is."""
    return _templates().get_template(template).render(**values)


@functools.cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("wsgilab.report"),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _shown(value: object) -> object:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
