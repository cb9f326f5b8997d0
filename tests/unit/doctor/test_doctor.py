"""What the doctor finds, and that every finding that is not well has its remedy."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from wsgilab import doctor, testing
from wsgilab.doctor.findings import clock_off_s
from wsgilab.model.errors import EngineError
from wsgilab.runtime import engine
from wsgilab.runtime.clock_servers import MachineFacts
from wsgilab.runtime.engine import Endpoint, Engine, NoEngine
from wsgilab.system import neighbours

ENGINE = Engine(
    docker="/usr/bin/docker",
    address="unix:///somewhere",
    endpoint=Endpoint(host="unix:///somewhere"),
    version="26.1.5",
    compose="2.26.1",
)


THERE = MachineFacts(host=testing.run().host, time=0.0, clocksource="hpet", boot="another")


@dataclass(kw_only=True)
class FakeRuntime:
    """That of an engine whose machine is another, if it is."""

    elsewhere: MachineFacts | None

    def facts(self) -> MachineFacts:
        assert self.elsewhere is not None
        return self.elsewhere

    def busy(self, cores: Collection[int], _: float) -> Mapping[int, float]:
        return {core: core * 0.9 for core in cores}


def examined(
    monkeypatch: pytest.MonkeyPatch,
    results: Path,
    found: Engine | NoEngine,
    ports: str = "",
    elsewhere: MachineFacts | None = None,
) -> dict[str, str]:
    """Subject -> remedy; empty where all is well."""
    monkeypatch.setattr(engine, "find", lambda: found)
    monkeypatch.setattr(neighbours, "look", partial(neighbours.look, seconds=0.05))
    findings = doctor.examine(
        servers=3, results=results, ports=ports, runtime=lambda _: cast("Any", FakeRuntime(elsewhere=elsewhere))
    )
    return {each.subject: each.remedy for each in findings}


def test_a_machine_in_order_needs_no_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    remedies = examined(monkeypatch, tmp_path, ENGINE)
    assert {"python", "engine", "compose", "cores", "ports", "results"} <= remedies.keys()
    assert not any(remedies[subject] for subject in ("python", "engine", "compose", "ports", "results"))


def test_what_is_missing_is_told_with_its_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    none = NoEngine(reason="no docker client on PATH", remedy="install Docker Engine")
    remedies = examined(monkeypatch, tmp_path / "file" / "results", none, ports="8100-8101")
    assert remedies["engine"] == "install Docker Engine; till then --runtime local"
    assert "3 ports are needed" in remedies["ports"]
    assert "make the folder writable" in remedies["results"]


@pytest.mark.usefixtures("not_linux")
def test_an_engine_with_a_machine_of_its_own_is_asked_about_that(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    remedies = examined(monkeypatch, tmp_path, ENGINE, elsewhere=THERE)

    assert {"engine", "machine", "cores", "layout"} <= {subject for subject, remedy in remedies.items() if not remedy}
    # Its clock says 1970 and is slow to read, and its core 1 is busy.
    assert {"clock", "clocksource", "neighbours"} == {subject for subject, remedy in remedies.items() if remedy}


@pytest.mark.usefixtures("not_linux")
def test_without_an_engine_such_a_system_lacks_what_only_containers_bring(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    remedies = examined(monkeypatch, tmp_path, NoEngine(reason="no docker client on PATH", remedy="install Docker"))

    assert {subject: remedy for subject, remedy in remedies.items() if remedy} == {
        "engine": "install Docker",
        "cores": "measure in containers: start Docker Desktop, or another Docker engine",
    }


def test_an_engine_that_does_not_answer_about_its_machine_has_a_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(_: FakeRuntime) -> None:
        raise EngineError("the Docker engine stopped answering; see that it runs")

    monkeypatch.setattr(FakeRuntime, "elsewhere", property(refuse, lambda *_: None), raising=False)
    assert examined(monkeypatch, tmp_path, ENGINE)["machine"] == "see that it runs"


@pytest.mark.parametrize(("moment", "off_s"), [(9.0, 0.0), (11.0, 0.0), (12.0, 0.0), (13.0, 1.0), (7.5, -1.5)])
def test_a_clock_is_off_by_what_it_said_beyond_the_time_in_which_it_was_read(moment: float, off_s: float) -> None:
    assert clock_off_s(moment, 9.0, 12.0) == off_s
