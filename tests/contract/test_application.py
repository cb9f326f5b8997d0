"""A user's own application on both runtimes: its packages, its own places, what it is told, and that nothing of the user's is touched."""

import contextlib
import hashlib
import json
import textwrap
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.conftest import RUNTIMES, containers, leftovers, require
from wsgilab import commands
from wsgilab.commands import Workspace
from wsgilab.model import Server
from wsgilab.model.application import Application, Request
from wsgilab.model.errors import BuildError, LabError, TargetError
from wsgilab.run.testbed import choose_runtime
from wsgilab.run.workspace import read_catalogue
from wsgilab.runtime.compose import ComposeRuntime
from wsgilab.runtime.protocol import BeforeMore, Fleet, LeaveOut, Runtime, Target
from wsgilab.system import host

pytestmark = pytest.mark.lab

CORE = frozenset({min(host.usable_cpus())})
SECRET = "open$sesame'and\"more"
ROWS = ("gunicorn-sync-1", "gunicorn-gthread-8")
LEFT_OUT = "gunicorn25-sync-1"
BROKEN = "broken"
# Older than the lab's own, and what it pins itself; and a server that one of the stacks is not for.
REQUIREMENTS = "flask<3.1\nitsdangerous==2.1.2\ngunicorn>=26\n"

SHOP = """
    import importlib.metadata, json, os, pathlib
    from flask import Flask, request

    HERE = pathlib.Path(__file__).parent

    def create_app(kind):
        app = Flask(__name__)

        @app.get("/facts")
        def facts():
            data = pathlib.Path(os.environ["LAB_DATA"])
            seen = {name: os.environ.get(name) for name in ("LAB_DATA", "HOME", "SHOP_DB", "SHOP_SECRET", "SHOP_PRICE")}
            packages = {name: importlib.metadata.version(name) for name in ("flask", "itsdangerous", "gunicorn")}
            files = {path.name: path.read_text() for path in (HERE / "instance").iterdir()}
            seeded = (data / "seeded").read_text() if (data / "seeded").exists() else None
            return {"kind": kind, **seen, "packages": packages, "instance": files, "seeded": seeded}

        @app.post("/orders")
        def order():
            for folder in (HERE / "instance", pathlib.Path(os.environ["LAB_DATA"]), pathlib.Path(os.environ["HOME"])):
                (folder / "order").write_text(request.get_data(as_text=True))
            return "ordered"

        @app.get("/never")
        def never():
            return "not yet", 503

        return app
"""
SEED = """
    import os, pathlib, sys
    print("seeding", sys.argv[1:])
    (pathlib.Path(os.environ["LAB_DATA"]) / "seeded").write_text(os.environ["SHOP_DB"])
    sys.exit("no database" if "fail" in sys.argv else 0)
"""


@dataclass
class Lab:
    workspace: Workspace
    runtime: Runtime
    said: list[str] = field(default_factory=list)

    def prepare(self, application: Application, *names: str) -> Mapping[str, str]:
        """Again with the locks of the first time: resolving them anew says nothing more."""
        return self.runtime.prepare(self.servers(*names), (), self.said.append, application, self.runtime.locks)

    def start(
        self, *names: str, leave_out: LeaveOut | None = None, before_more: BeforeMore | None = None
    ) -> contextlib.AbstractContextManager[Fleet]:
        return self.runtime.start(self.servers(*names), CORE, leave_out, before_more)

    def servers(self, *names: str) -> list[Server]:
        """Of the catalogue, and one that ends at once."""
        catalogue = read_catalogue(self.workspace)
        row = catalogue[ROWS[0]]
        broken = replace(row, name=BROKEN, extends=row.name, command=("gunicorn", "--no-such-option"))
        return [{**catalogue, BROKEN: broken}[name] for name in names]


