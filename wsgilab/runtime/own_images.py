"""Images of a user's own application: one for each stack that goes with it, and the Compose file that gives them to servers."""

import posixpath
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from wsgilab.model import Server
from wsgilab.model.application import Application
from wsgilab.model.errors import BuildError
from wsgilab.runtime import application as applications
from wsgilab.runtime import lock_text
from wsgilab.runtime import source as sources
from wsgilab.runtime.application import INDEXES, LOCUST, LOCUST_INDEXES, SECRETS, Installed, Place
from wsgilab.runtime.command import Compose
from wsgilab.runtime.containers import PORT
from wsgilab.runtime.images import ask
from wsgilab.runtime.protocol import SWARM, Say
from wsgilab.runtime.resolving import Target, target_of

PLACE = Place(source="/app", data="/data", home="/home/lab")
"""In every container."""

_USER = "10001:10001"
"""Who servers run as."""
_OVERRIDE = "servers.yaml"
_SWARM_OVERRIDE = "swarm.yaml"
_SOURCE_IN_BUILD = "/run/source"
_HEALTH = f"""
import http.client, sys, time
deadline = time.monotonic() + 10
while time.monotonic() < deadline:
    connection = http.client.HTTPConnection("127.0.0.1", {PORT}, timeout=10)
    try:
        connection.request("GET", sys.argv[1], headers={{"Connection": "close"}})
        if connection.getresponse().status < 500:
            sys.exit()
    except (OSError, http.client.HTTPException):
        pass
    connection.close()
    time.sleep(0.1)
sys.exit(1)
"""
"""The health check, as services/door/wsgilab_door/health.py, by any page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnImages:
    """What `docker compose` needs to know of a user's own application."""

    installed: Installed
    images: Mapping[str, str]
    """Stack -> the name of its image."""
    file: Path
    """Given to Compose after the catalogue; it has no secrets."""
    locust: "LocustImage | None"
    """None where Locust files import nothing beside Locust."""
    variables: Mapping[str, str] = field(repr=False)
    """Those that `file` uses, which have them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be installed on an engine of a user's own application."""

    compose: Compose
    application: Application
    servers: Collection[Server]
    known: Mapping[str, str]
    """The locks of a run that goes on."""
    folder: Path
    """For what is generated: what images are built from is in `files`, which nobody needs once they are."""
    network: str | None
    """Of services that servers reach by their names."""
    say: Say
    prefix: str = SECRETS
    """What the variables begin with that have its secrets."""

    @property
    def files(self) -> Path:
        return self.folder / "files"

    def completed(
        self,
        installed: Installed,
        images: Mapping[str, str],
        of_server: Callable[[Server], dict[str, Any]],
        build: dict[str, Any],
        more: Mapping[str, Any] = MappingProxyType({}),
    ) -> OwnImages:
        """The `images` of stacks and that of the swarm, where it needs one, with the file for Compose. `of_server`: how a server's service
        differs from the catalogue's; `build`: how each image is built; `more`: what the file has beside services."""
        services = {
            each.name: {
                **of_server(each),
                "image": images[each.stack],
                "build": {**deepcopy(build), "args": {**build["args"], "STACK": each.stack}},
            }
            for each in self.servers
            if each.stack in images
        }
        file = _write_override(self.folder, services, self.network, more)
        locust = locust_image(self.compose, self.application, self.known, self.folder)
        if locust:
            images = {**images, SWARM: locust.name}
        variables = {variable: installed.secrets[name] for variable, name in _secret_variables(installed).items()}
        return OwnImages(installed=installed, images=images, file=file, locust=locust, variables=variables)


def settle(wanted: Wanted) -> OwnImages:
    """`applications.settle`, with what the images are built from and how servers get them. Raises LabError."""
    compose, application = wanted.compose, wanted.application
    base, target = _base(compose, application.python)
    files = wanted.files
    settled = applications.settle(application, wanted.servers, compose.stacks, target, wanted.known, files, wanted.say)
    installed = replace(settled, prefix=wanted.prefix)
    context = files / "context"
    context.mkdir()
    for each in ("source", "locks"):
        (files / each).rename(context / each)
    sources.opened(context / "source")
    images = {}
    for name, lock in installed.locks.items():
        setup = _setup(installed, name)
        (context / f"{name}.sh").write_text(setup)
        images[name] = compose.own_image(name, lock, installed.source.digest, *installed.writable, base, setup)
    (files / INDEXES).write_text(_in_build(installed.indexes))
    build = {
        "target": "own",
        "args": {"BASE_IMAGE": base},
        "additional_contexts": {"application": str(context)},
        "secrets": ["indexes"],
    }
    more = {"secrets": {"indexes": {"file": str(files / INDEXES)}}}
    return wanted.completed(installed, images, lambda server: service(installed, server, PLACE), build, more)


def _in_build(indexes: str) -> str:
    """Those that pip can use where the build is, which has the source and no other folder of this machine."""
    lines = lock_text.placed(indexes, _SOURCE_IN_BUILD).splitlines()
    return "".join(f"{line}\n" for line in lines if "index-url" in line or f" {_SOURCE_IN_BUILD}/" in line)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocustImage:
    """The swarm's image with what the user's own Locust files import beside Locust."""

    lock: str
    name: str
    file: Path
    """Given to Compose after the file of the swarm."""


