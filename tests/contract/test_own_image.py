"""An application in an image of the user's own, beside services of its own Compose file, on a real engine."""

import json
import subprocess
import sys
import tempfile
import textwrap
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import pytest
from uv import find_uv_bin

from tests.conftest import containers, leftovers, require
from wsgilab import commands
from wsgilab.commands import Workspace
from wsgilab.model import Backend
from wsgilab.model.application import Application, ComposeServices, Request
from wsgilab.model.errors import BuildError, LabError, TargetError, UsageError
from wsgilab.run.testbed import choose_runtime
from wsgilab.run.workspace import choose_backends, read_catalogue
from wsgilab.runtime.protocol import Runtime
from wsgilab.system import host

pytestmark = pytest.mark.lab

CORE = frozenset({min(host.usable_cpus())})
ROW = "gunicorn-sync-1"

DOCKERFILE = """\
FROM {base}
COPY packages /opt/packages
ENV PYTHONPATH=/opt/packages
WORKDIR /srv/shop
COPY app.py entry.py ./
RUN mkdir instance && chown 4321 instance && chmod 755 entry.py && rm /bin/sh
USER 4321:4321
ENTRYPOINT ["./entry.py"]
CMD ["never"]
"""
APP = """
    import json, os, pathlib, socket
    from importlib import metadata

    def count():
        with socket.create_connection(("counter", 6000), 60) as connection:
            return int(connection.recv(20))

    FIRST = count()  # it is there before the application is

    def app(environ, start_response):
        for folder in ("instance", os.environ["LAB_DATA"]):
            pathlib.Path(folder, "written").write_text("x")
        packages = {name: metadata.version(name) for name in ("werkzeug", "markupsafe", "gunicorn")}
        ids = [os.getuid(), os.getgid()]
        found = {"counted": [FIRST, count()], "packages": packages, "folder": os.getcwd(), "ids": ids}
        found["prepared"] = pathlib.Path(os.environ["LAB_DATA"], "prepared").read_text()
        body = json.dumps({**found, "through": os.environ.get("SHOP_ENTRY")}).encode()
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return [body]
"""
ENTRY = """\
    #!/usr/bin/env python3
    import os, sys
    os.environ["SHOP_ENTRY"] = "yes"
    os.execvp(sys.argv[1], sys.argv[1:])
"""
SEED = "import os; open(os.environ['LAB_DATA'] + '/prepared', 'w').write(os.environ['SHOP_TOKEN'])"
COUNTER = """
    import socket
    listener = socket.create_server(("0.0.0.0", 6000))
    count = int(open("/data/first").read())
    while True:
        connection, _ = listener.accept()
        count += 1
        connection.sendall(b"%d" % count)
        connection.close()
"""
COMPOSE = """\
services:
  store:
    image: {base}
    command: [python3, /counter.py]
    container_name: the-only-store
    restart: always
    ports: ["6000:6000"]
    init: true
    volumes: [./counter.py:/counter.py, data:/data]
    networks: {{inside: {{aliases: [counter]}}}}
    depends_on: {{seed: {{condition: service_completed_successfully}}}}
    healthcheck: {{test: [CMD, python3, -c, "import socket; socket.create_connection(('127.0.0.1', 6000))"]}}
  seed:
    image: precious
    build: {{context: packages, dockerfile_inline: "FROM {base}"}}
    command: [sh, -c, "cat /run/secrets/first > /data/first"]
    volumes: [data:/data]
    secrets: [first]
  broken: {{image: {base}, command: [sh, -c, "echo no such table; exit 3"]}}
  host: {{image: {base}, network_mode: host}}
networks: {{inside: {{ipam: {{config: [{{subnet: 10.255.255.0/28}}]}}}}}}
volumes: {{data: {{name: precious}}}}
secrets: {{first: {{file: first.txt}}}}
"""


@pytest.fixture
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    require("compose")
    return commands.workspace({"LAB_STATE": str(tmp_path_factory.mktemp("state"))})


@pytest.fixture
def runtime(workspace: Workspace) -> Iterator[Runtime]:
    made, _ = choose_runtime(workspace, "compose")
    yield made
    made.sweep()


@pytest.fixture
def shop(tmp_path: Path, workspace: Workspace) -> Application:
    base = choose_runtime(workspace, "compose")[0]._compose.base_image()  # type: ignore[union-attr]
    install = [find_uv_bin(), "pip", "install", "--quiet", "--python", sys.executable, "--target"]
    # Older than in the lab's own lock, and without what it needs itself.
    subprocess.run([*install, str(tmp_path / "packages"), "--no-deps", "werkzeug==3.0.6"], check=True)
    files = {"Dockerfile": DOCKERFILE.format(base=base), "compose.yaml": COMPOSE.format(base=base)}
    (tmp_path / "first.txt").write_text("10")
    (tmp_path / "shop.env").write_text("SHOP_TOKEN='a $b'\n")
    scripts = {"app.py": APP, "counter.py": COUNTER, "entry.py": ENTRY}
    for name, text in {**files, **scripts}.items():
        (tmp_path / name).write_text(textwrap.dedent(text))
    return Application(
        entry="app:app",
        build=str(tmp_path),
        writable=("instance",),
        env_file=str(tmp_path / "shop.env"),
        prepare=("python3", "-c", SEED),
        backends=(ComposeServices(compose=str(tmp_path / "compose.yaml"), services=("store",)),),
        requests={"facts": Request(method="GET", path="/")},
    )


