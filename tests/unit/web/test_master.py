"""What the web UI's form offers of the workloads' parameters, and what a test of them is called."""

from typing import Any

import pytest

from wsgilab import testing
from wsgilab.experiment.workloads import WORKLOADS, parameters
from wsgilab.web.master import LIMITS, cell_name, has_no_share, usual

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


def test_computing_is_told_in_the_iterations_of_this_run() -> None:
    known = usual(EVERYTHING)

    assert known["cpu_iterations"] == ITERATIONS
    assert known["stall_iterations"] == ITERATIONS * 300 / 5
    assert "stall_iterations" not in usual(testing.run(EVERYTHING.experiment, cpu_iterations=None))


def test_what_is_not_offered_is_not_asked_for() -> None:
    experiment = testing.experiment(parameters=parameters(["hello", "sleep"], {}))

    assert usual(testing.run(experiment)) == {"sleep_ms": 50.0}


@pytest.mark.parametrize(
    ("workload", "changed", "name"),
    [
        ("sleep", {}, "sleep"),
        ("sleep", {"sleep_ms": 20.0}, "sleep-20-ms"),
        ("sleep", {"db_ms": 20.0}, "sleep"),
        ("cpu", {"cpu_iterations": 7}, "cpu-7-iterations"),
        ("slow-client", {"slow_client_read_ms": 300.0}, "slow-client-300-read-ms"),
        ("slow-client", {"slow_client_send_ms": 0.5, "slow_client_kib": 64}, "slow-client-0.5-send-ms-64-kib"),
        ("mixed", {"mixed_db": 0.0}, "mixed-0-db"),
        ("mixed", {"db_ms": 20.0}, "mixed-20-db-ms"),
        ("mixed", {"sleep_ms": 20.0}, "mixed"),
        ("stall", {"stall_iterations": 7, "sleep_ms": 20.0}, "stall-7-iterations-20-sleep-ms"),
    ],
)
def test_a_test_with_unusual_parameters_is_a_cell_of_its_own(workload: str, changed: dict[str, Any], name: str) -> None:
    known = usual(EVERYTHING)

    assert cell_name(workload, {**known, **changed}, known) == name


def test_a_mixture_needs_one_share_and_what_is_no_mixture_needs_none() -> None:
    nothing = {f"mixed_{name}": "0" for name in WORKLOADS["mixed"].parameters}

    assert has_no_share("mixed", nothing)
    assert not has_no_share("mixed", {**nothing, "mixed_db": "0.5"})
    assert not has_no_share("sleep", nothing)
