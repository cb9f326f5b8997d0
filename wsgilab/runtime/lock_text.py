"""The text of a lock, as uv writes it: its entries, their releases, and where they are from."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from wsgilab.model.errors import UsageError

_INDEX_OPTIONS = ("--index-url", "--extra-index-url", "--find-links", "--no-index")
FROM_SOURCE = "# From the source, without dependencies: "
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==([^\s;\\]+)")
RELEASE = re.compile(r"[0-9][0-9A-Za-z.!+_-]*")


def entries(text: str) -> Iterator[list[str]]:
    """Each requirement of a lock, with the lines of its hashes."""
    entry: list[str] = []
    for line in text.splitlines():
        if not line.strip() or line.startswith(("#", *_INDEX_OPTIONS)):
            continue
        if not line.startswith(" ") and entry:
            yield entry
            entry = []
        entry.append(line)
    if entry:
        yield entry


def indexes(text: str) -> str:
    """The lines that say where it is all from, passwords included."""
    return "".join(f"{line}\n" for line in text.splitlines() if line.startswith(_INDEX_OPTIONS))


def placed(indexes: str, source: str) -> str:
    """`indexes` where the application's source is in the folder `source`: a folder of it may have packages too."""
    return re.sub(r"^(--find-links )(?![a-z]+:|/)(?:\./)?", rf"\g<1>{source}/", indexes, flags=re.MULTILINE)


def is_of_an_index(entry: Sequence[str]) -> bool:
    """Whether it has a hash, and is the same wherever it is installed; a wheel within the source has a hash too."""
    is_elsewhere = _PIN.match(entry[0]) or " @ http" in entry[0]
    return bool(is_elsewhere) and any("--hash=" in line for line in entry)


def from_source(text: str, source: Path) -> Iterator[str]:
    """The comments by which a lock says what is installed from the source."""
    for entry in entries(text):
        if is_of_an_index(entry):
            continue
        stated = (
            re.split(r" [;\\]", entry[0])[0].removeprefix("-e ").rpartition(" @ ")[2].strip().removeprefix("file://")
        )
        folder = re.sub(r"\[[^\]]*\]$", "", stated)
        whole = (source / folder).resolve()
        if not whole.is_relative_to(source.resolve()) or not whole.exists():
            raise UsageError(
                f"requirements: {stated}: is neither a package of an index nor within the source; move it there, or require a "
                "release that an index has"
            )
        yield FROM_SOURCE + whole.relative_to(source.resolve()).as_posix()


def pins(text: str) -> Mapping[str, str]:
    """Package -> release, of a lock."""
    found = (_PIN.match(line) for line in text.splitlines())
    return {name_of(match[1]): match[2] for match in found if match}


def name_of(requirement: str) -> str:
    """The normal form of a requirement's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^A-Za-z0-9._-]", requirement.strip(), maxsplit=1)[0]).lower()


def spelt(pins: Mapping[str, str]) -> str:
    """Package -> release, as constraints."""
    return "".join(f"{name}=={release}\n" for name, release in sorted(pins.items()))


def local_folders(text: str) -> Sequence[str]:
    """The folders within the source that are installed from it, after what is hashed in a lock."""
    return [line.removeprefix(FROM_SOURCE) for line in text.splitlines() if line.startswith(FROM_SOURCE)]
