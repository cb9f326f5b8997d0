"""A channel: what is sent in time, what is not, and how it ends."""

import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from wsgilab.system.process import ChannelClosed, JsonChannel

ECHO = """
    import sys
    for line in sys.stdin:
        print(line, end="", flush=True)
"""
IN_TWO_PARTS = """
    import sys
    print('{"half":', end="", flush=True)
    sys.stdin.readline()
    print("2}")
"""
GOES_ON = """
    import pathlib, sys, time
    print('"up"', flush=True)
    sys.stdin.read()
    while not pathlib.Path("enough").exists():
        time.sleep(0.01)
    pathlib.Path("done").touch()
"""


def converse(script: str, folder: Path) -> JsonChannel:
    argv = [sys.executable, "-c", textwrap.dedent(script)]
    return JsonChannel(argv, cwd=folder, env=None, cpus=None, log=folder / "log")


def test_polling_answers_with_what_is_there_and_does_not_wait_for_more(tmp_path: Path) -> None:
    channel = converse(ECHO, tmp_path)
    try:
        assert channel.poll(0) is None
        channel.send({"number": 1})
        channel.send({"number": 2})
        assert channel.poll(60) == {"number": 1}
        assert channel.poll(60) == {"number": 2}
        assert channel.poll(0.01) is None
        with pytest.raises(ChannelClosed, match="it has said nothing for 0 s"):
            channel.receive(0.01)
    finally:
        channel.end()


def test_half_a_message_is_none_yet_and_is_not_lost(tmp_path: Path) -> None:
    channel = converse(IN_TWO_PARTS, tmp_path)
    try:
        assert channel.poll(0.5) is None
        channel.send(None)
        assert channel.poll(60) == {"half": 2}
        with pytest.raises(ChannelClosed, match="it has ended"):
            channel.poll(60)
    finally:
        channel.end()


def folder_of(process: psutil.Process) -> str | None:
    """None of one that has ended: another test may have left it, and nobody waits for it."""
    try:
        return str(process.cwd())
    except psutil.Error:
        return None


def test_a_process_that_is_left_goes_on_by_itself(tmp_path: Path) -> None:
    channel = converse(GOES_ON, tmp_path)
    assert channel.receive(60) == "up"
    (child,) = (each for each in psutil.Process().children() if folder_of(each) == str(tmp_path))
    channel.leave()
    del channel
    assert child.is_running()
    (tmp_path / "enough").touch()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if (tmp_path / "done").exists():
            return
        time.sleep(0.01)
    pytest.fail("a process that was left did not go on")
