"""Hypothesis without limits of time, and the lab with long ones, for a slow moment of the machine is no failure; and Locust without its
patches."""

import errno
import gc
import importlib
import io
import os
import platform
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from wsgilab.load import pages as loads
from wsgilab.runtime import origin
from wsgilab.runtime import pages as runtimes

# A property that needs more examples says so itself.
settings.register_profile("unit", max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unit")

with pytest.MonkeyPatch.context() as patch:
    # They change the standard library, and so every test that follows.
    patch.setenv("LOCUST_SKIP_MONKEY_PATCH", "1")
    importlib.import_module("locust")

PATIENCE_S = 120.0
LIMITS = (
    "wsgilab.load.reachability._ANSWER_S",
    "wsgilab.runtime.engine._ANSWER_S",
    "wsgilab.runtime.environments._FIND_S",
    "wsgilab.runtime.running._ANSWER_S",
    "wsgilab.runtime.tunnel._READY_S",
    "wsgilab.system.clock_server._LONGEST_SENDING_S",
)
"""How long the lab waits for a program or an answer that takes a moment, where the machine is not busy."""


@pytest.fixture(scope="session", autouse=True)
def _patient() -> Iterator[None]:
    """A test that is about such a limit sets one of its own."""
    with pytest.MonkeyPatch.context() as patch:
        for limit in LIMITS:
            patch.setattr(limit, PATIENCE_S)
        patch.setattr(origin.ask_git, "__kwdefaults__", {"timeout_s": PATIENCE_S})
        for get in (loads.fetch, runtimes.fetched):
            patch.setattr(get, "__defaults__", (PATIENCE_S,))
        yield


def pytest_collection_finish() -> None:
    """What was imported stays until the end: no collection of garbage needs to look at it, as each trial begins with one."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def not_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process can do no more than on macOS: it knows no affinity, and finds neither /proc nor /sys. psutil has its own ways."""
    for name in ("sched_getaffinity", "sched_setaffinity"):
        monkeypatch.delattr(os, name)
    monkeypatch.setattr(platform, "system", lambda: "Darwin")

    def without(function: Callable[..., Any]) -> Callable[..., Any]:
        def called(path: Any, *words: Any, **named: Any) -> Any:
            if str(path).startswith(("/proc", "/sys")):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
            return function(path, *words, **named)

        return called

    monkeypatch.setattr(io, "open", without(io.open))
    monkeypatch.setattr(os, "listdir", without(os.listdir))
