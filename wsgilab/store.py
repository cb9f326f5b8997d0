"""A run's folder: `run.yaml` written once, `observations.jsonl` appended to and fsynced, renderings replaced whole."""

import contextlib
import fcntl
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import yaml
from pydantic import TypeAdapter, ValidationError

from wsgilab.errors import StoreError
from wsgilab.model import SCHEMA, Cell, Observation, Run

RUN_FILE = "run.yaml"
OBSERVATIONS_FILE = "observations.jsonl"

_RUN = TypeAdapter(Run)
_OBSERVATION = TypeAdapter(Observation)


class Store:
    """The folder of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def create(cls, results: Path, run: Run) -> "Store":
        """A new folder for `run`, and `results/latest` pointing at it. Raises StoreError where that cannot be."""
        store = cls(results / run.id)
        try:
            results.mkdir(parents=True, exist_ok=True)
            store.folder.mkdir()
            store.write(
                {RUN_FILE: yaml.safe_dump(_RUN.dump_python(run, mode="json"), sort_keys=False, width=120).encode()}
            )
            _point(results / "latest", run.id)
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
        """The run of that id or path; `latest` is the newest. Raises StoreError where there is none."""
        for folder in (results / name, Path(name)):
            # A name can be too long, or hold what no path may.
            with contextlib.suppress(OSError, ValueError):
                if (folder / RUN_FILE).is_file():
                    return cls(folder.resolve())
        known = sorted((path.parent.name for path in results.glob(f"*/{RUN_FILE}")), reverse=True)
        newest = [each for each in known if each != "latest"][:3]
        raise StoreError(
            f"{results}: no run {name!r}; "
            + (f"the newest are {', '.join(newest)}" if newest else "make one with lab.run")
        )

    def run(self) -> Run:
        """What `run.yaml` says. Raises StoreError where it is of another schema or damaged."""
        path = self.folder / RUN_FILE
        try:
            document = yaml.safe_load(path.read_text())
        except (OSError, yaml.YAMLError, ValueError, RecursionError):
            raise StoreError(f"{path}: cannot be read as YAML; the run cannot be used") from None
        schema = document.get("schema") if isinstance(document, dict) else None
        if schema != SCHEMA:
            raise StoreError(
                f"{path}: has results of schema {schema!r}, but this lab reads schema {SCHEMA}; "
                "use the version of the lab that wrote it"
            )
        try:
            return _RUN.validate_python(document)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            key = ".".join(map(str, first["loc"]))
            raise StoreError(f"{path}: {key}: {first['msg'].lower()}; the file was changed or damaged") from None

    def observations(self) -> list[Observation]:
        """All that is recorded, in order; where a trial was repeated, its last observation.

        A torn last line, as a killed run leaves it, is no observation. Raises StoreError for any other damage.
        """
        path = self.folder / OBSERVATIONS_FILE
        if not path.exists():
            return []
        found: dict[tuple[int, Cell], Observation] = {}
        # Without its newline the last line was not written whole, whatever it holds.
        for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
            try:
                observation = _OBSERVATION.validate_json(line)
            except ValidationError:
                raise StoreError(f"{path}:{number}: is no observation; the file was changed or damaged") from None
            found.pop((observation.block, observation.cell), None)
            found[observation.block, observation.cell] = observation
        return list(found.values())

    def done(self) -> frozenset[tuple[int, Cell]]:
        """(block, cell) of every trial that was measured. A failed trial is worth another try."""
        return frozenset((each.block, each.cell) for each in self.observations() if each.status == "measured")

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write each file whole or not at all, in place of what was there. Raises StoreError."""
        for name, content in files.items():
            temporary = self.folder / f".{name}.new"
            try:
                with temporary.open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(self.folder / name)
            except OSError as error:
                raise StoreError(f"{self.folder / name}: cannot be written ({error.strerror})") from None


class Journal:
    """`observations.jsonl`, open for appending by this process alone. A context manager."""

    def __init__(self, store: Store) -> None:
        self._path = store.folder / OBSERVATIONS_FILE

    def __enter__(self) -> Self:
        try:
            self._file = self._path.open("ab")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise StoreError(f"{self._path}: another lab.run is writing there; wait for it, or stop it") from None
        except OSError as error:
            raise StoreError(f"{self._path}: cannot be written ({error.strerror})") from None
        self._drop_torn_line()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def append(self, observation: Observation) -> None:
        """Record one trial. When this returns, it is on the disk."""
        try:
            line = _OBSERVATION.dump_json(observation)
            # What could not be read again must not be written: it would spoil all the others.
            _OBSERVATION.validate_json(line)
        except ValueError as error:
            raise StoreError(
                f"{self._path}: an observation cannot be recorded: {' '.join(str(error).split())[:200]}"
            ) from None
        try:
            self._file.write(line + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise StoreError(f"{self._path}: cannot be written ({error.strerror}); what is there is kept") from None

    def _drop_torn_line(self) -> None:
        content = self._path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(self._path, whole)


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
