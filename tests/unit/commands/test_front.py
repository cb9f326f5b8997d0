"""The command line: how every task is called, and how it ends."""

import ast
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from invoke.parser.context import ParserContext
from invoke.program import Program

import tasks
from tests.unit.runs import TESTS
from tests.unit.said import table
from wsgilab import __version__, commands
from wsgilab.commands import front
from wsgilab.commands import tasks as lab_tasks
from wsgilab.commands.options import names, numbers
from wsgilab.model import errors, text
from wsgilab.model.errors import LabError, UsageError

CONTEXTS = {str(context.name): context for context in tasks.namespace.to_contexts()}
TASKS = sorted(CONTEXTS)


@pytest.fixture(autouse=True)
def project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the user's is touched, should a task be carried out after all."""
    monkeypatch.chdir(commands.PROJECT)
    for variable in ("LAB_STATE", "LAB_RESULTS"):
        monkeypatch.setenv(variable, str(tmp_path / variable))


def invoke(*words: str) -> int:
    """The exit code."""
    try:
        Program(binary="invoke").run(["invoke", *words])
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def required(context: ParserContext) -> list[str]:
    return ["something" for _ in context.positional_args]


# --- options


def test_every_task_is_made_by_the_front() -> None:
    """With whatever else makes one, it would have none of what is tested here."""
    tree = ast.parse((commands.PROJECT / "wsgilab" / "commands" / "tasks.py").read_text())
    made = [each for each in tree.body if isinstance(each, ast.FunctionDef) and each.decorator_list]
    assert len(made) == len(TASKS) > 10
    for function in made:
        (decorator,) = function.decorator_list
        assert isinstance(decorator, ast.Call)
        assert isinstance(decorator.func, ast.Name)
        assert decorator.func.id == "task"
    assert vars(lab_tasks)["task"] is front.task


@pytest.mark.parametrize("task", TASKS)
def test_no_option_has_a_letter_of_its_own(task: str) -> None:
    assert all(flag.startswith("--") for flag in CONTEXTS[task].flag_names())