def test_servers_are_added_to_an_image_and_reach_services_by_name_and_nothing_is_left(
    workspace: Workspace, runtime: Runtime, shop: Application, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    (store,) = choose_backends(workspace, ["facts"], shop)
    recorded = runtime.identify(shop, [store], print)
    assert {"(image)", "(image of store)", "(image of seed)"} < recorded.keys()

    said: list[str] = []
    server = read_catalogue(workspace)[ROW]
    runtime.prepare([server], [store], said.append, shop)
    with runtime.backends([store], CORE) as up, runtime.start([server], CORE) as fleet:
        with urllib.request.urlopen(fleet[ROW].published_url, timeout=60) as response:
            found: dict[str, Any] = json.loads(response.read())
        assert fleet[ROW].effective_cpus() == CORE, "read without a shell, which the image has not"
        first, second = found["counted"]
        assert 10 < first < second
        assert found["packages"]["werkzeug"] == "3.0.6"
        assert found["prepared"] == "a $b"
        assert (found["folder"], found["ids"], found["through"]) == ("/srv/shop", [4321, 4321], "yes")
        assert (up["store"].effective_cpus(), up["store"].usage().cpu_s > 0) == (CORE, True)
        settings = settings_of(workspace, "store")
        assert (settings["RestartPolicy"]["Name"], settings["PortBindings"]) == ("no", {})
        assert "Serving" not in "".join(runtime.log("store", None, follow=False))

    assert leftovers(workspace) == []
    assert not [*temporary.iterdir()]
    assert not [name for name in volumes() if workspace.lab_id in name or name == "precious"]
    assert not [each for each in said if "ENTRYPOINT" in each]
    lock = runtime.locks["gunicorn"]
    assert ("\nmarkupsafe==" in lock, "\nwerkzeug==" in lock) == (True, False)
    assert_refusals(workspace, runtime, shop, store)


def assert_refusals(workspace: Workspace, runtime: Runtime, shop: Application, store: Backend) -> None:
    """What cannot be is said in a line, and leaves nothing."""
    folder = Path(shop.build or "")
    broken = replace(store, name="broken")
    runtime.prepare([], [broken], print, shop)
    with pytest.raises(TargetError, match=r"broken did not start: ended with exit code 3") as caught:
        runtime.backends([broken], CORE).__enter__()
    assert "no such table" in caught.value.detail

    text = (folder / "compose.yaml").read_text()
    (folder / "wrong.yaml").write_text(text.replace("restart: always", "restrat: always"))
    (folder / "Dockerfile").write_text("FROM scratch\n")
    for application, backend, kind, message in (
        (shop, replace(store, name="redis"), UsageError, r"has no service redis; it has broken, host, seed, store$"),
        (shop, replace(store, name="host"), UsageError, r"host: network_mode host: is not the project's own"),
        (shop, replace(store, compose="none.yaml"), UsageError, r"^backends: none\.yaml: is no file"),
        (shop, replace(store, compose=str(folder / "wrong.yaml")), UsageError, r"restrat"),
        (replace(shop, build="nowhere"), None, UsageError, r"^build: nowhere: is no folder"),
        (replace(shop, build=str(folder / "packages")), None, BuildError, r"does not build: .*Dockerfile"),
        (replace(shop, build=None, image="shop.invalid/shop:1"), None, BuildError, r"neither here nor to be had"),
    ):
        with pytest.raises(kind, match=message) as refused:
            runtime.identify(application, [backend] if backend else [], print)
        assert isinstance(refused.value, LabError)
        assert "\n" not in refused.value.message
    other, _ = choose_runtime(workspace, "compose")
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY app.py /\n")
    with pytest.raises(BuildError, match=r"has no Python that servers run on: it has neither python nor python3"):
        other.prepare([read_catalogue(workspace)[ROW]], [], print, shop)
    assert leftovers(workspace) == []


def settings_of(workspace: Workspace, service: str) -> dict[str, Any]:
    with containers(workspace, service) as (found,):
        settings: dict[str, Any] = found.attrs["HostConfig"]
    return settings


def volumes() -> list[str]:
    with closing(docker.from_env()) as client:
        return [each.name for each in client.volumes.list()]
