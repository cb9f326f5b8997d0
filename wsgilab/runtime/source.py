"""The source of a user's own application: which of its files servers get, and their copies; and the same of the folders of its
Locust files. The folders themselves are only read."""

import fnmatch
import hashlib
import io
import itertools
import os
import shutil
import stat
import tarfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from wsgilab.model.application import Application, LocustFile
from wsgilab.model.errors import TargetError, UsageError
from wsgilab.model.text import counted
from wsgilab.runtime import origin
from wsgilab.runtime.ignore_files import Rules

LARGEST_MB = 200
"""What may be copied, in millions of bytes."""
LARGEST_LOCUST_MB = 50
"""The same of a Locust file's folder, which the load generator has in memory."""

_NEVER = (".git", ".env*")
"""Not even where git lists them: history, and secrets."""
_USUALLY_NOT = ("__pycache__", "*.pyc", "node_modules", ".hg", ".svn", ".tox", ".nox", "*.egg-info", ".*_cache")
"""Where git does not say."""
_ENVIRONMENT = "pyvenv.cfg"
"""In every virtual environment."""
_IGNORE_FILES = (".gitignore", ".dockerignore")
_ALL = "(all files)"
_MOST_RECORDED = 200
_LONGEST_RECORDED = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Files of an application, as they are now."""

    folder: Path
    """The user's own."""
    files: Mapping[str, str]
    """Path within `folder` -> SHA-256 over what is copied of it: its content, or where a link leads, and whether it can be run."""

    @property
    def digest(self) -> str:
        """SHA-256 over names and contents."""
        listed = "".join(f"{path}\0{content}\n" for path, content in sorted(self.files.items()))
        return hashlib.sha256(listed.encode(errors="surrogateescape")).hexdigest()

    def copy(self, into: Path) -> None:
        """Copy them into a new folder. Raises TargetError where one has changed since, or the copy cannot be written."""
        into.mkdir(parents=True)
        for path, known in self.files.items():
            there = into / path
            try:
                there.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(self.folder / path, there, follow_symlinks=False)
            except OSError as error:
                raise TargetError(f"source {self.folder / path}: cannot be copied ({error.strerror})") from None
            if _digest(there) != known:
                raise self._changed(path)

    def archive(self) -> bytes:
        """They as a compressed tar file. Raises TargetError where one has changed since."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as tar:
            for path, known in self.files.items():
                try:
                    tar.add(self.folder / path, path, recursive=False)
                except OSError:
                    raise self._changed(path) from None
                if _digest(self.folder / path) != known:
                    raise self._changed(path)
        return packed.getvalue()

    def _changed(self, path: str) -> TargetError:
        return TargetError(
            f"source {self.folder / path}: has changed while the lab started; let it rest, and start again"
        )


def read(application: Application) -> Source:
    """What of the application's source is copied. Raises UsageError where it is no folder, is empty, or is too large."""
    folder = Path(application.source).absolute()
    if not folder.is_dir():
        raise UsageError(f"source {application.source}: is no folder; name the one that {application.entry} is in")
    paths = _listed(folder)
    if not paths:
        raise UsageError(f"source {application.source}: has no files; name the folder that {application.entry} is in")
    _check_size(f"source {application.source}", folder, paths, LARGEST_MB, "what the application does not need")
    return Source(folder=folder, files={path: _digest(folder / path) for path in paths})


def locust_folders(application: Application | None, *, is_known: bool = True) -> Mapping[str, Source]:
    """Folder of a Locust file -> what is brought along of it: its files, filtered as a source is, and whatever its Locust files
    import from there. Raises UsageError where that is too large or, with `is_known`, where a Locust file is not the one that the
    application has."""
    own: dict[str, set[str]] = {}
    for file in application.locust_files.values() if application else ():
        if is_known:
            _check_same(file)
        own.setdefault(file.folder, set()).update(each for each in file.files if Path(file.folder, each).is_file())
    found = {}
    for each, code in own.items():
        folder = Path(each).absolute()
        paths = sorted(code.union(_listed(folder)))
        _check_size(f"locustfile: the folder {each}", folder, paths, LARGEST_LOCUST_MB, "what it does not need")
        found[each] = Source(folder=folder, files={path: _digest(folder / path) for path in paths})
    return found


def recorded_locust(folders: Mapping[str, Source]) -> Mapping[str, str]:
    """What a run records of them: a digest of each file or, where they are too many, of each folder."""
    named: dict[str, Source] = {}
    for source in folders.values():
        name = source.folder.name
        names = itertools.chain([name], (f"{name} {number}" for number in itertools.count(2)))
        named[next(each for each in names if each not in named)] = source
    files = {f"{name}/{path}": each for name, source in named.items() for path, each in source.files.items()}
    return _few(files) or {f"{_ALL} of folder {number}": each.digest for number, each in enumerate(named.values(), 1)}


def _check_same(file: LocustFile) -> None:
    for path, known in file.files.items():
        whole = Path(file.folder, path)
        try:
            is_same = hashlib.sha256(whole.read_bytes()).hexdigest() == known
        except OSError as error:
            raise UsageError(f"locustfile {whole}: cannot be read ({error.strerror}); put it back") from None
        if not is_same:
            raise UsageError(
                f"locustfile {whole}: is not as it was when its digest was recorded; put it back, or leave `files` out to measure "
                "it as it is"
            )


