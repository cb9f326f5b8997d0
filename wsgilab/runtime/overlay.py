"""Servers over an image of the user's own: what it has, what is added to it, and which of it stays as it is.

Nothing is run in the image to build on it, and nothing of it is replaced. What a stack needs beside the image's packages is locked
with all of these as constraints, installed here by uv for the image's Python, and copied into a folder of its own there.
"""

import hashlib
import json
import posixpath
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import docker.errors
import requests

from wsgilab.model import Server
from wsgilab.model.application import Application
from wsgilab.model.errors import BuildError, UsageError
from wsgilab.runtime import application as applications
from wsgilab.runtime import packages
from wsgilab.runtime import source as sources
from wsgilab.runtime.application import Installed, Place
from wsgilab.runtime.command import CONFINED, OWN, Compose, docker_client
from wsgilab.runtime.containers import engine_errors
from wsgilab.runtime.images import LABEL, pull
from wsgilab.runtime.own_images import OwnImages, Wanted, service
from wsgilab.runtime.protocol import Say
from wsgilab.runtime.removal import LAB_LABEL
from wsgilab.runtime.resolving import Target, target_of
from wsgilab.runtime.source import Source

OLDEST_PYTHON = (3, 10)
"""That the door runs on."""
IMAGE = "(image)"
"""How a run records the image, among the files of the application."""

