"""Hypothesis without limits of time, for a slow moment of the machine is no failure; and Locust without its patches."""

import errno
import gc
import importlib
import io
import os
import platform
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# A property that needs more examples says so itself.
settings.register_profile("unit", max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unit")

with pytest.MonkeyPatch.context() as patch:
    # They change the standard library, and so every test that follows.
    patch.setenv("LOCUST_SKIP_MONKEY_PATCH", "1")
    importlib.import_module("locust")


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
