"""What is installed for a user's own application: its packages are locked once, and every stack with just these releases."""

import re
import textwrap
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from uv import find_uv_bin

from wsgilab.model.application import Application
from wsgilab.model.errors import BuildError, UsageError
from wsgilab.runtime.protocol import Say
from wsgilab.system import process
from wsgilab.system.process import Finished

_CANDIDATES = ("requirements.txt", "uv.lock", "pyproject.toml")
"""In this order: a project with uv.lock always has a pyproject.toml, which says less."""
_OPTIONS = (
    "--quiet",
    "--generate-hashes",
    "--no-annotate",
    "--no-header",
    # Kept apart from the lock: an index may have a password.
    "--emit-index-url",
    "--emit-find-links",
    # Nothing is built: neither here, where it would run with the user's rights, nor in an image, which has no compiler.
    "--only-binary",
    ":all:",
)
_OWN_NEEDS = "app/requirements.in"
"""How the stacks name what the lab's own application needs."""
_INDEX_OPTIONS = ("--index-url", "--extra-index-url", "--find-links", "--no-index")
_FROM_SOURCE = "# From the source, without dependencies: "
_LOCK_S = 300.0
_LONGEST_CAUSE = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The Python that packages are for."""

    options: Sequence[str]
    """What tells uv: an interpreter, or a version and a platform."""
    name: str
    """In words: `Python 3.13.5 on x86_64`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """What is to be installed."""

    locks: Mapping[str, str]
    """Stack -> hashed lock."""
    left_out: Mapping[str, str]
    """Stack -> why it has none."""
    indexes: str = field(repr=False)
    """Lines of a requirements file that say where it is all from, passwords included."""


def lock(
    application: Application, source: Path, stacks: Path, names: Collection[str], target: Target, work: Path, say: Say
) -> Locked:
    """A lock for each of `names` in the folder `stacks`.

    `source`: a copy of the application's source, which uv works in. `work`: a folder for files in between. The application is
    locked alone first. Its releases then hold for every stack, and what it leaves open is as in the stack's own lock. A stack
    that pins a server's release, which the application allows but did not get, runs that. Raises BuildError where the
    application alone has no resolution, and UsageError where what it requires cannot be read.
    """
    work.mkdir(parents=True, exist_ok=True)
    inputs, installs_itself = _inputs(application, source, work)
    finished, own = _compile(inputs, source, target, work, _open_servers(stacks, names))
    if finished.code != 0:
        raise _no_resolution(finished, target)
    local = [*([f"{_FROM_SOURCE}."] if installs_itself else []), *_from_source(own, source)]
    theirs, unlike = _pins(own), _OtherReleases(say, "as your application requires")
    locks, left_out = {}, {}
    for name in sorted(names):
        stack = _Stack.read(stacks, name)
        # First with what the application got alone; else with the release of the server's that the stack is for, where the
        # application does not exclude it; else with any: gevent of Gunicorn 27 does not go with an old greenlet.
        others = {each: release for each, release in theirs.items() if each not in stack.is_for}
        attempts = ({**stack.servers, **theirs}, {**theirs, **stack.is_for}, others)
        finished, text = _compile_stack(stack, inputs, attempts, source, target, work)
        if finished.code != 0:
            left_out[name] = _cause(finished)
            continue
        hashed = "\n".join(line for entry in _entries(text) if _is_of_an_index(entry) for line in entry)
        locks[name] = "\n".join([_head(name, target), hashed, *dict.fromkeys(local)]) + "\n"
        unlike.note(stack, _pins(text))
    unlike.say()
    return Locked(locks=locks, left_out=left_out, indexes=_indexes(own))


def lock_beside(
    installed: Mapping[str, str], stacks: Path, names: Collection[str], target: Target, work: Path, say: Say
) -> Locked:
    """A lock for each of `names` of what the stack needs beside `installed`, package -> release, each of which stays as it is.

    `work`: a folder for files in between. Raises BuildError where the package index does not answer.
    """
    work.mkdir(parents=True, exist_ok=True)
    # Others, such as one of no release at all, are there even so.
    theirs = {_name(name): release for name, release in installed.items() if _RELEASE.fullmatch(release)}
    there, unlike = {_name(each) for each in installed}, _OtherReleases(say, "as your image has it")
    locks, left_out = {}, {}
    for name in sorted(names):
        stack = _Stack.read(stacks, name)
        attempts = ({**stack.servers, **theirs}, {**stack.is_for, **theirs}, theirs)
        finished, text = _compile_stack(stack, (), attempts, work, target, work)
        if finished.code != 0:
            left_out[name] = _cause(finished)
            continue
        more = [entry for entry in _entries(text) if _is_of_an_index(entry) and _name(entry[0]) not in there]
        locks[name] = "\n".join([_head(name, target), *(line for entry in more for line in entry)]) + "\n"
        unlike.note(stack, {**_pins(text), **theirs})
    unlike.say()
    return Locked(locks=locks, left_out=left_out, indexes="")