_FOLDER = "/opt/wsgilab"
_BUILD_S = 1800.0
_PROBE_S = 20.0
_SHORT = 12
_MARK = "wsgilab-went-through"
_MISSING = "is missing"
_LINES = 20
_ASK = (
    "import json,platform as p,sys\n"
    "found,commands={},{}\n"
    "try:\n"
    "    from importlib import metadata as m\n"
    "    from shutil import which\n"
    "    for each in m.distributions():\n"
    "        name=each.metadata['Name']\n"
    "        if name and each.version: found.setdefault(name,each.version)\n"
    "        for point in each.entry_points:\n"
    "            if point.group=='console_scripts' and not which(point.name): commands[point.name]=point.value\n"
    "except ImportError: pass\n"
    "print(json.dumps({'python':p.python_version(),'machine':p.machine(),'libc':p.libc_ver(),'executable':sys.executable,"
    "'implementation':p.python_implementation(),'packages':found,'commands':commands}))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnImage:
    """An image that has an application, and what is in it."""

    name: str
    target: Target
    python: str
    """The path of its Python in it."""
    is_python: bool
    """Whether that is what `python` means in it."""
    packages: Mapping[str, str]
    """All of its packages, name -> release."""
    commands: Mapping[str, str]
    """Those of its packages that are not on its PATH: name -> module:function."""
    settings: Mapping[str, Any]
    """Its Config, as the engine has it."""

    @property
    def user(self) -> str:
        return self.settings.get("User") or "0:0"

    @property
    def folder(self) -> str:
        return self.settings.get("WorkingDir") or "/"

    @property
    def entrypoint(self) -> Sequence[str]:
        return self.settings.get("Entrypoint") or ()


def present(compose: Compose, application: Application, say: Say) -> str:
    """The name of the application's image, which is built, or pulled if it is missing. Raises BuildError and UsageError."""
    if application.build is None:
        assert application.image is not None, "an application with an image has one of the two"
        pull(compose, application.image, "of your application ", "build it, or name another with image", say)
        return application.image
    folder = Path(application.build).absolute()
    if not folder.is_dir():
        raise UsageError(f"build: {application.build}: is no folder; name the one that has the Dockerfile")
    name = f"{OWN}/own-image:{hashlib.sha256(str(folder).encode()).hexdigest()[:_SHORT]}-{compose.checkout}"
    compose.kept.add(name)
    say(f"Building your application's image from {application.build} ...")
    words = ["build", "--progress", "plain", "--label", f"{LABEL}={compose.checkout}", "--tag", name, str(folder)]
    finished = docker_client(compose, *words, timeout_s=_BUILD_S)
    if finished.code != 0:
        raise BuildError(
            f"build: {application.build}: does not build: {finished.last_line.removeprefix('ERROR: ')}; see its last lines below",
            detail=finished.last_lines,
        )
    return name


def digest(compose: Compose, name: str) -> str:
    """SHA-256, in hexadecimal, over an image's layers and what it says of its start; its id depends on more, such as labels."""
    with engine_errors():
        found = compose.client.images.get(name).attrs
    settings = {key: found["Config"].get(key) for key in ("Env", "User", "WorkingDir", "Entrypoint", "Cmd")}
    plain = json.dumps([found["RootFS"]["Layers"], settings], sort_keys=True)
    return hashlib.sha256(plain.encode()).hexdigest()


def settle(wanted: Wanted, name: str) -> OwnImages:
    """`own_images.settle`, for an application that comes in the image `name`."""
    compose, application = wanted.compose, wanted.application
    secrets = applications.read_secrets(application, Path())
    sources.removed(wanted.files)
    work, context = wanted.files / "work", wanted.files / "context"
    context.mkdir(parents=True)
    image = look_into(compose, name)
    locks = _locks(wanted, image, work)
    of_image = digest(compose, image.name)
    source = Source(folder=Path(), files={IMAGE: of_image})
    installed = Installed(application=application, source=source, locks=locks, secrets=secrets, prefix=wanted.prefix)
    place = Place(source=posixpath.normpath(posixpath.join(image.folder, application.source)), data=f"{_FOLDER}/data")
    (context / "data").mkdir()
    for stack, text in locks.items():
        add(text, image, context / stack, work)
    sources.opened(context)
    images = {stack: compose.own_image(stack, text, of_image) for stack, text in locks.items()}
    through = _through(compose, image, installed, wanted.say)

    def of_server(server: Server) -> dict[str, Any]:
        return {**_service(installed, server, place, through), "user": image.user}

    build = {
        "target": "over",
        "args": {"OWN_IMAGE": image.name, "OWNER": image.user},
        "additional_contexts": {"application": str(context)},
    }
    return wanted.completed(installed, images, of_server, build)


def _locks(wanted: Wanted, image: OwnImage, work: Path) -> Mapping[str, str]:
    names = {each.stack for each in wanted.servers}
    work.mkdir(parents=True)
    if wanted.known:
        return applications.known_locks(wanted.known, names)
    wanted.say(f"Locking what servers need beside the packages of {image.name} ...")
    found = packages.lock_beside(image.packages, wanted.compose.stacks, names, image.target, work, wanted.say)
    applications.say_left_out(found, wanted.servers, wanted.say)
    return found.locks


def _service(installed: Installed, server: Server, place: Place, through: Sequence[str] | None) -> dict[str, Any]:
    found = service(installed, server, place, through or ())
    if through is None:
        found.setdefault("entrypoint", [])
    path = "PYTHONPATH"
    if path in found["environment"]:
        found["environment"][path] += f":{_FOLDER}/door:{_FOLDER}/packages"
    return found


def add(lock: str, image: OwnImage, folder: Path, work: Path) -> None:
    """Install a lock in the new `folder` as the image is to have it. Raises BuildError."""
    there, commands = folder / "packages", folder / "bin"
    packages.install(lock, image.target, there, work)
    # What uv has made for the Python that runs here.
    if (there / "bin").exists():
        shutil.move(there / "bin", commands)
    commands.mkdir(exist_ok=True)
    added = {
        point.name: point.value
        for each in metadata.distributions(path=[str(there)])
        for point in each.entry_points.select(group="console_scripts")
    }
    for name, value in {**image.commands, **added}.items():
        module, _, function = value.partition("[")[0].strip().partition(":")
        script = (
            f"#!{image.python}\nimport sys\nfrom {module} import {function.partition('.')[0]}\nsys.exit({function}())\n"
        )
        (commands / name).write_text(script)
        (commands / name).chmod(0o755)
    if not image.is_python:
        (commands / "python").symlink_to(image.python)


# --- what is in an image


def look_into(compose: Compose, name: str) -> OwnImage:
    """Ask an image's Python what it is and has. Raises BuildError where there is none, or an older one than servers need."""
    with engine_errors():
        settings = compose.client.images.get(name).attrs["Config"]
    oldest = ".".join(map(str, OLDEST_PYTHON))
    reason = "it has neither python nor python3 on its PATH"
    for command in ("python", "python3"):
        output, failure = _output(compose, name, ["-c", _ASK], _PROBE_S, entrypoint=[command])
        found = _answer(output)
        if found is None:
            if failure != _MISSING:
                reason = f"its {command} {failure or 'does not answer what it is asked'}"
            continue
        python = str(found["python"])
        if tuple(map(int, python.split(".")[:2])) >= OLDEST_PYTHON and found["implementation"] == "CPython":
            return OwnImage(
                name=name,
                target=target_of(found),
                python=found["executable"],
                is_python=command == "python",
                packages=found["packages"],
                commands=found["commands"],
                settings=settings,
            )
        reason = f"its {command} is {found['implementation']} {python}"
    raise BuildError(
        f"the image {name} has no Python that servers run on: {reason}; they need CPython {oldest} or newer"
    )


def _answer(output: str) -> Mapping[str, Any] | None:
    try:
        found = json.loads(output.strip().rpartition("\n")[2])
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _through(compose: Compose, image: OwnImage, installed: Installed, say: Say) -> Sequence[str] | None:
    """The image's ENTRYPOINT, if it runs the command that it is given, alone and confined as servers are; None where it does not."""
    if not image.entrypoint:
        return ()
    environment = {**installed.secrets, **installed.application.env}
    ask = [image.python, "-c", f"print('{_MARK}')"]
    output, _ = _output(compose, image.name, ask, _PROBE_S, environment=environment)
    if output.strip().endswith(_MARK):
        return image.entrypoint
    say(
        f"Note: the ENTRYPOINT of {image.name} does not run what it is given (within {_PROBE_S:.0f} s, without a network), so "
        "servers start without it."
    )
    return None


def _output(
    compose: Compose,
    image: str,
    command: Sequence[str],
    timeout_s: float,
    *,
    entrypoint: Sequence[str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> tuple[str, str]:
    """What a command in an image writes, confined as servers are, or nothing and how it fails, as the predicate of a sentence:
    _MISSING where the image has no such command."""
    with engine_errors():
        container = compose.client.containers.create(
            image,
            list(command),
            entrypoint=None if entrypoint is None else list(entrypoint),
            environment=dict(environment or {}),
            labels={LAB_LABEL: compose.lab_id},
            name=f"wsgilab-{compose.lab_id}-probe-{time.monotonic_ns()}",
            tmpfs={"/tmp": ""},  # noqa: S108 - of its own
            **CONFINED,
        )
        try:
            container.start()
            code = container.wait(timeout=timeout_s)["StatusCode"]
            if code == 0:
                return str(container.logs(stderr=False).decode(errors="replace")), ""
            lines = container.logs(tail=_LINES).decode(errors="replace").splitlines()
            # Below the error there may be a stack.
            last = next((each for each in reversed(lines) if "rror" in each), (lines or [""])[-1]).strip()
            return "", f"ends with exit code {code}{last and f' ({last})'}"
        except docker.errors.APIError as error:
            # Most likely there is no such command. An engine that is gone says so below.
            cause = " ".join(str(error.explanation or error).split())
            return "", _MISSING if "not found" in cause else f"does not start ({cause.rpartition(': exec: ')[2]})"
        except requests.exceptions.RequestException:
            return "", f"does not end within {timeout_s:.0f} s"
        finally:
            container.remove(force=True, v=True)
