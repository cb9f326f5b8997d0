"""A page of a server, asked for once."""

import http.client
import os
from urllib.parse import urlsplit

from wsgilab.errors import TargetError

_GET_S = 15.0


def fetched(url: str) -> str:
    """The body of one plain GET from this machine. Raises TargetError unless it is a 200."""
    split = urlsplit(url)
    page = split.path + (f"?{split.query}" if split.query else "")
    connection = http.client.HTTPConnection(split.netloc, timeout=_GET_S)
    try:
        connection.request("GET", page, headers={"Connection": "close"})
        answer = connection.getresponse()
        body = answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        cause = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise TargetError(f"{url} answered with nothing: {cause}") from None
    finally:
        connection.close()
    if answer.status != http.HTTPStatus.OK:
        raise TargetError(f"{url} answered with status {answer.status}: {body[:200]}")
    return body
