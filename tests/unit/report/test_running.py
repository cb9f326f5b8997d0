"""What results say of a server that runs already: nothing that was not measured."""

import re
from dataclasses import replace

import pytest
import yaml

from wsgilab import testing
from wsgilab.analysis.compare import compare
from wsgilab.experiment import running
from wsgilab.model import Cell, Comparison, Observation, Run, TrialReport
from wsgilab.model.errors import StoreError
from wsgilab.report import at_once, tables
from wsgilab.report.comparison import comparison_yaml
from wsgilab.report.experiment import experiment_yaml
from wsgilab.report.html import report
from wsgilab.report.markdown import comparison_md
from wsgilab.results import reading

ADDRESS = "http://127.0.0.1:5000"
EXPERIMENT = running.experiment(running.application(ADDRESS, "/orders"))
PLAIN = testing.run(testing.experiment(testing.cell("gunicorn-sync-1")))
RUN: Run = replace(
    PLAIN, experiment=EXPERIMENT, server_cpus={}, servers={"url": running.server(ADDRESS)}, stacks={}, notes=()
)


def observations(*, is_stamped: bool) -> list[Observation]:
    plain = testing.observation(server_cpu_s=None, server_span_s=None, resident_bytes=None)
    return [
        replace(plain, cell=cell, block=block, swarm=seen(cell, is_stamped=is_stamped))
        for block in range(EXPERIMENT.blocks)
        for cell in EXPERIMENT.cells
    ]


def seen(cell: Cell, *, is_stamped: bool) -> TrialReport:
    plain = testing.trial_report(is_stamped=is_stamped, parts=None)
    return replace(plain, latency_mean_ms=1000 * (cell.users or 0) / plain.throughput_rps)


def of(*, is_stamped: bool) -> Comparison:
    return compare(RUN, observations(is_stamped=is_stamped))


def test_what_was_not_measured_is_null() -> None:
    document = yaml.safe_load(comparison_yaml(of(is_stamped=False))["comparison.yaml"])

    assert document["run"]["server_cpus"] == {}
    for cell in document["cells"]:
        unknown = (
            "cores",
            "slots",
            "in_flight",
            "service_ms",
            "parts",
            "server_cpu",
            "cpu_ms_per_request",
            "resident_mb",
        )
        assert [cell[key] for key in (*unknown, "server_others", "generator_others", "os_threads", "limit_rps")] == [
            None
        ] * 12
        assert cell["throughput_rps"]["median"] > 0
        assert cell["latency_ms"]["p50"] > 0
        assert cell["bound_by"] == "unexplained"
        assert "neighbour" not in cell["broken_gates"]
        assert "in flight is not known" in cell["warnings"][-1]


def test_no_output_has_a_figure_of_it_and_all_say_how_to_measure_it_again() -> None:
    comparison = of(is_stamped=False)
    assert at_once.answer(comparison) is None
    (group, *_) = tables.groups(comparison)
    row = dict(zip((column.heading for column in group.columns), group.rows[0], strict=True))
    assert {row[heading] for heading in ("in flight", "busiest", "of limit", "CPU", "CPU ms", "MB")} == {tables.MISSING}

    markdown = comparison_md(comparison)["comparison.md"].decode()
    html = report(comparison)["report.html"].decode()
    again = f"invoke lab.run --url {ADDRESS} --get /orders --blocks {EXPERIMENT.blocks} --seed {RUN.seed}"
    for text in (markdown, html):
        assert again in text
        assert "core unknown" not in text
        assert not re.search("∞ of|of ∞|servers on|None|1 core,", text.partition("How to read it")[0])
    assert experiment_yaml(comparison) == {}


def test_with_stamps_in_flight_is_measured_of_slots_that_nobody_declares() -> None:
    comparison = of(is_stamped=True)
    answer = at_once.answer(comparison)

    assert answer is not None
    (row,) = answer.rows
    assert row[3:5] == (tables.MISSING, str(testing.trial_report().in_flight.peak))
    (group, *_) = tables.groups(comparison)
    assert str(testing.trial_report().in_flight.peak) in group.rows[0]


def test_such_a_run_is_read_again_and_none_that_mixes_it_up() -> None:
    content = yaml.safe_dump(reading.dump_run(RUN)).encode()
    assert reading.run(content, "run.yaml") == RUN
    line = reading.dump_observation(observations(is_stamped=False)[0])
    assert reading.observations(RUN)(line, "line").swarm is not None

    cells = [replace(each, cores=1) for each in EXPERIMENT.cells]
    mixed = replace(RUN, experiment=replace(EXPERIMENT, cells=tuple(cells)), server_cpus={1: "0"})
    with pytest.raises(StoreError, match="cores: 1 does not go with 'url'"):
        reading.run(yaml.safe_dump(reading.dump_run(mixed)).encode(), "run.yaml")
    commanded = replace(RUN, servers={"url": replace(RUN.servers["url"], command=())})
    with pytest.raises(StoreError, match=r"servers\.url\.command: must be a URL alone"):
        reading.run(yaml.safe_dump(reading.dump_run(commanded)).encode(), "run.yaml")