@pytest.fixture(scope="module", params=RUNTIMES)
def lab(request: pytest.FixtureRequest, make_state: Callable[[str], Path]) -> Iterator[Lab]:
    require(request.param)
    workspace = commands.workspace({"LAB_STATE": str(make_state("application"))})
    runtime, _ = choose_runtime(workspace, request.param)
    yield Lab(workspace, runtime)
    runtime.sweep()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Application:
    folder = tmp_path_factory.mktemp("sources") / "shop"
    (folder / "instance").mkdir(parents=True)
    (folder / "app.py").write_text(textwrap.dedent(SHOP))
    (folder / "seed.py").write_text(textwrap.dedent(SEED))
    (folder / "instance" / "kept.txt").write_text("kept")
    (folder / "requirements.txt").write_text(REQUIREMENTS)
    (folder / ".env").write_text(f"# the shop's\nSHOP_SECRET={SECRET}\nexport SHOP_PRICE='7 # a piece'\n")
    return Application(
        entry="app:create_app('prod')",
        source=str(folder),
        env={"SHOP_DB": "sqlite:///{LAB_DATA}/shop.db?a=$b"},
        env_file=".env",
        writable=("instance",),
        prepare=("python", "seed.py", "-v"),
        requests={"facts": Request(method="GET", path="/facts")},
    )


def test_every_server_that_goes_with_the_application_has_its_packages_and_places_of_its_own(
    lab: Lab, shop: Application
) -> None:
    before = snapshot(Path(shop.source))
    digests = lab.prepare(shop, BROKEN, *ROWS, LEFT_OUT)
    assert set(digests) & {"gunicorn", "gunicorn25-eventlet"} == {"gunicorn"}
    assert any(
        each.startswith(f"Left out: {LEFT_OUT}: the stack gunicorn25-eventlet does not go with") for each in lab.said
    )
    looked: list[tuple[str, int]] = []
    left: dict[str, TargetError] = {}

    def look(up: Sequence[Target], rest: Sequence[Server]) -> int:
        looked.extend((each.name, each.usage().resident_bytes) for each in up)
        return len(rest)

    with lab.start(BROKEN, *ROWS, leave_out=left.__setitem__, before_more=look) as fleet:
        # It has ended, so that the next is looked at, and stays.
        assert [error.message.split(";")[0] for error in left.values()] == [
            f"{BROKEN} did not start: ended with exit code 2"
        ]
        assert [name for name, used in looked if used > 10_000_000] == [ROWS[0]]
        assert list(fleet) == list(ROWS)
        found = {name: facts(target) for name, target in fleet.items()}
        for each in found.values():
            assert each["kind"] == "prod"
            assert (each["packages"]["flask"], each["packages"]["itsdangerous"]) == ("3.0.3", "2.1.2")
            assert int(each["packages"]["gunicorn"].split(".")[0]) > 25
            assert each["SHOP_DB"] == each["seeded"] == f"sqlite:///{each['LAB_DATA']}/shop.db?a=$b"
            assert (each["SHOP_SECRET"], each["SHOP_PRICE"]) == (SECRET, "7 # a piece")
            assert each["instance"] == {"kept.txt": "kept"}
            assert each["HOME"] != str(Path.home())

        first, second = (fleet[name] for name in ROWS)
        assert post(first, "/orders", b"seven") == "ordered"
        assert facts(first)["instance"] == {"kept.txt": "kept", "order": "seven"}
        assert facts(second)["instance"] == {"kept.txt": "kept"}
        if lab.runtime.name == "local":
            assert found[ROWS[0]]["LAB_DATA"] != found[ROWS[1]]["LAB_DATA"]
            assert Path(found[ROWS[0]]["HOME"], "order").read_text() == "seven"
        first.restart()
        assert facts(first)["instance"] == {"kept.txt": "kept", "order": "seven"}

    assert leftovers(lab.workspace) == []
    assert snapshot(Path(shop.source)) == before, "a POST met copies alone"
    assert {name.removesuffix(".txt") for name in lab.runtime.locks} == {"gunicorn"}
    assert all("itsdangerous==2.1.2 \\" in text and "--hash=sha256:" in text for text in lab.runtime.locks.values())
    kept = [path for path in lab.workspace.state.rglob("*") if path.is_file() and not path.is_symlink()]
    stacks = lab.workspace.state / "stacks"
    assert not any(SECRET.encode() in path.read_bytes() for path in kept if not path.is_relative_to(stacks))
    assert not any("instance" in path.parts for path in kept), "no copy of the source is left"
    if isinstance(lab.runtime, ComposeRuntime):
        assert_images_keep_no_secret(lab.runtime)


