"""Stacks with another release of a package: what is required of the resolver, and that they are made once, whole or not at all."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from wsgilab.model.errors import BuildError, UsageError
from wsgilab.runtime import releases
from wsgilab.runtime.resolving import Resolver

LOCK = "flask==3.1.3 \\\n    --hash=sha256:ab\ngunicorn==27.0.1 \\\n    --hash=sha256:cd\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    stacks = tmp_path / "services" / "stacks"
    (stacks / "gunicorn-gevent").mkdir(parents=True)
    (stacks / "gunicorn-gevent" / "requirements.txt").write_text(LOCK)
    (stacks / "gunicorn-gevent" / "requirements.in").write_text(
        "# Its workers.\n-r ../../app/requirements.in\n-c ../gunicorn/requirements.txt\nGunicorn[gevent]\nflask # any\n"
    )
    (stacks / "gunicorn-gevent" / "stack.toml").write_text('python = "3.13"\n')
    return tmp_path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Mapping[str, str], Sequence[str]]]:
    """What each resolver was asked: the requirements, what is preferred, and the options of its target."""
    found: list[tuple[str, Mapping[str, str], Sequence[str]]] = []

    def resolve(self: Resolver, inputs: Sequence[str], preferred: Mapping[str, str], of: str) -> str:
        text = Path(inputs[0]).read_text()
        if "==99" in text:
            raise BuildError(f"{of}: there is no version", detail="many lines")
        found.append((text, preferred, self.target.options))
        return "--index-url https://user:secret@index.example\n" + LOCK.replace("27.0.1", "23.0.0")

    monkeypatch.setattr(Resolver, "resolve", resolve)
    return found


def test_a_stack_is_locked_once_with_the_release_and_the_others_as_they_are(
    project: Path, asked: list[tuple[str, Mapping[str, str], Sequence[str]]]
) -> None:
    said: list[str] = []
    names = [releases.stack_of(project, "gunicorn-gevent", "gunicorn", "23.0.0", said.append) for _ in range(2)]

    assert set(names) == {"gunicorn-gevent-at-gunicorn-23-0-0"}
    assert said == ["Locking the stack gunicorn-gevent with gunicorn 23.0.0 ..."]
    ((required, preferred, options),) = asked
    assert required == f"-r {project / 'services/app/requirements.in'}\nGunicorn[gevent]==23.0.0\nflask\n"
    assert preferred == {"flask": "3.1.3", "gunicorn": "27.0.1"}
    assert options == ("--universal", "--python-version", "3.13")
    made = project / "services" / "stacks" / names[0]
    assert (made / "requirements.txt").read_text() == LOCK.replace("27.0.1", "23.0.0"), "without the index"
    assert (made / "stack.toml").read_text() == 'python = "3.13"\n'

    releases.removed(project)
    assert [each.name for each in made.parent.iterdir()] == ["gunicorn-gevent"]


def test_a_package_that_something_else_brings_is_required_by_itself(
    project: Path, asked: list[tuple[str, Mapping[str, str], Sequence[str]]]
) -> None:
    lock = project / "services" / "stacks" / "gunicorn-gevent" / "requirements.txt"
    lock.write_text(LOCK + "werkzeug==3.1.9 \\\n    --hash=sha256:ef\n")

    releases.stack_of(project, "gunicorn-gevent", "Werkzeug", "3.0.1", lambda _: None)

    assert asked[0][0].splitlines()[-1] == "Werkzeug==3.0.1"


@pytest.mark.usefixtures("asked")
def test_a_release_that_there_is_not_is_named_and_leaves_nothing(project: Path) -> None:
    with pytest.raises(
        BuildError, match=r"^--release gunicorn=99: gunicorn 99 and the other packages .* no version"
    ) as caught:
        releases.stack_of(project, "gunicorn-gevent", "gunicorn", "99", lambda _: None)

    assert caught.value.detail == ""
    assert [each.name for each in (project / "services" / "stacks").iterdir()] == ["gunicorn-gevent"]


def test_a_package_that_the_stack_does_not_have_is_refused_with_those_that_it_has(project: Path) -> None:
    with pytest.raises(
        UsageError, match=r"^--release django: the stack gunicorn-gevent has no .*; it has flask, gunicorn$"
    ):
        releases.stack_of(project, "gunicorn-gevent", "django", "5.0", lambda _: None)
