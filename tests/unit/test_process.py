"""A conversation: what is said in time, what is not, and how it ends."""

import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from wsgilab.process import Conversation, Hushed

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


def converse(script: str, folder: Path) -> Conversation:
    argv = [sys.executable, "-c", textwrap.dedent(script)]
    return Conversation(argv, cwd=folder, env=None, cpus=None, log=folder / "log")


def test_polling_answers_with_what_is_there_and_does_not_wait_for_more(tmp_path: Path) -> None:
    conversation = converse(ECHO, tmp_path)
    try:
        assert conversation.poll(0) is None
        conversation.say({"number": 1})
        conversation.say({"number": 2})
        assert conversation.poll(30) == {"number": 1}
        assert conversation.poll(30) == {"number": 2}
        assert conversation.poll(0.01) is None
        with pytest.raises(Hushed, match="it has said nothing for 0 s"):
            conversation.hear(0.01)
    finally:
        conversation.end()


def test_half_a_message_is_none_yet_and_is_not_lost(tmp_path: Path) -> None:
    conversation = converse(IN_TWO_PARTS, tmp_path)
    try:
        assert conversation.poll(0.5) is None
        conversation.say(None)
        assert conversation.poll(30) == {"half": 2}
        with pytest.raises(Hushed, match="it has ended"):
            conversation.poll(30)
    finally:
        conversation.end()


def folder_of(process: psutil.Process) -> str | None:
    """None of one that has ended: another test may have left it, and nobody waits for it."""
    try:
        return str(process.cwd())
    except psutil.Error:
        return None


def test_a_process_that_is_left_goes_on_by_itself(tmp_path: Path) -> None:
    conversation = converse(GOES_ON, tmp_path)
    assert conversation.hear(30) == "up"
    (child,) = (each for each in psutil.Process().children() if folder_of(each) == str(tmp_path))
    conversation.leave()
    del conversation
    assert child.is_running()
    (tmp_path / "enough").touch()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if (tmp_path / "done").exists():
            return
        time.sleep(0.01)
    pytest.fail("a process that was left did not go on")
