"""Which services of a user's own Compose file are started, and what of it reaches beyond the lab's project. Compose itself is a fake."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wsgilab.model import Backend
from wsgilab.model.errors import TargetError, UsageError
from wsgilab.runtime import services
from wsgilab.runtime.services import ServiceContainer
from wsgilab.system import process
from wsgilab.system.process import Finished

COMPOSE: Any = SimpleNamespace(
    docker="docker", lab_id="lab1", checkout="c0", kept=set(), endpoint=SimpleNamespace(environment=dict)
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "compose.yaml").write_text("services: {}\n")
    return tmp_path / "compose.yaml"


Read = Callable[..., dict[str, Any]]


@pytest.fixture
def read(file: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    """What Compose is given in the place of the file, which it reads as `model`."""

    def read(model: dict[str, Any], *names: str, error: str = "", file: Path = file) -> dict[str, Any]:
        answer = Finished(code=1 if error else 0, stdout=json.dumps(model), stderr=error)
        monkeypatch.setattr(process, "run", lambda *_, **__: answer)
        found = services.read(COMPOSE, [Backend(name=name, compose=str(file)) for name in names])
        assert found.names == names
        return dict(found.document)

    return read


def of_one(read: Read, service: dict[str, Any]) -> dict[str, Any]:
    one: dict[str, Any] = read({"services": {"one": {"image": "x", **service}}}, "one")["services"]["one"]
    return one


def test_what_is_asked_for_and_what_it_depends_on_is_started_and_nothing_else(read: Read) -> None:
    after = {"condition": "service_completed_successfully", "required": True, "restart": True}
    model = {
        "services": {
            "redis": {"image": "redis", "depends_on": {"seed": after, "gone": {"condition": "service_started"}}},
            "seed": {"image": "seed", "depends_on": {"disk": {"condition": "service_healthy"}}},
            "disk": {"image": "disk"},
            "web": {"image": "web", "ports": ["80:80"]},
        }
    }
    found = read(model, "redis")["services"]
    assert found.keys() == {"redis", "seed", "disk"}
    assert found["redis"]["depends_on"] == {"seed": {"condition": "service_completed_successfully"}}


def test_a_service_is_pinned_labelled_and_keeps_to_the_labs_own_project(read: Read) -> None:
    given = {
        "environment": {"A": "a$$b"},
        "command": None,
        "container_name": "mine",
        "ports": [{"published": "6379", "target": 6379}],
        "restart": "always",
        "cpus": 0.5,
        "deploy": {"replicas": 3},
        "labels": {"team": "shop"},
        "networks": {"back": {"aliases": ["cache"], "ipv4_address": "10.0.0.7"}, "front": None},
        "healthcheck": {"test": ["CMD", "true"], "interval": "1s", "retries": 9},
    }
    assert of_one(read, given) == {
        "image": "x",
        "environment": {"A": "a$$b"},
        "cpuset": "${LAB_BACKEND_CPUS}",
        "restart": "no",
        "labels": {"team": "shop", "wsgilab.lab": "lab1"},
        "networks": {"default": {"aliases": ["cache"]}},
        "healthcheck": {
            "test": ["CMD", "true"],
            "interval": "1h",
            "retries": 9,
            "start_period": "60s",
            "start_interval": "500ms",
        },
    }


def test_volumes_are_new_ones_and_files_of_the_user_are_only_read(file: Path, read: Read) -> None:
    mounts: list[dict[str, Any]] = [
        {"type": "volume", "source": "data", "target": "/data"},
        {"type": "bind", "source": str(file), "target": "/etc/x", "bind": {"create_host_path": True}},
        {"type": "tmpfs", "target": "/tmp"},
    ]
    model = {
        "services": {"one": {"image": "x", "volumes": mounts}},
        "volumes": {"data": {"name": "precious", "external": True, "driver_opts": {"o": "bind", "device": "/home"}}},
        "secrets": {"key": {"name": "mine_key", "file": "/shop/key"}},
    }
    found = read(model, "one")
    assert found["volumes"] == {"data": {}}
    assert found["secrets"] == {"key": {"file": "/shop/key"}}
    volume, bind, memory = found["services"]["one"]["volumes"]
    assert (volume, memory) == (mounts[0], mounts[2])
    assert bind == {**mounts[1], "read_only": True, "bind": {"create_host_path": False}}


def test_what_is_built_has_a_name_of_the_labs_whatever_the_user_calls_it(read: Read) -> None:
    build = {"context": "/shop", "tags": ["shop:latest"], "labels": {"a": "b"}}
    found = of_one(read, {"image": "shop:latest", "build": build})
    assert found["image"].startswith("wsgilab/own-service-one:")
    assert found["image"].endswith("-c0")
    assert found["build"] == {"context": "/shop", "labels": {"a": "b", "wsgilab.checkout": "c0"}}


@pytest.mark.parametrize(
    ("service", "refusal"),
    [
        ({"network_mode": "host"}, r"one: network_mode host: is not the project's own network"),
        ({"volumes_from": ["container:mine"]}, r"one: volumes_from: container:mine: is a container of another project"),
        ({"external_links": ["mine"]}, r"one: external_links: mine: is a container of another project"),
        ({"image": None}, r"one: has neither image nor build"),
        ({"volumes": [{"type": "bind", "source": "/no/such", "target": "/x"}]}, r"volumes: /no/such: No such file"),
        ({"volumes": [{"type": "bind", "source": "/dev/null", "target": "/x"}]}, r"/dev/null: is neither a file nor a"),
    ],
)
def test_what_would_reach_beyond_the_project_is_refused(
    service: dict[str, Any], refusal: str, file: Path, read: Read
) -> None:
    with pytest.raises(UsageError, match=refusal) as caught:
        of_one(read, service)
    assert str(file) in caught.value.message


def test_another_services_network_is_shared_and_its_service_started(read: Read) -> None:
    depends_on = {"two": {"condition": "service_started"}}
    one = {"image": "x", "network_mode": "service:two", "depends_on": depends_on}
    found = read({"services": {"one": one, "two": {"image": "y"}}}, "one")["services"]
    assert found["one"]["network_mode"] == "service:two"
    assert "networks" not in found["one"]
    assert "two" in found


def test_a_file_that_compose_does_not_read_and_a_service_that_is_not_there_are_refused(file: Path, read: Read) -> None:
    with pytest.raises(UsageError, match=r"compose\.yaml: services must be a mapping$"):
        read({}, "one", error="time=x level=warning\nservices must be a mapping\n")
    with pytest.raises(UsageError, match=r"compose\.yaml: has no service redis; it has db, web$"):
        read({"services": {"web": {}, "db": {}}}, "redis")
    with pytest.raises(UsageError, match=r"^backends: .*gone\.yaml: is no file"):
        read({}, "one", file=file.with_name("gone.yaml"))


@pytest.mark.parametrize(
    ("health", "age_s", "ready"),
    [
        (None, 0, False),
        (None, 2, True),
        ("healthy", 0, True),
        ("starting", 5, False),
        ("starting", 61, None),
        ("unhealthy", 5, None),
    ],
)
def test_a_service_is_ready_when_it_is_healthy_or_runs_where_it_has_no_health_check(
    monkeypatch: pytest.MonkeyPatch, health: str | None, age_s: float, ready: bool | None
) -> None:
    state = {"Running": True, "StartedAt": "2020-01-01T00:00:00Z", **({"Health": {"Status": health}} if health else {})}
    container = SimpleNamespace(
        attrs={"State": state, "NetworkSettings": {}}, reload=lambda: None, logs=lambda **_: b"no disk\n"
    )
    service = ServiceContainer(Backend(name="redis", compose="c.yaml"), frozenset({0}), container)
    clock_s = [1000.0]
    monkeypatch.setattr(services, "time", SimpleNamespace(monotonic=lambda: clock_s[0]))
    if health != "unhealthy":
        assert service.is_ready() is (health == "healthy"), "when it is first seen to run"
    clock_s[0] += age_s
    if ready is not None:
        assert service.is_ready() is ready
        return
    with pytest.raises(TargetError, match=r"^c\.yaml: redis did not get healthy within 60 s of its start") as caught:
        service.is_ready()
    assert caught.value.detail == "no disk"
