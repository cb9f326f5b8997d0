"""Getting a page of a server once, and reading what the door (services/door) tells of it."""

import contextlib
import http.client
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from wsgilab.model.errors import TargetError
from wsgilab.system.cpus import spell

READY = "/__lab__/ready"
"""Answered once the application is loaded."""
FACTS = "/__lab__/facts"
"""What a server runs on."""

_GET_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """What a server runs on, by its page FACTS."""

    python: str
    has_gil: bool
    """Whether its GIL is on, once the application is imported."""
    packages: Mapping[str, str]
    pid: int = 0
    """Of the process that answered, as it numbers itself."""


def facts(name: str, page: str, cpus: frozenset[int]) -> ServerFacts:
    """The facts on the page FACTS of a server. Raises TargetError unless it answers from the cores `cpus`."""
    content = json.loads(page)
    if frozenset(content["cpus"]) != cpus:
        raise TargetError(
            f"{name} answers from cores {spell(content['cpus'])}, not from {spell(cpus)} as asked; it moved itself"
        )
    pid = content.get("pid")
    return ServerFacts(
        python=content["python"],
        has_gil=content.get("gil", True),
        packages=content["packages"],
        pid=pid if isinstance(pid, int) else 0,
    )


def status(url: str, timeout_s: float) -> int:
    """The status of one plain GET from this machine; its body is not read. Raises TargetError where there is none."""
    with answered(url, timeout_s) as answer:
        return answer.status


def fetched(url: str, timeout_s: float = _GET_S) -> str:
    """The body of one plain GET from this machine. Raises TargetError unless it is a 200."""
    with answered(url, timeout_s) as answer:
        try:
            body = answer.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            raise _nothing(url, error) from None
    if answer.status != http.HTTPStatus.OK:
        raise TargetError(f"{url} answered with status {answer.status}: {body[:200]}")
    return body


@contextlib.contextmanager
def answered(url: str, timeout_s: float) -> Iterator[http.client.HTTPResponse]:
    """The answer to one plain GET from this machine. Raises TargetError where there is none."""
    split = urlsplit(url)
    page = (split.path or "/") + (f"?{split.query}" if split.query else "")
    connection = http.client.HTTPConnection(split.netloc, timeout=timeout_s)
    try:
        connection.request("GET", page, headers={"Connection": "close"})
        answer = connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        raise _nothing(url, error) from None
    with contextlib.closing(connection), contextlib.closing(answer):
        yield answer


def _nothing(url: str, error: OSError | http.client.HTTPException) -> TargetError:
    cause = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return TargetError(f"{url} answered with nothing: {cause}")
