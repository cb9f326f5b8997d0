"""The images that servers, backends and the swarm run in: built, or pulled, and removed."""

import contextlib
import hashlib
import http
import json
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import docker.errors

from wsgilab.model import Backend, Server
from wsgilab.model.errors import BuildError, EngineError
from wsgilab.runtime.command import OWN, OWN_POSTGRES, Compose, docker_client
from wsgilab.runtime.containers import engine_errors
from wsgilab.runtime.protocol import SWARM, Say
from wsgilab.runtime.removal import LAB_LABEL
from wsgilab.runtime.stacks import ASK, is_wanted, named, needs, spelt
from wsgilab.system.process import Finished

LABEL = "wsgilab.checkout"

_POSTGRES = "postgres"
"""The stack whose image may be pulled."""
_BUILD_S = 900.0
_PULL_S = 600.0
_OTHER_POSTGRES = (
    f"name another with LAB_POSTGRES_IMAGE ({OWN_POSTGRES}: one built from Debian's package), or use --runtime local"
)


def prepare(
    compose: Compose, servers: Collection[Server], backends: Collection[Backend], beside: Collection[str], say: Say
) -> Mapping[str, str]:
    """Build or pull the images that these need, and the services `beside` them. Stack -> the image's digest. Raises BuildError."""
    stacks = {each.stack: (each.name, compose.server_files) for each in servers}
    stacks |= {each.stack: (each.name, compose.lab_files) for each in backends if not each.compose}
    stacks |= {each: (each, compose.swarm_files if each == SWARM else compose.lab_files) for each in beside}
    images = {stack: compose.image(stack) for stack in sorted(stacks)}
    if _POSTGRES in images:
        images[_POSTGRES] = compose.postgres_image()
        if images[_POSTGRES] != compose.image(_POSTGRES):
            pull(compose, images[_POSTGRES], "of the backend postgres ", _OTHER_POSTGRES, say)
            del stacks[_POSTGRES]
    bases: dict[str, str] = {}
    for stack in sorted(stacks):
        python = needs(compose.stacks / stack).python
        try:
            bases[stack] = compose.base_image() if python is None else _base_with(compose, stack, python, say)
        except BuildError as error:
            _leave_out(stack, servers, error, say)
            del images[stack], stacks[stack]
    to_build: dict[tuple[tuple[Path, ...], str], dict[str, str]] = {}
    for stack, (service, files) in sorted(stacks.items()):
        if not _is_built(compose, stack, files, bases[stack]):
            to_build.setdefault((tuple(files), bases[stack]), {})[stack] = service
    for base in sorted({on for _, on in to_build}):
        those = sorted(stack for (_, on), services in to_build.items() if on == base for stack in services)
        say(f"Building images for {', '.join(those)} on {base} ...")
    for (where, base), services in to_build.items():
        # Together: a command for each takes a second, even where nothing is to be built.
        if _built(compose, services.values(), where, base).code != 0:
            # One by one, to find out which fails.
            for stack, service in services.items():
                try:
                    build(compose, stack, service, where, base)
                except BuildError as error:
                    if needs(compose.stacks / stack).are_usual:
                        raise
                    _leave_out(stack, servers, error, say)
                    del images[stack]
    _remove(compose, superseded=True)
    return {stack: _digest(compose, stack, image) for stack, image in images.items()}


def _leave_out(stack: str, servers: Collection[Server], error: BuildError, say: Say) -> None:
    left_out = ", ".join(each.name for each in servers if each.stack == stack)
    say(f"Left out: {left_out}: {error.message}")


def _base_with(compose: Compose, stack: str, python: str, say: Say) -> str:
    """The image with that Python, on which a stack's own is built. It is pulled if it is missing. Raises BuildError where there is
    none."""
    base = compose.base_image(python)
    remedy = "name an image for each Python by {python} in LAB_BASE_IMAGE (docs/engine.md)"
    pull(compose, base, f"with {spelt(python)} for the stack {stack} ", remedy, say)
    found = ask(compose, base)
    if not is_wanted(python, found):
        raise BuildError(
            f"stack {stack} is for {spelt(python)}, and the base image {base} has {named(found)}; {remedy}"
        )
    return base


def ask(compose: Compose, image: str) -> Mapping[str, Any]:
    """What an image's Python is, by ASK. It is pulled if it is missing. Raises BuildError where that cannot be."""
    words = ["run", "--rm", "--network", "none", "--label", f"{LAB_LABEL}={compose.lab_id}"]
    words += ["--entrypoint", "python3", image, "-S", "-E", "-c", ASK]
    finished = docker_client(compose, *words, timeout_s=_PULL_S)
    try:
        answer = json.loads(finished.stdout)
    except ValueError:
        raise BuildError(
            f"the base image {image} is neither here nor to be had, or has no python3 ({finished.last_line}); name one with "
            "LAB_BASE_IMAGE (docs/engine.md makes one from Debian's packages), or use --runtime local",
            detail=finished.stderr,
        ) from None
    return answer if isinstance(answer, dict) else {}


