"""`lab.run --against`: what is compared with what, as the command line and a repository have it."""

import io
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.unit import two_versions
from tests.unit.checkout import git
from wsgilab import commands, testing
from wsgilab.analysis.ab import versions
from wsgilab.commands import RunOptions, against
from wsgilab.experiment import application as applications
from wsgilab.model import ApplicationSettings, Comparison, Experiment
from wsgilab.model.application import Version
from wsgilab.model.errors import Inconclusive, LabError, SpecError, TargetError, UsageError
from wsgilab.run import runner
from wsgilab.run.workspace import read_file

NOW = 'application: {entry: "shop:now", env: {A: "2"}}\nrequests: {orders: {get: /orders}}\n'
THEN = 'application: {entry: "shop:then", source: src}\nrequests: {other: {get: /other}}\n'


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, a repository with an application file as of v1 and as of now, and none as of v0."""
    monkeypatch.chdir(tmp_path)
    git(tmp_path, "init", "-q")
    for tag, files in (("v0", {"app.py": "0"}), ("v1", {"shop.yaml": THEN}), ("v2", {"shop.yaml": NOW})):
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        git(tmp_path, "add", ".")
        git(tmp_path, "commit", "-q", "-m", tag)
        git(tmp_path, "tag", tag)
    return tmp_path


def experiment(name: str, said: list[str] | None = None, **options: Any) -> Experiment:
    """What is measured of shop.yaml, or of what the options say, against `name`."""
    own = applications.parse(NOW, "shop.yaml", folder=".", read_file=read_file)
    given = RunOptions(task="lab.run", against=name, **({"app": "shop.yaml"} | options))
    cell = testing.cell(workload="orders")
    return against.compared(testing.experiment(cell, application=own), given, {}, ([] if said is None else said).append)


def version(of: Experiment) -> Version:
    assert of.application is not None
    assert of.application.against is not None
    return of.application.against


def test_a_revision_is_started_as_its_own_application_file_says_and_asked_what_todays_has(shop: Path) -> None:
    found = experiment("v1")
    there = version(found)

    assert there.application == ApplicationSettings(entry="shop:then", source="src")
    assert found.application is not None
    assert found.application.entry == "shop:now"
    assert found.application.requests.keys() == {"orders"}
    assert (there.name, there.current) == ("v1", "HEAD")
    assert there.revision != there.current_revision
    assert found.counterparts == {"gunicorn-sync-1": "gunicorn-sync-1-against"}
    (shop / "app.py").write_text("uncommitted")
    assert version(experiment("v1")).current == "HEAD with uncommitted changes"


def test_where_the_revision_has_no_such_file_that_of_now_holds_for_both(shop: Path) -> None:
    said: list[str] = []
    there = version(experiment("v0", said))

    assert (there.application.entry, dict(there.application.env)) == ("shop:now", {"A": "2"})
    assert said == ["Note: shop.yaml is not in v0: both versions are started as it says now."]
    said.clear()
    assert version(experiment("v1", said, app="shop:now")).application.entry == "shop:now"
    assert said == [], "there is no file to ask for"


def test_an_application_that_an_experiment_names_has_its_file_too(shop: Path) -> None:
    (shop / "experiment.yaml").write_text("application: shop.yaml\n")
    there = version(experiment("v1", app=None, file="experiment.yaml"))
    assert there.application.entry == "shop:then"


def test_another_application_file_is_what_it_says_and_needs_no_repository(tmp_path: Path) -> None:
    (tmp_path / "then.yaml").write_text(THEN)
    there = version(experiment(str(tmp_path / "then.yaml")))

    assert there.application.entry == "shop:then"
    assert (Path(there.application.source).resolve(), there.revision) == (tmp_path / "src", None)
    assert (there.name, there.current) == (str(tmp_path / "then.yaml"), "shop.yaml")


def test_what_the_other_application_file_has_wrong_is_said_with_its_revision(shop: Path) -> None:
    (shop / "shop.yaml").write_text("application: {entry: shop}\nrequests: {orders: {get: /}}\n")
    git(shop, "commit", "-q", "-a", "-m", "wrong")
    with pytest.raises(SpecError, match=r"^shop\.yaml at HEAD: application\.entry: must be module:callable"):
        experiment("HEAD")


@pytest.mark.parametrize(
    ("options", "fail_on", "told"),
    [
        (
            {"against": "v1"},
            None,
            "--against v1: compares versions of an application of your own; name that with --app",
        ),
        ({"against": "v1", "url": "http://127.0.0.1:1"}, None, "--against: goes with servers that the lab starts"),
        (
            {"against": "v1", "resume": "latest"},
            None,
            "--resume latest: a resumed run keeps its experiment, application",
        ),
        (
            {"app": "a:b"},
            "slower=5%",
            "--fail-on slower=5%: is for two versions of an application; name the other with",
        ),
        ({"against": "v1", "app": "a:b"}, "slow", "--fail-on 'slow': must be slower, faster, different, cost or"),
        (
            {"against": "v1", "app": "a:b"},
            "capacity=5%",
            "--fail-on capacity=5%: is for two runs that look for capacity; have invoke lab.compare judge them",
        ),
    ],
)
def test_what_does_not_go_together_is_said_before_anything_is_started(
    options: Mapping[str, Any], fail_on: str | None, told: str, tmp_path: Path
) -> None:
    workspace = commands.workspace({"LAB_RESULTS": str(tmp_path / "results"), "LAB_STATE": str(tmp_path / "state")})
    given = RunOptions(task="lab.run", runtime=None if "resume" in options else "local", **options)
    with pytest.raises(UsageError) as caught:
        commands.run(given, Console(file=io.StringIO()), workspace, fail_on)
    assert str(caught.value).startswith(told)


def test_an_applications_code_may_be_elsewhere_than_its_file(
    shop: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    lab = tmp_path_factory.mktemp("lab")
    (lab / "shop.yaml").write_text(NOW)
    said: list[str] = []
    own = testing.application(source=str(shop))
    given = RunOptions(task="lab.run", against="v1", app=str(lab / "shop.yaml"))
    found = against.compared(
        testing.experiment(testing.cell(workload="orders"), application=own), given, {}, said.append
    )
    assert version(found).application.source == str(shop)
    assert said == [f"Note: {lab / 'shop.yaml'} is not in v1: both versions are started as it says now."]


@pytest.mark.parametrize(
    ("asked", "kind", "said"),
    [
        ({"need": "50%"}, None, "--need 50%: each of 2 cells could have shown it"),
        ({"need": "1.1%"}, Inconclusive, "--need 1.1%: 2 of 2 cells could not have shown it"),
        ({"fail_on": "slower=1%", "need": "50%"}, None, "--fail-on slower=1%: a difference of"),
        (
            {"need": "50%", "servers": ("one", "three")},
            Inconclusive,
            "three: orders, 32 users, 1 core, connection: close: it is not up",
        ),
        ({"fail_on": "slower=50%", "servers": ("one", "three")}, None, "--fail-on slower=50%"),
    ],
)
def test_two_versions_are_judged_by_what_they_could_have_shown(
    asked: dict[str, Any],
    kind: type[LabError] | None,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And a server that was asked for and left out is no success."""
    printed, error = judged(tmp_path, monkeypatch, **asked)

    assert type(error) is (kind or type(None))
    assert said in f"{printed}{error}{error.detail if error else ''}"


