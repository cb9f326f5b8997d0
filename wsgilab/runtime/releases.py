"""Stacks with another release of one of their packages: locked once, and kept beside the lab's own until `lab.clean`.

The other packages have the releases of the stack that each is made from, as far as these go with it.
"""

import re
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from wsgilab.model.errors import BuildError, UsageError
from wsgilab.model.experiment import RELEASE
from wsgilab.runtime import lock_text
from wsgilab.runtime.protocol import Say
from wsgilab.runtime.resolving import Resolver, Target
from wsgilab.runtime.stacks import FILE, needs

_OLDEST_PYTHON = "3.11"
"""Locks are for this one and newer ones, as the lab's own are."""
_CONSTRAINTS = "setuptools<81\n"
"""Where setuptools is required at all: old releases import its pkg_resources, which newer ones do not have."""
_REQUIREMENT = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(\[[^\]]*\])?")


def stack_of(project: Path, stack: str, package: str, release: str, say: Say) -> str:
    """The name of `stack` with that release of a package, whose lock is made unless it is there.

    Raises UsageError where the stack does not have the package, and BuildError where there is no such release, or no way to it.
    """
    folder = project / "services" / "stacks"
    lock = (folder / stack / "requirements.txt").read_text()
    pins = lock_text.pins(lock)
    if lock_text.name_of(package) not in pins:
        raise UsageError(
            f"--release {package}: the stack {stack} has no such package; it has {', '.join(sorted(pins))}"
        )
    name = f"{stack}{RELEASE}{spelt(package)}-{spelt(release)}"
    made = folder / name
    if (made / "requirements.txt").is_file():
        return name
    say(f"Locking the stack {stack} with {package} {release} ...")
    with tempfile.TemporaryDirectory(prefix="wsgilab-release-") as work:
        given, constraints = Path(work) / "requirements.in", Path(work) / "constraints.txt"
        constraints.write_text(_CONSTRAINTS)
        given.write_text(_required((folder / stack / "requirements.in").read_text(), package, release, folder / stack))
        python = (needs(folder / stack).python or _OLDEST_PYTHON).removesuffix("t")
        target = Target(options=("--universal", "--python-version", python), name=f"Python {python} and newer")
        try:
            text = Resolver(target=target, folder=folder, work=Path(work)).resolve(
                [str(given), "--constraints", str(constraints)],
                pins,
                f"{package} {release} and the other packages of the stack {stack}",
            )
        except BuildError as error:
            raise BuildError(f"--release {package}={release}: {error.message}") from None
    # Whole, or not at all: what is there is taken for finished.
    beside = made.with_name(f"{name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    if (folder / stack / FILE).is_file():
        shutil.copy(folder / stack / FILE, beside)
    entries = ("\n".join(entry) for entry in lock_text.entries(text))
    (beside / "requirements.txt").write_text("".join(f"{entry}\n" for entry in entries))
    beside.rename(made)
    return name


def spelt(text: str) -> str:
    """A package or a release as a part of a name: `23-0-0`."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def removed(project: Path) -> None:
    """Remove all such stacks."""
    for folder in (project / "services" / "stacks").glob(f"*{RELEASE}*"):
        shutil.rmtree(folder, ignore_errors=True)


def _required(text: str, package: str, release: str, folder: Path) -> str:
    """What a stack requires, with that release of a package; without the constraints by which its own one is chosen."""
    wanted, found = lock_text.name_of(package), False
    lines = []
    for line in _lines(text):
        if line.startswith(("-c", "--constraint")):
            continue
        if line.startswith("-r"):
            line = f"-r {(folder / line.removeprefix('-r').strip()).resolve()}"  # noqa: PLW2901 - the same line, elsewhere
        elif (match := _REQUIREMENT.match(line)) and lock_text.name_of(match[1]) == wanted:
            line, found = f"{match[1]}{match[2] or ''}=={release}", True  # noqa: PLW2901 - as above
        lines.append(line)
    return "".join(f"{line}\n" for line in [*lines, *([] if found else [f"{package}=={release}"])])


def _lines(text: str) -> Iterable[str]:
    return filter(None, (line.partition(" #")[0].strip() for line in text.splitlines() if not line.startswith("#")))
