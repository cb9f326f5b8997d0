"""What one request does, and what its Locust file is told."""

from wsgilab.experiment import workloads


def test_the_options_of_a_workload_are_its_parameters_and_computing_is_told_in_iterations() -> None:
    given = workloads.parameters({"slow-client", "stall"}, {"stall": {"ms": 200.0}, "slow-client": {"kib": 64.0}})

    assert workloads.options("slow-client", given, 100) == {
        "slow_client_send_ms": 100.0,
        "slow_client_read_ms": 100.0,
        "slow_client_kib": 64.0,
    }
    assert workloads.options("cpu", given, 100) == {"cpu_iterations": 100}
    assert workloads.options("stall", given, 100) == {"stall_iterations": 4000}
    assert workloads.options("sleep", given, 100) == {"sleep_ms": 50.0}
