"""Every format, of real recorded runs, byte for byte as in tests/golden; `pytest tests/unit/report/test_golden.py --renew`
writes those anew, to be read in the diff before they are committed."""

import functools
import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from rich.console import RenderableType

from tests.unit import lanes
from tests.unit.runs import before_and_after, compared, stored
from tests.unit.said import printed
from wsgilab.analysis import claims
from wsgilab.analysis.ab.checks import checks, parse_limit
from wsgilab.analysis.compare import compare
from wsgilab.experiment.catalogue import parse
from wsgilab.model import ClaimResult, Comparison, Limit, LimitCheck, Run
from wsgilab.report import ab, terminal
from wsgilab.report.ab import github, junit
from wsgilab.report.claims import claims_md, claims_yaml
from wsgilab.report.formats import FORMATS

TESTS = Path(__file__).parents[2]
PROJECT = TESTS.parent
GOLDEN = TESTS / "golden"
WIDTH = 160
"""Of the terminal."""
NARROW = 80
"""Of one that is as narrow as the lab's output must fit."""
MOST_BYTES = 2_500_000
"""Of all golden files together: they are copied with every change of theirs."""
REMEDY = "if that is right: pytest tests/unit/report/test_golden.py --renew"

Files = Mapping[str, bytes]


@functools.cache
def apart() -> Comparison:
    """Of a run on two machines of targets: made up, since what is held here is how it is told."""
    run = lanes.run()
    return compare(run, lanes.observations(run))


@functools.cache
def verdicts() -> tuple[Run, tuple[ClaimResult, ...]]:
    store = stored("unit/recorded/claims")
    catalogue = parse((PROJECT / "compose" / "servers.yaml").read_text(), "servers.yaml")
    asked = claims.parse((PROJECT / "experiments" / "claims.yaml").read_text(), "claims.yaml", catalogue)
    run = store.run()
    return run, claims.judge(run, store.observations(), asked.claims)


def limited() -> tuple[Sequence[LimitCheck], Limit, float]:
    """What a limit that is breached and a need that is not met say of two runs."""
    limit, need = parse_limit("slower=5%"), 0.04
    return checks(before_and_after(), limit, need), limit, need


def on_terminal(shown: RenderableType, name: str, width: int = WIDTH) -> Files:
    return {name: printed(shown, width=width).encode()}


def of(made: Callable[[], Comparison], render: Callable[[Comparison], Files]) -> Callable[[], Files]:
    return lambda: render(made())


RENDERINGS: Mapping[tuple[str, str], Callable[[], Files]] = {
    **{("answer", name): of(compared, render) for name, render in FORMATS.items()},
    ("answer", "terminal"): lambda: on_terminal(terminal.comparison(compared(), WIDTH), "terminal.txt"),
    ("answer", "summary"): lambda: on_terminal(terminal.summary(compared(), NARROW), "summary.txt", NARROW),
    ("answer", "advice"): lambda: on_terminal(terminal.advice(compared()), "advice.txt"),
    **{("apart", name): of(apart, render) for name, render in FORMATS.items()},
    ("apart", "terminal"): lambda: on_terminal(terminal.comparison(apart(), WIDTH), "terminal.txt"),
    ("apart", "summary"): lambda: on_terminal(terminal.summary(apart(), NARROW), "summary.txt", NARROW),
    ("apart", "advice"): lambda: on_terminal(terminal.advice(apart()), "advice.txt"),
    ("against", "markdown"): lambda: ab.runs_md(before_and_after()),
    ("against", "yaml"): lambda: ab.runs_yaml(before_and_after()),
    ("against", "html"): lambda: ab.runs_html(before_and_after()),
    ("against", "terminal"): lambda: on_terminal(ab.on_terminal(before_and_after(), WIDTH), "terminal.txt"),
    ("against", "junit"): lambda: {"junit.xml": junit.runs_junit(before_and_after(), *limited()).encode()},
    ("against", "github"): lambda: {"summary.md": github.summary(before_and_after(), *limited()).encode()},
    ("claims", "markdown"): lambda: claims_md(*verdicts()),
    ("claims", "yaml"): lambda: claims_yaml(*verdicts()),
    ("claims", "terminal"): lambda: on_terminal(terminal.verdicts(verdicts()[1]), "terminal.txt"),
}
"""By the folder of their golden files, and the format's name."""


