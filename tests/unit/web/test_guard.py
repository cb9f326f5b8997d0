"""Who may ask the web UI, by what a browser says of itself."""

from collections.abc import Callable, Collection, Iterable, Mapping
from http import HTTPStatus
from typing import Any

import pytest
from werkzeug.test import Client

from wsgilab.web.guard import Guard

LINK = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


def everybody_may_read(environ: Mapping[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    headers = [("Access-Control-Allow-Origin", environ.get("HTTP_ORIGIN", "*")), ("Content-Type", "text/plain")]
    start_response("200 OK", headers)
    return [b"figures"]


def status(names: Collection[str], method: str = "GET", path: str = "/logs", **headers: str) -> int:
    spelt = {name.replace("_", "-"): value for name, value in headers.items()}
    client = Client(Guard(everybody_may_read, names))
    return int(client.open(path, method=method, headers=spelt).status_code)


@pytest.mark.parametrize(
    ("names", "own", "others"),
    [
        # By loopback's names it is always reached, at any port: a tunnel's is another.
        (
            (),
            "localhost:8089 localhost:1234 LOCALHOST. 127.0.0.1 127.8.9.1:80 [::1]:8089 evil.example:80@localhost",
            "evil.example evil.example:8089 localhost.evil.example 127.0.0.1.evil.example localhost@evil.example [::1",
        ),
        (("box.lan", "192.0.2.1"), "box.lan:8089 Box.LAN 192.0.2.1:8089", "192.0.2.2:8089 other.lan"),
        # Everywhere: any address, as none stands for another; but only those names that are known.
        (("0.0.0.0", "box"), "192.0.2.2:8089 [2001:db8::1]:8089 box:8089", "evil.example"),
        (("::",), "192.0.2.2", "evil.example"),
        ((), "", "0.0.0.0:8089 192.0.2.1:8089"),
    ],
)
def test_only_a_name_of_its_own_is_answered(names: Collection[str], own: str, others: str) -> None:
    for host in own.split():
        assert status(names, Host=host) == HTTPStatus.OK, host
    for host in ("", *others.split()):
        assert status(names, Host=host) == HTTPStatus.FORBIDDEN, host


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "DELETE"])
@pytest.mark.parametrize(
    ("told", "answered"),
    [
        # Not a browser, or an old one that was typed at.
        ({}, True),
        ({"Sec_Fetch_Site": "none"}, True),
        ({"Sec_Fetch_Site": "same-origin"}, True),
        ({"Origin": "http://localhost:8089"}, True),
        ({"Origin": "http://localhost:8089", "Sec_Fetch_Site": "same-origin"}, True),
        # Another port is another origin.
        ({"Origin": "http://localhost:8090", "Sec_Fetch_Site": "same-site"}, False),
        ({"Origin": "http://localhost"}, False),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": ""}, False),
        ({"Sec_Fetch_Site": "same-site"}, False),
        ({"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors", "Sec_Fetch_Dest": "image"}, False),
    ],
)
def test_a_page_of_another_site_is_not_answered(method: str, told: dict[str, str], answered: bool) -> None:
    expected = HTTPStatus.OK if answered else HTTPStatus.FORBIDDEN
    assert status((), method, "/", Host="localhost:8089", **told) == expected


@pytest.mark.parametrize(
    ("path", "changes", "answered"),
    [
        ("/", {}, True),
        ("/lab", {}, True),
        ("/login", {}, True),
        ("/stop", {}, False),
        ("/logs", {}, False),
        ("/", {"Sec-Fetch-Dest": "iframe"}, False),
        ("/", {"Sec-Fetch-Mode": "no-cors"}, False),
    ],
)
def test_a_link_leads_to_a_page_and_to_nothing_else(path: str, changes: dict[str, str], answered: bool) -> None:
    expected = HTTPStatus.OK if answered else HTTPStatus.FORBIDDEN
    assert status((), "GET", path, **{**LINK, **changes}) == expected
    assert status((), "POST", path, **{**LINK, **changes}) == HTTPStatus.FORBIDDEN


def test_no_other_site_may_read_or_frame_what_is_answered() -> None:
    client = Client(Guard(everybody_may_read, ()))
    for headers in ({}, {"Host": "evil.example"}):
        answer = client.get("/logs", headers=headers)
        assert not [name for name, _ in answer.headers if name.lower().startswith("access-control")]
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert answer.text.startswith("this web UI has another name")
    assert answer.text.count("\n") == 1