def recorded(source: Source) -> Mapping[str, str]:
    """What a run records of it: a digest of all files and, where they are not too many, that of each."""
    return {**_few(source.files), _ALL: source.digest}


def _few(files: Mapping[str, str]) -> Mapping[str, str]:
    fits = all(len(path) <= _LONGEST_RECORDED and path.isprintable() and path[0] != " " for path in files)
    return files if fits and len(files) <= _MOST_RECORDED else {}


def removed(folder: Path) -> None:
    """Remove a copy, if it is there, also one that may not be written to."""
    for each, _, _ in os.walk(folder):
        Path(each).chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


def closed(folder: Path, writable: Collection[str]) -> None:
    """Make all of a copy read-only, but for the folders `writable` of it."""
    opened = {folder / each for each in writable}
    if folder in opened:
        return
    for each, folders, files in os.walk(folder, topdown=True):
        here = Path(each)
        folders[:] = [name for name in folders if here / name not in opened and not (here / name).is_symlink()]
        for name in files:
            if not (here / name).is_symlink():
                (here / name).chmod((here / name).stat().st_mode & ~0o222)
        here.chmod(here.stat().st_mode & ~0o222)


def opened(folder: Path) -> None:
    """Make all of a copy readable for everybody: in an image it is another user's."""
    for each, _, files in os.walk(folder):
        here = Path(each)
        here.chmod(0o755)
        for name in files:
            if not (here / name).is_symlink():
                (here / name).chmod(0o755 if (here / name).stat().st_mode & 0o100 else 0o644)


# --- which files


def _listed(folder: Path) -> Sequence[str]:
    listed = _tracked(folder)
    return sorted(_walked(folder) if listed is None else listed)


def _tracked(folder: Path) -> Sequence[str] | None:
    """What git lists in `folder`: tracked, and untracked but not ignored. None where it lists nothing, or cannot."""
    listed = origin.git(folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    if not listed:
        return None
    found: list[str] = []
    for path in dict.fromkeys(listed.split("\0")):
        whole = folder / path
        if not path or any(_is_one_of(part, _NEVER) for part in PurePosixPath(path).parts):
            continue
        if whole.is_dir() and not whole.is_symlink():
            # Another repository within this one.
            found += [f"{path.rstrip('/')}/{each}" for each in _tracked(whole) or _walked(whole)]
        elif _is_copied(folder, whole) and not _is_in_environment(folder, whole):
            found.append(path)
    return found


def _is_in_environment(folder: Path, file: Path) -> bool:
    inside = file.relative_to(folder).parents
    return any(str(each) != "." and (folder / each / _ENVIRONMENT).is_file() for each in inside)


def _walked(folder: Path) -> Iterator[str]:
    """All files but those that hardly anybody wants, and those that the ignore files name."""
    rules = [Rules(folder / name) for name in _IGNORE_FILES]

    def is_left_out(path: Path, is_folder: bool) -> bool:
        if _is_one_of(path.name, (*_NEVER, *_USUALLY_NOT)) or (is_folder and (path / _ENVIRONMENT).is_file()):
            return True
        return any(each.name(path.relative_to(folder).as_posix(), is_folder) for each in rules)

    for each, folders, files in os.walk(folder):
        here = Path(each)
        linked = [name for name in folders if (here / name).is_symlink()]
        folders[:] = [name for name in folders if name not in linked and not is_left_out(here / name, True)]
        for name in (*files, *linked):
            path = here / name
            if not is_left_out(path, False) and _is_copied(folder, path):
                yield path.relative_to(folder).as_posix()


def _is_one_of(name: str, patterns: Collection[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _is_copied(folder: Path, path: Path) -> bool:
    """Whether it is a file, or a link to something within `folder`: what it leads to elsewhere is not the application's."""
    try:
        if path.is_symlink():
            return path.resolve(strict=True).is_relative_to(folder.resolve()) and not path.readlink().is_absolute()
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        # Deleted, though git still has it; or a link that leads nowhere.
        return False


# --- what they hold


def _check_size(what: str, folder: Path, paths: Sequence[str], most_mb: int, not_needed: str) -> None:
    sizes = {path: (folder / path).lstat().st_size for path in paths}
    total = sum(sizes.values())
    if total > most_mb * 10**6:
        largest = max(sizes, key=sizes.__getitem__)
        raise UsageError(
            f"{what}: {counted(len(paths), 'file')} of {total / 1e6:,.0f} MB, and {most_mb} MB at most are "
            f"copied; the largest is {largest} ({sizes[largest] / 1e6:,.0f} MB): have .gitignore or .dockerignore name {not_needed}"
        )


def _digest(path: Path) -> str:
    try:
        if path.is_symlink():
            return hashlib.sha256(f"link to {path.readlink()}".encode(errors="surrogateescape")).hexdigest()
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256")
        if path.stat().st_mode & 0o100:
            found.update(b"\0can be run")
        return found.hexdigest()
    except OSError as error:
        raise UsageError(f"source {path}: cannot be read ({error.strerror}); have .gitignore name it") from None
