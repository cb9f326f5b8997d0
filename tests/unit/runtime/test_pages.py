"""Pages of a server, asked for from this machine."""

import pytest

from tests.serving import Site, site
from wsgilab import testing
from wsgilab.model.errors import TargetError
from wsgilab.testing import FakeTarget


def target(of: Site) -> FakeTarget:
    return FakeTarget(server=testing.server(), published_url=f"http://{of.address}")


def test_a_page_is_got_by_the_published_address(monkeypatch: pytest.MonkeyPatch) -> None:
    # A proxy is for what is elsewhere.
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with site("hello") as found:
        assert target(found).fetch("/calibrate?ms=5") == "hello"
    assert found.asked == ["/calibrate?ms=5"]


def test_a_page_that_is_not_answered_is_an_error() -> None:
    with site("broken", 500) as found, pytest.raises(TargetError, match="/lab answered with status 500: broken"):
        target(found).fetch("/lab")
    with pytest.raises(TargetError, match="/lab answered with nothing: Connection refused"):
        target(found).fetch("/lab")