def assert_images_keep_no_secret(runtime: ComposeRuntime) -> None:
    """In none of the layers is what the env_file says, nor the file."""
    assert runtime._compose.own is not None
    (name,) = runtime._compose.own.images.values()
    saved = b"".join(runtime._client.images.get(name).save())
    assert b"seed.py" in saved
    assert SECRET.encode() not in saved
    assert b"app/.env" not in saved


def test_what_a_killed_lab_left_of_an_application_is_swept(lab: Lab, shop: Application) -> None:
    lab.prepare(shop, ROWS[0])
    other, _ = choose_runtime(lab.workspace, lab.runtime.name)
    with lab.start(ROWS[0]):
        volumes = volumes_of(lab)
        assert len(volumes) == (3 if lab.runtime.name == "compose" else 0)
        assert other.sweep() > 0
        assert leftovers(lab.workspace) == []
        assert not (lab.workspace.state / "servers").exists()
        assert not (lab.workspace.state / "generated" / "here").exists()
    if volumes:
        client = docker.from_env()
        assert not volumes & {each.name for each in client.volumes.list()}
        client.close()


@pytest.mark.parametrize(
    ("changes", "said", "last"),
    [
        (
            {"prepare": ("python", "seed.py", "fail")},
            r"did not start: its command `prepare` failed",
            "no database",
        ),
        (
            {"ready": "/never", "start_s": 3.0, "prepare": ()},
            r"did not answer /never with a status below 500 within 3 s of its start",
            "",
        ),
    ],
)
def test_what_does_not_start_is_told_in_a_line_with_its_last_lines_and_leaves_nothing(
    changes: dict[str, Any], said: str, last: str, lab: Lab, shop: Application
) -> None:
    lab.prepare(replace(shop, **changes), ROWS[0])
    start = lab.start(ROWS[0])
    with pytest.raises(TargetError, match=rf"^{ROWS[0]} {said}") as caught, start:
        pytest.fail("it came up")
    assert last in f"{caught.value.message}\n{caught.value.detail}"
    assert "\n" not in caught.value.message
    assert leftovers(lab.workspace) == []
    assert not (lab.workspace.state / "servers").exists()


def test_what_cannot_be_installed_is_told_before_anything_starts(
    make_state: Callable[[str], Path], tmp_path: Path
) -> None:
    workspace = commands.workspace({"LAB_STATE": str(make_state("uninstallable"))})
    runtime, _ = choose_runtime(workspace, "local")
    lab = Lab(workspace, runtime)
    application = Application(entry="shop:app", source=str(tmp_path))
    with (tmp_path / "dump.bin").open("wb") as sparse:
        sparse.truncate(5 * 10**9)
    with pytest.raises(LabError, match=r"1 file of 5,000 MB, and 200 MB at most .* the largest is dump\.bin"):
        lab.prepare(application, ROWS[0])
    (tmp_path / "dump.bin").unlink()
    (tmp_path / "shop.py").touch()
    (tmp_path / "requirements.txt").write_text("flask==3.0.0\nwerkzeug<2\n")
    with pytest.raises(BuildError, match=r"have no resolution for Python \S+ on \S+: .*werkzeug") as caught:
        lab.prepare(application, ROWS[0])
    assert "\n" not in caught.value.message
    assert not list(workspace.state.rglob("shop.py"))


def volumes_of(lab: Lab) -> set[str]:
    """Those of the containers of this lab that run."""
    if lab.runtime.name != "compose":
        return set()
    with containers(lab.workspace) as found:
        return {mount["Name"] for each in found for mount in each.attrs["Mounts"] if mount["Type"] == "volume"}


def snapshot(folder: Path) -> Mapping[str, str]:
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def facts(target: Target) -> dict[str, Any]:
    with urllib.request.urlopen(f"{target.published_url}/facts", timeout=60) as response:
        found: dict[str, Any] = json.loads(response.read())
    return found


def post(target: Target, page: str, body: bytes) -> str:
    with urllib.request.urlopen(f"{target.published_url}{page}", body, timeout=60) as response:
        return str(response.read().decode())
