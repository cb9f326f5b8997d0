"""Pages that the generator gets: a plain GET, and what a target says of requests that left it late."""

import urllib.error
import urllib.request
from collections.abc import Mapping
from http import HTTPStatus
from http.client import HTTPException
from typing import Any

from wsgilab.analysis.inflight import parse_late
from wsgilab.load.samples import LATE_PAGE
from wsgilab.model import Stamp

GET_TIMEOUT_S = 5.0
# A proxy that the environment names is for the public network.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def fetch(url: str, timeout_s: float = GET_TIMEOUT_S) -> dict[str, Any]:
    """One plain GET, answered whatever the status; 0 where there was no answer."""
    try:
        with _DIRECT.open(url, timeout=timeout_s) as response:
            return {"status": response.status, "body": response.read().decode(errors="replace")}
    except urllib.error.HTTPError as error:
        return {"status": error.code, "body": error.read().decode(errors="replace")}
    except (OSError, HTTPException) as error:
        return {"status": 0, "body": str(error)}


def read_late(base_url: str, timeout_s: float = GET_TIMEOUT_S) -> Mapping[Stamp, int]:
    """The target's LATE_PAGE; nothing where it has no such page. Raises ValueError where it cannot be read."""
    answer = fetch(base_url + LATE_PAGE, timeout_s)
    status, body = answer["status"], str(answer["body"])
    if status == HTTPStatus.NOT_FOUND:
        return {}
    try:
        if status == HTTPStatus.OK:
            return parse_late(body)
        problem = f"it answered with {f'status {status}' if status else 'nothing'}: {body}"
    except ValueError as error:
        problem = str(error)
    raise ValueError(f"{LATE_PAGE}, which tells what left later, cannot be read: {' '.join(problem.split())[:100]}")
