"""What is installed for a user's own application: its packages are locked once, and every stack with just these releases."""

import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wsgilab.model.application import Application
from wsgilab.model.errors import BuildError, UsageError
from wsgilab.runtime import lock_text, resolving
from wsgilab.runtime.lock_text import name_of, pins
from wsgilab.runtime.protocol import Say
from wsgilab.runtime.resolving import Resolver, Target
from wsgilab.runtime.stacks import needs as needs_of
from wsgilab.runtime.stacks import spelt

_CANDIDATES = ("requirements.txt", "uv.lock", "pyproject.toml")
"""In this order: a project with uv.lock always has a pyproject.toml, which says less."""
_OWN_NEEDS = "app/requirements.in"
"""How the stacks name what the lab's own application needs."""


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
    resolver = Resolver(target=target, folder=source, work=work)
    inputs, installs_itself = _inputs(application, source, work)
    own = resolver.resolve(inputs, _open_servers(stacks, names))
    local = dict.fromkeys(
        [*([lock_text.FROM_SOURCE + "."] if installs_itself else []), *lock_text.from_source(own, source)]
    )
    theirs = pins(own)

    def attempts(stack: _Stack) -> Sequence[Mapping[str, str]]:
        # First with what the application got alone; else with the release of the server's that the stack is for, where the
        # application does not exclude it; else with any: gevent of Gunicorn 27 does not go with an old greenlet.
        others = {each: release for each, release in theirs.items() if each not in stack.is_for}
        return {**stack.servers, **theirs}, {**theirs, **stack.is_for}, others

    found, left_out = _lock_each(stacks, names, resolver, inputs, attempts, "as your application requires", say)
    texts = {
        name: _text(name, target, filter(lock_text.is_of_an_index, lock_text.entries(text)), local)
        for name, text in found.items()
    }
    return Locked(locks=texts, left_out=left_out, indexes=lock_text.indexes(own))


def lock_beside(
    installed: Mapping[str, str], stacks: Path, names: Collection[str], target: Target, work: Path, say: Say
) -> Locked:
    """A lock for each of `names` of what the stack needs beside `installed`, package -> release, each of which stays as it is.

    `work`: a folder for files in between. Raises BuildError where the package index does not answer.
    """
    work.mkdir(parents=True, exist_ok=True)
    resolver = Resolver(target=target, folder=work, work=work)
    # Others, such as one of no release at all, are there even so.
    theirs = {name_of(name): release for name, release in installed.items() if lock_text.RELEASE.fullmatch(release)}
    there = {name_of(each) for each in installed}

    def attempts(stack: _Stack) -> Sequence[Mapping[str, str]]:
        return {**stack.servers, **theirs}, {**stack.is_for, **theirs}, theirs

    found, left_out = _lock_each(stacks, names, resolver, (), attempts, "as your image has it", say)
    more = {
        name: [
            each for each in lock_text.entries(text) if lock_text.is_of_an_index(each) and name_of(each[0]) not in there
        ]
        for name, text in found.items()
    }
    texts = {name: _text(name, target, entries) for name, entries in more.items()}
    # A wheel that the user makes is not looked for here.
    left_out = {name: cause.partition("; ")[0] for name, cause in left_out.items()}
    return Locked(locks=texts, left_out=left_out, indexes="")


