"""The application under test, with a burden: so many iterations of work more in every request.

BURDEN_ITERATIONS says how many. A server with a burden is slower than its twin without by construction, and by an
amount that is known.
"""

import os
from collections.abc import Callable, Iterable
from typing import Any

from app import app
from work import state_after

BURDEN_ITERATIONS = int(os.environ.get("BURDEN_ITERATIONS", "0"))

inner = app.wsgi_app


def burdened(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    state_after(BURDEN_ITERATIONS)
    return inner(environ, start_response)


app.wsgi_app = burdened  # type: ignore[method-assign]