def _is_built(compose: Compose, stack: str, files: Collection[Path], base: str) -> bool:
    """Whether the engine has the image of one of the lab's own stacks, of these very files and on this very base image.

    Its tag says of which files, those of a catalogue of the user's apart.
    """
    if list(files) != compose.lab_files:
        return False
    image, below = _layers(compose, compose.image(stack)), _layers(compose, base)
    return bool(image and below) and image[: len(below)] == below


def _layers(compose: Compose, image: str) -> list[str]:
    """The digests of an image's layers; empty where the engine has no such image."""
    with engine_errors():
        try:
            layers: list[str] = compose.client.images.get(image).attrs["RootFS"]["Layers"]
        except docker.errors.ImageNotFound:
            return []
    return layers


def _digest(compose: Compose, stack: str, image: str) -> str:
    """SHA-256 over an image's layers; its id depends on its labels too. Raises BuildError where there is no such image."""
    layers = _layers(compose, image)
    if not layers:
        raise BuildError(
            f"stack {stack}: none of its servers has the image {OWN}/{stack}:${{LAB_TAG:-latest}}, which is to be built "
            "for it; name it in the catalogue"
        )
    return "sha256:" + hashlib.sha256("\n".join(layers).encode()).hexdigest()


def build(compose: Compose, stack: str, service: str, files: Collection[Path], base: str | None = None) -> None:
    """Build the image of one stack, by the name of a service that runs in it, if it is not built yet. `base`: what it is built on,
    where that is another than usual. Raises BuildError."""
    base = base or compose.base_image()
    if _is_built(compose, stack, files, base):
        return
    finished = _built(compose, [service], files, base)
    if finished.code != 0:
        raise _build_error(stack, base, finished)


def _built(compose: Compose, services: Collection[str], files: Collection[Path], base: str) -> Finished:
    words = ("--progress", "plain", "build", *services)
    return compose.run("build", files, *words, cpus="0", timeout_s=_BUILD_S, base=base)


def clean(compose: Compose) -> None:
    """Remove the images that this checkout has built and no container uses. Pulled and other images stay."""
    _remove(compose, superseded=False)


def _remove(compose: Compose, *, superseded: bool) -> None:
    """Remove this checkout's images, or only those that newer ones superseded, unless a container uses them."""
    mine = f"{LABEL}={compose.checkout}"
    with engine_errors():
        # Not the library's own list, which looks at each image again: another lab may have removed it by then.
        for image in compose.client.api.images(filters={"label": mine}):
            for name in image["RepoTags"] or ():
                # The user may have given one of them another name.
                is_own = name.startswith(f"{OWN}/")
                if is_own and (not superseded or _is_superseded(compose, name)):
                    with _unless_used():
                        compose.client.images.remove(name)
        with _unless_used():
            # And those that have lost their names, as after a change of the base image.
            compose.client.images.prune(filters={"dangling": True, "label": mine})


def _is_superseded(compose: Compose, name: str) -> bool:
    """Whether a newer image of the lab's has replaced one of this name. Those of a user's application stay until others are built."""
    if name.startswith(f"{OWN}/own-{SWARM}:"):
        # Built on a site's machine of users, which may be the targets' too.
        return compose.locust is not None and name != compose.locust.name
    if name.startswith(f"{OWN}/own-"):
        return compose.own is not None and name not in {*compose.own.images.values(), *compose.kept}
    return not name.endswith(f":{compose.tag}")


@contextlib.contextmanager
def _unless_used() -> Iterator[None]:
    """Ignore that a container uses the image, or that it is being removed already."""
    try:
        yield
    except docker.errors.APIError as error:
        if error.status_code not in (http.HTTPStatus.CONFLICT, http.HTTPStatus.NOT_FOUND):
            raise


def pull(compose: Compose, image: str, whose: str, remedy: str, say: Say) -> None:
    """Pull an image if it is missing, by Docker's client, which has the user's registries and logins. Raises BuildError, which says
    `whose` it is, with a space behind, and the remedy."""
    if compose.has(image):
        return
    say(f"Pulling {image} ...")
    try:
        finished = docker_client(compose, "pull", "--quiet", image, timeout_s=_BUILD_S)
        cause = finished.last_line.removeprefix("Error response from daemon: ") if finished.code != 0 else ""
    except EngineError as error:
        cause = error.message
    if cause:
        raise BuildError(f"the image {image} {whose}is neither here nor to be had ({cause}); {remedy}")


def _build_error(stack: str, base: str, finished: Finished) -> BuildError:
    if "failed to resolve source metadata" in finished.stderr or "pull access denied" in finished.stderr:
        return BuildError(
            f"stack {stack} does not build: the base image {base} is neither here nor to be had; "
            "name one with LAB_BASE_IMAGE (docs/engine.md makes one from Debian's packages), or use --runtime local"
        )
    errors = [line for line in finished.stderr.splitlines() if re.search(r"\bERROR\b", line)]
    cause = re.sub(r"^#\d+\s+[\d.]*\s*", "", errors[0]) if errors else finished.last_line
    return BuildError(
        f"stack {stack} does not install: {cause}; is the package index in reach (LAB_CA_FILE for a private "
        "certificate authority)?",
        detail=finished.last_lines,
    )
