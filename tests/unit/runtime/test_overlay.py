"""What servers get that are added to an image of the user's own. The engine is a fake; the real one is in tests/contract."""

import json
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import docker.errors
import pytest
import requests

from wsgilab import testing
from wsgilab.model.application import Application
from wsgilab.model.errors import BuildError
from wsgilab.runtime import overlay, packages
from wsgilab.runtime.application import Installed, Place
from wsgilab.runtime.overlay import OwnImage
from wsgilab.runtime.resolving import Target
from wsgilab.runtime.source import Source

ANSWER = {
    "python": "3.12.1",
    "machine": "x86_64",
    "libc": ["glibc", "2.36"],
    "implementation": "CPython",
    "executable": "/opt/venv/bin/python",
    "packages": {"Flask": "3.0.3"},
    "commands": {"flask": "flask.cli:main"},
}
PLACE = Place(source="/srv/shop", data="/opt/wsgilab/data")


class Container:
    """A container that writes `output`, or has no such command. One that writes `fails ...` ends with exit code 3, and one that
    writes `hangs` never does."""

    def __init__(self, output: str | None) -> None:
        self._output = output
        self.removed = False

    def start(self) -> None:
        if self._output is None:
            raise docker.errors.APIError('exec: "python": executable file not found in $PATH')
        if self._output == "forbidden":
            raise docker.errors.APIError('unable to start: exec: "python": permission denied')

    def wait(self, timeout: float) -> dict[str, int]:
        if self._output == "hangs":
            raise requests.exceptions.ReadTimeout(f"nothing within {timeout} s")
        return {"StatusCode": 3 if (self._output or "").startswith("fails") else 0}

    def logs(self, **_: object) -> bytes:
        return (self._output or "").encode()

    def remove(self, **_: object) -> None:
        self.removed = True


def engine(
    answer: Callable[[Sequence[str] | None, Sequence[str]], str | None], **settings: Any
) -> tuple[Any, list[Container]]:
    """Compose with an engine whose containers write what `answer` makes of their ENTRYPOINT and command."""
    made: list[Container] = []

    def create(_image: str, command: Sequence[str], *, entrypoint: Sequence[str] | None, **_: object) -> Container:
        made.append(Container(answer(entrypoint, command)))
        return made[-1]

    image = SimpleNamespace(attrs={"Config": settings, "RootFS": {"Layers": ["a"]}})
    client = SimpleNamespace(containers=SimpleNamespace(create=create), images=SimpleNamespace(get=lambda _: image))
    return SimpleNamespace(client=client, lab_id="lab1"), made


def image(**changes: Any) -> OwnImage:
    plain = {
        "name": "shop",
        "target": Target(options=(), name="Python 3.12.1"),
        "python": "/opt/venv/bin/python",
        "is_python": True,
        "packages": {},
        "commands": {"flask": "flask.cli:main [x]"},
        "settings": {},
    }
    return OwnImage(**{**plain, **changes})


def installed(**changes: Any) -> Installed:
    application = Application(entry="app:app", image="shop", **changes)
    return Installed(application=application, source=Source(folder=Path(), files={}), locks={}, secrets={})


def test_an_image_is_asked_for_its_python_with_python_first() -> None:
    compose, made = engine(lambda *_: "a warning\n" + json.dumps(ANSWER), User="shop", WorkingDir="/srv/shop")
    found = overlay.look_into(compose, "shop")
    assert (found.python, found.is_python, found.packages) == ("/opt/venv/bin/python", True, {"Flask": "3.0.3"})
    assert found.target.options[-4:] == ("--python-version", "3.12.1", "--python-platform", "x86_64-manylinux_2_36")
    assert (found.user, found.folder, found.entrypoint) == ("shop", "/srv/shop", ())
    assert [each.removed for each in made] == [True]


