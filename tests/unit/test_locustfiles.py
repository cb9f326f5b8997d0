"""The workloads' Locust files against the application: the answer that users expect is the answer they get."""

import importlib
from argparse import ArgumentParser
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import app as application
import work

MASK = 2**32 - 1


def locustfile(name: str) -> ModuleType:
    """A Locust file as a module, imported without Locust's patches, which would change every test that follows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOCUST_SKIP_MONKEY_PATCH", "1")
        return importlib.import_module(name)


CPU = locustfile("cpu")


def user(of: str, name: str, **options: object) -> Any:
    """A user that has started, but has neither a connection nor an environment beyond its options."""
    made = object.__new__(getattr(locustfile(of), name))
    made.environment = SimpleNamespace(parsed_options=SimpleNamespace(**options))
    made.on_start()
    return made


@given(st.integers(0, 3000))
def test_the_closed_form_is_what_the_loop_computes(iterations: int) -> None:
    assert CPU.state_after(iterations) == work.state_after(iterations)


@given(st.integers(0, 10**9))
def test_one_step_more_is_one_step_of_the_loop(iterations: int) -> None:
    step = (CPU.state_after(iterations) * work.MULTIPLIER + work.INCREMENT) & MASK

    assert CPU.state_after(iterations + 1) == step


def test_the_generator_has_its_full_period() -> None:
    assert CPU.state_after(2**32) == 0
    assert CPU.state_after(2**31) != 0


@pytest.mark.parametrize(
    ("of", "name", "options"),
    [
        ("hello", "Hello", {}),
        ("cpu", "Cpu", {"cpu_iterations": 777}),
        ("cpu", "Cpu", {}),
        ("sleep", "Sleep", {"sleep_ms": 0.25}),
        ("sleep", "Sleep", {"sleep_ms": 1234.5678}),
    ],
)
def test_a_user_expects_the_answer_that_the_application_gives(
    monkeypatch: pytest.MonkeyPatch, of: str, name: str, options: dict[str, object]
) -> None:
    monkeypatch.setattr(application, "time", SimpleNamespace(sleep=lambda _: None))
    made = user(of, name, **options)

    answer = application.app.test_client().get(made.path)

    assert (answer.status_code, answer.data) == (200, made.answer)


@pytest.mark.parametrize(
    ("name", "words", "option", "value"),
    [
        ("cpu", ["--cpu-iterations", "777"], "cpu_iterations", 777),
        ("cpu", [], "cpu_iterations", 50_000),
        ("sleep", ["--sleep-ms", "12.5"], "sleep_ms", 12.5),
        ("sleep", [], "sleep_ms", 50.0),
        ("lab_user", ["--connection", "keep-alive"], "connection", "keep-alive"),
        ("lab_user", [], "connection", "close"),
        ("lab_user", ["--request-timeout", "0"], "request_timeout", 0.0),
    ],
)
def test_a_locust_file_adds_its_options(name: str, words: list[str], option: str, value: object) -> None:
    parser = ArgumentParser()
    locustfile(name)._add_arguments(parser)

    assert getattr(parser.parse_args(words), option) == value


def test_users_ask_for_what_the_options_say() -> None:
    assert user("cpu", "Cpu", cpu_iterations=777).path == "/cpu?iterations=777"
    assert user("sleep", "Sleep", sleep_ms=12.5).path == "/sleep?ms=12.5"
    assert user("cpu", "Cpu").path == "/cpu?iterations=50000"
    assert user("sleep", "Sleep").path == "/sleep?ms=50"
