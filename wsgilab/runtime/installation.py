"""What is installed on an engine: the lab's images, and the images and services of a user's own application."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from wsgilab.model import Backend, Server
from wsgilab.model.application import Application
from wsgilab.runtime import images, overlay, own_images, versions
from wsgilab.runtime import services as of_compose_file
from wsgilab.runtime import source as sources
from wsgilab.runtime.command import Compose
from wsgilab.runtime.own_images import OwnImages, Wanted
from wsgilab.runtime.protocol import Say
from wsgilab.runtime.services import Services


class Installation:
    """Of one engine. What it has of a user's own application is in `compose.own`."""

    def __init__(self, compose: Compose, files: Path, needs: Collection[str]) -> None:
        """`files`: a folder for what is generated. `needs`: services that run there beside the servers."""
        self._compose = compose
        self._files = files
        self._needs = needs
        self.services: Services | None = None
        """Of a Compose file of the user's own."""
        self._images: dict[tuple[str | None, str | None], str] = {}
        self._services: dict[tuple[tuple[str, str], ...], tuple[Services, Mapping[str, str]]] = {}
        """Files and services -> what was read and installed."""

    def prepare(
        self,
        servers: Collection[Server],
        backends: Collection[Backend],
        say: Say,
        application: Application | None,
        locks: Mapping[str, str],
        services_project: str,
    ) -> Mapping[str, str]:
        """As `Runtime.prepare`. `services_project`: the name of the project that services of a Compose file are."""
        self._compose.own = self._compose.against = self.services = self._compose.locust = None
        self._compose.know(servers, self._files / "rows.yaml")
        if application is None:
            return images.prepare(self._compose, servers, backends, self._needs, say)
        self.services = self._installed_services(backends, say)[0]
        mine, theirs = versions.of_either(servers)
        wanted = Wanted(
            compose=self._compose,
            application=application,
            servers=mine,
            known=versions.known_locks(locks, is_against=False),
            folder=self._files,
            network=None if self.services is None else f"{services_project}_default",
            say=say,
        )
        folders = [wanted.files]
        try:
            own, against = self._settled(wanted), None
            if application.against is not None:
                with versions.the_other(application, say) as (other, tell):
                    beside = replace(
                        wanted,
                        application=other,
                        servers=theirs,
                        known=versions.known_locks(locks, is_against=True),
                        folder=self._files / "against",
                        say=tell,
                        prefix="LAB_AGAINST_SECRET_",
                    )
                    folders.append(beside.files)
                    against = self._settled(beside)
                # Neither has superseded the other's.
                self._compose.kept.update(own.images.values(), against.images.values())
            self._compose.own, self._compose.locust = own, own.locust
            able = [each for each in mine if each.stack in own.images]
            digests = images.prepare(self._compose, able, backends, self._needs, say)
            if against is not None:
                with versions.the_other(application, say) as (_, tell):
                    digests = versions.beside(digests, self._built(against, theirs, tell))
            return digests
        finally:
            for each in folders:
                sources.removed(each)

    def _settled(self, wanted: Wanted) -> OwnImages:
        if wanted.application.has_image:
            return overlay.settle(wanted, self._own_image(wanted.application, wanted.say))
        return own_images.settle(wanted)

    def _built(self, against: OwnImages, servers: Collection[Server], say: Say) -> Mapping[str, str]:
        """The images of what the application is compared with. Stack -> digest."""
        own = self._compose.own
        self._compose.own = against
        try:
            able = [each for each in servers if each.stack in against.images]
            return images.prepare(self._compose, able, (), (), say)
        finally:
            self._compose.own, self._compose.against = own, against

    def prepare_users(self, application: Application, say: Say, locks: Mapping[str, str]) -> Mapping[str, str]:
        """As `prepare`, on a machine that has no servers: what runs there, with what the Locust files of `application` import."""
        self._compose.own = self.services = None
        files = self._files / "files"
        sources.removed(files)
        try:
            self._compose.locust = own_images.locust_image(self._compose, application, locks, self._files)
            return images.prepare(self._compose, (), (), self._needs, say)
        finally:
            sources.removed(files)

    def identify(self, application: Application, backends: Collection[Backend], say: Say) -> Mapping[str, str]:
        """As `Runtime.identify`."""
        if application.has_image:
            found = {overlay.IMAGE: overlay.digest(self._compose, self._own_image(application, say))}
        else:
            found = dict(sources.recorded(sources.read(application)))
        return {**found, **self._installed_services(backends, say)[1]}

    def _own_image(self, application: Application, say: Say) -> str:
        """The image that has the application, built or pulled once: what a run has recorded is what it starts."""
        key = (application.image, application.build)
        if key not in self._images:
            self._images[key] = overlay.present(self._compose, application, say)
        return self._images[key]

    def _installed_services(self, backends: Collection[Backend], say: Say) -> tuple[Services | None, Mapping[str, str]]:
        """Those of a Compose file of the user's own, read and installed once, with the digests that a run records."""
        key = tuple((each.compose, each.name) for each in backends if each.compose)
        if key and key not in self._services:
            found = of_compose_file.read(self._compose, backends)
            self._services[key] = found, of_compose_file.install(self._compose, found, self._files, say)
        return self._services.get(key, (None, {}))
