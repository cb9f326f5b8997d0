"""Hypothesis without limits of time, for a slow moment of the machine is no failure; and Locust without its patches."""

import gc
import importlib

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
