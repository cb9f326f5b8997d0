"""`docker compose` as the lab calls it: its files, its variables, and the images that it uses."""

import functools
import hashlib
import os
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import docker
import docker.errors
import yaml
from docker.tls import TLSConfig

from wsgilab.experiment.catalogue import ADDRESS_VARIABLES
from wsgilab.experiment.parsing import load_yaml
from wsgilab.experiment.workloads import WORKLOADS, backend_variable, backends
from wsgilab.model import Server
from wsgilab.model.errors import EngineError
from wsgilab.model.experiment import RELEASE
from wsgilab.runtime import origin
from wsgilab.runtime.containers import engine_errors
from wsgilab.runtime.engine import CERTIFICATES, Endpoint, Engine
from wsgilab.runtime.protocol import SWARM
from wsgilab.system import process
from wsgilab.system.ports import bracketed
from wsgilab.system.process import Finished

if TYPE_CHECKING:
    from wsgilab.runtime.own_images import LocustImage, OwnImages

OWN_BASE = "wsgilab-base:trixie"
"""The user's own base image; used where no other is named and the registry's is not present."""
DEFAULT_PYTHON = "3.13"
"""That of the images, but for stacks that are for another."""
_PYTHON = "{python}"
"""What stands for it in LAB_BASE_IMAGE, where that is a template."""
_DEFAULT_TEMPLATE = f"python:{_PYTHON}-slim-trixie"
DEFAULT_BASE = _DEFAULT_TEMPLATE.replace(_PYTHON, DEFAULT_PYTHON)
OWN = "wsgilab"
"""The names of the lab's own images begin with this and a slash."""
OWN_POSTGRES = f"{OWN}/postgres"
"""PostgreSQL from Debian's package, built on the base image; used where no other is named and the base is OWN_BASE."""
DEFAULT_POSTGRES = "postgres:17-alpine"

_SHORT = 12
"""Characters of a digest that are part of a tag."""

LOOPBACK = "127.0.0.1"
"""Where targets are published on this machine: out of other machines' reach."""

CONFINED: Mapping[str, Any] = MappingProxyType(
    {"network_mode": "none", "read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"]}
)
"""What a container is made with that only answers a question."""

_API_S = 30


