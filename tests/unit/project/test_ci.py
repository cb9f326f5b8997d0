"""The workflows of docs/ci.md call tasks that there are, with options and values that they take."""

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from invoke.exceptions import Exit
from invoke.parser.parser import Parser
from invoke.program import Program

from tasks import namespace
from wsgilab import commands
from wsgilab.analysis.ab.checks import parse_limit, parse_need
from wsgilab.commands.options import names, number
from wsgilab.experiment.parsing import check_known
from wsgilab.run.workspace import choose_servers

PROJECT = Path(__file__).resolve().parents[3]
PAGE = (PROJECT / "docs" / "ci.md").read_text()
BLOCKS = [yaml.safe_load(each) for each in re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)]


def texts(value: Any) -> Iterator[str]:
    """Every text in a document."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts(each)


def variables(value: Any) -> Mapping[str, str]:
    """What a workflow sets for its commands: name -> value."""
    found: dict[str, str] = {}
    for key, each in (
        value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    ):
        if key in ("env", "variables"):
            found |= {name: str(text) for name, text in each.items()}
        else:
            found |= variables(each)
    return found


def calls(workflow: Any) -> Iterator[list[str]]:
    """The words of each call of `invoke`, without what the shell makes of them."""
    known = variables(workflow)
    for text in texts(workflow):
        for line in text.replace("\\\n", " ").splitlines():
            filled = re.sub(r"\$([A-Z_]+)", lambda name: known.get(name[1], "given"), line)
            filled = re.sub(r"\$\{\{.*?\}\}", "given", filled)
            if "invoke lab." in filled:
                # Up to what the shell does with its output.
                words = shlex.split(re.split(r" (?:>|\||&&|;) ", filled)[0])
                yield words[words.index("invoke") + 1 :]


CALLS = [words for workflow in BLOCKS for words in calls(workflow)]


def read(words: list[str]) -> Mapping[str, Any]:
    """The task's options, as Invoke reads them. Raises Exit for what it would refuse."""
    _, context = Parser(initial=Program().initial_context, contexts=namespace.to_contexts()).parse_argv(words)
    return {str(name): argument.value for name, argument in context.args.items()}


def test_there_are_workflows_with_a_measurement_of_each_version_and_a_comparison() -> None:
    assert len(BLOCKS) >= 2
    for workflow in BLOCKS:
        tasks = [words[0] for words in calls(workflow)]
        assert set(tasks) <= {"lab.run", "lab.compare"}
        assert "lab.run" in tasks


def server_known(text: str) -> None:
    choose_servers(commands.workspace({}), names(text, "--servers"))


VALUES: Mapping[str, Callable[[str], object]] = {
    "fail-on": parse_limit,
    "need": parse_need,
    "format": lambda text: check_known([text], commands.COMPARED_FORMATS, "--format", "format"),
    "blocks": lambda text: number(text, "--blocks"),
    "servers": server_known,
    "experiment": lambda text: (PROJECT / text).read_text(),
}
"""What an option's value must be."""


@pytest.mark.parametrize("words", CALLS, ids=" ".join)
def test_each_call_has_options_and_values_that_the_task_takes(words: list[str]) -> None:
    options = read(words)
    assert any(options.values())
    for name, value in options.items():
        if name in VALUES and value is not None:
            VALUES[name](value)


@pytest.mark.parametrize(
    "words", ["lab.rnu", "lab.run --app x --block 3", "lab.compare a", "lab.compare a b --needs 5%"]
)
def test_a_call_that_would_be_refused_is_noticed(words: str) -> None:
    with pytest.raises(Exit):
        read(words.split())