def judged(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: LabError | None = None, **asked: Any
) -> tuple[str, LabError | None]:
    """What `lab.run --against` prints of a run of two versions, and how it ends. `error`: what the run itself ends with."""
    made = two_versions.made()

    def run(_: RunOptions, __: object, ___: object, console: Console, ____: object) -> Comparison:
        console.print("12 of 12 trials")
        if error is not None:
            raise error
        return versions.whole(made, two_versions.observed(made, {}))

    monkeypatch.setattr(runner, "run", run)
    options = RunOptions(task="lab.run", app="shop.yaml", against="v1", servers=asked.pop("servers", ()))
    file, workspace = io.StringIO(), commands.workspace({"LAB_RESULTS": str(folder)})
    try:
        commands.run(options, Console(file=file, width=300), workspace, **{"environment": {}, **asked})
    except LabError as raised:
        return file.getvalue(), raised
    return file.getvalue(), None


def test_in_a_format_for_programs_nothing_else_is_on_the_standard_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    servers = ("one", "three")
    printed, error = judged(tmp_path, monkeypatch, form="junit", need="50%", servers=servers)
    (suite,) = ET.fromstring(printed)

    assert isinstance(error, Inconclusive)
    assert suite.get("name") == "lab.run trial-run"
    assert {each.get("name"): each.get("value") for each in suite.iter("property")} == {
        "A": "v1",
        "B": "HEAD",
        "limit": "",
        "need": "--need 50%",
    }
    failed = [case.get("classname") for case in suite.iter("testcase") if case.find("error") is not None]
    assert failed == ["wsgilab.three"]
    assert capsys.readouterr().err == "12 of 12 trials\n"


def test_github_gets_annotations_and_a_summary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = tmp_path / "summary.md"
    environment = {"GITHUB_STEP_SUMMARY": str(summary)}
    printed, error = judged(tmp_path, monkeypatch, form="github", fail_on="different=5%", environment=environment)

    assert error is None
    assert printed.startswith("::notice title=shop.wsgi%3Aapp%3A v1 (A) and HEAD (B)::")
    assert "What differs between the two versions" in summary.read_text()


@pytest.mark.parametrize(
    ("form", "said"), [("junit", 'errors="1"'), ("github", "::error title=Nothing was compared::")]
)
def test_a_run_that_fails_is_an_error_there_too(
    form: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed, error = judged(tmp_path, monkeypatch, TargetError("it ended: ##[error]no"), form=form, need="5%")

    assert said in printed
    assert "it ended" in printed
    assert type(error) is TargetError
    assert ("##[" in str(error)) == (form == "junit")


def test_a_format_that_there_is_not_is_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed, error = judged(tmp_path, monkeypatch, form="junt")

    assert isinstance(error, UsageError)
    assert str(error) == "--format: unknown format 'junt'; did you mean junit?"
    assert printed == ""
