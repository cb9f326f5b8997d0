"""Where the files are that the lab consists of: a checkout's own; or where the lab is installed, in the user's cache folder.

An installed package stands among others, while images are built from a folder that holds the lab alone, and what runs beside
the servers imports the package from there, in an environment of its own. So the files that the package brings, and the
package itself, are laid out as in a checkout: once for each version and content.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path

from wsgilab import __version__
from wsgilab.model.errors import LabError

PACKAGE = Path(__file__).resolve().parents[1]
_BROUGHT = "_files"
"""The folder of an installed package with what a checkout has beside it; pyproject.toml says what that is."""
_SHORT = 12
"""Characters of a digest that are part of a name."""


def is_installed(package: Path = PACKAGE) -> bool:
    """Whether the package is one that brings the files beside it, and stands in no checkout."""
    return (package / _BROUGHT).is_dir()


def cache(environment: Mapping[str, str] = os.environ) -> Path:
    """The lab's folder among the user's caches (XDG Base Directory Specification, which ignores relative paths)."""
    named = Path(environment.get("XDG_CACHE_HOME", ""))
    if not named.is_absolute():
        try:
            named = Path.home() / ".cache"
        except RuntimeError:
            # As the list of users has it for those that have none.
            named = Path("/nonexistent")
    return named / "wsgilab"


def project(package: Path = PACKAGE, environment: Mapping[str, str] = os.environ) -> Path:
    """The folder with all that the lab consists of, whether or not it is laid out yet."""
    if not is_installed(package):
        return package.parent
    return cache(environment) / f"{__version__}-{_digest(_installed(package))[:_SHORT]}"


def lay_out(folder: Path, package: Path = PACKAGE) -> None:
    """Lay an installed package's files out as `folder`, unless it has them all, as they are. Raises LabError."""
    files = _installed(package)
    if _is_whole(folder, files):
        return
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with (folder.parent / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Another one may have done it meanwhile.
            if not _is_whole(folder, files):
                _replace(folder, files)
    except OSError as error:
        raise LabError(
            f"{folder}: cannot be written ({error.strerror}); name another folder for caches with XDG_CACHE_HOME"
        ) from None


def laid_out(folder: Path) -> Collection[Path]:
    """Every folder that is laid out beside `folder`, by any version; itself too."""
    return sorted(each.parent for each in folder.parent.glob("*/wsgilab"))


def _replace(folder: Path, files: Mapping[str, Path]) -> None:
    """In one step: whoever comes between, or after a power failure, finds a folder that is whole, or damaged, or none."""
    new, old = (folder.with_name(f".{folder.name}.{which}") for which in ("new", "old"))
    for left in (new, old):
        shutil.rmtree(left, ignore_errors=True)
    for name, file in files.items():
        (new / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, new / name)
    with contextlib.suppress(FileNotFoundError):
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _is_whole(folder: Path, files: Mapping[str, Path]) -> bool:
    try:
        return _digest(_found(folder, "")) == _digest(files)
    except OSError:
        # It is being replaced, or cannot be read.
        return False


def _installed(package: Path) -> Mapping[str, Path]:
    """Path in the folder that is laid out -> the file of the installed package."""
    own = {name: file for name, file in _found(package, "wsgilab/").items() if _BROUGHT not in Path(name).parts}
    return {**own, **_found(package / _BROUGHT, "")}


def _found(folder: Path, prefix: str) -> Mapping[str, Path]:
    """Every file but Python's bytecode, which comes and goes."""
    return {
        f"{prefix}{file.relative_to(folder)}": file
        for file in folder.rglob("*")
        if file.suffix != ".pyc" and not file.is_dir()
    }


def _digest(files: Mapping[str, Path]) -> str:
    """SHA-256 over names and contents, in hexadecimal. Raises OSError."""
    listed = (f"{name}\0{hashlib.sha256(files[name].read_bytes()).hexdigest()}\n" for name in sorted(files))
    return hashlib.sha256("".join(listed).encode()).hexdigest()
