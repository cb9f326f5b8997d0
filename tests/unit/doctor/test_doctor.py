"""What the doctor finds, and that every finding that is not well has its remedy."""

from functools import partial
from pathlib import Path

import pytest

from wsgilab import doctor
from wsgilab.runtime import engine
from wsgilab.runtime.engine import Endpoint, Engine, NoEngine
from wsgilab.system import neighbours

ENGINE = Engine(
    docker="/usr/bin/docker",
    address="unix:///somewhere",
    endpoint=Endpoint(host="unix:///somewhere"),
    version="26.1.5",
    compose="2.26.1",
)


def examined(
    monkeypatch: pytest.MonkeyPatch, results: Path, found: Engine | NoEngine, ports: str = ""
) -> dict[str, str]:
    """Subject -> remedy; empty where all is well."""
    monkeypatch.setattr(engine, "find", lambda: found)
    monkeypatch.setattr(neighbours, "look", partial(neighbours.look, seconds=0.05))
    return {each.subject: each.remedy for each in doctor.examine(servers=3, results=results, ports=ports)}


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
