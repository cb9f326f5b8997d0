"""A server that runs already: which URL may be named, and what is measured of it."""

import pytest

from tests.unit.said import refusal
from wsgilab.experiment import running
from wsgilab.model.errors import LabError, UsageError


@pytest.mark.parametrize(
    ("url", "get", "told"),
    [
        ("http://127.0.0.1:5000", None, ("http://127.0.0.1:5000", "/")),
        ("http://127.0.0.1:5000/", "/orders?page=1", ("http://127.0.0.1:5000", "/orders?page=1")),
        ("http://shop.local/orders?page=1", None, ("http://shop.local", "/orders?page=1")),
        ("http://[::1]:5000", "/a", ("http://[::1]:5000", "/a")),
    ],
)
def test_a_url_is_an_address_and_a_path(url: str, get: str | None, told: tuple[str, str]) -> None:
    assert running.split(url, get) == told


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://shop.org", "must be one of http"),
        ("127.0.0.1:5000", "must be one of http"),
        ("http://", "must be one of http"),
        ("http://127.0.0.1:0", "must be one of http"),
        ("http://a b", "must be one of http"),
        ("http://shöp.org", "must be one of http"),
        ("http://127.0.0.1\x1bm", "must be one of http"),
        ("http://127.0.0.1:99999", "is no URL"),
        ("http://[::1", "is no URL"),
        ("http://127.0.0.1/#top", "has a #"),
        ("http://127.0.0.1/orders", "--get /hello: --url http://127.0.0.1/orders has a path already"),
    ],
)
def test_what_is_no_such_url_is_told_in_a_line(url: str, told: str) -> None:
    message = refusal(UsageError, running.split, url, "/hello" if "orders" in url else None)

    assert told in message
    assert message.isprintable()


def test_a_password_is_not_repeated() -> None:
    assert "secret" not in refusal(UsageError, running.split, "http://me:secret@127.0.0.1", None)


def test_one_cell_for_each_number_of_users_of_a_server_of_which_nothing_is_declared() -> None:
    server = running.server("http://127.0.0.1:5000")
    asked = running.experiment(running.application("http://127.0.0.1:5000", "/orders"))

    assert (server.is_started, server.slots, server.processes, server.model) == (False, None, None, None)
    assert [(each.server, each.users, each.cores) for each in asked.cells] == [
        ("url", users, 0) for users in (1, 8, 32)
    ]
    assert asked.application is not None
    assert [each.path for each in asked.application.requests.values()] == ["/orders"]
    with pytest.raises(LabError, match="--get: must begin with /"):
        running.application("http://127.0.0.1:5000", "orders")
