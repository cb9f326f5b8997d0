"""Two versions of an application in one run: what a repository has at a revision, and what either version is installed with.

The user's repository is only read. A revision's files are checked out into a folder of the lab's, which is a repository of its own
that borrows the objects of the user's: so neither index nor branches nor working tree of the user's are touched, and what a
revision has is what a checkout of it would have.
"""

import contextlib
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wsgilab.experiment import versions
from wsgilab.model import Application, ApplicationSettings, Server
from wsgilab.model.application import Version
from wsgilab.model.errors import LabError, UsageError
from wsgilab.model.experiment import AGAINST
from wsgilab.runtime import source as sources
from wsgilab.runtime.origin import ask_git, git
from wsgilab.runtime.protocol import Say
from wsgilab.system import process

_CHECK_OUT_S = 300.0
_SHA1 = 40
"""Characters of such a digest. A repository has these, or the longer ones of SHA-256."""
_SUBMODULE = "160000"
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_LARGEST_POINTER = 1024
_OTHER_FILE = "check it out yourself, and name the application file there in place of the revision"


# --- what a repository has


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A revision of the repository that has an application."""

    repository: Path
    """Its top folder."""
    name: str
    """As the user has named it."""
    commit: str


def find(application: Application, name: str) -> Revision:
    """The revision `name` of the repository that has an application's source, or its image's build context. Raises UsageError."""
    folder = code(application)
    top = _ask(folder, f"--against {name}: {folder} is in no git repository", "rev-parse", "--show-toplevel")
    commit = None if name.startswith("-") else git(Path(top), "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    if not commit:
        is_shallow = git(Path(top), "rev-parse", "--is-shallow-repository") == "true"
        remedy = (
            "its history is not all here: fetch the revision first (git fetch --unshallow, or fetch-depth: 0 where GitHub checks out)"
            if is_shallow
            else "name one that `git log` knows there, or an application file, which ends in .yaml"
        )
        raise UsageError(f"--against {name}: is no revision of the repository {top}; {remedy}")
    return Revision(repository=Path(top), name=name, commit=commit)


def code(application: ApplicationSettings) -> Path:
    """The folder that has an application's code. Raises UsageError where it comes in an image that is not built here."""
    if application.image is not None:
        raise UsageError(
            f"--against: image {application.image} is the same at every revision; name another application file, which has the other "
            "image"
        )
    return Path(application.build or application.source)


def text(revision: Revision, file: Path) -> str | None:
    """The text of a file at a revision; None where it was not there."""
    inside = _inside(revision.repository, file)
    return None if inside is None else git(revision.repository, "show", f"{revision.commit}:{inside}")


def current(application: Application) -> tuple[str, str | None]:
    """What the source of an application is called as it is now, and its revision: `HEAD`, with what is not committed if there is
    such. Without git it is its own folder."""
    folder = Path(application.build or application.source)
    head = git(folder, "rev-parse", "--verify", "--quiet", "HEAD") if folder.is_dir() else None
    if not head:
        return str(folder), None
    is_changed = git(folder, "status", "--porcelain", "--", ".") != ""
    return ("HEAD with uncommitted changes" if is_changed else "HEAD"), head


def _inside(repository: Path, path: Path) -> str | None:
    """A path within a repository; None where it is not in it."""
    whole = path.resolve()
    return whole.relative_to(repository).as_posix() if whole.is_relative_to(repository) else None


def _ask(folder: Path, what: str, *words: str) -> str:
    """What git says in a folder. Raises UsageError, which begins with `what`, where it fails."""
    try:
        finished = ask_git(folder, *words, timeout_s=_CHECK_OUT_S, GIT_LFS_SKIP_SMUDGE="1")
    except OSError:
        raise UsageError(f"{what}: there is no git here; install it") from None
    except process.TooSlow as error:
        raise UsageError(f"{what}: {error}") from None
    if finished.code != 0:
        raise UsageError(f"{what}: {finished.last_line.removeprefix('fatal: ').removeprefix('error: ')}")
    return finished.stdout.strip()


# --- its files


@contextlib.contextmanager
def checked_out(application: Application, into: Path) -> Iterator[Application]:
    """An application whose other version, where that is a revision, has its files in the new folder `into`, which is removed on exit.

    Raises UsageError where the revision lacks what the application needs.
    """
    version = application.against
    if version is None or version.revision is None:
        yield application
        return
    sources.removed(into)
    try:
        settings = _check_out(application, version, into)
        yield replace(application, against=replace(version, application=settings))
    finally:
        sources.removed(into)


