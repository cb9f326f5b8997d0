"""What servers get of a user's own application, whatever the runtime."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.said import refusal
from wsgilab import testing
from wsgilab.model import Backend
from wsgilab.model.application import Application, Request
from wsgilab.model.errors import BuildError, LabError, StoreError, UsageError
from wsgilab.runtime import application as applications
from wsgilab.runtime import own_images, packages, resolving, source
from wsgilab.runtime.application import Installed, Place
from wsgilab.runtime.resolving import Target

PLACE = Place(source="/s", data="/d", home="/h")
TARGET = Target(options=(), name="Python 3.11")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "shop" / "instance").mkdir(parents=True)
    (tmp_path / "shop" / "app.py").write_text("app = None\n")
    (tmp_path / "shop" / "instance" / "kept").write_text("kept")
    return tmp_path / "shop"


def made(shop: Path, locks: Mapping[str, str] | None = None, **changes: Any) -> Installed:
    application = Application(entry="app:app", source=str(shop), **changes)
    return Installed(
        application=application,
        source=source.read(application),
        locks={"gunicorn": "a==1\n"} if locks is None else locks,
        secrets=applications.read_secrets(application, shop),
    )


def test_it_gets_its_own_environment_but_what_its_row_sets_the_row_knows_better(shop: Path) -> None:
    (shop / ".env").write_text(
        "# shop\n\nTOKEN='a $b # c'\nexport PRICE = 7 # a piece\nBOTH=of the file\nURL=\"x=y\"\nLAB_DATA=mine\nPATH=/evil\n"
    )
    installed = made(
        shop,
        env={"DB": "sqlite:///{LAB_DATA}/x?{LAB_SOURCE}", "BOTH": "of env", "GUNICORN_CMD_ARGS": "-w 9"},
        env_file=".env",
    )
    assert made(shop, prepare=("seed", "{LAB_DATA}/x")).prepare(PLACE)[-3:] == ["2", "seed", "/d/x"]
    server = testing.server(environment={"GUNICORN_CMD_ARGS": "--bind=x"})
    assert installed.environment(server, PLACE) == {
        "TOKEN": "a $b # c",
        "PRICE": "7",
        "BOTH": "of env",
        "URL": "x=y",
        "DB": "sqlite:////d/x?/s",
        "LAB_APP": "app:app",
        "LAB_SOURCE": "/s",
        "LAB_DATA": "/d",
        "HOME": "/h",
    }
    assert "a $b # c" not in repr(installed)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "env_file: .env: cannot be read (No such file or directory)"),
        ("A=1\nb c\n", "env_file: .env:2: must be NAME=value"),
    ],
)
def test_an_env_file_that_is_none_is_told_without_what_it_says(text: str | None, told: str, shop: Path) -> None:
    if text is not None:
        (shop / ".env").write_text(text)
    message = refusal(LabError, made, shop, env_file=".env")
    assert message.startswith(told)
    assert "b c" not in message


def test_it_is_ready_by_the_page_that_is_named_else_by_its_first_get_else_by_the_door(shop: Path) -> None:
    post, get = Request(method="POST", path="/orders"), Request(method="GET", path="/orders?page=1")
    requests = {"buy": post, "orders": get}
    assert made(shop, requests=requests, ready="/healthz").ready == "/healthz"
    assert made(shop, requests=requests).ready == "/orders?page=1"
    assert made(shop).ready == "/__lab__/ready"


def test_servers_share_one_closed_copy_unless_they_write_to_it(shop: Path, tmp_path: Path) -> None:
    folder = tmp_path / "servers" / "1c"
    with applications.laid_out(made(shop), ["one", "two"], folder) as places:
        assert places["one"].source == places["two"].source
        assert not Path(places["one"].source, "app.py").stat().st_mode & 0o222
        assert len({place for each in places.values() for place in (each.data, each.home)}) == 4
    assert not folder.parent.exists()

    with applications.laid_out(made(shop, writable=("instance", "new/")), ["one", "two"], folder) as places:
        one, two = (Path(each.source) for each in places.values())
        (one / "instance" / "kept").write_text("changed")
        (one / "new" / "more").write_text("more")
        assert (two / "instance" / "kept").read_text() == "kept"
    assert (shop / "instance" / "kept").read_text() == "kept"
    assert not folder.parent.exists()

    with applications.laid_out(made(shop, prepare=("true",)), ["one", "two"], folder) as places:
        assert places["one"].source != places["two"].source


@pytest.mark.parametrize(
    ("writable", "told"),
    [
        ("../x", "must be a folder within the source"),
        ("/x", "must be a folder within the source"),
        ("app.py", "is a file"),
    ],
)
def test_what_cannot_be_writable_is_told(writable: str, told: str, shop: Path, tmp_path: Path) -> None:
    with pytest.raises(LabError, match=told):
        settle(shop, tmp_path, {"gunicorn": "a==1\n"}, writable=(writable,))


NONE = packages.Locked(locks={}, left_out={"gunicorn": "because", "other": "too old"}, indexes="")


def settle(shop: Path, tmp_path: Path, known: Mapping[str, str], *said: str, **changes: Any) -> Installed:
    application = Application(entry="app:app", source=str(shop), **changes)
    servers = [testing.server("one"), testing.server("two", stack="other")][: len(known) or 2]
    return applications.settle(
        application, servers, tmp_path / "stacks", TARGET, known, tmp_path / "files", [*said].append
    )


def test_a_run_that_goes_on_has_the_locks_that_it_had(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "lock", lambda *_: pytest.fail("it was resolved anew"))
    known = {"gunicorn": "a==1 \\\n    --hash=sha256:0\n"}
    assert settle(shop, tmp_path, known).locks == known
    assert (tmp_path / "files" / "locks" / "gunicorn.txt").read_text() == known["gunicorn"]
    with pytest.raises(StoreError, match=r"^locks/gunicorn\.txt of this run is gone; put it back, or start a new run$"):
        settle(shop, tmp_path, {"another": "a==1\n"})


def test_where_no_server_goes_with_the_application_that_is_an_error(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "lock", lambda *_: NONE)
    with pytest.raises(
        BuildError, match=r"^none of the servers goes with your application's packages: because; too old$"
    ):
        settle(shop, tmp_path, {})


@pytest.mark.parametrize(
    ("changes", "backends", "what"),
    [
        ({"image": "shop:1"}, [], "image: shop:1 is an image"),
        ({"build": "../shop"}, [], "build: ../shop is an image"),
        ({}, [Backend(name="redis", compose="c.yaml")], "c.yaml: redis is a service"),
    ],
)
def test_what_needs_containers_is_refused_among_processes(
    changes: dict[str, Any], backends: list[Backend], what: str
) -> None:
    application = Application(entry="app:app", **changes)
    remedy = "and the runtime local has no containers; use --runtime compose, or name a source"
    with pytest.raises(UsageError, match=f"^{re.escape(f'{what}, {remedy}')}$"):
        applications.check_processes(application, backends)
    applications.check_processes(Application(entry="app:app"), [testing.backend()])


# In containers.


def service(installed: Installed, **changes: Any) -> dict[str, Any]:
    found = own_images.service(installed, testing.server(**changes), own_images.PLACE)
    read: dict[str, Any] = yaml.safe_load(yaml.safe_dump(found))
    return read


def test_a_service_names_secrets_and_says_none_and_a_dollar_stays_one(shop: Path) -> None:
    (shop / ".env").write_text("TOKEN=open sesame\n")
    found = service(
        made(shop, env={"A": "$x"}, env_file=".env", writable=("instance", "."), memory_mb=300, ready="/a$b")
    )
    assert found["environment"]["TOKEN"] == "${LAB_SECRET_0}"
    assert found["environment"]["A"] == "$$x"
    assert "open sesame" not in str(found)
    assert found["volumes"] == ["/data", "/home/lab", "/app/instance", "/app"]
    assert found["mem_limit"] == "300m"
    assert found["healthcheck"]["test"][-1] == "/a$$b"
    assert "entrypoint" not in found


def test_a_container_prepares_itself_before_its_server_starts(shop: Path) -> None:
    found = service(made(shop, prepare=("seed", "a $b"), start_s=5))
    assert found["entrypoint"][-3:] == ["2", "seed", "a $$b"], "as Compose reads it back"
    assert found["healthcheck"]["start_period"] == "305s"


@pytest.mark.parametrize(
    ("prepare", "code", "told"),
    [
        (("touch", "a file"), 0, "serving a $b\n"),
        (("ls", "nothing here"), 81, ""),
        (("no-such-command", "x"), 81, ""),
    ],
)
def test_what_prepares_a_container_runs_in_the_source_and_then_the_server_does_or_does_not(
    prepare: tuple[str, ...], code: int, told: str, shop: Path
) -> None:
    """With no shell, which an image of the user's own may lack."""
    python, *words = service(made(shop, prepare=prepare))["entrypoint"]
    assert python == "python"
    argv = [sys.executable, *words, "echo", "serving", "a $b"]
    done = subprocess.run(
        argv, env={**os.environ, "LAB_SOURCE": str(shop)}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (code, told)
    assert (shop / "a file").exists() == (code == 0)
    assert code == 0 or prepare[-1] in done.stderr or prepare[0] in done.stderr


def test_the_setup_of_an_image_quotes_names_and_installs_from_a_copy(shop: Path) -> None:
    lock = "a==1\n# From the source, without dependencies: libs/a b\n"
    text = own_images._setup(made(shop, {"gunicorn": lock}, writable=("my files",)), "gunicorn")
    assert "--no-deps -r /run/indexes.txt '/tmp/source/libs/a b'" in text
    assert "chown -R 10001:10001 '/app/my files'" in text


@pytest.mark.parametrize(
    ("library", "version", "system"),
    [
        ("glibc", "2.41", "manylinux_2_40"),
        ("glibc", "2.36", "manylinux_2_36"),
        ("glibc", "2.30", "manylinux_2_28"),
        ("glibc", "2.17", "manylinux_2_17"),
        ("", "", "unknown-linux-musl"),
    ],
)
def test_a_c_library_is_called_as_uv_does(library: str, version: str, system: str) -> None:
    assert resolving._system(library, version) == system
