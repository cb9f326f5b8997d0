"""Environments for processes of this machine: one for each stack, and one for each stack with a user's own application."""

import hashlib
import json
import os
import platform
import shutil
import sys
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

from uv import find_uv_bin

from wsgilab.model import Backend, Server
from wsgilab.model.application import Application
from wsgilab.model.errors import BuildError
from wsgilab.runtime import application as applications
from wsgilab.runtime import lock_text, stacks
from wsgilab.runtime import source as sources
from wsgilab.runtime.application import INDEXES, LOCUST, LOCUST_INDEXES, Installed
from wsgilab.runtime.protocol import NO_LOCKS, SWARM, Say
from wsgilab.runtime.resolving import Target
from wsgilab.runtime.stacks import Needs
from wsgilab.system import process

_INSTALL_S = 300.0
_FIND_S = 10.0


class Environments:
    """Those of a lab, in its state folder. Each has its lock's digest in its name."""

    def __init__(self, project: Path, state: Path) -> None:
        self._project = project
        self._stacks = state / "stacks"
        self._own = state / "application"
        """Those with a user's own application, and what they were made from."""
        self.installed: Installed | None = None
        """The user's own application."""
        self._locust = ""
        """The lock of what the user's own Locust files import beside Locust; empty where there is nothing."""
        self._python = sys.executable
        """Its interpreter."""
        self._pythons: dict[str, tuple[str, str]] = {}
        """Stack -> the interpreter of one of the lab's own, and which build of Python that is, once it was looked for."""

    @property
    def locks(self) -> Mapping[str, str]:
        """Stack -> its lock, of the stacks with a user's own application, and that of LOCUST."""
        own = self.installed.locks if self.installed else NO_LOCKS
        return {**own, LOCUST: self._locust} if self._locust else own

    @property
    def locust_packages(self) -> Path | None:
        """Where the user's own Locust files find what they import beside Locust; None where that is nothing."""
        if not self._locust:
            return None
        digest = hashlib.sha256(f"{self._locust}\n{sys.version}".encode()).hexdigest()
        return self._own / f"{LOCUST}-{digest[:12]}"

    def prepare(
        self,
        servers: Collection[Server],
        backends: Collection[Backend],
        say: Say,
        application: Application | None,
        locks: Mapping[str, str],
    ) -> Mapping[str, str]:
        """Install what servers, backends and the swarm need, as far as it is not there. Stack -> digest. Raises BuildError."""
        self.installed, self._locust, digests = None, "", {}
        stacks = {backend.stack for backend in backends} | {SWARM}
        try:
            if application is None:
                stacks |= {server.stack for server in servers}
            else:
                stacks |= self._settle(application, servers, locks, say)
            for stack in sorted(stacks):
                needs = self._needs(stack)
                try:
                    digests[stack] = self._installed(stack, needs, say)
                except BuildError as error:
                    if needs.are_usual:
                        raise
                    left_out = ", ".join(each.name for each in servers if each.stack == stack)
                    say(f"Left out: {left_out}: {error.message}")
            if (beside := self.locust_packages) and not (beside / ".complete").exists():
                say("Installing what your Locust files import ...")
                self._install_beside(beside)
        finally:
            sources.removed(self._own / "files")
        return digests

    def sweep(self) -> None:
        """Remove what an installation that was killed has left beside the environments."""
        sources.removed(self._own / "files")

    def clean(self) -> None:
        """Remove all environments."""
        for environments in (self._stacks, self._own):
            shutil.rmtree(environments, ignore_errors=True)

    @property
    def own(self) -> frozenset[str]:
        """The names of those with a user's own application that are in use."""
        beside = self.locust_packages
        names = {self.folder(stack).name for stack in self.installed.locks} if self.installed else set[str]()
        return frozenset(names | ({beside.name} if beside else set()))

    def remove_others(self, used: Collection[str]) -> None:
        """Remove those with a user's own application but for `used`."""
        for environment in self._own.glob("*-*"):
            if environment.name not in used:
                shutil.rmtree(environment, ignore_errors=True)

    def _settle(
        self, application: Application, servers: Collection[Server], known: Mapping[str, str], say: Say
    ) -> AbstractSet[str]:
        """The stacks of `servers` that go with a user's own application."""
        self._python = _interpreter(application.python)
        target = Target(
            options=("--python", self._python),
            name=f"Python {application.python or platform.python_version()} on {platform.machine()}",
        )
        stacks, files = self._project / "services" / "stacks", self._own / "files"
        self.installed = applications.settle(application, servers, stacks, target, known, files, say)
        lab = Target(
            options=("--python", sys.executable), name=f"Python {platform.python_version()} on {platform.machine()}"
        )
        self._locust, _ = applications.locust_lock(application, stacks, lab, known, files)
        return self.installed.locks.keys()

    def _needs(self, stack: str) -> Needs:
        """With a user's own application, whose packages are all wheels and for one Python, nothing of its own."""
        return Needs() if stack in self.locks else stacks.needs(self._project / "services" / "stacks" / stack)

    def _installed(self, stack: str, needs: Needs, say: Say) -> str:
        """The digest of a stack, which is installed if it is not there yet. Raises BuildError."""
        if not needs.root and os.geteuid() == 0:
            raise BuildError(f"stack {stack} does not run as root, but in containers")
        if not (self.folder(stack) / ".complete").exists():
            say(f"Installing the stack {stack} ...")
            self._install(stack, needs)
        return self._digest(stack)

    def _python_of(self, stack: str) -> tuple[str, str]:
        """The interpreter of one of the lab's own stacks, and which build of Python that is. Raises BuildError where there is none."""
        if stack not in self._pythons:
            needs = self._needs(stack)
            usual = (sys.executable, f"{platform.python_implementation()} {sys.version}")
            self._pythons[stack] = usual if needs.python is None else _python_for(stack, needs.python)
        return self._pythons[stack]

    def _lock(self, stack: str) -> Path:
        lock = self._project / "services" / "stacks" / stack / "requirements.txt"
        if not lock.is_file():
            known = ", ".join(sorted(path.parent.name for path in lock.parent.parent.glob("*/requirements.txt")))
            raise BuildError(f"stack {stack!r} has no {lock.relative_to(self._project)}; the stacks are {known}")
        return lock

    def _digest(self, stack: str) -> str:
        if stack in self.locks and self.installed is not None:
            content = self.locks[stack] + f"\n{self._python} {sys.version}"
            if lock_text.local_folders(self.locks[stack]):
                content += self.installed.source.digest
        else:
            content = self._lock(stack).read_text() + f"\n{self._python_of(stack)[1]}"
        return "sha256:" + hashlib.sha256(content.encode()).hexdigest()

    def folder(self, stack: str) -> Path:
        """Of the environment of a stack, installed or not."""
        folder = self._own if stack in self.locks else self._stacks
        return folder / f"{stack}-{self._digest(stack).removeprefix('sha256:')[:12]}"

    def _install(self, stack: str, needs: Needs) -> None:
        environment, uv = self.folder(stack), find_uv_bin()
        # An environment without its mark was not finished; environments cannot be moved, so it begins anew.
        shutil.rmtree(environment, ignore_errors=True)
        is_own, files = stack in self.locks, self._own / "files"
        lock = files / "locks" / f"{stack}.txt" if is_own else self._lock(stack)
        python = ("--python", str(environment / "bin" / "python"))
        venv = [
            uv,
            "venv",
            "--quiet",
            "--no-project",
            "--python",
            self._python if is_own else self._python_of(stack)[0],
        ]
        sync = [uv, "pip", "sync", "--quiet", "--require-hashes", "--compile-bytecode", *python, str(lock)]
        commands = [[*venv, str(environment)], [*sync, *([str(files / INDEXES)] if is_own else [])]]
        if folders := lock_text.local_folders(self.locks.get(stack, "")):
            paths = [str(files / "source" / folder) for folder in folders]
            commands.append([uv, "pip", "install", "--quiet", "--no-deps", "--no-cache", *python, *paths])
        where = "" if is_own else f", and {lock.relative_to(self._project)} unchanged"
        for argv in commands:
            _run(argv, f"stack {stack} does not install", where, needs)
        (environment / ".complete").touch()

    def _install_beside(self, folder: Path) -> None:
        files = self._own / "files"
        shutil.rmtree(folder, ignore_errors=True)
        argv = [find_uv_bin(), "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--python", sys.executable]
        argv += ["--target", str(folder), "--requirements", str(files / "locks" / f"{LOCUST}.txt")]
        _run([*argv, "--requirements", str(files / LOCUST_INDEXES)], "locust_requirements do not install", "", Needs())
        (folder / ".complete").touch()


