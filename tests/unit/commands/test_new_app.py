"""`lab.new-app` as a user calls it: one line, and a file that is never written twice."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from invoke.program import Program

from tests.unit.folders import make
from wsgilab import commands
from wsgilab.model.errors import LabError, UsageError

FLASK = "from flask import Flask\napp = Flask(__name__)\n"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, beside that of an application."""
    make(tmp_path / "shop", {"app.py": FLASK})
    made = make(tmp_path / "here", {})
    monkeypatch.chdir(made)
    return made


def invoke(*words: str) -> int:
    """The exit code."""
    try:
        Program(binary="invoke").run(["invoke", "--search-root", str(commands.PROJECT), "lab.new-app", *words])
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_it_says_in_a_line_what_it_wrote_and_how_to_run_it(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke("--source", "../shop") == 0

    assert capsys.readouterr().out == "Wrote shop.yaml. Run it with: invoke lab.run --app shop.yaml\n"
    document = yaml.safe_load((here / "shop.yaml").read_text())
    assert document["application"] == {"entry": "app:app", "source": "../shop"}


@pytest.mark.parametrize("source", ["{tmp}/shop", "../shop/", "../here/../shop", "."])
def test_the_source_is_relative_to_the_file(here: Path, source: str) -> None:
    make(here, {"app.py": FLASK})

    assert invoke("--source", source.format(tmp=here.parent), "--name", "mine") == 0
    written = yaml.safe_load((here / "mine.yaml").read_text())["application"]["source"]
    assert not Path(written).is_absolute()
    assert (here / written).samefile(source.format(tmp=here.parent))


def test_the_name_is_that_of_the_folder_wherever_it_is_called_from(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(here.parent / "shop")

    assert invoke("--source", ".") == 0
    assert capsys.readouterr().out.startswith("Wrote shop.yaml.")
    assert [each.name for each in here.iterdir()] == []


def assert_refused(capsys: pytest.CaptureFixture[str], *parts: str) -> None:
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert said.err.startswith("error: ")
    for part in parts:
        assert part in said.err


def test_a_file_that_is_there_is_never_written_over(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(here, {"shop.yaml": "mine\n"})

    assert invoke("--source", "../shop") == UsageError.exit_code
    assert_refused(capsys, "shop.yaml: is there already", "choose another name")
    assert (here / "shop.yaml").read_text() == "mine\n"
    (here / "link.yaml").symlink_to("nowhere")
    assert invoke("--source", "../shop", "--name", "link") == UsageError.exit_code
    assert not (here / "nowhere").exists()


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (
            ["--source", "../gone"],
            ["--source ../gone: cannot be read (No such file", "name the folder of your application"],
        ),
        (["--source", "../shop/app.py"], ["--source ../shop/app.py: cannot be read (Not a directory)"]),
        (["--source", "."], ["nothing in it looks like a WSGI application", "--app MODULE:CALLABLE"]),
        (["--source", "../shop", "--name", "../x"], ["--name: must be lower-case letters", "not '../x'"]),
        (["--source", "a\nb"], ["has characters that do not print"]),
        ([], ["needs SOURCE"]),
    ],
)
def test_bad_input_is_refused_in_a_line(
    here: Path, words: list[str], parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(*words) == UsageError.exit_code
    assert_refused(capsys, *parts)
    assert list(here.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened = Path.open

    def full(path: Path, mode: str = "r", **rest: Any) -> Any:
        if mode == "x":
            raise OSError(28, "No space left on device")
        return opened(path, mode, **rest)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(LabError, match=r"shop\.yaml: cannot be written \(No space left on device\)"):
        commands.new_app("../shop", None, commands.workspace())