@pytest.mark.parametrize(("task", "flag"), [*((task, "--help") for task in TASKS), (TASKS[0], "-h")])
def test_help_is_shown_wherever_it_is_asked_for(task: str, flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = required(CONTEXTS[task])
    for call in ([task, flag], [flag, task], [task, flag, *words], [task, *words, flag], [task, *words[:1], flag]):
        assert invoke(*call) == 0, call
        said = capsys.readouterr()
        assert said.out.startswith(f"Usage: invoke [--core-opts] {task} "), call
        assert said.err == ""


@pytest.mark.parametrize("task", TASKS)
def test_an_option_that_there_is_not_is_wrong_usage(task: str, capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--nonsense", "-s", "-n"):
        for words in ([option], [option, *required(CONTEXTS[task])]):
            assert invoke(task, *words) == UsageError.exit_code
            assert f"error: {task}: unknown option {option}; " in capsys.readouterr().err


VALUES = [
    (task, name)
    for task, context in CONTEXTS.items()
    for name, argument in context.args.items()
    if argument.takes_value and name == argument.names[0]
]


@pytest.mark.parametrize(("task", "name"), VALUES)
def test_no_option_is_empty(task: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    positional = [each.names[0] for each in CONTEXTS[task].positional_args]
    words = ["" if each == name else "something" for each in positional]
    assert invoke(task, *words, *([] if name in positional else [f"--{name}="])) == UsageError.exit_code
    assert f"{name}: is empty; give a value, or leave it out" in capsys.readouterr().err


LISTS = [(task, name) for task, name in VALUES if re.search(r"a,b|1,2", CONTEXTS[task].args[name].help or "")]


@pytest.mark.parametrize("given", ["a,,", ",", "a,,b", " ", ",a", "1,"])
@pytest.mark.parametrize(("task", "name"), LISTS)
def test_no_name_in_a_list_is_empty(task: str, name: str, given: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(task, f"--{name}", given) == UsageError.exit_code
    assert f"error: --{name} {given}".rstrip() in capsys.readouterr().err


def test_these_are_the_lists_that_there_are() -> None:
    assert {name for _, name in LISTS} == {"servers", "cores", "only"}
    assert len(LISTS) == 7


def test_lists_are_read() -> None:
    assert names("a, b", "--servers") == ("a", "b")
    assert numbers("1,2", "--cores") == (1, 2)


@pytest.mark.parametrize(
    ("words", "told"),
    table(
        """
        lab.rn | unknown task 'lab.rn'; did you mean lab.run
        lab.run --block 3 | lab.run: unknown option --block; did you mean --blocks
        lab.run --blocks | lab.run: --blocks needs a value
        lab.logs | lab.logs: needs SERVER; invoke lab.logs --help
        lab.compare a | lab.compare: needs RUN-B;
        lab.list more | lab.list: unexpected 'more';
        lab.run --blocks many | --blocks many: must be a whole number
        lab.run --cores one | --cores one: must be whole numbers from 1, separated by commas
        lab.run --port 8089 | --port 8089: is where the web UI is to be; give --watch too
        lab.up --port eighty | --port eighty: must be a whole number
        lab.run --runtime loca | unknown runtime 'loca'; did you mean local?
        lab.run --runtime podman | --runtime: unknown runtime 'podman'; known are compose, local
        lab.run --experiment worker | did you mean experiments/workers.yaml
        lab.build --servers gunicorn-gevnt | --servers: unknown server 'gunicorn-gevnt'; did you mean gunicorn-gevent
        lab.run --servers gevent | --servers: unknown server 'gevent'; did you mean gunicorn-gevent,
        lab.up --runtime local --port 0 --servers nope | --servers: unknown server 'nope'
        lab.build --servers nginx-unit | 'nginx-unit'; known are flask-default, flask-single, flask-threaded and
        lab.capacity --servers gunicorn-gevent | lab.capacity: needs --p95-ms, the limit on latency in milliseconds, such as
        lab.capacity --p95-ms 200 | lab.capacity: needs --servers, such as
        lab.capacity --p95-ms 0 | --p95-ms: must be a number above 0
        lab.capacity --p95-ms slow | --p95-ms slow: must be a number
        lab.capacity --p95-ms 9 --failures much | --failures much: must be a share such as 0.1%
        lab.capacity --p95-ms 9 --failures 60% | --failures: must be a number from 0 to 0.5, not 0.6
        lab.capacity --p95-ms 9 --need 5% | --need 5%: must be a number
        lab.capacity --p95-ms 9 --need 0 | --need: must be a number above 0 and at most 100000, not 0
        lab.capacity --p95-ms 9 --arrivals random | --arrivals: must be poisson or constant, not 'random'
        lab.capacity --p95-ms 9 --budget 3h | --budget 3h: must be a time such as 125s or 3min
        lab.capacity --p95-ms 9 --users 8 | lab.capacity: unknown option --users
        lab.capacity --p95-ms 9 --servers gevent --workload hello --runtime local | --servers: unknown server 'gevent'; did you mean
        lab.capacity --p95-ms 9 --servers gunicorn-gevent --runtime local | lab.capacity: needs --workload, one of hello, sleep,
        lab.capacity --p95-ms 9 --servers gunicorn-gevent --workload nap --runtime local | --workload: unknown workload 'nap'
        lab.capacity --p95-ms 9 --servers gunicorn-gevent --workload sleep --runtime local | --p95-ms: 9 ms is not more than the 50 ms that
        lab.capacity --p95-ms 99 --servers gunicorn-gevent --workload sleep --runtime local --budget 9s | --budget: 9 s is too short: 1 server
        lab.capacity --p95-ms 9 --servers gunicorn-gevent --workload stall --runtime local | requests of the workload 'stall' are not sent at a rate
        lab.capacity --resume latest --p95-ms 9 | --resume latest: a resumed run keeps its limit and its servers
        lab.claims --only gill | --only: unknown claim 'gill'; did you mean gil?
        lab.report --run late | no run 'late'; make one with invoke lab.run
        lab.run --resume late | no run 'late'; make one with invoke lab.run
        lab.compare latest latest | no run 'latest'; make one with invoke lab.run
        lab.compare a b --need 5 | --need '5': must be a share, such as 5%
        lab.compare a b --format xml | --format: unknown format 'xml'; known are terminal, junit, github
        lab.runs --format xml | --format: unknown format 'xml'; known are terminal, json
        """
    ),
)
def test_wrong_usage_is_a_line_that_says_what_would_be_right(
    words: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(*words.split()) == UsageError.exit_code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert told in line


# --- the command of an installed lab


@pytest.fixture
def wsgilab(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Calls it; the exit code, and what it said."""
    monkeypatch.setitem(text._called, "by", text.INVOKE)

    def call(*words: str) -> tuple[int, str, str]:
        try:
            lab_tasks.program.run(["/somewhere/bin/wsgilab", *words])
        except SystemExit as ended:
            return int(ended.code or 0), *capsys.readouterr()
        return 0, *capsys.readouterr()

    return call


Wsgilab = Callable[..., tuple[int, str, str]]


def test_the_command_shows_its_tasks(wsgilab: Wsgilab) -> None:
    helps = {wsgilab(*words) for words in ((), ("--help",), ("-h",))}
    ((code, out, err),) = helps
    assert (code, err) == (0, "")
    assert out.startswith("Usage: wsgilab TASK [--options]\n")
    assert "wsgilab TASK --help" in out
    (_, listed, _) = wsgilab("--list")
    assert listed.startswith("Tasks:\n")
    for shown in (out, listed):
        assert re.findall(r"^  ([a-z][a-z-]+) ", shown, re.MULTILINE) == [task.removeprefix("lab.") for task in TASKS]
        assert max(map(len, shown.splitlines())) <= 80
        assert "lab." not in shown
    assert wsgilab("--version") == (0, f"wsgilab {__version__}\n", "")


@pytest.mark.parametrize("task", TASKS)
def test_the_command_shows_what_a_task_takes(task: str, wsgilab: Wsgilab) -> None:
    name = task.removeprefix("lab.")
    code, out, err = wsgilab(name, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: wsgilab {name}")
    assert max(map(len, out.splitlines())) <= 80
    assert "lab." not in out
    assert set(re.findall(r"^  (--[a-z0-9-]+)", out, re.MULTILINE)) >= {
        each for each in CONTEXTS[task].flag_names() if not each.startswith("--no-")
    }


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["rn"], "unknown task 'rn'; did you mean run"),
        (["lab.run"], "unknown task 'lab.run'; wsgilab --list shows them"),
        (["run", "--nothing"], "run: unknown option --nothing; wsgilab run --help shows its options"),
        (["--nothing"], "wsgilab: unknown option --nothing; wsgilab --help shows them"),
        (["compare", "a"], "compare: needs RUN-B; wsgilab compare --help shows what it takes"),
        (["report", "--run", "late"], "no run 'late'; make one with wsgilab run"),
        (["status"], "the interactive lab is not up; wsgilab up brings it up"),
    ],
)
def test_the_command_says_what_would_be_right_with_it(words: list[str], told: str, wsgilab: Wsgilab) -> None:
    code, _, err = wsgilab(*words)
    assert code in (UsageError.exit_code, LabError.exit_code)
    (line,) = err.splitlines()
    assert line.startswith("error: ")
    assert told in line


def test_ctrl_c_while_it_is_being_imported_ends_the_command_without_a_word(tmp_path: Path) -> None:
    # As slow as its imports are on a machine that has never read them.
    (tmp_path / "rich").mkdir()
    (tmp_path / "rich" / "__init__.py").write_text("import time; print('importing', flush=True); time.sleep(60)\n")
    with subprocess.Popen(
        [sys.executable, "-m", "wsgilab", "list"],
        cwd=commands.PROJECT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.readline() == b"importing\n"
        child.send_signal(signal.SIGINT)
        assert child.wait(timeout=120) == -signal.SIGINT
        assert child.stderr.read() == b""


# --- exit codes


def tree(root: type[LabError] = LabError) -> Iterator[type[LabError]]:
    yield root
    for each in root.__subclasses__():
        yield from tree(each)


def test_the_exit_codes_are_those_that_are_documented() -> None:
    page = (commands.PROJECT / "docs" / "ci.md").read_text()
    table = re.findall(r"^\| `(\d+|128 \+ n)` \| ", page, re.MULTILINE)
    codes = {each.exit_code for each in tree() if each.__module__ == errors.__name__}
    assert table == [*map(str, [0, *sorted(codes)]), "128 + n"]
    assert errors.Interrupted(signal.SIGHUP).exit_code == 128 + 1


CONSEQUENCES: list[tuple[int, BaseException | None]] = [
    (0, None),
    (1, LabError("a")),
    (1, errors.StoreError("a")),
    (2, UsageError("a")),
    (2, errors.SpecError("a")),
    (3, errors.TrialsFailed("a")),
    (4, errors.LimitBreached("a", detail="b\nc")),
    (5, errors.Inconclusive("a")),
    (130, errors.Interrupted(signal.SIGINT)),
    (143, errors.Interrupted(signal.SIGTERM)),
]


@pytest.mark.parametrize(("code", "error"), CONSEQUENCES, ids=lambda value: str(type(value).__name__))
def test_a_task_ends_with_the_code_of_what_ended_it(
    code: int, error: BaseException | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ends(*_: object, **__: object) -> None:
        if error is not None:
            raise error

    monkeypatch.setattr(commands, "compare_runs", ends)
    assert invoke("lab.compare", "a", "b") == code
    said = capsys.readouterr()
    assert said.out == ""
    if isinstance(error, LabError):
        assert said.err.splitlines() == ["error: a", *(f"  | {line}" for line in error.detail.splitlines())]


@pytest.mark.parametrize("task", ["run", "claims"])
def test_a_run_of_which_trials_failed_is_no_success(
    task: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = SimpleNamespace(failed=1, trials=4, run=SimpleNamespace(id="it"))
    monkeypatch.setattr(commands, task, lambda *_, **__: found)
    assert invoke(f"lab.{task}") == errors.TrialsFailed.exit_code
    assert (
        "error: 1 of 4 trials failed, as the warnings say; try them again with --resume it" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("before after", 0),
        ("before nowhere", 2),
        ("before after --fail-on slower=5% --need 7%", 4),
        ("before after --fail-on slower=20% --need 2%", 5),
        ("latest before", 1),
    ],
)
def test_a_comparison_ends_with_the_code_of_what_it_found(words: str, code: int, tmp_path: Path) -> None:
    for name in ("before", "after"):
        shutil.copytree(TESTS / "recorded" / name, tmp_path / "LAB_RESULTS" / name)
    damaged = tmp_path / "LAB_RESULTS" / "latest"
    damaged.mkdir()
    (damaged / "run.yaml").write_text("schema: 99")

    assert invoke("lab.compare", *words.split()) == code


# --- output


SAYS = """
    import sys, time
    from wsgilab.commands import front
    @front.task()
    def talks(_):
        "Says much."
        try:
            while True:
                print("word " * 100, flush=True)
        finally:
            print("ended in order", flush=True)
            open({proof!r}, "w").close()
    from invoke.program import Program
    from invoke import Collection
    Program(namespace=Collection(talks)).run(["x", "talks"])
"""


@pytest.mark.parametrize(("into", "unbuffered"), [("stdout", ""), ("both", "1")])
def test_output_that_nobody_reads_ends_a_task_in_order(tmp_path: Path, into: str, unbuffered: str) -> None:
    proof = tmp_path / "proof"
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SAYS.format(proof=str(proof)))],
        cwd=commands.PROJECT,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if into == "stdout" else subprocess.STDOUT,
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        child.stdout.close()
        if into == "stdout":
            assert child.stderr is not None
            assert child.stderr.read() == b"", "as others in a pipe"
        assert child.wait(timeout=120) == 128 + signal.SIGPIPE
    assert proof.exists()


@pytest.mark.parametrize(
    "words", [["-m", "invoke", "lab.run", "--help"], ["-m", "invoke", "--list"], ["-m", "wsgilab", "--help"]]
)
def test_help_that_nobody_reads_ends_without_a_word(words: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as nowhere:
        asked = [sys.executable, *words]
        ended = subprocess.run(asked, check=False, cwd=commands.PROJECT, stdout=nowhere, stderr=subprocess.PIPE)
    assert ended.stderr == b""


def test_output_that_is_read_is_whole(tmp_path: Path) -> None:
    read, write = os.pipe()
    raw = front._Output(write, "wb")
    with io.TextIOWrapper(io.BufferedWriter(raw)) as text:
        text.write("säid\n")
    assert os.read(read, 100) == "säid\n".encode()
    os.close(read)


@pytest.mark.parametrize("entry", ["import tasks", "from wsgilab.__main__ import main; main()"])
def test_on_windows_itself_it_ends_in_one_line_before_anything_is_missing(entry: str) -> None:
    code = f"import sys; import invoke.collection; sys.platform = 'win32'; sys.modules['fcntl'] = None; {entry}"
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=commands.PROJECT, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert re.fullmatch(r"error: wsgilab does not run on Windows itself; run it in WSL 2, .*\n", ended.stderr)
