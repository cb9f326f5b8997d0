"""Users who send the requests of an application, against a small server: what it hears, and which of its answers are right."""

import importlib
import json
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from locust import events
from locust.argument_parser import LocustArgumentParser

from wsgilab import testing
from wsgilab.experiment.application import parse, users_option
from wsgilab.load.recorder import Recorder
from wsgilab.model import Expected, Request


def locustfile(name: str) -> ModuleType:
    return importlib.import_module(name)


APPLICATION, LAB_USER = locustfile("application"), locustfile("lab_user")
TEXT = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


def answer(status: int = 200, body: bytes = b"", *headers: bytes) -> bytes:
    lines = (b"HTTP/1.1 %d Whatever" % status, b"Content-Length: %d" % len(body), *headers)
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def hear(connection: socket.socket) -> bytes:
    """A whole request; nothing where the user has closed the connection."""
    heard = b""
    while b"\r\n\r\n" not in heard:
        if not (some := connection.recv(1 << 16)):
            return b""
        heard += some
    head, _, body = heard.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    while len(body) < int((lengths or [b"0"])[0]):
        some = connection.recv(1 << 16)
        heard, body = heard + some, body + some
    return heard


@contextmanager
def serving(*answers: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """A server's address, and what it hears. It gives `answers` in turn, on as many connections as its users open."""
    listening = socket.create_server(("127.0.0.1", 0))
    heard: list[bytes] = []
    left = list(answers)

    def serve() -> None:
        while left:
            connection, _ = listening.accept()
            with connection:
                while left and (request := hear(connection)):
                    heard.append(request)
                    connection.sendall(left.pop(0))
                    if b"connection: close" in request.lower():
                        break

    server = threading.Thread(target=serve)
    server.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", heard
    finally:
        left.clear()
        # Whom it still waits for.
        socket.create_connection(listening.getsockname()).close()
        server.join()
        listening.close()


def user(host: str, option: str, *, number: int = 0, **options: Any) -> tuple[Any, list[dict[str, Any]]]:
    """A user that has started, and what is told of its requests."""
    fired: list[dict[str, Any]] = []
    environment = SimpleNamespace(
        runner=SimpleNamespace(user_greenlets=[None] * number, worker_index=0),
        parsed_options=SimpleNamespace(application=option, request_timeout=60.0, **options),
        events=SimpleNamespace(request=SimpleNamespace(fire=lambda **event: fired.append(event))),
    )
    made = object.__new__(APPLICATION.ApplicationUser)
    made.host = host
    made.__init__(environment)
    made.on_start()
    return made, fired


def of(*requests: Request, **changes: Any) -> str:
    named = {f"r{number}": each for number, each in enumerate(requests)}
    return users_option(testing.application(requests=named, mixes={}, **changes), "r0")


def asked(request: Request, given: bytes = TEXT, **options: Any) -> tuple[bytes, dict[str, Any]]:
    """What the server heard of one request, and what is told of the answer that it gave."""
    with serving(given) as (host, heard):
        made, fired = user(host, of(request), **options)
        made._ask(None)
        made.on_stop()
    return heard[0], fired[0]


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LAB_USER, "PAUSE_AFTER_FAILURE_S", 0.0)


# What is sent.


def test_a_get_is_sent_as_it_is_and_told_by_its_path() -> None:
    heard, event = asked(Request(method="GET", path="/orders?page=1", headers={"X-Key": "k"}))

    begin, host, *rest = heard.decode().split("\r\n")
    assert (begin, rest) == ("GET /orders?page=1 HTTP/1.1", ["Connection: close", "X-Key: k", "", ""])
    assert host.startswith("Host: 127.0.0.1:")
    assert (event["request_type"], event["name"], event["exception"]) == ("GET", "/orders?page=1", None)
    assert event["response_length"] == 5
    assert "name" not in event["context"]


@pytest.mark.parametrize(
    ("request_", "length", "body"),
    [
        (Request(method="POST", path="/", body="größe\r\n"), b"9", "größe\r\n".encode()),
        (Request(method="PUT", path="/", body_base64="/wA="), b"2", b"\xff\x00"),
        (Request(method="PATCH", path="/", body=""), b"0", b""),
        (Request(method="POST", path="/"), b"0", b""),
        (Request(method="DELETE", path="/"), None, b""),
        (Request(method="DELETE", path="/", body="x"), b"1", b"x"),
        (Request(method="OPTIONS", path="/"), None, b""),
    ],
)
def test_a_body_is_sent_to_the_byte_with_its_length(request_: Request, length: bytes | None, body: bytes) -> None:
    heard, event = asked(request_)

    head, _, sent = heard.partition(b"\r\n\r\n")
    lengths = [line.split(b": ")[1] for line in head.split(b"\r\n") if line.startswith(b"Content-Length")]
    assert head.split()[0].decode() == request_.method == event["request_type"]
    assert (lengths, sent) == ([] if length is None else [length], body)


