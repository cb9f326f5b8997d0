"""What can go wrong, as one small tree.

    LabError                 anything the user can act on; the message says what, where and the remedy
    ├── UsageError           an option, a name or a file that the command line got wrong
    │   └── SpecError        a catalogue, an experiment or a site that says something impossible
    ├── HostError            cores, ports or tools that this machine has not
    ├── BuildError           a stack or an image that does not install
    ├── EngineError          a Docker engine that is missing, or stopped answering
    ├── TargetError          a server that died, did not answer, or is not what was declared
    ├── SwarmError           a load generator that failed
    ├── StoreError           a results folder that cannot be written, read or resumed
    ├── TrialsFailed         a run that went to its end, but some trials failed
    ├── LimitBreached        a comparison that found what it has to fail on
    └── Inconclusive         a comparison that could not have found it

`Interrupted` is apart from it: a signal is no error, and must not be caught as one.

Each has the exit code of a task that ends with it (docs/ci.md has the table): 0 is a task that did all that it was asked
to, and 128 + n one that signal n ended.
"""

import signal
from typing import ClassVar

from wsgilab.model.text import visible


class LabError(Exception):
    """A failure that the user can act on.

    `message` is one line. `detail` holds lines of evidence, such as the last log lines of a server that died. Both are
    printed, and quote what files and servers say: characters that do not print are spelt out.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, detail: str = "") -> None:
        self.message = " ".join(visible(message).split("\n"))
        super().__init__(self.message)
        self.detail = visible(detail).strip("\n")


class UsageError(LabError):
    """An option, a name or a file that the command line got wrong."""

    exit_code = 2


class SpecError(UsageError):
    """A catalogue, an experiment or a site that says something impossible."""


class HostError(LabError):
    """Cores, ports or tools that this machine has not."""


class BuildError(LabError):
    """A stack or an image that does not install."""


class EngineError(LabError):
    """A Docker engine that is missing, or stopped answering."""


class TargetError(LabError):
    """A server that died, did not answer, or is not what was declared."""


class SwarmError(LabError):
    """A load generator that failed."""


class StoreError(LabError):
    """A results folder that cannot be written, read or resumed."""


class TrialsFailed(LabError):
    """A run that went to its end, but some trials failed."""

    exit_code = 3


class LimitBreached(LabError):
    """A comparison that found what it has to fail on."""

    exit_code = 4


class Inconclusive(LabError):
    """A comparison that could not have found what it has to fail on."""

    exit_code = 5


class Interrupted(BaseException):
    """A signal that ends the lab, such as SIGINT: end cleanly, with what was measured reported."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum

    @property
    def exit_code(self) -> int:
        """As shells have it."""
        return 128 + self.signum