def install(text: str, target: Target, folder: Path, work: Path) -> None:
    """Install a lock in the new `folder`, for a Python that is not of this machine. Raises BuildError."""
    folder.mkdir(parents=True)
    if not any(_entries(text)):
        return
    file = work / "install.txt"
    file.write_text(text)
    words = ["pip", "install", "--quiet", "--require-hashes", "--no-deps", "--only-binary", ":all:", *target.options]
    finished = _uv([*words, "--target", str(folder), "--requirements", str(file)], work)
    if finished.code != 0:
        raise BuildError(
            f"the servers' packages do not install: {_cause(finished)}; is the package index in reach?",
            detail=finished.stderr,
        )


def lock_more(needs: Sequence[str], lock: str, target: Target, work: Path) -> tuple[str, str]:
    """A lock of what `needs` take beside a stack that has `lock`, without what that has, and `Locked.indexes`. Raises BuildError."""
    work.mkdir(parents=True, exist_ok=True)
    there = _pins(lock)
    needed, constraints = work / "beside.in", work / "beside.constraints"
    needed.write_text("".join(f"{need}\n" for need in needs))
    constraints.write_text(_spelt(there))
    finished, text = _compile([str(needed), "--constraints", str(constraints)], work, target, work, {})
    if finished.code != 0:
        raise _no_resolution(finished, target, "locust_requirements beside Locust's own packages")
    entries = [entry for entry in _entries(text) if not _pins(entry[0]).keys() & there.keys()]
    return "".join(f"{line}\n" for entry in entries for line in entry), _indexes(text)


def indexes(application: Application, source: Path, target: Target, work: Path) -> str:
    """Where what was locked earlier is from, as `Locked.indexes`; empty where the requirements do not say that any more."""
    work.mkdir(parents=True, exist_ok=True)
    return _indexes(_compile(_inputs(application, source, work)[0], source, target, work, {})[1])


def local_folders(text: str) -> Sequence[str]:
    """The folders within the source that are installed from it, after what is hashed in a lock."""
    return [line.removeprefix(_FROM_SOURCE) for line in text.splitlines() if line.startswith(_FROM_SOURCE)]


# --- what the application requires


def _inputs(application: Application, source: Path, work: Path) -> tuple[Sequence[str], bool]:
    """What uv is given of the application's requirements, in the folder of its source; and whether that itself is installed."""
    named = application.requirements
    name = named or next((each for each in _CANDIDATES if _says_something(source / each)), None)
    if name is None:
        return (), False
    file = source / name
    if not file.is_file():
        raise UsageError(
            f"requirements: {name} is not among the files of {application.source} that are copied; name one that is there, "
            "and that neither git nor an ignore file leaves out"
        )
    if file.name == "uv.lock":
        return (_exported(file, application.extras, work),), _is_package(file.with_name("pyproject.toml"))
    if file.name == "pyproject.toml":
        return (name, *(word for extra in application.extras for word in ("--extra", extra))), _is_package(file)
    if application.extras:
        raise UsageError(f"extras: {application.extras[0]}: are of a pyproject.toml or a uv.lock, not of {name}")
    return (name,), False


def _says_something(file: Path) -> bool:
    """Whether it is there; a pyproject.toml may be there for tools alone."""
    return file.is_file() and (file.name != "pyproject.toml" or "project" in _toml(file))


def _is_package(file: Path) -> bool:
    """Whether a project is installed too, as uv has it: where its pyproject.toml says how to build it, unless it says otherwise."""
    content = _toml(file) if file.is_file() else {}
    tool = content.get("tool")
    uv = tool.get("uv") if isinstance(tool, dict) else None
    said = uv.get("package") if isinstance(uv, dict) else None
    return "build-system" in content if said is None else bool(said)


def _toml(file: Path) -> Mapping[str, object]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"requirements: {file.name}: cannot be read ({error})") from None


