"""uv, as it resolves and installs requirements: nothing is built, and what is wrong comes in a line."""

import re
import sys
import textwrap
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uv import find_uv_bin

from wsgilab.model.errors import BuildError
from wsgilab.runtime import lock_text
from wsgilab.system import process
from wsgilab.system.process import Finished

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
_NEWEST_GLIBC = 40
"""The newest that uv knows, 2.40."""
_TIMEOUT_S = 300.0
_LONGEST_CAUSE = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The Python that packages are for."""

    options: Sequence[str]
    """What tells uv: an interpreter, or a version and a platform."""
    name: str
    """In words: `Python 3.13.5 on x86_64`."""


def target_of(found: Mapping[str, Any]) -> Target:
    """The Python of an image, of which `python`, `machine` and `libc` are known."""
    platform = f"{found['machine']}-{_system(*found['libc'])}"
    # With an interpreter named, and never another: uv would else download one of that version first, which it needs for nothing.
    options = ["--python", sys.executable, "--no-python-downloads"]
    options += ["--python-version", found["python"], "--python-platform", platform]
    musl = " with musl" if platform.endswith("musl") else ""
    return Target(options=tuple(options), name=f"Python {found['python']} on {found['machine']}{musl}")


def _system(library: str, version: str) -> str:
    """As uv calls a system with that C library."""
    if library != "glibc":
        return "unknown-linux-musl"
    minor = min(int(version.split(".")[1]), _NEWEST_GLIBC)
    # It knows 2.17, 2.28 and those from 2.31 on.
    known = minor if minor >= 31 else 28 if minor >= 28 else 17  # noqa: PLR2004
    return f"manylinux_2_{known}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolver:
    """Resolves requirements for a Python."""

    target: Target
    folder: Path
    """What the names of requirements' files are relative to."""
    work: Path
    """For files in between; it is there."""

    def resolve(
        self, inputs: Sequence[str], preferred: Mapping[str, str], of: str = "the packages of your application"
    ) -> str:
        """The lock of what `inputs` require, with the `preferred` releases of what they leave open, where these fit. Raises
        BuildError, which says `of` what there is none."""
        finished, text = self._compile(inputs, preferred)
        if finished.code != 0:
            raise self._no_resolution(finished, of)
        return text

    def resolve_beside(
        self,
        inputs: Sequence[str],
        needs: Sequence[str],
        attempts: Sequence[Mapping[str, str]],
        preferred: Mapping[str, str],
        extras: AbstractSet[str] = frozenset(),
    ) -> tuple[str, str]:
        """As `resolve`, of `needs` beside `inputs`, with the first of `attempts`, which are constraints, that has a resolution with
        the packages of all `extras`. Where none has, the lock is empty, and the cause is the second. Raises BuildError where
        something else is wrong."""
        needed, constraints = self.work / "beside.in", self.work / "beside.constraints"
        cause = ""
        for attempt in attempts:
            needed.write_text("".join(f"{_pinned(need, attempt)}\n" for need in needs))
            constraints.write_text(lock_text.spelt(attempt))
            finished, text = self._compile([*inputs, str(needed), "--constraints", str(constraints)], preferred)
            if finished.code != 0:
                if not _is_conflict(finished):
                    raise self._no_resolution(finished)
                cause = shortened(finished)
            elif lacks := sorted(extras - lock_text.pins(text).keys()):
                # Of an old release: uv takes one that knows nothing of an extra, and installs nothing for it.
                cause = cause or f"no release of a server that goes with them has {lacks[0]}"
            else:
                return text, ""
        return "", cause

    def indexes(self, inputs: Sequence[str]) -> str:
        """`lock_text.indexes` of `inputs`; empty where they have no resolution."""
        return lock_text.indexes(self._compile(inputs, {})[1])

    def _compile(self, inputs: Sequence[str], preferred: Mapping[str, str]) -> tuple[Finished, str]:
        # uv takes what is in its output file for what to keep. Without a file it refuses to work.
        out, nothing = self.work / "resolved.txt", self.work / "nothing.in"
        out.write_text(lock_text.spelt(preferred))
        nothing.touch()
        words = ["pip", "compile", *_OPTIONS, *self.target.options, *inputs, str(nothing), "--output-file", str(out)]
        finished = run(words, self.folder)
        return finished, out.read_text() if finished.code == 0 else ""

    def _no_resolution(self, finished: Finished, of: str = "the packages of your application") -> BuildError:
        what = f"{of} have no resolution for {self.target.name}"
        if _is_conflict(finished):
            return BuildError(f"{what}: {shortened(finished)}", detail=finished.stderr)
        if "Building source distributions is disabled" in finished.stderr:
            return BuildError(
                f"{what}: a folder or an address among its requirements would have to be built to know what it requires; state its "
                "dependencies in a pyproject.toml, or require a release that has a wheel",
                detail=finished.stderr,
            )
        return BuildError(f"{what}: {shortened(finished)}; is the package index in reach?", detail=finished.stderr)


def run(words: Sequence[str], folder: Path) -> Finished:
    """Run uv in a folder to its end. Raises BuildError where it takes too long."""
    try:
        return process.run([find_uv_bin(), *words], cwd=folder, timeout_s=_TIMEOUT_S)
    except process.TooSlow as error:
        raise BuildError(f"the packages of your application: {error}; is the package index in reach?") from None


def shortened(finished: Finished) -> str:
    """What uv says, in a line, without the conditions of requirements."""
    if wanted := re.search(r"Wheels are required for `([^`]+)`", finished.stderr):
        return (
            f"{wanted[1]} has no wheel for it, and nothing is built; require a release that has one, or make one in the source "
            f"with pip wheel --no-deps -w wheels {wanted[1]}, and require ./wheels/ and its name"
        )
    _, found, cause = finished.stderr.partition("cause: ")
    text = " ".join((cause if found else finished.last_line).partition("hint:")[0].split()).removeprefix("error: ")
    return textwrap.shorten(re.sub(r"\{[^}]*\}", "", text).rstrip("."), _LONGEST_CAUSE, placeholder=" ...")


def _is_conflict(finished: Finished) -> bool:
    return "No solution found" in finished.stderr


def _pinned(need: str, pins: Mapping[str, str]) -> str:
    """With its release: where that does not fit, uv's explanation is about it, and not about all that there ever were."""
    name = lock_text.name_of(need)
    return need if re.search(r"[=<>~!;@]", need) or name not in pins else f"{need}=={pins[name]}"
