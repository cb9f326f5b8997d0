"""The digests of the files that a checkout measures and measures with, and their revision."""

import hashlib
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from wsgilab.model import Origin
from wsgilab.model.errors import LabError
from wsgilab.model.experiment import RELEASE
from wsgilab.system import process
from wsgilab.system.process import Finished

APPLICATION, LOCUSTFILES, GENERATOR, LOCKS, BACKENDS = "application", "Locust files", "generator", "locks", "backends"
OWN = "your application"
"""A user's own, which is measured in the place of the lab's."""
OWN_LOCUST = "your Locust files"
"""With what was brought along of their folders."""

_PATTERNS: Mapping[str, Collection[str]] = {
    APPLICATION: ("services/app/**/*", "services/door/**/*"),
    LOCUSTFILES: ("locustfiles/**/*",),
    GENERATOR: ("wsgilab/load/**/*.py", "wsgilab/analysis/inflight.py"),
    BACKENDS: ("services/backends/**/*", "compose/backends.yaml"),
}
_BUILT_FROM = ("services/**/*", "locustfiles/**/*", "wsgilab/**/*", "compose/*.yaml")
"""What images are built from, as in .dockerignore, and how."""
_GIT_S = 10.0
NOTHING_OWN: Mapping[str, Mapping[str, str]] = MappingProxyType({})


def read(
    project: Path, stacks: Iterable[str], *, backends: bool, own: Mapping[str, Mapping[str, str]] = NOTHING_OWN
) -> Origin:
    """The files in the checkout `project` now, with the locks of `stacks`, and with those of the `backends` if there are any.

    `own`: parts that are the user's own, such as OWN, with the digests of their files. Raises LabError where a file cannot be read.
    """
    files = {
        part: _digests(project, (path for pattern in patterns for path in project.glob(pattern)))
        for part, patterns in _PATTERNS.items()
        if backends or part != BACKENDS
    }
    files[LOCKS] = _digests(project, (project / f"services/stacks/{stack}/requirements.txt" for stack in stacks))
    files |= own
    revision = _revision(project)
    return Origin(files=files, revision=revision, dirty=None if revision is None else _is_dirty(project))


def of_images(project: Path, base_image: str) -> str:
    """SHA-256 over names and contents of what images are built from, and the name of their base. Raises LabError."""
    # Of a stack with another release the name says it all, and one more of these is no reason to build all images anew.
    paths = (path for pattern in _BUILT_FROM for path in project.glob(pattern))
    files = _digests(project, (path for path in paths if RELEASE not in path.parent.name))
    listed = "".join(f"{path} {content}\n" for path, content in files.items())
    return hashlib.sha256(f"{base_image}\n{listed}".encode()).hexdigest()


def digest(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal. Raises LabError."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise LabError(f"{path}: cannot be read ({error.strerror}); it is part of what is measured") from None


def _digests(project: Path, paths: Iterable[Path]) -> Mapping[str, str]:
    """Path within the project -> digest. Without bytecode, and without an editor's hidden files."""
    return {
        str(path.relative_to(project)): digest(path)
        for path in sorted(set(paths))
        if path.is_file() and path.suffix != ".pyc" and not path.name.startswith(".")
    }


def _revision(project: Path) -> str | None:
    """None where the project is no git checkout by itself, such as a folder within another one."""
    if git(project, "rev-parse", "--show-prefix") != "":
        return None
    return git(project, "rev-parse", "--verify", "--quiet", "HEAD") or None


def _is_dirty(project: Path) -> bool | None:
    """Whether files differ from the revision, or are not part of it. None where git cannot tell."""
    status = git(project, "status", "--porcelain")
    return None if status is None else status != ""


def git(project: Path, *words: str) -> str | None:
    """The output of git in a folder; None where there is no git, or it fails."""
    try:
        finished = ask_git(project, *words)
    except (OSError, process.TooSlow):
        return None
    return finished.stdout.strip() if finished.code == 0 else None


def ask_git(project: Path, *words: str, timeout_s: float = _GIT_S, **more: str) -> Finished:
    """Git in a folder, to its end, with `more` environment variables. Raises OSError where there is none, and TooSlow."""
    # Without the user's own GIT_DIR and the like. No lock is taken, and no hook is run.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    argv = ["git", "-C", str(project), "-c", "core.fsmonitor=false", *words]
    return process.run(argv, timeout_s=timeout_s, env={**inherited, "GIT_OPTIONAL_LOCKS": "0", **more})
