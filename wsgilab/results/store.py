"""A run's folder: `run.yaml` written once, `observations.jsonl` and `duets.jsonl` appended to and fsynced, renderings replaced
whole."""

import contextlib
import fcntl
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import BinaryIO, Self, TypeVar

import yaml

from wsgilab.analysis.cell.disturbance import is_disturbed
from wsgilab.experiment.parsing import alternatives
from wsgilab.model import Cell, Duet, Observation, Run
from wsgilab.model.errors import StoreError, UsageError
from wsgilab.model.text import called
from wsgilab.results import reading

RUN_FILE = "run.yaml"
OBSERVATIONS_FILE = "observations.jsonl"
DUETS_FILE = "duets.jsonl"
LOCKS_FOLDER = "locks"
LATEST = "latest"
"""The link to the newest run, and a name for it."""

LARGEST_RUN = 16 * 2**20
"""Bytes of `run.yaml`; an experiment of a thousand cells takes about 0.2 MB."""
LARGEST_LOCK = 2**22
"""Bytes of a lock; one of a hundred packages takes about 0.1 MB."""
LARGEST_OBSERVATIONS = 256 * 2**20
"""Bytes of `observations.jsonl`; a thousand trials take about 1.5 MB."""
LONGEST_LINE = 8 * 2**20
"""Bytes of one observation; one takes about 1.5 KB, and with its timeline about 10 KB."""

_Record = TypeVar("_Record")


