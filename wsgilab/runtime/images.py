"""The images that servers, backends and the swarm run in: built, or pulled, and removed."""

import contextlib
import hashlib
import http
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import docker.errors

from wsgilab.model import Backend, Server
from wsgilab.model.errors import BuildError
from wsgilab.runtime.command import OWN, OWN_POSTGRES, Compose
from wsgilab.runtime.containers import engine_errors
from wsgilab.runtime.protocol import Say
from wsgilab.system import process
from wsgilab.system.process import Finished

LABEL = "wsgilab.checkout"

_POSTGRES = "postgres"
"""The stack whose image may be pulled."""
_BUILD_S = 900.0


def prepare(
    compose: Compose, servers: Collection[Server], backends: Collection[Backend], beside: Collection[str], say: Say
) -> Mapping[str, str]:
    """Build or pull the images that these need, and the services `beside` them. Stack -> the image's digest. Raises BuildError."""
    stacks = {each.stack: (each.name, compose.server_files) for each in servers}
    stacks |= {each.stack: (each.name, compose.lab_files) for each in backends}
    stacks |= {each: (each, compose.lab_files) for each in beside}
    images = {stack: compose.image(stack) for stack in sorted(stacks)}
    if _POSTGRES in images:
        images[_POSTGRES] = compose.postgres_image()
        if images[_POSTGRES] != compose.image(_POSTGRES):
            _pull(compose, images[_POSTGRES], say)
            del stacks[_POSTGRES]
    say(f"Building images for {', '.join(sorted(stacks))} on {compose.base_image()} ...")
    by_files: dict[tuple[Path, ...], dict[str, str]] = {}
    for stack, (service, files) in sorted(stacks.items()):
        by_files.setdefault(tuple(files), {})[stack] = service
    for where, services in by_files.items():
        # Together: a command for each takes a second, even where nothing is to be built.
        if _built(compose, services.values(), where).code != 0:
            # One by one, to find out which fails.
            for stack, service in services.items():
                build(compose, stack, service, where)
    _remove(compose, superseded=True)
    return {stack: _digest(compose, stack, image) for stack, image in images.items()}


def _digest(compose: Compose, stack: str, image: str) -> str:
    """SHA-256 over an image's layers; its id depends on its labels too. Raises BuildError where there is no such image."""
    with engine_errors():
        try:
            layers = compose.client.images.get(image).attrs["RootFS"]["Layers"]
        except docker.errors.ImageNotFound:
            raise BuildError(
                f"stack {stack}: none of its servers has the image {OWN}/{stack}:${{LAB_TAG:-latest}}, which is to be built "
                "for it; name it in the catalogue"
            ) from None
    return "sha256:" + hashlib.sha256("\n".join(layers).encode()).hexdigest()


def build(compose: Compose, stack: str, service: str, files: Collection[Path]) -> None:
    """Build the image of one stack, by the name of a service that runs in it. Raises BuildError."""
    finished = _built(compose, [service], files)
    if finished.code != 0:
        raise _build_error(compose, stack, finished)


def _built(compose: Compose, services: Collection[str], files: Collection[Path]) -> Finished:
    return compose.run("build", files, "--progress", "plain", "build", *services, cpus="0", timeout_s=_BUILD_S)


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
    """Whether a newer image of the lab's stands for one of this name. Those of a user's application stay until others are built."""
    if name.startswith(f"{OWN}/own-"):
        return compose.own is not None and name not in compose.own.images.values()
    return not name.endswith(f":{compose.tag}")


@contextlib.contextmanager
def _unless_used() -> Iterator[None]:
    """Ignore that a container uses the image, or that it is being removed already."""
    try:
        yield
    except docker.errors.APIError as error:
        if error.status_code not in (http.HTTPStatus.CONFLICT, http.HTTPStatus.NOT_FOUND):
            raise


def _pull(compose: Compose, image: str, say: Say) -> None:
    """Pull the image of PostgreSQL if it is missing, by Docker's client, which has the user's registries and logins."""
    if compose.has(image):
        return
    say(f"Pulling {image} ...")
    try:
        finished = process.run(
            [compose.docker, "pull", "--quiet", image], timeout_s=_BUILD_S, env=compose.endpoint.environment()
        )
        cause = finished.last_line.removeprefix("Error response from daemon: ") if finished.code != 0 else ""
    except (OSError, process.TooSlow) as error:
        cause = str(error)
    if cause:
        raise BuildError(
            f"the image {image} of the backend postgres is neither here nor to be had ({cause}); name another with "
            f"LAB_POSTGRES_IMAGE ({OWN_POSTGRES}: one built from Debian's package), or use --runtime local"
        )


def _build_error(compose: Compose, stack: str, finished: Finished) -> BuildError:
    if "failed to resolve source metadata" in finished.stderr or "pull access denied" in finished.stderr:
        return BuildError(
            f"stack {stack} does not build: the base image {compose.base_image()} is neither here nor to be had; "
            "name one with LAB_BASE_IMAGE (docs/engine.md makes one from Debian's packages), or use --runtime local"
        )
    errors = [line for line in finished.stderr.splitlines() if re.search(r"\bERROR\b", line)]
    cause = re.sub(r"^#\d+\s+[\d.]*\s*", "", errors[0]) if errors else finished.last_line
    return BuildError(
        f"stack {stack} does not install: {cause}; is the package index in reach (LAB_CA_FILE for a private "
        "certificate authority)?",
        detail="\n".join(finished.stderr.splitlines()[-15:]),
    )
