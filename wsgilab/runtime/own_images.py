"""Images of a user's own application: one for each stack that goes with it, and the Compose file that gives them to servers."""

import contextlib
import hashlib
import json
import shlex
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from wsgilab.model import Server
from wsgilab.model.application import Application
from wsgilab.model.errors import BuildError, EngineError
from wsgilab.runtime import application as applications
from wsgilab.runtime import packages
from wsgilab.runtime import source as sources
from wsgilab.runtime.application import INDEXES, PREPARE_S, UNPREPARED, Installed, Place
from wsgilab.runtime.command import DEFAULT_BASE, OWN, Compose
from wsgilab.runtime.containers import PORT
from wsgilab.runtime.packages import Target
from wsgilab.runtime.protocol import Say
from wsgilab.system import process

PLACE = Place(source="/app", data="/data", home="/home/lab")
"""In every container."""

_USER = "10001:10001"
"""Who servers run as."""
_OVERRIDE = "servers.yaml"
_PULL_S = 600.0
_SHORT = 12
_NEWEST_GLIBC = 40
"""The newest that uv knows, 2.40."""
_ASK = (
    "import json,platform as p;"
    "print(json.dumps({'python':p.python_version(),'machine':p.machine(),'libc':p.libc_ver()}))"
)
_HEALTH = (
    "import sys,http.client as h;"
    f"c=h.HTTPConnection('127.0.0.1',{PORT},timeout=4);"
    "c.request('GET',sys.argv[1],headers={'Connection':'close'});"
    "sys.exit(c.getresponse().status>=500)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnImages:
    """What `docker compose` needs to know of a user's own application."""

    installed: Installed
    images: Mapping[str, str]
    """Stack -> the name of its image."""
    file: Path
    """Given to Compose after the catalogue; it has no secrets."""
    variables: Mapping[str, str] = field(repr=False)
    """Those that `file` uses, which have them."""

    @property
    def start_s(self) -> float:
        """How long a server's container may take until it is ready."""
        return self.installed.start_s + (PREPARE_S if self.installed.application.prepare else 0.0)


@contextlib.contextmanager
def settled(
    compose: Compose,
    application: Application,
    servers: Collection[Server],
    known: Mapping[str, str],
    folder: Path,
    say: Say,
) -> Iterator[OwnImages]:
    """`applications.settle`, and in `folder` what the images are built from and how servers get them. What they are built from is
    removed on exit."""
    base, target = _base(compose, application.python)
    stacks, files = compose.stacks, folder / "files"
    try:
        installed = applications.settle(application, servers, stacks, target, known, files, say)
        context = files / "context"
        context.mkdir()
        for each in ("source", "locks"):
            (files / each).rename(context / each)
        sources.opened(context / "source")
        images = {name: f"{OWN}/own-{name}:{_tag(compose, installed, name, base)}" for name in installed.locks}
        for name in images:
            (context / f"{name}.sh").write_text(_setup(installed, name))
        variables = {f"LAB_SECRET_{number}": name for number, name in enumerate(installed.secrets)}
        able = [each for each in servers if each.stack in images]
        wanted = "".join(f"{line}\n" for line in installed.indexes.splitlines() if "index-url" in line)
        # pip reads it where the build is, which has none of this machine's folders.
        (files / INDEXES).write_text(wanted)
        services = {each.name: _service(installed, each, images, base, context, variables) for each in able}
        document = {"services": services, "secrets": {"indexes": {"file": str(files / INDEXES)}}}
        file = folder / _OVERRIDE
        file.write_text(yaml.safe_dump(document, sort_keys=False, width=1000))
        secrets = {variable: installed.secrets[name] for variable, name in variables.items()}
        yield OwnImages(installed=installed, images=images, file=file, variables=secrets)
    finally:
        sources.removed(files)


def _tag(compose: Compose, installed: Installed, stack: str, base: str) -> str:
    """Of all that the image is made of, and the checkout."""
    made_of = "\n".join(
        [
            installed.locks[stack],
            installed.source.digest,
            *installed.writable,
            base,
            _setup(installed, stack),
            compose.tag,
        ]
    )
    return f"{hashlib.sha256(made_of.encode()).hexdigest()[:_SHORT]}-{compose.checkout}"


def _setup(installed: Installed, stack: str) -> str:
    """What the build runs once packages and source are there: a script, so that names need no quoting but a shell's."""
    lines = ["set -e", f"mkdir -p {PLACE.data} {PLACE.home}", f"chown {_USER} {PLACE.data} {PLACE.home}"]
    if folders := packages.local_folders(installed.locks[stack]):
        paths = " ".join(shlex.quote(f"/tmp/source/{each}") for each in folders)  # noqa: S108 - within the build
        install = "pip install --quiet --disable-pip-version-check --no-deps -r /run/indexes.txt"
        # From a copy: building leaves files in the folder.
        lines += [f"cp -r {PLACE.source} /tmp/source", f"{install} {paths}", "rm -r /tmp/source"]
    lines.append(f"python -m compileall -q {PLACE.source} >/dev/null || true")
    for each in installed.writable:
        folder = shlex.quote(f"{PLACE.source}/{each}")
        lines += [f"mkdir -p {folder}", f"chown -R {_USER} {folder}"]
    return "\n".join(lines) + "\n"


def _service(
    installed: Installed,
    server: Server,
    images: Mapping[str, str],
    base: str,
    context: Path,
    variables: Mapping[str, str],
) -> Mapping[str, Any]:
    """What differs for a service of the catalogue."""
    application = installed.application
    by_secret = {name: variable for variable, name in variables.items()}
    environment = {
        name: f"${{{by_secret[name]}}}" if name in by_secret and name not in application.env else _literal(value)
        for name, value in installed.environment(server, PLACE).items()
    }
    # Anonymous volumes, which begin as the image has the folder, owner and all; they go with the container.
    volumes = [PLACE.data, PLACE.home, *(_literal(_inside(each)) for each in installed.writable)]
    start_s = installed.start_s + (PREPARE_S if application.prepare else 0.0)
    service: dict[str, Any] = {
        "image": images[server.stack],
        "build": {
            "target": "own",
            "args": {"BASE_IMAGE": base, "STACK": server.stack},
            "additional_contexts": {"application": str(context)},
            "secrets": ["indexes"],
        },
        "environment": environment,
        "volumes": volumes,
        "healthcheck": {
            "test": ["CMD", "python", "-S", "-E", "-c", _HEALTH, _literal(installed.ready)],
            "start_period": f"{start_s:.0f}s",
        },
    }
    if application.prepare:
        first = f'(cd "$LAB_SOURCE" && exec {shlex.join(application.prepare)}) || exit {UNPREPARED}; exec "$@"'
        service["entrypoint"] = ["sh", "-c", _literal(first), "sh"]
    if application.memory_mb is not None:
        service["mem_limit"] = f"{application.memory_mb}m"
    return service


def _inside(folder: str) -> str:
    return PLACE.source if folder == "." else f"{PLACE.source}/{folder}"


def _literal(text: str) -> str:
    """`text` as Compose reads it back."""
    return text.replace("$", "$$")


# --- the Python of the images


def _base(compose: Compose, wanted: str | None) -> tuple[str, Target]:
    """The image to build on, with the Python that the application asks for. Raises BuildError where it cannot be had."""
    base = compose.base_image()
    found = _ask(compose, base)
    if wanted is not None and not f"{found['python']}.".startswith(f"{wanted}."):
        if base != DEFAULT_BASE:
            raise BuildError(
                f"python: {wanted}: the base image {base} has {found['python']}; name one that has it with LAB_BASE_IMAGE"
            )
        base = f"python:{wanted}-slim-trixie"
        found = _ask(compose, base)
    platform = f"{found['machine']}-{_system(*found['libc'])}"
    options = ("--python-version", found["python"], "--python-platform", platform)
    return base, Target(options=options, name=f"Python {found['python']} on {found['machine']}")


def _system(library: str, version: str) -> str:
    """As uv calls a system with that C library."""
    if library != "glibc":
        return "unknown-linux-musl"
    minor = min(int(version.split(".")[1]), _NEWEST_GLIBC)
    # It knows 2.17, 2.28 and those from 2.31 on.
    known = minor if minor >= 31 else 28 if minor >= 28 else 17  # noqa: PLR2004
    return f"manylinux_2_{known}"


def _ask(compose: Compose, image: str) -> Mapping[str, Any]:
    """What an image's Python is. It is pulled if it is missing. Raises BuildError where that cannot be."""
    argv = [compose.docker, "run", "--rm", "--network", "none", "--label", f"wsgilab.lab={compose.lab_id}"]
    argv += ["--entrypoint", "python3", image, "-S", "-E", "-c", _ASK]
    try:
        finished = process.run(argv, timeout_s=_PULL_S, env=compose.endpoint.environment())
    except (OSError, process.TooSlow) as error:
        raise EngineError(f"docker run: {error}; does the engine still answer?") from None
    try:
        answer = json.loads(finished.stdout)
    except ValueError:
        raise BuildError(
            f"the base image {image} is neither here nor to be had, or has no python3 ({finished.last_line}); name one with "
            "LAB_BASE_IMAGE (docs/engine.md makes one from Debian's packages), or use --runtime local",
            detail=finished.stderr,
        ) from None
    return answer if isinstance(answer, dict) else {}