def _check_out(application: Application, version: Version, into: Path) -> ApplicationSettings:
    """Where the other version's files are by then, in `into`."""
    settings, what = version.application, f"--against {version.name}"
    if settings.image is not None:
        return settings
    revision = find(application, version.revision or version.name)
    key = "source" if settings.build is None else "build"
    folder = settings.build or settings.source
    inside = _inside(revision.repository, Path(folder).resolve())
    if inside is None:
        raise UsageError(f"{what}: {key} {folder} is not in the repository {revision.repository}; {_OTHER_FILE}")
    kind = git(revision.repository, "cat-file", "-t", f"{revision.commit}:{'' if inside == '.' else inside}")
    if kind != "tree":
        raise UsageError(f"{what}: {key} {folder} is no folder at that revision; {_OTHER_FILE}")
    objects = Path(revision.repository, git(revision.repository, "rev-parse", "--git-path", "objects") or "")
    try:
        into.mkdir(parents=True)
        digests = [] if len(revision.commit) == _SHA1 else ["--object-format=sha256"]
        _ask(into, what, "init", "--quiet", "--template=", *digests)
        information = into / ".git" / "objects" / "info"
        information.mkdir(parents=True, exist_ok=True)
        (information / "alternates").write_text(f"{objects}\n")
    except OSError as error:
        raise UsageError(f"{what}: {error.filename}: cannot be written ({error.strerror}); is the disk full?") from None
    words = (
        "-c",
        f"core.hooksPath={os.devnull}",
        "--literal-pathspecs",
        "checkout",
        "--quiet",
        revision.commit,
        "--",
        inside,
    )
    _ask(into, what, *words)
    _check_whole(revision, inside, into, what)
    there: dict[str, Any] = {key: str(into / inside)}
    if settings.env_file is not None:
        there["env_file"] = _env_file(settings, into, revision)
    return replace(settings, **there)


def _env_file(settings: ApplicationSettings, into: Path, revision: Revision) -> str:
    """Of the revision, or else the user's own: hardly anybody commits secrets."""
    own = Path(settings.env_file or "") if settings.has_image else Path(settings.source, settings.env_file or "")
    inside = _inside(revision.repository, own)
    if inside is not None and (into / inside).is_file():
        return str(into / inside)
    return str(own.absolute())


def _check_whole(revision: Revision, inside: str, into: Path, what: str) -> None:
    """Raises UsageError where the working tree has files that a checkout of the revision lacks: those of submodules, and of Git LFS."""
    within = () if inside == "." else ("--", inside)
    listed = git(revision.repository, "ls-tree", "-r", "-z", revision.commit, *within) or ""
    for entry in filter(None, listed.split("\0")):
        path = entry.partition("\t")[2]
        if entry.startswith(_SUBMODULE) and _has_files(revision.repository / path):
            raise UsageError(f"{what}: {path} is a submodule, and none is checked out with a revision; {_OTHER_FILE}")
    for pointer in _pointers(into):
        if (own := revision.repository / pointer).is_file() and not _is_pointer(own):
            raise UsageError(f"{what}: {pointer} is kept in Git LFS, and its content is not fetched; {_OTHER_FILE}")


def _has_files(folder: Path) -> bool:
    return folder.is_dir() and any(each.name != ".git" for each in folder.iterdir())


def _pointers(folder: Path) -> Iterable[Path]:
    """Files that stand for content in Git LFS, relative to `folder`."""
    for each, folders, files in os.walk(folder):
        if ".git" in folders:
            folders.remove(".git")
        yield from (Path(each, name).relative_to(folder) for name in files if _is_pointer(Path(each, name)))


def _is_pointer(file: Path) -> bool:
    if file.is_symlink() or file.stat().st_size > _LARGEST_POINTER:
        return False
    with file.open("rb") as opened:
        return opened.read(len(_LFS_POINTER)) == _LFS_POINTER


# --- what either version is installed with


def of_either(servers: Collection[Server]) -> tuple[Sequence[Server], Sequence[Server]]:
    """The servers of the application itself, and those of what it is compared with."""
    return [each for each in servers if not each.is_against], [each for each in servers if each.is_against]


def with_both(servers: Iterable[Server], present: Collection[str]) -> list[Server]:
    """Those of `servers` of which both versions are `present`, by name."""

    def both(server: Server) -> set[str]:
        name = server.name.removesuffix(AGAINST) if server.is_against else server.name
        return {name, f"{name}{AGAINST}"}

    return [each for each in servers if both(each) <= set(present)]


def known_locks(known: Mapping[str, str], *, is_against: bool) -> Mapping[str, str]:
    """The locks of one of the versions, by stack."""
    return {
        name.removesuffix(AGAINST) if is_against else name: lock
        for name, lock in known.items()
        if name.endswith(AGAINST) == is_against
    }


def beside(own: Mapping[str, str], there: Mapping[str, str]) -> dict[str, str]:
    """What is known of the stacks of both versions, such as their locks, by the names that a run has for them."""
    return {**own, **{f"{stack}{AGAINST}": each for stack, each in there.items()}}


@contextlib.contextmanager
def the_other(application: Application, say: Say) -> Iterator[tuple[Application, Say]]:
    """What an application is compared with, and what says something of that. Errors within are prefixed with its name."""
    assert application.against is not None, "there is one"
    name = application.against.name
    with named(name):
        yield versions.other(application), lambda line: say(f"{name}: {line}")


@contextlib.contextmanager
def named(name: str) -> Iterator[None]:
    """Prefix errors with the name of a version."""
    try:
        yield
    except LabError as error:
        raise type(error)(f"{name}: {error.message}", detail=error.detail) from None