def locust_image(
    compose: Compose, application: Application, known: Mapping[str, str], folder: Path
) -> LocustImage | None:
    """That image, of which `folder`/files has what it is built from; None where nothing is asked for. Raises LabError."""
    if not application.locust_requirements:
        return None
    base, context = compose.base_image(), folder / "files" / LOCUST
    (context / "locks").mkdir(parents=True)
    target = target_of(ask(compose, base))
    lock, indexes = applications.locust_lock(application, compose.stacks, target, known, context)
    if not lock:
        return None
    (context / LOCUST_INDEXES).write_text(_in_build(indexes))
    name = compose.own_image(SWARM, lock, base)
    build = {
        "target": "own-swarm",
        "additional_contexts": {"application": str(context)},
        "secrets": ["indexes"],
    }
    document = {
        "services": {SWARM: {"image": name, "build": build}},
        "secrets": {"indexes": {"file": str(context / LOCUST_INDEXES)}},
    }
    file = folder / _SWARM_OVERRIDE
    file.write_text(yaml.safe_dump(document, sort_keys=False, width=1000))
    return LocustImage(lock=lock, name=name, file=file)


def _setup(installed: Installed, stack: str) -> str:
    """What the build runs once packages and source are there: a script, so that names need no quoting but a shell's."""
    lines = ["set -e", f"mkdir -p {PLACE.data} {PLACE.home}", f"chown {_USER} {PLACE.data} {PLACE.home}"]
    if folders := lock_text.local_folders(installed.locks[stack]):
        paths = " ".join(shlex.quote(f"/tmp/source/{each}") for each in folders)  # noqa: S108 - within the build
        install = "pip install --quiet --disable-pip-version-check --no-deps -r /run/indexes.txt"
        # From a copy: building leaves files in the folder.
        lines += [f"cp -r {PLACE.source} /tmp/source", f"{install} {paths}", "rm -r /tmp/source"]
    lines.append(f"python -m compileall -q {PLACE.source} >/dev/null || true")
    for each in installed.writable:
        folder = shlex.quote(f"{PLACE.source}/{each}")
        lines += [f"mkdir -p {folder}", f"chown -R {_USER} {folder}"]
    return "\n".join(lines) + "\n"


def service(installed: Installed, server: Server, place: Place, through: Sequence[str] = ()) -> dict[str, Any]:
    """What differs for a service of the catalogue, whatever image it has. `through`: the words of an ENTRYPOINT that its command
    goes through."""
    application = installed.application
    by_secret = {name: f"${{{variable}}}" for variable, name in _secret_variables(installed).items()}
    environment = {
        name: by_secret[name] if name in by_secret and name not in application.env else _literal(value)
        for name, value in installed.environment(server, place).items()
    }
    # Anonymous volumes, which begin as the image has the folder, owner and all; they go with the container.
    folders = [place.data, *filter(None, [place.home])]
    inside = (posixpath.normpath(posixpath.join(place.source, each)) for each in installed.writable)
    found: dict[str, Any] = {
        "environment": environment,
        "volumes": [*folders, *map(_literal, inside)],
        "healthcheck": {
            "test": ["CMD", "python", "-S", "-E", "-c", _HEALTH, _literal(installed.ready)],
            "start_period": f"{installed.start_s:.0f}s",
        },
    }
    if application.prepare:
        found["entrypoint"] = list(map(_literal, [*through, *installed.prepare(place)]))
    if application.memory_mb is not None:
        found["mem_limit"] = f"{application.memory_mb}m"
    return found


def _secret_variables(installed: Installed) -> Mapping[str, str]:
    """Variable of the file that is generated -> variable of the application."""
    return {f"{installed.prefix}{number}": name for number, name in enumerate(installed.secrets)}


def _write_override(
    folder: Path, services: Mapping[str, dict[str, Any]], network: str | None, more: Mapping[str, Any]
) -> Path:
    """Write what Compose is given after the catalogue. `network`: of services that servers reach by their names."""
    document: dict[str, Any] = {"services": services, **more}
    if network is not None:
        for each in services.values():
            each["networks"] = {"default": {}, "services": {}}
        document["networks"] = {"services": {"name": network, "external": True}}
    file = folder / _OVERRIDE
    file.write_text(yaml.safe_dump(document, sort_keys=False, width=1000))
    return file


def _literal(text: str) -> str:
    """`text` as Compose reads it back."""
    return text.replace("$", "$$")


# --- the Python of the images


def _base(compose: Compose, wanted: str | None) -> tuple[str, Target]:
    """The image to build on, with the Python that the application asks for. Raises BuildError where it cannot be had."""
    base = compose.base_image(wanted)
    found = ask(compose, base)
    if wanted is not None and not f"{found['python']}.".startswith(f"{wanted}."):
        raise BuildError(
            f"python: {wanted}: the base image {base} has {found['python']}; name one that has it with LAB_BASE_IMAGE"
        )
    return base, target_of(found)