class Store:
    """The folder of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def create(cls, results: Path, run: Run) -> "Store":
        """A new folder for `run`, and `results/latest` pointing at it. Raises StoreError where that cannot be."""
        store = cls(results / run.id)
        content = yaml.safe_dump(reading.dump_run(run), sort_keys=False, width=120).encode()
        # What could not be read again must not be measured.
        reading.run(content, str(store.folder / RUN_FILE), "such a run cannot be recorded")
        try:
            results.mkdir(parents=True, exist_ok=True)
            store.folder.mkdir()
            store.write({RUN_FILE: content})
            _point(results / LATEST, run.id)
        except FileExistsError as error:
            raise StoreError(
                f"{error.filename}: is there already; move it away, or name another place with LAB_RESULTS"
            ) from None
        except OSError as error:
            raise StoreError(
                f"{results}: cannot write results there ({error.strerror}); make the folder writable"
            ) from None
        return store

    @classmethod
    def find(cls, results: Path, name: str) -> "Store":
        """The run of that id or path, or whose id alone has `name` in it; `latest` is the newest.

        Raises UsageError where there is none, or more than one.
        """
        for folder in (results / name, Path(name)):
            # A name can be too long, or hold what no path may.
            with contextlib.suppress(OSError, ValueError):
                if (folder / RUN_FILE).is_file():
                    return cls(folder.resolve())
        known = _names(results)
        parts = [each for each in known if name not in ("", LATEST) and name in each]
        if len(parts) == 1:
            return cls((results / parts[0]).resolve())
        if parts:
            more = f" and {len(parts) - _NAMED} more" if len(parts) > _NAMED else ""
            raise UsageError(
                f"{results}: {name!r} is a part of {len(parts)} runs: {', '.join(parts[:_NAMED])}{more}; give more of one"
            )
        meant = alternatives(name, {each: each for each in known})
        newest = f"the newest are {', '.join(known[:3])}" if known else f"make one with {called('lab.run')}"
        raise UsageError(f"{results}: no run {name!r}; {meant or newest}")

    @classmethod
    def every(cls, results: Path) -> "Sequence[Store]":
        """Every run in that folder, the last by name first, which is the newest."""
        return [cls(results / name) for name in _names(results)]

    def write_locks(self, locks: Mapping[str, str]) -> None:
        """Keep the locks of a user's own application: stack -> lock. Raises StoreError."""
        self.write({f"{LOCKS_FOLDER}/{stack}.txt": text.encode() for stack, text in locks.items()})

    def locks(self) -> Mapping[str, str]:
        """Stack -> lock, of a user's own application; empty where the lab's was measured. Raises StoreError."""
        found = {}
        for path in sorted((self.folder / LOCKS_FOLDER).glob("*.txt")):
            with _reading(path, LARGEST_LOCK) as file:
                found[path.stem] = file.read(LARGEST_LOCK).decode(errors="replace")
        return found

    def run(self) -> Run:
        """What `run.yaml` says. Raises StoreError where it is of another schema, damaged, or no run of the lab."""
        path = self.folder / RUN_FILE
        with _reading(path, LARGEST_RUN) as file:
            return reading.run(file.read(LARGEST_RUN), str(path))

    def observations(self) -> list[Observation]:
        """All that is recorded, in order; where a trial was repeated, its last observation.

        A torn last line, as a killed run leaves it, is no observation. Raises StoreError for any other damage, and for
        what is no observation of this run.
        """
        found: dict[tuple[int, Cell], Observation] = {}
        for observation in self._recorded(OBSERVATIONS_FILE, reading.observations):
            found.pop((observation.block, observation.cell), None)
            found[observation.block, observation.cell] = observation
        return list(found.values())

    def duets(self) -> list[Duet]:
        """All duets that are recorded, in order; of one that was repeated, the last. Else as `observations`."""
        return list({_key(duet): duet for duet in self._recorded(DUETS_FILE, reading.duets)}.values())

    def done_duets(self) -> frozenset[tuple[int, Cell]]:
        """(number, cell that is compared) of every duet in which neither server failed."""
        return frozenset(
            _key(each) for each in self.duets() if each.one.status == "measured" and each.other.status == "measured"
        )

    def _recorded(self, name: str, reader: Callable[[Run], Callable[[bytes, str], _Record]]) -> Iterator[_Record]:
        path = self.folder / name
        if os.path.lexists(path):
            read = reader(self.run())
            with _reading(path, LARGEST_OBSERVATIONS) as file:
                for number, line in enumerate(_lines(file, path), start=1):
                    yield read(line, f"{path}:{number}")

    def done(self, *, disturbed: bool = False) -> frozenset[tuple[int, Cell]]:
        """(block, cell) of every trial that was measured. One that failed is worth another try, and so is one that others
        disturbed, unless it counts as done with `disturbed`."""
        run = self.run()
        return frozenset(
            (each.block, each.cell)
            for each in self.observations()
            if each.status == "measured" and (disturbed or not is_disturbed(run, each))
        )

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write each file whole or not at all, in place of what was there; a name may have a folder, as in `plots/x.svg`.

        Links in the folder are replaced, never followed: who sent it must not say what is written elsewhere. Raises
        StoreError.
        """
        for name, content in files.items():
            path = self.folder / name
            try:
                self._make_folders(PurePosixPath(name).parent)
                _replace(path, content)
            except OSError as error:
                raise StoreError(f"{path}: cannot be written ({error.strerror})") from None

    def _make_folders(self, inside: PurePosixPath) -> None:
        folder = self.folder
        for part in inside.parts:
            folder /= part
            if folder.is_symlink():
                raise StoreError(f"{folder}: is a link; remove it, and its place is written to")
            folder.mkdir(exist_ok=True)


_NAMED = 5
"""Of several runs that a name may mean, so many are named."""


def _names(results: Path) -> Sequence[str]:
    """The folders of runs, the last by name first."""
    folders = sorted((path.parent.name for path in results.glob(f"*/{RUN_FILE}")), reverse=True)
    return [each for each in folders if each != LATEST]


class Journal:
    """`observations.jsonl`, open for appending by this process alone, and `duets.jsonl` where there are any. A context manager."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._path = store.folder / OBSERVATIONS_FILE
        self._duets: BinaryIO | None = None

    def __enter__(self) -> Self:
        try:
            self._file = _open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise StoreError(f"{self._path}: another run is writing there; wait for it, or stop it") from None
        except OSError as error:
            raise StoreError(f"{self._path}: cannot be written ({error.strerror})") from None
        try:
            self._read = reading.observations(self._store.run(), "what is there is kept")
            _drop_torn_line(self._file)
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in (self._file, self._duets):
            # That a disk is full was reported when it was written to.
            with contextlib.suppress(OSError):
                if file is not None:
                    file.close()

    def append(self, observation: Observation) -> None:
        """Record one trial. When this returns, it is on the disk."""
        _append(self._file, self._path, observation, reading.dump_observation, self._read)

    def append_duet(self, duet: Duet) -> None:
        """Record one duet. When this returns, it is on the disk."""
        path = self._store.folder / DUETS_FILE
        if self._duets is None:
            try:
                self._duets = _open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
                _drop_torn_line(self._duets)
            except OSError as error:
                raise StoreError(f"{path}: cannot be written ({error.strerror})") from None
            self._read_duet = reading.duets(self._store.run(), "what is there is kept")
        _append(self._duets, path, duet, reading.dump_duet, self._read_duet)


