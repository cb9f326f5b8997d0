"""The one place that starts processes: argv lists, no shell, and nothing left behind.

Every child leads a process group of its own, so that it can be ended with all its descendants, and so that Ctrl-C on
the terminal reaches the lab alone, which then ends its children in order.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

_GRACE_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A command that has ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def last_line(self) -> str:
        """The last line that says something, of stderr or else of stdout."""
        lines = [line.strip() for line in (self.stderr.strip() or self.stdout.strip()).splitlines()]
        return next((line for line in reversed(lines) if line), f"exit code {self.code} without a word")

    @property
    def last_lines(self) -> str:
        """The end of stderr, as evidence."""
        return "\n".join(self.stderr.splitlines()[-15:])


class TooSlow(Exception):
    """A command did not end in time, and was killed."""


def run(
    argv: Sequence[str],
    *,
    timeout_s: float,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Finished:
    """Run a command to its end. Raises TooSlow after `timeout_s` and OSError where it cannot be started."""
    with subprocess.Popen(
        argv,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as child:
        try:
            stdout, stderr = child.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise TooSlow(f"{argv[0]} did not end within {timeout_s:g} s") from None
        finally:
            # On any other exception too, a signal's included. Politely first: Compose then lets go of what it began.
            if child.returncode is None:
                Child(child).end()
    return Finished(code=child.returncode, stdout=stdout, stderr=stderr)


@contextlib.contextmanager
def pinned(cpus: Collection[int] | None) -> Iterator[None]:
    """Keep this thread, and the children it starts, on `cpus` for a while. None leaves it where it is."""
    if cpus is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cpu_s(pid: int) -> float:
    """CPU seconds of a running process so far, to the nanosecond, where /proc counts in ticks of 10 ms.

    clock_getcpuclockid(3), which Python does not offer: Linux' MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED). Raises
    OSError where it has ended.
    """
    return time.clock_gettime((~pid << 3) | 2)


def stat(pid: int) -> Sequence[str]:
    """The state, the parent and what follows of a process: proc_pid_stat(5), from its third field on. Raises OSError where it has
    ended."""
    # The second field is the command's name, in parentheses; it may hold anything.
    return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()


class Child:
    """A process in the background, the leader of its own group."""

    def __init__(self, popen: "subprocess.Popen[Any]") -> None:
        self._popen = popen
        self.pid = popen.pid

    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._popen.poll()

    def ask_to_end(self) -> None:
        """SIGTERM to the whole group."""
        _signal_group(self.pid, signal.SIGTERM)

    def send_signal(self, signum: signal.Signals) -> None:
        """To this process alone. Nothing happens where it has ended."""
        self._popen.send_signal(signum)

    def end(self, grace_s: float = _GRACE_S) -> None:
        """End the whole group: SIGTERM, and SIGKILL for what is left after `grace_s`. Returns when it is gone."""
        self.ask_to_end()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(timeout=grace_s)
        # Descendants may outlive their leader.
        _signal_group(self.pid, signal.SIGKILL)
        self._popen.wait()
        deadline = time.monotonic() + grace_s
        while _signal_group(self.pid, 0) and time.monotonic() < deadline:
            time.sleep(0.01)


def spawn(argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], cpus: Collection[int] | None, log: Path) -> Child:
    """Start a process in the background, pinned to `cpus`, its output appended to `log`. Raises OSError."""
    with log.open("ab") as output, pinned(cpus):
        return Child(
            subprocess.Popen(
                argv,
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        )


class ChannelClosed(Exception):
    """The other process has ended, or has sent nothing in time."""


class JsonChannel:
    """A process that is spoken with: one JSON object a line, each way. Its stderr goes to a log."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str] | None,
        cpus: Collection[int] | None,
        log: Path,
    ) -> None:
        self.log = log
        with log.open("ab") as errors, pinned(cpus):
            self._popen = subprocess.Popen(
                argv,
                cwd=cwd,
                env=env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        self._child = Child(self._popen)
        self._cancelled, self._cancel = os.pipe()
        self._input: IO[bytes] = _present(self._popen.stdin)
        self._output: IO[bytes] = _present(self._popen.stdout)
        self._unread = b""

    def send(self, message: object) -> None:
        """Send one message. Raises Hushed where nobody listens any more."""
        try:
            self._input.write(json.dumps(message).encode() + b"\n")
            self._input.flush()
        except OSError:
            raise ChannelClosed("it has ended") from None

    def receive(self, timeout_s: float) -> object:
        """The next message. Raises Hushed after `timeout_s`, at the end, or on what is no JSON."""
        message = self.poll(timeout_s)
        if message is None:
            raise ChannelClosed(f"it has said nothing for {timeout_s:.0f} s")
        return message

    def poll(self, timeout_s: float) -> object | None:
        """The next message, or None where there was none within `timeout_s`. Raises Hushed at the end, or on no JSON."""
        deadline = time.monotonic() + timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(self._output, selectors.EVENT_READ)
            selector.register(self._cancelled, selectors.EVENT_READ)
            while b"\n" not in self._unread:
                ready = selector.select(max(0.0, deadline - time.monotonic()))
                if not ready:
                    return None
                if any(key.fd == self._cancelled for key, _ in ready):
                    raise ChannelClosed("nobody is to listen to it any more")
                chunk = os.read(self._output.fileno(), 1 << 16)
                if not chunk:
                    raise ChannelClosed("it has ended")
                self._unread += chunk
        line, _, self._unread = self._unread.partition(b"\n")
        try:
            message: object = json.loads(line)
        except ValueError:
            raise ChannelClosed(f"it has said what is no message: {line[:200].decode(errors='replace')!r}") from None
        return message

    def cancel(self) -> None:
        """From another thread: a receiver, now or later, gets ChannelClosed."""
        os.write(self._cancel, b".")

    def exit_code(self) -> int | None:
        """None while the other side runs."""
        return self._child.exit_code()

    def leave(self) -> None:
        """Close the channel and let the process go on by itself, beyond the end of this one if need be."""
        with contextlib.suppress(OSError):
            self._input.close()
        self._close()
        # Nobody waits for it any more. Told so, Popen does not warn of a process that still runs.
        self._popen.returncode = 0

    def end(self, grace_s: float = _GRACE_S) -> None:
        """Close the channel, and end the process group if that does not.

        `grace_s` is what it has to end at the end of its input, then again at SIGTERM, before SIGKILL.
        """
        with contextlib.suppress(OSError):
            self._input.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(timeout=grace_s)
        self._child.end(grace_s)
        self._close()

    def _close(self) -> None:
        self._output.close()
        for descriptor in (self._cancelled, self._cancel):
            # Only once: by the second time it may be another's.
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self._cancelled = self._cancel = -1


def _present(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None, "opened with PIPE"
    return stream


def _signal_group(pid: int, signum: int) -> bool:
    """Signal the group that `pid` leads. False where nobody is left in it."""
    try:
        os.killpg(pid, signum)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def tail(log: Path, lines: int) -> str:
    """The last lines of a log; empty where there is none."""
    try:
        text = log.read_text(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.rstrip().splitlines()[-lines:])
