"""What every task of the module `tasks` has in common: how it is called, and how it ends.

`task` is Invoke's own, except that

- its options follow from the function's parameters and their types (`options`);
- an option has one name, the long one; a letter that Invoke would choose means something else when an option is added;
- `--help` and `-h` show a task's help wherever they are, and an unknown option is refused instead of being taken for the
  name of a server;
- an option is never empty;
- signals, and output that nobody reads any more, end the task in order;
- an error is one line, and an exit code.
"""

import contextlib
import errno
import functools
import inspect
import io
import os
import signal
import sys
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit
from invoke.parser import parser
from invoke.parser.argument import Argument
from invoke.parser.context import to_flag
from invoke.program import Program
from invoke.tasks import Task
from invoke.terminals import pty_size

import wsgilab
from wsgilab.commands.options import Body, Options
from wsgilab.experiment.parsing import alternatives
from wsgilab.model.errors import Interrupted, LabError, UsageError
from wsgilab.model.text import WSGILAB, call_tasks_by, called, program
from wsgilab.run.workspace import output_is_gone, signals_raise


def task(*, name: str | None = None, help: Mapping[str, str] | None = None) -> Callable[[Body], Task[Any]]:  # noqa: A002
    """Make a task of a function; `help` has its options, in the order of the documentation, each with what it is."""
    return lambda body: _Task(body, name or body.__name__, dict(help or {}))


class _Task(Task[Any]):
    """A task that can be asked for its options more than once: Invoke takes their help out of it."""

    def __init__(self, body: Body, name: str, help_: dict[str, str]) -> None:
        options = Options(body, help_)
        self._signature = options.signature
        read = functools.partial(options.values, f"lab.{name}")
        super().__init__(_ending_well(body, read), name=name, auto_shortflags=False, help=help_)

    def argspec(self, body: Body) -> inspect.Signature:  # noqa: ARG002 - as Invoke has it
        return self._signature

    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:
        help_ = dict(self.help)
        try:
            return super().get_arguments(ignore_unknown_help)
        finally:
            self.help = help_