def _key(duet: Duet) -> tuple[int, Cell]:
    return duet.one.block, duet.one.cell


def _append(
    file: BinaryIO,
    path: Path,
    record: _Record,
    dump: Callable[[_Record], bytes],
    read: Callable[[bytes, str], object],
) -> None:
    """Write a line, whole and on the disk. Raises StoreError."""
    try:
        line = dump(record)
    except ValueError as error:
        problem = " ".join(str(error).split())[:200]
        raise StoreError(f"{path}: cannot be recorded: {problem}") from None
    # What could not be read again must not be written: it would spoil all the others.
    read(line, f"{path}: cannot be recorded")
    try:
        file.write(line + b"\n")
        file.flush()
        os.fsync(file.fileno())
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror}); what is there is kept") from None


def _drop_torn_line(file: BinaryIO) -> None:
    size = file.seek(0, os.SEEK_END)
    begin = file.seek(max(0, size - LONGEST_LINE - 1))
    whole = file.read().rfind(b"\n") + 1
    # A last line that is longer than any is not torn: the reader reports it.
    if (whole or not begin) and begin + whole < size:
        file.truncate(begin + whole)


def _open(path: Path, flags: int) -> BinaryIO:
    """A file that is one, and in its own place. Raises StoreError for a link, a pipe, a device or a folder, and
    OSError as `os.open`."""
    if path.is_symlink():
        raise StoreError(f"{path}: is a link, not a file; put the file itself there")
    # Without O_NONBLOCK, opening a pipe would wait for its writer.
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise StoreError(f"{path}: is not a file; put the file itself there")
    return os.fdopen(descriptor, "r+b" if flags & os.O_RDWR else "rb")


@contextlib.contextmanager
def _reading(path: Path, largest: int) -> Iterator[BinaryIO]:
    """A file of so many bytes at most. Raises StoreError."""
    try:
        with _open(path, os.O_RDONLY) as file:
            if os.fstat(file.fileno()).st_size > largest:
                raise StoreError(f"{path}: is larger than the {largest >> 20} MB that a run may have there")
            yield file
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror}); the run cannot be used") from None


def _lines(file: BinaryIO, path: Path) -> Iterator[bytes]:
    """Each line, without its end. Without that the last one was not written whole, whatever it holds."""
    number = 1
    while (line := file.readline(LONGEST_LINE + 1)).endswith(b"\n"):
        yield line[:-1]
        number += 1
    if len(line) > LONGEST_LINE:
        raise StoreError(f"{path}:{number}: is longer than the {LONGEST_LINE >> 20} MB that an observation may have")


def _replace(path: Path, content: bytes) -> None:
    """Put `content` in place of the file in one step. Raises OSError."""
    temporary = path.with_name(f".{path.name}.new")
    # What is there may be a link to anywhere.
    temporary.unlink(missing_ok=True)
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def check_writable(folder: Path) -> None:
    """Raises StoreError unless files can be made in `folder`: better before the installs than after them."""
    probe = folder / f".writable-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise StoreError(f"{folder}: cannot write results there ({error.strerror}); make the folder writable") from None


def _point(link: Path, target: str) -> None:
    """Make `link` a symbolic link to `target`, in one step."""
    temporary = link.with_name(f".{link.name}.new")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(link)
