"""The containers of a Compose project, and leaving nothing of it behind on an engine, whatever happens meanwhile."""

import contextlib
import http
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import docker
import docker.errors

from wsgilab.model.errors import EngineError
from wsgilab.runtime.containers import engine_errors

LAB_LABEL = "wsgilab.lab"
"""On every container of a lab, with its id."""
PROJECT_LABEL = "com.docker.compose.project"
SERVICE_LABEL = "com.docker.compose.service"

_AFTERMATH_S = 0.5


def containers_of(client: docker.DockerClient, project: str) -> dict[str, Any]:
    """The containers of a Compose project: service -> container. Raises EngineError."""
    with engine_errors():
        label = f"{PROJECT_LABEL}={project}"
        found = client.containers.list(all=True, filters={"label": label}, ignore_removed=True)
        return {each.labels[SERVICE_LABEL]: each for each in found}


@contextlib.contextmanager
def torn_down(client: docker.DockerClient, project: str) -> Iterator[None]:
    """On exit, remove the Compose project that was started within. Raises EngineError where that cannot be done."""
    try:
        yield
    except BaseException:
        # The first failure is the one to report, not that of cleaning up after it.
        with contextlib.suppress(EngineError):
            remove(client, f"{PROJECT_LABEL}={project}", project)
            # An interrupted command may have asked for a network that the engine makes only now.
            time.sleep(_AFTERMATH_S)
            remove(client, f"{PROJECT_LABEL}={project}", project)
        raise
    remove(client, f"{PROJECT_LABEL}={project}", project)


def remove(client: docker.DockerClient, label: str, project_prefix: str) -> int:
    """Remove all containers with `label`, and the networks and volumes of projects whose names begin with `project_prefix`.

    Returns the number of containers. Raises EngineError.
    """
    removed = 0
    with engine_errors(), ThreadPoolExecutor(max_workers=8) as pool:
        # Again until there are none: the engine may still be making one that an interrupted command asked for.
        while containers := client.containers.list(all=True, filters={"label": label}, ignore_removed=True):
            removed += sum(pool.map(_remove_container, containers))
        for network in client.networks.list(filters={"label": PROJECT_LABEL}):
            if network.attrs["Labels"][PROJECT_LABEL].startswith(project_prefix):
                _remove_network(network)
        for volume in client.volumes.list(filters={"label": PROJECT_LABEL}):
            if volume.attrs["Labels"][PROJECT_LABEL].startswith(project_prefix):
                with contextlib.suppress(docker.errors.NotFound):
                    volume.remove()
    return removed


def _remove_container(container: Any) -> bool:
    """Remove a container; False where it is gone already, or is being removed."""
    try:
        container.remove(force=True, v=True)
    except docker.errors.NotFound:
        return False
    except docker.errors.APIError as error:
        if error.status_code != http.HTTPStatus.CONFLICT:
            raise
        time.sleep(0.1)
        return False
    return True


def _remove_network(network: Any) -> None:
    """Remove a network, also where a backend, which outlives a fleet, is still connected to it."""
    with contextlib.suppress(docker.errors.NotFound):
        network.reload()
        for container in network.attrs["Containers"]:
            # It may be gone by now. Where it is not, the engine's refusal to remove the network has the reason.
            with contextlib.suppress(docker.errors.APIError):
                network.disconnect(container, force=True)
        network.remove()
