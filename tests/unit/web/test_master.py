"""What the web UI's form offers of the workloads' parameters, and what a test of them is called."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from locust.runners import STATE_RUNNING, STATE_STOPPED, STATE_STOPPING

from wsgilab import testing
from wsgilab.experiment.workloads import WORKLOADS, parameters
from wsgilab.model import Stamp
from wsgilab.model.application import LocustFile
from wsgilab.web import master
from wsgilab.web.form import LIMITS, calibration, cell_name, complaint, fields, for_page, has_no_share, usual
from wsgilab.web.master import Master
from wsgilab.web.sources import InteractiveTests

ITERATIONS = 1000
EVERYTHING = testing.run(testing.experiment(parameters=parameters(WORKLOADS, {})), cpu_iterations=ITERATIONS)


def test_every_parameter_of_every_workload_is_usual_within_its_limits_and_of_its_type() -> None:
    known = usual(EVERYTHING)

    assert len(known) == sum(len(each.parameters) for each in WORKLOADS.values())
    for option, value in known.items():
        kind, least, most = LIMITS[option]
        assert value is not None
        assert type(value) is kind
        assert least <= value <= most


def test_computing_is_given_in_milliseconds_and_users_know_how_many_iterations_these_are() -> None:
    known = usual(EVERYTHING)

    assert (known["cpu_ms"], known["stall_ms"]) == (5.0, 300.0)
    assert calibration(EVERYTHING) == {"iterations_per_ms": ITERATIONS / 5}
    assert calibration(testing.run(EVERYTHING.experiment, cpu_iterations=None)) == {}
    own = replace(EVERYTHING.experiment, parameters={"cpu": {}}, application=testing.application())
    assert calibration(testing.run(own)) == {}
    for name in ("iterations_per_ms", "gap_ms", "abandon_ms"):
        assert complaint({name: "1"}, {}) == f"{name.replace('_', ' ')}: is for experiments, not for the web UI"


@pytest.mark.parametrize(
    ("workload", "shown"),
    [
        ("hello", []),
        ("sleep", ["sleep_ms"]),
        ("cpu", ["cpu_ms"]),
        ("slow-client", ["slow_client_send_ms", "slow_client_read_ms", "slow_client_kib"]),
        # Whose one user computes for so long, and not for as long as those of `cpu`.
        ("stall", ["stall_ms", "sleep_ms"]),
    ],
)
def test_of_a_workload_the_parameters_are_shown_that_change_what_it_does(workload: str, shown: list[str]) -> None:
    assert for_page(EVERYTHING)["fields"][workload] == shown


def test_a_mixture_shows_its_shares_and_the_parameters_of_its_parts() -> None:
    shown = for_page(EVERYTHING)["fields"]["mixed"]

    assert {"mixed_hello", "mixed_cpu", "db_ms", "upstream_ms", "cpu_ms", "large_kib"} <= set(shown)
    assert "sleep_ms" not in shown


def test_each_preset_says_what_it_puts_into_the_form_which_takes_that() -> None:
    workloads = EVERYTHING.experiment.parameters
    found = for_page(EVERYTHING)["presets"]

    assert found[0]["text"] == "32 users who wait 50 ms"
    assert found[0]["fields"] == {
        "workload": "sleep",
        "user_count": 32,
        "spawn_rate": 32,
        "connection": "close",
        "sleep_ms": 50.0,
    }
    for each in found:
        form = {name: f"{value}" for name, value in each["fields"].items()}
        assert complaint(form, {"workload": workloads}) is None
        assert set(form) == {"workload", "user_count", "spawn_rate", "connection", *fields(form["workload"])}
    of_hello = testing.run(testing.experiment(parameters=parameters(["hello"], {})))
    assert [each["text"] for each in for_page(of_hello)["presets"]] == ["8 users who ask for next to nothing"]


def test_a_users_own_application_has_a_preset_for_each_workload_and_no_parameters() -> None:
    own = replace(EVERYTHING.experiment, parameters={"orders": {}, "shop": {}}, application=testing.application())
    page = for_page(testing.run(own))

    assert page["fields"] == {}
    assert [each["text"] for each in page["presets"]] == ["32 users of orders", "32 users of shop"]
    assert {each["fields"]["workload"] for each in page["presets"]} == {"orders", "shop"}


def test_what_is_not_offered_is_not_asked_for() -> None:
    experiment = testing.experiment(parameters=parameters(["hello", "sleep"], {}))

    assert usual(testing.run(experiment)) == {"sleep_ms": 50.0}


@pytest.mark.parametrize(
    ("workload", "changed", "name"),
    [
        ("sleep", {}, "sleep"),
        ("sleep", {"sleep_ms": 20.0}, "sleep-20-ms"),
        ("sleep", {"db_ms": 20.0}, "sleep"),
        ("cpu", {"cpu_ms": 7.0}, "cpu-7-ms"),
        ("slow-client", {"slow_client_read_ms": 300.0}, "slow-client-300-read-ms"),
        ("slow-client", {"slow_client_send_ms": 0.5, "slow_client_kib": 64}, "slow-client-0.5-send-ms-64-kib"),
        ("mixed", {"mixed_db": 0.0}, "mixed-0-db"),
        ("mixed", {"db_ms": 20.0}, "mixed-20-db-ms"),
        ("mixed", {"sleep_ms": 20.0}, "mixed"),
        ("stall", {"stall_ms": 7.0, "sleep_ms": 20.0, "cpu_ms": 7.0}, "stall-7-ms-20-sleep-ms"),
    ],
)
def test_a_test_with_unusual_parameters_is_a_cell_of_its_own(workload: str, changed: dict[str, Any], name: str) -> None:
    known = usual(EVERYTHING)

    assert cell_name(workload, {**known, **changed}, known) == name


def test_a_target_is_asked_for_what_left_late_until_nothing_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Master.__new__(Master)
    made.base_urls, made._has_stopped = {"one": "http://one"}, False
    made._runner = SimpleNamespace(state=STATE_RUNNING)  # type: ignore[assignment]
    made._tests = InteractiveTests(EVERYTHING, {})
    asked: list[str] = []

    def read_late(base_url: str, _: float) -> dict[Stamp, int]:
        asked.append(base_url)
        if len(asked) == 1:
            raise ValueError("it answered with nothing")
        return {}

    # What comes between the questions. A target may be elsewhere once it was started again.
    steps: Iterator[Callable[[], object]] = iter(
        [
            lambda: made.base_urls.update(one="http://anew"),
            lambda: setattr(made, "_has_stopped", True),
            lambda: setattr(made._runner, "state", STATE_STOPPING),
            lambda: setattr(made._runner, "state", STATE_STOPPED),
            lambda: None,
        ]
    )
    monkeypatch.setattr(master, "read_late", read_late)
    monkeypatch.setattr("gevent.sleep", lambda _: next(steps)())
    made._ask_late("one")
    assert asked == ["http://one", *["http://anew"] * 4]
    assert not list(steps)


def test_a_mixture_needs_one_share_and_what_is_no_mixture_needs_none() -> None:
    nothing = {f"mixed_{name}": "0" for name in WORKLOADS["mixed"].parameters}

    assert has_no_share("mixed", nothing)
    assert not has_no_share("mixed", {**nothing, "mixed_db": "0.5"})
    assert not has_no_share("sleep", nothing)


def test_users_of_a_locust_file_are_announced_to_the_workers_before_a_test_and_keep_their_connections() -> None:
    file = LocustFile(path="load/shop.py", user="Shopper", files={"shop.py": "a" * 64})
    own = testing.application(locust_files={"browse": file})
    targets = {name: SimpleNamespace(failure=None) for name in ("one", "two")}
    run, begun = SimpleNamespace(server_cpus={1: "0"}), []
    sent: list[tuple[str, Any]] = []
    master = object.__new__(Master)
    vars(master).update(
        environment=SimpleNamespace(
            parsed_options=SimpleNamespace(target="one", workload="orders", connection="close"), user_classes=[]
        ),
        base_urls={"one": "http://one", "two": "http://two"},
        _application=own,
        _own=own.locust_files,
        _classes={"orders": ["ApplicationUser"], "browse": ["Shopper"]},
        _usual={},
        _tests=SimpleNamespace(targets=targets, run=run, begin=lambda cell, users: begun.append((cell, users))),
        _loading=lambda _: None,
        _asking=None,
        _runner=SimpleNamespace(
            state="ready", target_user_count=16, send_message=lambda kind, data: sent.append((kind, data))
        ),
        _workers=SimpleNamespace(are_ready=True),
    )

    form = {"target": "two", "workload": "browse", "user_count": "16"}
    assert master.prepare(form, lambda: None) is None
    asked = {"path": "load/shop.py", "user": "Shopper", "files": {"shop.py": "a" * 64}}
    assert sent == [("lab_own", {"file": asked, "host": "http://two", "users": 16})]
    assert list(map(str, master.environment.user_classes)) == ["Shopper"]
    vars(master.environment.parsed_options).update(target="two", workload="browse")
    master._on_start()
    assert master._asking is not None
    master._asking.kill()
    (cell, _), *_ = begun
    assert (cell.server, cell.workload, cell.connection) == ("two", "browse", "keep-alive")

    assert master.prepare(form | {"workload": "orders"}, lambda: None) is None
    assert sent[1:] == [("lab_own", None)]