def _run(argv: Sequence[str], what: str, where: str, needs: Needs) -> None:
    """Raises BuildError, which begins with `what`, where it fails."""
    try:
        finished = process.run(argv, timeout_s=_INSTALL_S)
    except process.TooSlow as error:
        raise BuildError(f"{what}: {error}; is the package index in reach?") from None
    if finished.code != 0:
        remedy = f"is the package index in reach{where}?"
        if needs.debian:
            remedy = f"it is compiled, for which Debian has {', '.join(needs.debian)}"
        raise BuildError(f"{what}: {finished.last_line}; {remedy}", detail=finished.stderr)


def _interpreter(wanted: str | None) -> str:
    """The Python of that version on this machine; None: the lab's own. Raises BuildError where there is none."""
    if wanted is None:
        return sys.executable
    if (found := _find(wanted)) is None:
        raise BuildError(
            f"python: {wanted}: is not on this machine; install it, or leave `python` out (the lab's own is "
            f"{platform.python_version()})"
        )
    return found


def _python_for(stack: str, wanted: str) -> tuple[str, str]:
    """The Python on this machine that a stack is for, and which build of it that is. Raises BuildError where there is none."""
    if (interpreter := _find(wanted)) is not None:
        asked = process.run([interpreter, "-S", "-E", "-c", stacks.ASK], timeout_s=_FIND_S)
        found = json.loads(asked.stdout) if asked.code == 0 else None
        # Where there is no other, uv takes a free-threaded one for a version without a letter.
        if found is not None and stacks.is_wanted(wanted, found):
            return interpreter, f"{interpreter} {found['build']}"
    raise BuildError(
        f"stack {stack} is for {stacks.spelt(wanted)}, which is not on this machine; put it on PATH, or where "
        f"`uv python install {wanted}` would"
    )


def _find(wanted: str) -> str | None:
    """The path of that Python on this machine, by uv; None where there is none."""
    words = ["python", "find", "--system", "--no-project", "--no-python-downloads", wanted]
    finished = process.run([find_uv_bin(), *words], timeout_s=_FIND_S)
    return finished.stdout.strip() if finished.code == 0 else None