def _lock_each(
    stacks: Path,
    names: Collection[str],
    resolver: Resolver,
    inputs: Sequence[str],
    attempts: "Callable[[_Stack], Sequence[Mapping[str, str]]]",
    why: str,
    say: Say,
) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Stack -> what it needs beside `inputs`, as uv locks it under the first of its `attempts` that has a resolution, and stack ->
    why it has none. It is said, with `why`, where a stack's servers are of other releases than the lab's."""
    found, left_out, unlike = {}, {}, dict[str, list[str]]()
    for name in sorted(names):
        if (python := needs_of(stacks / name).python) is not None:
            left_out[name] = f"it is for {spelt(python)}, and they are for {resolver.target.name}"
            continue
        stack = _Stack.read(stacks, name)
        text, cause = resolver.resolve_beside(inputs, stack.needs, attempts(stack), stack.pins, stack.extras)
        if cause:
            left_out[name] = cause
            continue
        found[name], got = text, pins(text)
        for each, release in sorted(stack.servers.items()):
            if got.get(each, release) != release:
                unlike.setdefault(f"{each} {got[each]}, {why}, and not {release}", []).append(name)
    for what, those in unlike.items():
        say(f"{', '.join(those)}: with {what}.")
    return found, left_out


def _text(stack: str, target: Target, entries: Iterable[Sequence[str]], local: Iterable[str] = ()) -> str:
    """A lock of `entries`, with the comments `local` of what is installed from the source."""
    head = f"# The stack {stack} with the packages of an application, for {target.name}."
    return "\n".join([head, *(line for entry in entries for line in entry), *local]) + "\n"


def install(text: str, target: Target, folder: Path, work: Path) -> None:
    """Install a lock in the new `folder`, for a Python that is not of this machine. Raises BuildError."""
    folder.mkdir(parents=True)
    if not any(lock_text.entries(text)):
        return
    file = work / "install.txt"
    file.write_text(text)
    words = ["pip", "install", "--quiet", "--require-hashes", "--no-deps", "--only-binary", ":all:", *target.options]
    finished = resolving.run([*words, "--target", str(folder), "--requirements", str(file)], work)
    if finished.code != 0:
        raise BuildError(
            f"the servers' packages do not install: {resolving.shortened(finished)}; is the package index in reach?",
            detail=finished.stderr,
        )


def lock_more(needs: Sequence[str], lock: str, target: Target, work: Path) -> tuple[str, str]:
    """A lock of what `needs` take beside a stack that has `lock`, without what that has, and `Locked.indexes`. Raises BuildError."""
    work.mkdir(parents=True, exist_ok=True)
    there = pins(lock)
    needed, constraints = work / "more.in", work / "more.constraints"
    needed.write_text("".join(f"{need}\n" for need in needs))
    constraints.write_text(lock_text.spelt(there))
    inputs, what = [str(needed), "--constraints", str(constraints)], "locust_requirements beside Locust's own packages"
    text = Resolver(target=target, folder=work, work=work).resolve(inputs, {}, what)
    entries = [entry for entry in lock_text.entries(text) if not pins(entry[0]).keys() & there.keys()]
    return "".join(f"{line}\n" for entry in entries for line in entry), lock_text.indexes(text)


def indexes(application: Application, source: Path, target: Target, work: Path) -> str:
    """Where what was locked earlier is from, as `Locked.indexes`; empty where the requirements do not say that any more."""
    work.mkdir(parents=True, exist_ok=True)
    return Resolver(target=target, folder=source, work=work).indexes(_inputs(application, source, work)[0])


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
    finished = resolving.run([*words, "--output-file", str(out)], file.parent)
    if finished.code != 0:
        raise UsageError(f"requirements: {file.name}: uv cannot export it: {resolving.shortened(finished)}")
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
        pinned = pins(_lock_of(stacks, name))
        for need in _needs(stacks / name / "requirements.in"):
            if "==" not in need and name_of(need) in pinned:
                found.setdefault(name_of(need), pinned[name_of(need)])
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
    extras: frozenset[str]
    """Packages that it needs as extras, such as the gevent of gunicorn[gevent]."""

    @staticmethod
    def read(stacks: Path, name: str) -> "_Stack":
        pinned = pins(_lock_of(stacks, name))
        needs = list(dict.fromkeys(_needs(stacks / name / "requirements.in")))
        is_for = [name_of(each) for each in needs if "[" in each or "==" in each]
        return _Stack(
            name=name,
            needs=needs,
            pins=pinned,
            servers={name_of(each): pinned[name_of(each)] for each in needs if name_of(each) in pinned},
            is_for={each: pinned[each] for each in is_for if each in pinned},
            extras=frozenset(
                name_of(extra)
                for need in needs
                for extra in need.partition("[")[2].partition("]")[0].split(",")
                if name_of(extra) in pinned
            ),
        )