@functools.cache
def rendered(folder: str, name: str) -> Files:
    return RENDERINGS[folder, name]()


def held(folder: Path, files: Files, *, renew: bool) -> None:
    """Hold each of `files` against the one of its name in `folder`, or put it there. Fails with what differs."""
    for name, content in files.items():
        path = folder / name
        if renew:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            continue
        before = path.read_bytes() if path.is_file() else b""
        if before != content:
            at = next(
                (at for at, pair in enumerate(zip(before, content, strict=False)) if len(set(pair)) > 1), len(before)
            )
            around = slice(max(0, at - 30), at + 90)
            told = f"from byte {at} on:\n- {before[around]!r}\n+ {content[around]!r}\n{REMEDY}"
            pytest.fail(f"{path} would be another {told}", pytrace=False)


def alone(folder: Path, names: set[str], *, renew: bool) -> None:
    """Fails where `folder` has other files than `names`, or removes those."""
    left = sorted(path for path in folder.rglob("*") if path.is_file() and str(path.relative_to(folder)) not in names)
    if renew:
        for path in left:
            path.unlink()
    elif left:
        listed = ", ".join(str(path.relative_to(folder)) for path in left)
        pytest.fail(f"{folder} has files that no format writes: {listed}; {REMEDY}", pytrace=False)


@pytest.fixture
def renew(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--renew"))


@pytest.mark.parametrize(("folder", "name"), RENDERINGS)
def test_a_recorded_run_is_rendered_as_it_was(folder: str, name: str, renew: bool) -> None:
    held(GOLDEN / folder, rendered(folder, name), renew=renew)


@pytest.mark.parametrize("folder", sorted({folder for folder, _ in RENDERINGS}))
def test_every_golden_file_is_of_one_format(folder: str, renew: bool) -> None:
    written = Counter(name for of, each in RENDERINGS if of == folder for name in rendered(of, each))

    assert set(written.values()) == {1}, "two formats write one file"
    alone(GOLDEN / folder, set(written), renew=renew)


def test_golden_files_stay_small() -> None:
    sizes = {path: path.stat().st_size for path in GOLDEN.rglob("*") if path.is_file()}

    assert sum(sizes.values()) < MOST_BYTES, sorted(sizes.items(), key=lambda each: -each[1])[:5]


def digests() -> Mapping[str, str]:
    """Of what every format makes of a run, charts left out, which take long."""
    return {
        f"{folder}/{path}": hashlib.sha256(content).hexdigest()
        for folder, name in RENDERINGS
        if folder != "answer" and name not in ("report", "html")
        for path, content in rendered(folder, name).items()
    }


def test_rendering_again_elsewhere_gives_the_same_bytes() -> None:
    """In a process of its own, where sets have another order."""
    program = "import json; from tests.unit.report.test_golden import digests; print(json.dumps(digests()))"

    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=PROJECT,
        env={**os.environ, "PYTHONHASHSEED": "1", "TZ": "Asia/Tokyo", "COLUMNS": "40"},
        capture_output=True,
        check=False,
        text=True,
    )

    assert ended.returncode == 0, ended.stderr[-2000:]
    assert json.loads(ended.stdout) == digests()


# What holds them.


def test_a_golden_file_that_is_missing_other_or_left_over_is_told(tmp_path: Path) -> None:
    files = {"a.md": b"one\ntwo\n", "plots/b.svg": b"<svg>" + b"x" * 500 + b"1</svg>"}

    with pytest.raises(pytest.fail.Exception, match=r"a\.md would be another from byte 0 on"):
        held(tmp_path, files, renew=False)
    held(tmp_path, files, renew=True)
    held(tmp_path, files, renew=False)

    changed = {**files, "plots/b.svg": b"<svg>" + b"x" * 500 + b"2</svg>"}
    with pytest.raises(pytest.fail.Exception, match=r"from byte 505 on:\n- b'x{30}1</svg>'\n\+ b'x{30}2</svg>'\n"):
        held(tmp_path, changed, renew=False)

    (tmp_path / "plots" / "old.svg").write_bytes(b"")
    with pytest.raises(pytest.fail.Exception, match=r"files that no format writes: plots/old\.svg"):
        alone(tmp_path, set(files), renew=False)
    alone(tmp_path, set(files), renew=True)
    alone(tmp_path, set(files), renew=False)