def test_a_large_body_arrives_whole_and_is_kept_once_for_all_users() -> None:
    request = Request(method="PUT", path="/", body="0123456789abcdef" * 2**16)
    heard, _ = asked(request)
    (one, _), (other, _) = (user("http://127.0.0.1:1", of(request), number=number) for number in (0, 1))

    assert heard.endswith((request.body or "").encode())
    assert one._spell(one.choose())[0] is other._spell(other.choose())[0]


def test_a_host_of_ones_own_takes_the_place_of_the_usual_one() -> None:
    heard, _ = asked(Request(method="GET", path="/", headers={"host": "shop.example"}))

    assert [line for line in heard.lower().split(b"\r\n") if line.startswith(b"host:")] == [b"host: shop.example"]


def test_a_request_says_until_when_it_counts_as_the_labs_own_do() -> None:
    heard, _ = asked(Request(method="POST", path="/", body="x"), void_after_ns=1)

    assert b"\r\nLab-Void-After: 1\r\n" in heard
    assert heard.endswith(b"\r\n\r\nx")


def test_a_connection_is_kept_where_it_is_to_be() -> None:
    with serving(TEXT, TEXT) as (host, heard):
        made, fired = user(host, of(Request(method="POST", path="/", body="x")), connection="keep-alive")
        for _ in range(2):
            made._ask(None)
        wires = len(made._wires)
        made.on_stop()

    assert len(heard) == 2
    assert [event["exception"] for event in fired] == [None, None]
    assert all("reopened" not in event["context"] for event in fired)
    assert wires == 1


def test_the_answer_to_a_head_has_no_body_whatever_length_it_tells() -> None:
    heard, event = asked(
        Request(method="HEAD", path="/", expect=Expected(status=200)), b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
    )

    assert heard.startswith(b"HEAD / HTTP/1.1\r\n")
    assert (event["exception"], event["response_length"]) == (None, 0)


@pytest.mark.parametrize(
    "given",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\nConnection: close\r\n\r\nhello",
    ],
)
def test_an_answer_is_read_to_its_end_however_that_is_told(given: bytes) -> None:
    _, event = asked(Request(method="GET", path="/", expect=Expected(body="hello")), given)

    assert (event["exception"], event["response_length"]) == (None, 5)


