"""Requests of an application of the user's own, as its file has them.

`locust -f locustfiles/application.py --host http://... --application '{"requests": {"r": {"method": "GET", "path": "/"}}}'`

With `shares` beside `requests`, such as `{"orders": 8, "buy": 1}`, each user sends them in these shares, as the workload
`mixed` does.
"""

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from http import HTTPStatus
from typing import Any

from locust import events
from locust.argument_parser import LocustArgumentParser

from lab_user import Get, LabUser
from wsgilab.experiment.workloads import deck, shuffled

USUAL = '{"requests": {"root": {"method": "GET", "path": "/"}}}'

Check = Callable[[int, bytes], str | None]
"""What is wrong with the status and body of an answer, as words; None where nothing is."""


@events.init_command_line_parser.add_listener
def _add_arguments(parser: LocustArgumentParser) -> None:
    parser.add_argument(
        "--application", default=USUAL, help="what users send, as JSON", include_in_web_ui=False, metavar="JSON"
    )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Ask(Get):
    """One request, and what its answer must be like."""

    answer: bytes = b""
    """Of no meaning here: `checks` has what is known of it."""
    headers: tuple[str, ...] = ()
    """As lines."""
    sent: bytes | None = None
    """Its body."""
    checks: tuple[Check, ...] = field(repr=False)

    def fault(self, status: int, body: bytes) -> str | None:
        for check in self.checks:
            if (words := check(status, body)) is not None:
                return f"{words}, "
        return None

    def spell(self, lines: list[str]) -> bytes:
        return _spelled(self, tuple(lines))

    def last(self) -> bytes | None:
        return None


@lru_cache(maxsize=64)
def _spelled(ask: Ask, lines: tuple[str, ...]) -> bytes:
    """The request's bytes, which all users of this process share: a body may be large."""
    own_host = any(line.lower().startswith("host:") for line in ask.headers)
    every = [line for line in lines if not (own_host and line.startswith("Host:"))]
    length = [] if ask.sent is None else [f"Content-Length: {len(ask.sent)}"]
    return ("\r\n".join([*every, *ask.headers, *length]) + "\r\n\r\n").encode("ascii") + (ask.sent or b"")


@lru_cache(maxsize=4)
def described(text: str) -> tuple[Mapping[str, Ask], Mapping[str, float]]:
    """The requests that the option describes, and their shares, by name; the same for all users."""
    given = json.loads(text)
    shares: Mapping[str, float] | None = given.get("shares")
    asks = {name: ask(each, name if shares else "") for name, each in given["requests"].items()}
    return asks, shares or dict.fromkeys(asks, 1.0)


def ask(request: Mapping[str, Any], name: str = "") -> Ask:
    """The request that `wsgilab.model.Request` describes, as JSON has it. Keys that are null or absent are not given."""
    sent: bytes | None = None
    if request.get("body") is not None:
        sent = request["body"].encode()
    elif request.get("body_base64") is not None:
        sent = base64.b64decode(request["body_base64"])
    elif request["method"] in ("POST", "PUT", "PATCH"):
        # RFC 9110, section 8.6: such a request without a body says so.
        sent = b""
    return Ask(
        path=request["path"],
        method=request["method"],
        name=name,
        headers=tuple(f"{key}: {value}" for key, value in (request.get("headers") or {}).items()),
        sent=sent,
        checks=tuple(_checks(request.get("expect") or {})),
    )


def _checks(expect: Mapping[str, Any]) -> list[Check]:
    found: list[Check] = [_is_no_error if expect.get("status") is None else _has_status(expect["status"])]
    if expect.get("contains") is not None:
        found.append(_contains(expect["contains"].encode()))
    if expect.get("matches") is not None:
        found.append(_matches(re.compile(expect["matches"])))
    if expect.get("json") is not None:
        found.append(_has_json(expect["json"]))
    if expect.get("body") is not None:
        found.append(_is(expect["body"].encode()))
    return found


def _is_no_error(status: int, _: bytes) -> str | None:
    return None if status < HTTPStatus.BAD_REQUEST else "not below 400"


def _has_status(wanted: int) -> Check:
    return lambda status, _: None if status == wanted else f"not {wanted}"


def _contains(wanted: bytes) -> Check:
    return lambda _, body: None if wanted in body else f"without {wanted[:60]!r}"


def _matches(wanted: re.Pattern[str]) -> Check:
    return lambda _, body: None if wanted.search(body.decode(errors="replace")) else f"no match of {wanted.pattern!r}"


def _is(wanted: bytes) -> Check:
    return lambda _, body: None if body == wanted else f"not the body of {len(wanted)} bytes"


def _has_json(wanted: Any) -> Check:
    def check(_: int, body: bytes) -> str | None:
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            return "no JSON"
        return None if has(found, wanted) else "not the JSON"

    return check


def has(found: Any, wanted: Any) -> bool:
    """Whether a mapping has these keys with such values, a list as many such values, and anything else is the same."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(key in found and has(found[key], each) for key, each in wanted.items())
    if isinstance(wanted, list):
        return isinstance(found, list) and len(found) == len(wanted) and all(map(has, found, wanted))
    # True is 1 in Python, and not in JSON.
    return isinstance(found, bool) == isinstance(wanted, bool) and bool(found == wanted)


class ApplicationUser(LabUser):
    def on_start(self) -> None:
        self._asks, shares = described(getattr(self.environment.parsed_options, "application", USUAL))
        self._cards = shuffled(deck(shares), self.number)

    def choose(self) -> Get:
        return self._asks[next(self._cards)]
