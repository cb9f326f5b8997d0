"""A proxy is for what is elsewhere: nothing that the lab asks of its own servers, backends and engines goes by one."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import waits
from tests.serving import Site, site
from wsgilab.load import pages
from wsgilab.runtime import command, containers
from wsgilab.runtime.engine import Endpoint
from wsgilab.runtime.pages import fetched

COMPOSE = Path(__file__).parents[3] / "compose"
KINDS = ("http", "https", "all")


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """One that every variable names, and that no variable makes an exception from."""
    # Python's own opener reads them once.
    monkeypatch.setattr(urllib.request, "_opener", None)
    with site("by a proxy") as made:
        for name in [f"{kind}_proxy" for kind in KINDS]:
            monkeypatch.setenv(name, f"http://{made.address}")
            monkeypatch.setenv(name.upper(), f"http://{made.address}")
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        yield made
        waits._make_upstream.cache_clear()


@pytest.fixture
def target(proxy: Site) -> Iterator[Site]:
    with site("itself") as made:
        yield made
    assert proxy.asked == []


def test_this_test_would_see_a_proxy(proxy: Site) -> None:
    with urllib.request.urlopen("http://192.0.2.1/page") as answer:
        assert answer.read() == b"by a proxy"
    assert proxy.asked == ["http://192.0.2.1/page"]


def test_the_swarm_asks_a_target_itself(target: Site) -> None:
    assert pages.fetch(f"http://{target.address}/lab") == {"status": 200, "body": "itself"}


def test_the_lab_asks_a_target_itself(target: Site) -> None:
    assert fetched(f"http://{target.address}/lab") == "itself"


def test_a_target_of_a_site_asks_itself(target: Site) -> None:
    argv = [sys.executable, "-c", containers._FETCH, f"http://{target.address}/lab"]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == "itself\n"


def test_the_application_asks_the_upstream_itself(target: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_UPSTREAM", target.address)
    monkeypatch.setattr(waits, "LONGEST_WAIT_S", 60.0)
    waits._make_upstream.cache_clear()
    assert waits.ask_upstream(1.0) == "itself"


def test_an_engine_is_asked_itself(proxy: Site) -> None:
    with site(json.dumps({"ApiVersion": "1.44", "MinAPIVersion": "1.24", "ID": "its own"})) as engine:
        client = command._Client(base_url=f"tcp://{engine.address}")
        assert client.info()["ID"] == "its own"
        client.close()
    assert engine.asked[-1] == "/v1.44/info"
    assert proxy.asked == []


def test_dockers_client_goes_to_an_engine_itself_and_by_the_users_proxy_to_everything_else(
    proxy: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = Endpoint(host="tcp://192.0.2.1:2376")
    variables = far.environment()
    assert variables["NO_PROXY"] == variables["no_proxy"] == "192.0.2.1"
    assert variables["HTTPS_PROXY"] == variables["https_proxy"] == f"http://{proxy.address}"
    monkeypatch.setenv("no_proxy", ".lan,10.0.0.0/8")
    assert far.environment()["NO_PROXY"] == ".lan,10.0.0.0/8,192.0.2.1"
    assert Endpoint(host="tcp://[2001:db8::1]:2376").environment()["no_proxy"] == ".lan,10.0.0.0/8,2001:db8::1"
    # A socket of this machine's knows no proxy.
    near = Endpoint(host="unix:///var/run/docker.sock").environment()
    assert near["no_proxy"] == ".lan,10.0.0.0/8"
    assert "NO_PROXY" not in near


@pytest.mark.parametrize("file", sorted(COMPOSE.glob("*.yaml")), ids=lambda file: file.stem)
def test_no_container_is_left_with_the_proxies_that_docker_hands_to_all(file: Path) -> None:
    services = yaml.safe_load(file.read_text())["services"]
    assert services
    for name, stanza in services.items():
        environment = stanza["environment"]
        assert (environment["NO_PROXY"], environment["no_proxy"]) == ("*", "*"), name


def test_what_a_container_is_told_is_no_proxy_for_anything(target: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    # As any client that does look at the environment understands it, here Python's and that of the library requests.
    monkeypatch.setenv("no_proxy", "*")
    for words in ("urllib.request as r; print(r.urlopen({!r}).read())", "requests as r; print(r.get({!r}).content)"):
        url = f"http://{target.address}/"
        argv = [sys.executable, "-c", f"import {words.format(url)}"]
        assert subprocess.run(argv, capture_output=True, text=True, check=True, env=os.environ).stdout == "b'itself'\n"