class Compose:
    """Docker Compose, and a client of the engine's own API beside it."""

    def __init__(
        self,
        project: Path,
        engine: Engine,
        lab_id: str,
        catalogue_file: Path | None,
        ports: str,
        publish: str = LOOPBACK,
    ) -> None:
        """Targets are published in the range `ports`, or at any free ones, of the engine's own address `publish`."""
        self.docker = engine.docker
        self.endpoint = engine.endpoint
        self._project = project
        self.lab_id = lab_id
        self._ports = ports
        self._publish = bracketed(publish)
        self.checkout = hashlib.sha256(str(project).encode()).hexdigest()[:8]
        """Distinguishes this checkout's images from those of any other."""
        self.lab_files = [project / "compose" / "compose.yaml"]
        """The files of the backends, of the swarm, and of the checkout's own catalogue."""
        self._catalogue_file = catalogue_file
        self._rows: Path | None = None
        """The services of rows of the user's own; None: there are none."""
        self.stacks = project / "services" / "stacks"
        self.own: OwnImages | None = None
        """Of a user's own application, once it is prepared; None: servers have the lab's."""
        self.against: OwnImages | None = None
        """Of what that is compared with; None: it is measured alone."""
        self.locust: LocustImage | None = None
        """The swarm's image, where the Locust files of a user's own application import more than Locust."""
        self.kept: set[str] = set()
        """Images that were built of the user's own files, and are in use."""
        with engine_errors():
            self.client = _Client(base_url=engine.endpoint.host, tls=_certificates(engine.endpoint), timeout=_API_S)

    @property
    def server_files(self) -> list[Path]:
        """The files of the servers."""
        if self.own is None and self._rows is None:
            return self.lab_files if self._catalogue_file is None else [self._catalogue_file]
        # Not the file that includes the catalogue: what is included cannot be changed by another file.
        own = (each.file for each in (self.own, self.against) if each is not None)
        return [self._catalogue, *([self._rows] if self._rows else []), *own]

    @property
    def _catalogue(self) -> Path:
        return self._catalogue_file or self._project / "compose" / "servers.yaml"

    def know(self, servers: Collection[Server], file: Path) -> None:
        """Have a service for each of `servers`: those that are rows of the user's own are written to `file`, each as the service
        that it extends with what it has of its own. Raises EngineError where that is not there."""
        self._rows = None
        rows = {each.name: each for each in servers if each.extends is not None}
        if not rows:
            return
        there = load_yaml(self._catalogue.read_text(), str(self._catalogue))["services"]
        if missing := [each.extends for each in rows.values() if each.extends not in there]:
            raise EngineError(f"{self._catalogue}: has no {missing[0]} any more, which a row extends; put it back")
        services = {
            name: {
                **_of_stack(there[row.extends], row.stack),
                "command": list(row.command),
                "environment": dict(row.environment),
            }
            for name, row in rows.items()
        }
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump({"services": services}, sort_keys=False, width=1000))
        self._rows = file

    @property
    def swarm_files(self) -> list[Path]:
        """The files of the swarm, and of what runs in its image."""
        return self.lab_files if self.locust is None else [*self.lab_files, self.locust.file]

    def argv(self, project: str, files: Collection[Path]) -> list[str]:
        """The command line for a Compose project of that name, up to the subcommand."""
        argv = [self.docker, "compose", "--project-name", project]
        argv += ["--project-directory", str(self._project / "compose")]
        for file in files:
            argv += ["--file", str(file)]
        return argv

    def environment(self, cpus: str, base: str | None = None) -> dict[str, str]:
        """Every variable that the files use, so that none of the user's own gets in by chance. `base`: what images are built on."""
        return {
            **self.endpoint.environment(),
            "LAB_ID": self.lab_id,
            "LAB_SERVER_CPUS": cpus,
            "LAB_SWARM_CPUS": cpus,
            "LAB_BACKEND_CPUS": cpus,
            "LAB_PORTS": self._ports,
            "LAB_PUBLISH": self._publish,
            "LAB_BASE_IMAGE": base or self.base_image(),
            "LAB_TAG": self.tag,
            "LAB_CHECKOUT": self.checkout,
            "LAB_POSTGRES_IMAGE": self.postgres_image(),
            **dict.fromkeys(ADDRESS_VARIABLES, ""),
            # Backends are reached by their names.
            **dict.fromkeys(map(backend_variable, backends(WORKLOADS)), ""),
            "COMPOSE_FILE": "",
            **(self.own.variables if self.own else {}),
            **(self.against.variables if self.against else {}),
        }

    def run(
        self, project: str, files: Collection[Path], *words: str, cpus: str, timeout_s: float, base: str | None = None
    ) -> Finished:
        """Run the subcommand `words` to its end. Raises EngineError where it cannot start, or takes too long."""
        # Compose leaves there what it makes of a Dockerfile that stands in a file of services.
        scratch = tempfile.TemporaryDirectory(prefix=f"wsgilab-{self.lab_id}-compose-", ignore_cleanup_errors=True)
        try:
            with scratch as folder:
                return process.run(
                    self.argv(project, files) + list(words),
                    cwd=self._project,
                    env={**self.environment(cpus, base), "TMPDIR": folder},
                    timeout_s=timeout_s,
                )
        except (OSError, process.TooSlow) as error:
            raise EngineError(f"docker compose {words[0]}: {error}; does the engine still answer?") from None

    @functools.cached_property
    def tag(self) -> str:
        """The tag of all images: a digest of what they are built from, and the checkout. Computed once: later edits are not used."""
        return f"{origin.of_images(self._project, self.base_image())[:_SHORT]}-{self.checkout}"

    def image(self, stack: str) -> str:
        """The name of the image of one of the lab's stacks, with the user's own application where that goes with it."""
        if stack == SWARM and self.locust is not None:
            return self.locust.name
        if self.own is not None and stack in self.own.images:
            return self.own.images[stack]
        return f"{OWN}/{stack}:{self.tag}"

    def own_image(self, stack: str, *made_of: str) -> str:
        """The name of a stack's image with a user's own application, by all that it is made of beside the lab's own files."""
        digest = hashlib.sha256("\n".join([*made_of, self.tag]).encode()).hexdigest()
        return f"{OWN}/own-{stack}:{digest[:_SHORT]}-{self.checkout}"

    def base_image(self, python: str | None = None) -> str:
        """The image that the lab's own are built on, or those that are for the version `python`.

        It is one for all where LAB_BASE_IMAGE names it, or it is the user's own.
        """
        template = os.environ.get("LAB_BASE_IMAGE")
        if not template:
            template = OWN_BASE if self.has(OWN_BASE) and not self.has(DEFAULT_BASE) else _DEFAULT_TEMPLATE
        return template.replace(_PYTHON, python or DEFAULT_PYTHON)

    def postgres_image(self) -> str:
        """The image of the backend postgres."""
        named = os.environ.get("LAB_POSTGRES_IMAGE")
        if named and named != OWN_POSTGRES:
            return named
        is_own = named or (self.base_image() == OWN_BASE and not self.has(DEFAULT_POSTGRES))
        return self.image("postgres") if is_own else DEFAULT_POSTGRES

    def has(self, image: str) -> bool:
        """Whether the engine has an image of that name."""
        with engine_errors():
            try:
                self.client.images.get(image)
            except docker.errors.ImageNotFound:
                return False
        return True


def docker_client(compose: Compose, *words: str, timeout_s: float, **environment: str) -> Finished:
    """Run Docker's own client, which has the user's registries and logins, to its end, with more of an `environment`. Raises EngineError
    where it cannot start, or takes too long."""
    variables = {**compose.endpoint.environment(), **environment}
    try:
        return process.run([compose.docker, *words], timeout_s=timeout_s, env=variables)
    except (OSError, process.TooSlow) as error:
        raise EngineError(f"docker {words[0]}: {error}; does the engine still answer?") from None


class _Api(docker.APIClient):
    """Docker's own client, which ignores the environment's proxies and certificates: those are for the public network."""

    @property
    def trust_env(self) -> bool:
        """Read-only here: `requests`, of whose session this is an attribute, would set it."""
        return False

    @trust_env.setter
    def trust_env(self, _: bool) -> None: ...


class _Client(docker.DockerClient):
    def __init__(self, **words: Any) -> None:
        self.api = _Api(**words)


def _certificates(endpoint: Endpoint) -> TLSConfig | Literal[False]:
    """The endpoint's certificates for Docker's library; its command-line client reads the folder by itself."""
    if not endpoint.tls:
        return False
    ca, certificate, key = (str(Path(endpoint.tls, name)) for name in CERTIFICATES)
    return TLSConfig(client_cert=(certificate, key), ca_cert=ca, verify=True)


def _of_stack(service: Mapping[str, Any], stack: str) -> Mapping[str, Any]:
    """A service of the catalogue, on that stack: its own, or one with another release."""
    if RELEASE not in stack:
        return service
    build = {**service["build"], "args": {**service["build"]["args"], "STACK": stack}}
    return {**service, "build": build, "image": f"{OWN}/{stack}:${{LAB_TAG:-latest}}"}