def _exported(file: Path, extras: Collection[str], work: Path) -> str:
    """A uv.lock as requirements."""
    out = work / "exported.txt"
    words = ["export", "--quiet", "--frozen", "--no-dev", "--no-emit-local", "--no-header", "--no-annotate"]
    words += [word for extra in extras for word in ("--extra", extra)]
    finished = _uv([*words, "--output-file", str(out)], file.parent)
    if finished.code != 0:
        raise UsageError(f"requirements: {file.name}: uv cannot export it: {_cause(finished)}")
    return str(out)


# --- what a stack brings


def _lock_of(stacks: Path, name: str) -> str:
    file = stacks / name / "requirements.txt"
    if not file.is_file():
        known = ", ".join(sorted(path.parent.name for path in stacks.glob("*/requirements.txt")))
        raise BuildError(f"stack {name!r} has no {file.name} in services/stacks; the stacks are {known}")
    return file.read_text()


def _needs(file: Path) -> Iterator[str]:
    """What a requirements.in names, those that it includes too, but for what the lab's own application needs."""
    if not file.is_file():
        raise BuildError(f"stack {file.parent.name}: has no requirements.in, which says what its servers are; write it")
    for line in file.read_text().splitlines():
        stated = line.partition(" #")[0].strip()
        if stated.startswith("-r"):
            included = stated.removeprefix("-r").strip()
            if not included.endswith(_OWN_NEEDS):
                yield from _needs(file.parent / included)
        elif stated and not stated.startswith(("#", "-")):
            yield stated


def _open_servers(stacks: Path, names: Collection[str]) -> Mapping[str, str]:
    """Server -> release of the lab's, where a stack does not pin it itself: what an application gets that pins none either."""
    found: dict[str, str] = {}
    for name in sorted(names):
        pins = _pins(_lock_of(stacks, name))
        for need in _needs(stacks / name / "requirements.in"):
            if "==" not in need and _name(need) in pins:
                found.setdefault(_name(need), pins[_name(need)])
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stack:
    """A stack of the lab's, with package -> release where it says mappings."""

    name: str
    needs: Sequence[str]
    pins: Mapping[str, str]
    """All of its lock."""
    servers: Mapping[str, str]
    """Of what it needs by itself."""
    is_for: Mapping[str, str]
    """Of these, what the stack is there for."""

    @staticmethod
    def read(stacks: Path, name: str) -> "_Stack":
        pins = _pins(_lock_of(stacks, name))
        needs = list(dict.fromkeys(_needs(stacks / name / "requirements.in")))
        is_for = [_name(each) for each in needs if "[" in each or "==" in each]
        return _Stack(
            name=name,
            needs=needs,
            pins=pins,
            servers={_name(each): pins[_name(each)] for each in needs if _name(each) in pins},
            is_for={each: pins[each] for each in is_for if each in pins},
        )


class _OtherReleases:
    """Which stacks have servers of other releases than the lab's, and why."""

    def __init__(self, say: Say, why: str) -> None:
        self._say, self._why = say, why
        self._stacks: dict[str, list[str]] = {}

    def note(self, stack: _Stack, got: Mapping[str, str]) -> None:
        for each, release in sorted(stack.servers.items()):
            if got.get(each, release) != release:
                self._stacks.setdefault(f"{each} {got[each]}, {self._why}, and not {release}", []).append(stack.name)

    def say(self) -> None:
        for what, stacks in self._stacks.items():
            self._say(f"{', '.join(stacks)}: with {what}.")


# --- uv


def _compile_stack(
    stack: _Stack,
    inputs: Sequence[str],
    attempts: Sequence[Mapping[str, str]],
    folder: Path,
    target: Target,
    work: Path,
) -> tuple[Finished, str]:
    """Resolve a stack beside `inputs`, with the first of `attempts`, which are constraints, that has a resolution. Raises
    BuildError where something else is wrong."""
    needs, constraints = work / f"{stack.name}.in", work / f"{stack.name}.constraints"
    for attempt in attempts:
        needs.write_text("".join(f"{_pinned(need, attempt)}\n" for need in stack.needs))
        constraints.write_text(_spelt(attempt))
        files = [*inputs, str(needs), "--constraints", str(constraints)]
        finished, text = _compile(files, folder, target, work, stack.pins)
        if finished.code == 0 or not _is_conflict(finished):
            break
    if finished.code != 0 and not _is_conflict(finished):
        raise _no_resolution(finished, target)
    return finished, text


