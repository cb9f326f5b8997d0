"""What is locked for an application and for each stack, by the real uv on tiny wheels, without a network."""

import base64
import hashlib
import sys
import textwrap
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.unit.said import refusal
from wsgilab.model.application import Application
from wsgilab.model.errors import BuildError, LabError, UsageError
from wsgilab.runtime import lock_text, packages
from wsgilab.runtime.resolving import Target

TARGET = Target(options=("--python", sys.executable), name="Python 3.11 on x86_64")


def wheel(index: Path, name: str, release: str, *needs: str, extras: Mapping[str, str] | None = None) -> None:
    """A wheel of nothing but its metadata."""
    info = f"{name}-{release}.dist-info"
    more = "".join(
        f"Provides-Extra: {extra}\nRequires-Dist: {need}; extra == '{extra}'\n"
        for extra, need in (extras or {}).items()
    )
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {release}\n" + "".join(
        f"Requires-Dist: {each}\n" for each in needs
    )
    files = {
        f"{info}/METADATA": metadata + more,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(index / f"{name}-{release}-py3-none-any.whl", "w") as made:
        record = ""
        for path, text in files.items():
            made.writestr(path, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            record += f"{path},sha256={digest},{len(text)}\n"
        made.writestr(f"{info}/RECORD", f"{record}{info}/RECORD,,\n")


@dataclass
class Bench:
    """An index, stacks, and an application's source."""

    index: Path
    stacks: Path
    source: Path
    work: Path
    said: list[str] = field(default_factory=list)

    def stack(self, name: str, needs: str, lock: str) -> None:
        (self.stacks / name).mkdir(parents=True)
        (self.stacks / name / "requirements.in").write_text(needs)
        (self.stacks / name / "requirements.txt").write_text(lock)

    def lock(self, stated: str, **changes: object) -> packages.Locked:
        if stated:
            (self.source / "requirements.txt").write_text(stated)
        application = Application(entry="app:app", source="shop", **changes)  # type: ignore[arg-type]
        names = [path.name for path in self.stacks.iterdir()]
        return packages.lock(application, self.source, self.stacks, names, TARGET, self.work, self.said.append)

    def pins(self, stated: str, **changes: object) -> Mapping[str, Mapping[str, str]]:
        return {name: lock_text.pins(text) for name, text in self.lock(stated, **changes).locks.items()}


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    index, source = tmp_path / "index", tmp_path / "source"
    index.mkdir()
    source.mkdir()
    for release in ("1.0", "2.0", "3.0"):
        wheel(index, "server", release, extras={"loop": f"loop>={release}"})
        wheel(index, "loop", release)
        wheel(index, "web", release, "tools")
        wheel(index, "tools", release)
    wheel(index, "picky", "1.0", "server<3")
    (index / "sdist-1.0.tar.gz").write_bytes(b"")
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(index))
    made = Bench(index, tmp_path / "stacks", source, tmp_path / "work")
    own = "# the lab's\n-r ../../app/requirements.in\n"
    made.stack("plain", f"{own}server\n", "web==1.0\ntools==1.0\nserver==2.0\n")
    made.stack("loop", f"-c ../plain/requirements.txt\n{own}server[loop]  # fast\n", "server==2.0\nloop==2.0\n")
    made.stack("old", "server==1.0\n", "server==1.0\n")
    return made


def test_an_applications_packages_are_the_same_on_every_stack_and_its_servers_are_the_labs(bench: Bench) -> None:
    pins = bench.pins("web\ntools<3\n")
    assert pins == {
        # Of `web` the newest, though the lab's own application has another on this stack.
        "plain": {"web": "3.0", "tools": "2.0", "server": "2.0"},
        "loop": {"web": "3.0", "tools": "2.0", "server": "2.0", "loop": "2.0"},
        "old": {"web": "3.0", "tools": "2.0", "server": "1.0"},
    }
    assert bench.said == []


def test_every_package_has_a_hash_and_no_lock_names_an_index(bench: Bench) -> None:
    text = bench.lock("web\n").locks["plain"]
    digest = hashlib.sha256((bench.index / "web-3.0-py3-none-any.whl").read_bytes()).hexdigest()
    assert f"web==3.0 \\\n    --hash=sha256:{digest}" in text
    assert text.startswith("# The stack plain with the packages of an application, for Python 3.11 on x86_64.\n")
    assert str(bench.index.parent) not in text


def test_where_packages_are_from_is_kept_apart_from_the_locks(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UV_FIND_LINKS")
    found = bench.lock(f"--find-links {bench.index}\nweb\n")
    assert str(bench.index) in found.indexes
    assert not any(str(bench.index) in text for text in found.locks.values())
    assert str(bench.index) not in repr(found)
    application = Application(entry="app:app", source="shop")
    assert packages.indexes(application, bench.source, TARGET, bench.work) == found.indexes


def test_a_server_that_the_application_pins_runs_in_its_plain_rows_and_is_told(bench: Bench) -> None:
    found = bench.lock("web\nserver==3.0\n")
    locks, left_out = found.locks, found.left_out
    assert lock_text.pins(locks["plain"])["server"] == lock_text.pins(locks["loop"])["server"] == "3.0"
    assert bench.said == ["loop, plain: with server 3.0, as your application requires, and not 2.0."]
    assert left_out.keys() == {"old"}
    assert "server==1.0" in left_out["old"]
    assert "\n" not in left_out["old"]


def test_a_server_that_the_application_only_requires_is_the_stacks_own_on_each(bench: Bench) -> None:
    assert {name: each["server"] for name, each in bench.pins("server\n").items()} == {
        "plain": "2.0",
        "loop": "2.0",
        "old": "1.0",
    }
    # By way of another package too.
    assert bench.pins("picky\n")["old"]["server"] == "1.0"
    assert bench.said == []


def test_a_stack_that_only_goes_with_the_application_by_an_older_server_gets_that_and_it_is_told(bench: Bench) -> None:
    found = bench.lock("loop==1.0\nweb\n")
    assert lock_text.pins(found.locks["loop"]) == {"web": "3.0", "tools": "3.0", "server": "1.0", "loop": "1.0"}
    assert lock_text.pins(found.locks["plain"])["server"] == "2.0"
    assert bench.said == ["loop: with server 1.0, as your application requires, and not 2.0."]
    # Also where the application requires the server itself, in any release.
    assert lock_text.pins(bench.lock("loop==1.0\nserver\n").locks["loop"])["server"] == "1.0"


def test_what_a_stack_cannot_go_with_leaves_it_out_and_the_others_in(bench: Bench) -> None:
    bench.stack("fixed", "server[loop]==2.0\n", "server==2.0\nloop==2.0\n")
    found = bench.lock("loop==1.0\n")
    assert found.locks.keys() == {"plain", "loop", "old"}
    assert found.left_out.keys() == {"fixed"}
    assert "loop" in found.left_out["fixed"]


def test_a_stack_for_another_python_is_left_out(bench: Bench) -> None:
    bench.stack("threads", "server\n", "server==2.0\n")
    (bench.stacks / "threads" / "stack.toml").write_text('python = "3.14t"')
    found = bench.lock("web\n")
    assert found.locks.keys() == {"plain", "loop", "old"}
    assert found.left_out == {"threads": "it is for Python 3.14t, and they are for Python 3.11 on x86_64"}


def test_what_is_needed_beside_a_stack_has_its_releases_and_is_locked_without_what_it_has(bench: Bench) -> None:
    text, indexes = packages.lock_more(("web",), "tools==2.0\n", TARGET, bench.work)

    assert lock_text.pins(text) == {"web": "3.0"}
    assert all("--hash=" in line for line in "".join(text.split("\\\n")).splitlines())
    assert "--find-links" in indexes
    assert packages.lock_more(("tools",), "tools==2.0\n", TARGET, bench.work)[0] == ""
    with pytest.raises(BuildError, match=r"^locust_requirements beside Locust's own packages have no resolution for "):
        packages.lock_more(("picky==1.0",), "server==3.0\n", TARGET, bench.work)


def test_requirements_that_contradict_each_other_are_told_in_a_line(bench: Bench) -> None:
    (bench.source / "more.txt").write_text("web<3\n")
    with pytest.raises(
        BuildError, match=r"^the packages of your application have no resolution for Python 3.11 on x86_64: "
    ):
        bench.lock("web==3.0\n-r more.txt\n")


def test_a_package_without_a_wheel_is_named(bench: Bench) -> None:
    told = (
        r"sdist has no wheel for it, and nothing is built; require a release that has one, or make one in the source "
    )
    with pytest.raises(BuildError, match=f": {told}with pip wheel --no-deps -w wheels sdist, and require ") as caught:
        bench.lock("sdist\n")
    assert "\n" not in caught.value.message
    # As it says.
    (bench.source / "wheels").mkdir()
    wheel(bench.source / "wheels", "sdist", "1.0", "tools", extras={"more": "web<3"})
    text = bench.lock("./wheels/sdist-1.0-py3-none-any.whl\nsdist[more]\n").locks["plain"]
    assert lock_text.local_folders(text) == ["wheels/sdist-1.0-py3-none-any.whl"]
    assert lock_text.pins(text) == {"tools": "3.0", "web": "2.0", "server": "2.0"}
    assert "wheels/" not in text.partition("# From")[0]


PROJECT = """
    [project]
    name = "shop"
    version = "1"
    dependencies = ["web<3"]
    [project.optional-dependencies]
    prod = ["tools==1.0"]
    [build-system]
    requires = ["nothing"]
    build-backend = "nothing"
"""


def test_what_cannot_be_hashed_is_installed_from_the_source_after_the_rest(bench: Bench) -> None:
    for folder in (".", "libs/more"):
        (bench.source / folder).mkdir(parents=True, exist_ok=True)
        text = textwrap.dedent(PROJECT)
        (bench.source / folder / "pyproject.toml").write_text(text if folder == "." else text.replace("shop", "more"))
    text = bench.lock("-e .[prod]\n./libs/more\n").locks["plain"]
    assert lock_text.local_folders(text) == [".", "libs/more"]
    assert lock_text.pins(text) == {"web": "2.0", "tools": "1.0", "server": "2.0"}
    elsewhere = bench.source.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "pyproject.toml").write_text(textwrap.dedent(PROJECT))
    with pytest.raises(UsageError, match=r"requirements: .*elsewhere: is neither .* within the source") as caught:
        bench.lock("../elsewhere\n")
    assert "\n" not in caught.value.message


def test_a_project_is_read_with_its_extras_and_a_pyproject_for_tools_alone_is_none(bench: Bench) -> None:
    (bench.source / "pyproject.toml").write_text("[tool.ruff]\nline-length = 100\n")
    assert bench.pins("")["plain"] == {"server": "2.0"}
    (bench.source / "pyproject.toml").write_text(textwrap.dedent(PROJECT))
    text = bench.lock("", extras=("prod",)).locks["plain"]
    assert lock_text.pins(text) == {"web": "2.0", "tools": "1.0", "server": "2.0"}
    assert lock_text.local_folders(text) == ["."]
    (bench.source / "requirements.txt").write_text("web==1.0\n")
    assert bench.pins("")["plain"]["web"] == "1.0"
    assert bench.pins("", requirements="pyproject.toml")["plain"]["web"] == "2.0"


def test_a_lock_of_uv_is_taken_as_it_is(bench: Bench) -> None:
    (bench.source / "pyproject.toml").write_text(textwrap.dedent(PROJECT).partition("[build-system]")[0])
    (bench.source / "uv.lock").write_text(textwrap.dedent(LOCK))
    assert bench.pins("")["plain"] == {"web": "1.0", "tools": "1.0", "server": "2.0"}


LOCK = """
    version = 1
    requires-python = ">=3.11"

    [[package]]
    name = "shop"
    version = "1"
    source = { virtual = "." }
    dependencies = [{ name = "web" }]

    [package.optional-dependencies]
    prod = [{ name = "tools" }]

    [package.metadata]
    requires-dist = [{ name = "tools", marker = "extra == 'prod'", specifier = "==1.0" }, { name = "web", specifier = "<3" }]
    provides-extras = ["prod"]

    [[package]]
    name = "web"
    version = "1.0"
    source = { registry = "../index" }
    dependencies = [{ name = "tools" }]
    wheels = [{ path = "web-1.0-py3-none-any.whl" }]

    [[package]]
    name = "tools"
    version = "1.0"
    source = { registry = "../index" }
    wheels = [{ path = "tools-1.0-py3-none-any.whl" }]
"""


@pytest.mark.parametrize(
    ("files", "changes", "told"),
    [
        ({}, {"requirements": "req.txt"}, "requirements: req.txt is not among the files of shop that are copied"),
        ({"requirements.txt": "web"}, {"extras": ("prod",)}, "extras: prod: are of a pyproject.toml or a uv.lock"),
        ({"pyproject.toml": "[project"}, {}, "requirements: pyproject.toml: cannot be read"),
        ({"uv.lock": "version = 9"}, {}, "requirements: uv.lock: uv cannot export it: "),
        (
            {"requirements.txt": "./lib", "lib/setup.py": "import setuptools; setuptools.setup()"},
            {},
            "would have to be built to know what it requires; state its dependencies in a pyproject.toml",
        ),
    ],
)
def test_requirements_that_cannot_be_read_are_told_in_a_line(
    files: Mapping[str, str], changes: dict[str, object], told: str, bench: Bench
) -> None:
    for path, text in files.items():
        (bench.source / path).parent.mkdir(exist_ok=True)
        (bench.source / path).write_text(text)
    assert told in refusal(LabError, bench.lock, "", **changes)


# Beside the packages of an image.


def beside(bench: Bench, **installed: str) -> packages.Locked:
    names = [path.name for path in bench.stacks.iterdir()]
    return packages.lock_beside(installed, bench.stacks, names, TARGET, bench.work, bench.said.append)


def test_an_image_gets_only_what_it_lacks_and_keeps_every_release(bench: Bench) -> None:
    found = beside(bench, tools="1.0", Loop="3.0", oddity="no release")
    pins = {name: lock_text.pins(text) for name, text in found.locks.items()}
    assert pins == {"plain": {"server": "2.0"}, "loop": {"server": "2.0"}, "old": {"server": "1.0"}}
    assert "--hash=sha256:" in found.locks["plain"]
    assert bench.said == []


def test_an_images_own_server_stays_and_stacks_of_another_are_left_out(bench: Bench) -> None:
    found = beside(bench, server="3.0")
    assert {name: lock_text.pins(text) for name, text in found.locks.items()} == {"plain": {}, "loop": {"loop": "3.0"}}
    assert bench.said == ["loop, plain: with server 3.0, as your image has it, and not 2.0."]
    assert found.left_out.keys() == {"old"}
    assert "\n" not in found.left_out["old"]


def test_a_server_that_knows_nothing_of_the_extra_is_no_way_out(bench: Bench) -> None:
    """As where there is no wheel of gevent: Gunicorn 19 installs without, and says nothing."""
    wheel(bench.index, "server", "0.5")
    found = beside(bench, loop="9.0")
    assert found.locks.keys() == {"plain", "old"}
    assert "loop" in found.left_out["loop"]
    assert ";" not in found.left_out["loop"]
    old = beside(bench, server="0.5").left_out
    assert old["loop"] == "no release of a server that goes with them has loop"


def test_a_lock_is_installed_in_a_folder_of_its_own_and_an_empty_one_is_nothing(bench: Bench, tmp_path: Path) -> None:
    elsewhere = Target(
        options=(*TARGET.options, "--python-version", "3.12", "--python-platform", "aarch64-manylinux_2_28"), name=""
    )
    packages.install(beside(bench).locks["loop"], elsewhere, tmp_path / "added", bench.work)
    assert sorted(path.name for path in (tmp_path / "added").glob("*-*")) == [
        "loop-2.0.dist-info",
        "server-2.0.dist-info",
    ]
    packages.install("# nothing\n", elsewhere, tmp_path / "none", bench.work)
    assert list((tmp_path / "none").iterdir()) == []


@pytest.mark.parametrize(
    ("line", "there"),
    [
        ("--find-links wheels", "--find-links /s/wheels"),
        ("--find-links ./wheels", "--find-links /s/wheels"),
        *((same, same) for same in ("--find-links https://x/y", "--find-links /y", "--index-url https://x/simple")),
    ],
)
def test_a_folder_of_the_source_with_packages_is_where_the_source_is(line: str, there: str) -> None:
    assert lock_text.placed(f"{line}\n{line}\n", "/s") == f"{there}\n{there}\n"
