"""Hypothesis without limits of time, for a slow moment of the machine is no failure; and Locust without its patches."""

import importlib

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("unit", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unit")

with pytest.MonkeyPatch.context() as patch:
    # They change the standard library, and so every test that follows.
    patch.setenv("LOCUST_SKIP_MONKEY_PATCH", "1")
    importlib.import_module("locust")