def _compile(
    inputs: Sequence[str], folder: Path, target: Target, work: Path, preferred: Mapping[str, str]
) -> tuple[Finished, str]:
    """Resolve `inputs`; what is open gets its `preferred` release where that fits."""
    # uv takes what is in its output file for what to keep. Without a file it refuses to work.
    out, nothing = work / "resolved.txt", work / "nothing.in"
    out.write_text(_spelt(preferred))
    nothing.touch()
    words = ["pip", "compile", *_OPTIONS, *target.options, *inputs, str(nothing), "--output-file", str(out)]
    finished = _uv(words, folder)
    return finished, out.read_text() if finished.code == 0 else ""


def _uv(words: Sequence[str], folder: Path) -> Finished:
    try:
        return process.run([find_uv_bin(), *words], cwd=folder, timeout_s=_LOCK_S)
    except process.TooSlow as error:
        raise BuildError(f"the packages of your application: {error}; is the package index in reach?") from None


def _is_conflict(finished: Finished) -> bool:
    return "No solution found" in finished.stderr


def _no_resolution(finished: Finished, target: Target, of: str = "the packages of your application") -> BuildError:
    what = f"{of} have no resolution for {target.name}"
    if _is_conflict(finished):
        return BuildError(f"{what}: {_cause(finished)}", detail=finished.stderr)
    if "Building source distributions is disabled" in finished.stderr:
        return BuildError(
            f"{what}: a folder or an address among its requirements would have to be built to know what it requires; state its "
            "dependencies in a pyproject.toml, or require a release that has a wheel",
            detail=finished.stderr,
        )
    return BuildError(f"{what}: {_cause(finished)}; is the package index in reach?", detail=finished.stderr)


def _cause(finished: Finished) -> str:
    """What uv says, in a line, without the conditions of requirements."""
    if wanted := re.search(r"Wheels are required for `([^`]+)`", finished.stderr):
        return (
            f"{wanted[1]} has no wheel for it, and nothing is built; require a release that has one, or make one in the source "
            f"with pip wheel --no-deps -w wheels {wanted[1]}, and require ./wheels/ and its name"
        )
    _, found, cause = finished.stderr.partition("cause: ")
    text = " ".join((cause if found else finished.last_line).partition("hint:")[0].split()).removeprefix("error: ")
    return textwrap.shorten(re.sub(r"\{[^}]*\}", "", text).rstrip("."), _LONGEST_CAUSE, placeholder=" ...")


# --- locks


def _entries(text: str) -> Iterator[list[str]]:
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


def _head(stack: str, target: Target) -> str:
    return f"# The stack {stack} with the packages of an application, for {target.name}."


def _indexes(text: str) -> str:
    return "".join(f"{line}\n" for line in text.splitlines() if line.startswith(_INDEX_OPTIONS))


def placed(indexes: str, source: str) -> str:
    """`Locked.indexes` where the application's source is in the folder `source`: a folder of it may have packages too."""
    return re.sub(r"^(--find-links )(?![a-z]+:|/)(?:\./)?", rf"\g<1>{source}/", indexes, flags=re.MULTILINE)


def _is_of_an_index(entry: Sequence[str]) -> bool:
    """Whether it has a hash, and is the same wherever it is installed; a wheel within the source has a hash too."""
    is_elsewhere = _PIN.match(entry[0]) or " @ http" in entry[0]
    return bool(is_elsewhere) and any("--hash=" in line for line in entry)


def _from_source(text: str, source: Path) -> Iterator[str]:
    """The comments by which a lock says what is installed from the source."""
    for entry in _entries(text):
        if _is_of_an_index(entry):
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
        yield _FROM_SOURCE + whole.relative_to(source.resolve()).as_posix()


_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==([^\s;\\]+)")


_RELEASE = re.compile(r"[0-9][0-9A-Za-z.!+_-]*")


def _pins(text: str) -> Mapping[str, str]:
    """Package -> release, of a lock."""
    found = (_PIN.match(line) for line in text.splitlines())
    return {_name(match[1]): match[2] for match in found if match}


def _name(requirement: str) -> str:
    """The normal form of a requirement's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^A-Za-z0-9._-]", requirement.strip(), maxsplit=1)[0]).lower()


def _pinned(need: str, pins: Mapping[str, str]) -> str:
    """With its release: where that does not fit, uv's explanation is about it, and not about all that there ever were."""
    return need if re.search(r"[=<>~!;@]", need) or _name(need) not in pins else f"{need}=={pins[_name(need)]}"


def _spelt(pins: Mapping[str, str]) -> str:
    return "".join(f"{name}=={release}\n" for name, release in sorted(pins.items()))
