"""Leaving nothing behind on an engine: a project's containers and networks go, whatever happened meanwhile."""

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import docker

from wsgilab.model.errors import EngineError
from wsgilab.runtime.containers import engine_errors, remove_container, remove_network

PROJECT_LABEL = "com.docker.compose.project"

_AFTERMATH_S = 0.5


@contextlib.contextmanager
def torn_down(client: docker.DockerClient, project: str) -> Iterator[None]:
    """Within, a Compose project may be started; it is gone when this is left. Raises EngineError where that cannot be."""
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
    """Remove all containers with `label`, and the networks of projects that begin so. How many containers.

    Raises EngineError.
    """
    removed = 0
    with engine_errors(), ThreadPoolExecutor(max_workers=8) as pool:
        # Again until there are none: the engine may still be making one that an interrupted command asked for.
        while containers := client.containers.list(all=True, filters={"label": label}, ignore_removed=True):
            removed += sum(pool.map(remove_container, containers))
        for network in client.networks.list(filters={"label": PROJECT_LABEL}):
            if network.attrs["Labels"][PROJECT_LABEL].startswith(project_prefix):
                remove_network(network)
    return removed