def test_an_answer_that_ends_too_early_is_a_failure() -> None:
    _, event = asked(Request(method="GET", path="/"), b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello")

    assert isinstance(event["exception"], (ConnectionError, HTTPException))


# What is right.

JSON = b'{"orders": [{"sku": 7, "price": 1.5}, {"sku": 8}], "page": 1, "last": true, "next": null}'


@pytest.mark.parametrize(
    ("expect", "given"),
    [
        (Expected(), answer(200)),
        (Expected(), answer(302)),
        (Expected(status=404), answer(404)),
        (Expected(status=204), b"HTTP/1.1 204 No Content\r\n\r\n"),
        (Expected(contains="größe"), answer(200, "die größe".encode())),
        (Expected(matches="^h.+o$"), answer(200, b"hello")),
        (Expected(matches="e"), answer(200, b"\xffe")),
        (Expected(body="größe\n"), answer(200, "größe\n".encode())),
        (Expected(json={"page": 1}), answer(200, JSON)),
        (Expected(json={"last": True, "orders": [{"sku": 7}, {}]}), answer(200, JSON)),
        (Expected(json=[1, 2.0]), answer(200, b"[1, 2]")),
        (Expected(json="x"), answer(200, b'"x"')),
        (Expected(status=201, contains="a", matches="b", json={"a": 1}), answer(201, b'{"a": 1, "b": 2}')),
    ],
)
def test_a_right_answer_is_none_that_failed(expect: Expected, given: bytes) -> None:
    _, event = asked(Request(method="GET", path="/x", expect=expect), given)

    assert event["exception"] is None


@pytest.mark.parametrize(
    ("expect", "given", "told"),
    [
        (Expected(), answer(400, b"no"), "/x: not below 400, status 400, body b'no'"),
        (Expected(), answer(500, b"x" * 300), f"/x: not below 400, status 500, body b'{'x' * 200}'"),
        (Expected(status=201), answer(200), "/x: not 201, status 200, body b''"),
        (Expected(status=200, contains="y"), answer(500, b"y"), "/x: not 200, status 500, body b'y'"),
        (Expected(contains="y"), answer(404, b"y"), "/x: not below 400, status 404, body b'y'"),
        (Expected(contains="orders"), answer(200, b"none"), "/x: without b'orders', status 200, body b'none'"),
        (Expected(matches="^a"), answer(200, b"ba"), "/x: no match of '^a', status 200, body b'ba'"),
        (Expected(body="hell"), answer(200, b"hello"), "/x: not the body of 4 bytes, status 200, body b'hello'"),
        (Expected(body=""), answer(200, b"hello"), "/x: not the body of 0 bytes, status 200, body b'hello'"),
        (Expected(json={"a": 1}), answer(200, b"a"), "/x: no JSON, status 200, body b'a'"),
        (Expected(json={"a": 1}), answer(200, b'{"a": 2}'), "/x: not the JSON, status 200, body b'{\"a\": 2}'"),
        (Expected(json={"a": 1}), answer(200, b'{"a": true}'), "/x: not the JSON, status 200, body b'{\"a\": true}'"),
        (Expected(json={"a": None}), answer(200, b"{}"), "/x: not the JSON, status 200, body b'{}'"),
        (Expected(json=[1]), answer(200, b"[1, 2]"), "/x: not the JSON, status 200, body b'[1, 2]'"),
        (Expected(json={"a": 1}), answer(200, b"[1]"), "/x: not the JSON, status 200, body b'[1]'"),
    ],
)
def test_a_wrong_answer_fails_with_what_is_wrong_and_what_came(expect: Expected, given: bytes, told: str) -> None:
    _, event = asked(Request(method="GET", path="/x", expect=expect), given)

    assert isinstance(event["exception"], LAB_USER.WrongAnswer)
    assert str(event["exception"]) == told


def test_json_that_is_nested_too_deeply_is_no_json() -> None:
    _, event = asked(Request(method="GET", path="/", expect=Expected(json={"a": 1})), answer(200, b"[" * 100_000))

    assert str(event["exception"]).startswith("/: no JSON, status 200, ")


# Mixes.

SHOP = testing.application()


def names(made: Any, count: int) -> Sequence[str]:
    return [made.choose().name for _ in range(count)]


def test_a_mix_sends_its_requests_in_their_shares_each_user_in_an_order_of_its_own() -> None:
    (one, _), (other, _) = (user("http://127.0.0.1:1", users_option(SHOP, "shop"), number=number) for number in (0, 1))
    of_one, of_other = names(one, 400), names(other, 400)

    assert Counter(of_one) == Counter(of_other) == {"orders": 300, "buy": 100}
    assert of_one != of_other
    assert all(Counter(of_one[at : at + 4]) == {"orders": 3, "buy": 1} for at in range(0, 400, 4))


def test_a_request_without_a_share_is_not_sent() -> None:
    own = testing.application(mixes={"shop": {"orders": 0.0, "buy": 1.0}})
    made, _ = user("http://127.0.0.1:1", users_option(own, "shop"))

    assert set(names(made, 20)) == {"buy"}


def test_the_requests_of_a_mix_are_told_and_recorded_by_their_names() -> None:
    recorder = Recorder()
    with serving(*[answer(201)] * 4) as (host, heard):
        made, fired = user(host, users_option(SHOP, "shop"))
        for _ in range(4):
            made._ask(None)
    for event in fired:
        recorder.on_request(**event)

    assert Counter(event["name"] for event in fired) == {"orders": 3, "buy": 1}
    assert [sample.name for sample in recorder.samples] == [event["name"] for event in fired]
    assert Counter(each.split()[0] for each in heard) == {b"GET": 3, b"POST": 1}
    assert all(event["exception"] is None for event in fired)


# The option.


def test_what_a_file_says_is_what_is_sent() -> None:
    text = """\
application: {entry: 'shop:app'}
requests:
  buy: {post: /orders, json: {sku: 7, name: größe}, headers: {X-Key: k}, expect: {status: 201, json: {ok: true}}}
"""
    own = parse(text, "shop.yaml", folder="", read_file=lambda _: b"")

    heard, event = asked(own.requests["buy"], answer(201, b'{"ok": true, "id": 1}'))

    head, _, body = heard.decode().partition("\r\n\r\n")
    assert json.loads(body) == {"sku": 7, "name": "größe"}
    assert {"POST /orders HTTP/1.1", "X-Key: k", "Content-Type: application/json"} <= set(head.split("\r\n"))
    assert event["exception"] is None


def test_by_hand_users_get_the_root_and_the_web_ui_has_no_field_for_json() -> None:
    parser = LocustArgumentParser()
    events.init_command_line_parser.fire(parser=parser)  # type: ignore[no-untyped-call]
    option = parser.parse_args([]).application

    made, _ = user("http://127.0.0.1:1", option)

    assert made._spell(made.choose())[0].startswith(b"GET / HTTP/1.1\r\n")
    assert "application" not in parser.args_included_in_web_ui
    assert Path(APPLICATION.__file__ or "").name == "application.py"