@pytest.mark.parametrize("of_python", [json.dumps({**ANSWER, "python": "2.7.18"}), None])
def test_where_python_is_too_old_or_missing_python3_is_asked(of_python: str | None) -> None:
    compose, made = engine(lambda entry, _: of_python if entry == ["python"] else json.dumps(ANSWER))
    found = overlay.look_into(compose, "shop")
    assert (found.is_python, found.user, found.folder) == (False, "0:0", "/")
    assert all(each.removed for each in made)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (None, "it has neither python nor python3 on its PATH"),
        ("fails\nFatal error: no module\n<no frame>", r"its python3 ends with exit code 3 \(Fatal error: no module\)"),
        ("fails\nat once", r"its python3 ends with exit code 3 \(at once\)"),
        ("hangs", "its python3 does not end within 20 s"),
        ("forbidden", r'its python3 does not start \("python": permission denied\)'),
        ("a greeting", "its python3 does not answer what it is asked"),
        (json.dumps({**ANSWER, "python": "3.9.2"}), "its python3 is CPython 3.9.2"),
        (json.dumps({**ANSWER, "implementation": "PyPy"}), "its python3 is PyPy 3.12.1"),
    ],
)
def test_an_image_without_a_python_that_servers_run_on_is_refused(answer: str | None, reason: str) -> None:
    compose, made = engine(lambda *_: answer)
    with pytest.raises(
        BuildError, match=f"^the image shop has no Python that servers run on: {reason}; they need CPython 3.10"
    ):
        overlay.look_into(compose, "shop")
    assert all(each.removed for each in made)


def test_what_is_added_has_commands_for_the_images_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def install(_lock: str, _target: Target, folder: Path, _work: Path) -> None:
        info = folder / "gunicorn-27.0.1.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gunicorn\nVersion: 27.0.1\n")
        (info / "entry_points.txt").write_text("[console_scripts]\ngunicorn = gunicorn.app.wsgiapp:run\n")
        (folder / "bin").mkdir()
        (folder / "bin" / "gunicorn").write_text("#!/of/this/machine\n")
        (folder / "bin" / "nginx").write_text("binary")

    monkeypatch.setattr(packages, "install", install)
    overlay.add("", image(is_python=False), tmp_path / "added", tmp_path)
    commands = tmp_path / "added" / "bin"
    assert (commands / "gunicorn").read_text() == (
        "#!/opt/venv/bin/python\nimport sys\nfrom gunicorn.app.wsgiapp import run\nsys.exit(run())\n"
    )
    assert (commands / "gunicorn").stat().st_mode & stat.S_IXOTH
    assert (commands / "flask").read_text().endswith("from flask.cli import main\nsys.exit(main())\n")
    assert (commands / "nginx").read_text() == "binary"
    assert str((commands / "python").readlink()) == "/opt/venv/bin/python"
    overlay.add("", image(), tmp_path / "again", tmp_path)
    assert not (tmp_path / "again" / "bin" / "python").is_symlink()


def test_a_service_keeps_home_and_entrypoint_and_finds_the_door_beside_a_pythonpath_of_the_users() -> None:
    server = testing.server()
    found = overlay._service(
        installed(env={"PYTHONPATH": "lib"}, writable=("instance",)), server, PLACE, ("tini", "--")
    )
    assert found["environment"]["PYTHONPATH"] == "lib:/opt/wsgilab/door:/opt/wsgilab/packages"
    assert "HOME" not in found["environment"]
    assert found["volumes"] == ["/opt/wsgilab/data", "/srv/shop/instance"]
    assert "entrypoint" not in found, "it stays as the image has it"
    assert overlay._service(installed(), server, PLACE, None)["entrypoint"] == []
    prepared = overlay._service(installed(prepare=("seed",)), server, PLACE, ("tini", "--"))
    assert prepared["entrypoint"][:3] == ["tini", "--", "python"]


def test_an_entrypoint_stays_if_it_runs_what_it_is_given_and_else_that_is_said() -> None:
    said: list[str] = []
    shop = image(settings={"Entrypoint": ["./entry.sh"]})
    runs, _ = engine(lambda entry, command: "starting\n" + command[-1].split("'")[1] if entry is None else None)
    assert overlay._through(runs, shop, installed(), said.append) == ["./entry.sh"]
    assert overlay._through(runs, image(), installed(), said.append) == ()
    assert said == []
    runs_not, made = engine(lambda *_: "usage: shop COMMAND\n")
    assert overlay._through(runs_not, shop, installed(), said.append) is None
    assert said[0].startswith("Note: the ENTRYPOINT of shop does not run what it is given")
    assert made[0].removed


def test_a_digest_is_of_layers_and_of_how_it_starts_but_not_of_labels() -> None:
    found = {
        overlay.digest(engine(lambda *_: None, **settings)[0], "shop")
        for settings in ({"Env": ["A=1"]}, {"Env": ["A=1"], "Labels": {"x": "y"}}, {"Env": ["A=2"]})
    }
    assert len(found) == 2