def _ending_well(body: Body, read: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> Body:
    """The function, called with what its options say by `read`."""

    @functools.wraps(body)
    def wrapper(context: Context, **given: Any) -> None:
        watch_output()
        try:
            with signals_raise():
                body(context, **read(given))
                if sys.stdout is not None:
                    sys.stdout.flush()
        except LabError as error:
            evidence = "".join(f"\n  | {line}" for line in error.detail.splitlines())
            raise Exit(f"error: {error.message}{evidence}", code=error.exit_code) from None
        except Interrupted as error:
            # As others in a pipe, it ends without a word when nobody reads any more.
            message = None if error.signum == signal.SIGPIPE else f"ended by {error}"
            raise Exit(message, code=error.exit_code) from None

    return wrapper


# --- the command line


class _Machine(parser.ParseMachine):
    """Invoke's parser of the command line, but for the help and the errors of tasks."""

    def handle(self, token: str) -> None:
        task, waits = self.context.name, self.waiting_for_flag_value
        if self.ignore_unknown:
            # Invoke's own options come first, by themselves.
            super().handle(token)
            return
        if self.initial.args.help.value:
            # Whoever wants to read how it is called need not have called it right.
            return
        if task and not waits and token in ("-h", "--help"):
            # Else it would be taken for the argument that is missing.
            self.context.positional_args.clear()
        elif not waits and not self._knows(token):
            self._refuse(token)
        super().handle(token)

    def _knows(self, token: str) -> bool:
        options = (self.context.flags, self.context.inverse_flags, self.initial.flags)
        if token.startswith("-") or not self.context.missing_positional_args:
            return any(token in each for each in (*options, self.contexts))
        return True

    def _refuse(self, token: str) -> None:
        task = self.context.name
        if token.startswith("-"):
            message = f"{task or program()}: unknown option {token}"
            meant = alternatives(token, {each: each for each in self.context.flags})
            help_ = f"{called(task)} --help shows its options" if task else f"{program()} --help shows them"
        else:
            message = f"{task}: unexpected {token!r}" if task else f"unknown task {token!r}"
            meant = alternatives(token, {each: each for each in self.contexts})
            help_ = f"{called(task)} --help shows what it takes" if task else f"{program()} --list shows them"
        self.error(f"{message}; {meant or help_}")

    def complete_flag(self) -> None:
        flag: Any = self.flag
        if flag and flag.takes_value and flag.raw_value is None and not flag.optional:
            self.error(f"{self.context.name or 'invoke'}: {to_flag(flag.name)} needs a value")
        super().complete_flag()

    def complete_context(self) -> None:
        if self.context and (missing := self.context.missing_positional_args):
            message = " and ".join(str(each.name).upper().replace("_", "-") for each in missing)
            self.error(
                f"{self.context.name}: needs {message}; {called(str(self.context.name))} --help shows what it takes"
            )
        super().complete_context()

    def error(self, msg: str) -> None:
        raise Exit(f"error: {msg}", code=UsageError.exit_code)


# Its states are attributes of the class itself, which its base does not hand down.
_Machine._class_states = parser.ParseMachine._class_states
_Machine._class_transitions = parser.ParseMachine._class_transitions
parser.ParseMachine = _Machine  # type: ignore[misc]  # the one seam before tasks run


class LabProgram(Program):
    """The command `wsgilab`: Invoke's own, but for tasks that have no namespace, and for its help, which is about them."""

    def __init__(self, tasks: Collection) -> None:
        super().__init__(
            name=WSGILAB, binary=WSGILAB, binary_names=[WSGILAB], namespace=tasks, version=wsgilab.__version__
        )

    def run(self, argv: list[str] | None = None, exit: bool = True) -> None:  # noqa: A002 - as Invoke has it
        call_tasks_by(WSGILAB)
        watch_output()
        super().run(argv, exit)

    def print_help(self) -> None:
        print(f"Usage: {WSGILAB} TASK [--options]\n")
        self.list_tasks()
        print(f"{WSGILAB} TASK --help shows what a task takes, {WSGILAB} --version the version.")

    def print_task_help(self, name: str) -> None:
        context = self.parser.contexts[name]
        needed = [str(each.name).upper().replace("_", "-") for each in context.positional_args]
        print("Usage:", " ".join([WSGILAB, name, *needed, "[--options]" if context.flags else ""]).rstrip(), end="\n\n")
        for line in textwrap.wrap(inspect.getdoc(self.collection[name]) or "", pty_size()[0] - 1):
            print(line)
        if options := context.help_tuples():
            print("\nOptions:\n")
            self.print_columns(options)

    def task_list_opener(self, extra: str = "") -> str:  # noqa: ARG002 - as Invoke has it
        return "Tasks"


# --- output


class _Output(io.FileIO):
    """Where a standard stream ends. Once nobody reads it any more, the lab ends, and the rest is dropped."""

    def write(self, content: Any) -> int:
        try:
            return super().write(content) or 0
        except OSError as error:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            if error.errno not in (errno.EPIPE, errno.EIO):
                with contextlib.suppress(OSError):
                    os.write(2, f"the output cannot be written ({error.strerror})\n".encode())
            output_is_gone()
            return len(memoryview(content).cast("B"))


def watch_output() -> None:
    """From now on a closed pipe or terminal ends what is within `signals_raise`, and raises no OSError wherever something
    is printed."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, io.TextIOWrapper):
            continue
        # Unbuffered, as PYTHONUNBUFFERED asks for, it is the file itself.
        raw = getattr(stream.buffer, "raw", stream.buffer)
        # No other: it is nobody's, or a test's.
        if isinstance(raw, io.FileIO) and not isinstance(raw, _Output) and raw.fileno() in (1, 2):
            with contextlib.suppress(OSError):
                stream.flush()
            watched = io.TextIOWrapper(
                io.BufferedWriter(_Output(raw.fileno(), "wb", closefd=False)),
                encoding=stream.encoding,
                errors=stream.errors,
                line_buffering=stream.line_buffering or stream.write_through,
            )
            setattr(sys, name, watched)
