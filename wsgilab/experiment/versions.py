"""Two versions of an application in one run: each server is there twice, and what it is compared with is its counterpart. Pure."""

from collections.abc import Mapping
from dataclasses import fields, replace

from wsgilab.experiment.parsing import validated
from wsgilab.model import Application, ApplicationSettings, Experiment, Server
from wsgilab.model.errors import SpecError
from wsgilab.model.experiment import AGAINST
from wsgilab.model.limits import ServerName

PART = " against"
"""What the name of a part of a run's files ends with that is of the other version."""


def settings_of(application: Application) -> ApplicationSettings:
    """Where an application is and what it needs, without its requests."""
    return ApplicationSettings(**{each.name: getattr(application, each.name) for each in fields(ApplicationSettings)})


def other(application: Application) -> Application:
    """What an application is compared with. Users send both the same, and both have the same services to wait for."""
    assert application.against is not None, "there is one"
    there = application.against.application
    kept = {each.name: getattr(there, each.name) for each in fields(ApplicationSettings)}
    kept |= {"backends": application.backends, "locust_requirements": ()}
    return replace(application, **kept, against=None)


def doubled(experiment: Experiment, application: Application, catalogue: Mapping[str, Server]) -> Experiment:
    """The experiment under `application`, which says what it is compared with: each cell, and then that with the other version.

    Raises SpecError where a server's name leaves no room for the other's.
    """
    counterparts = {name: f"{name}{AGAINST}" for name in dict.fromkeys(cell.server for cell in experiment.cells)}
    for name, there in counterparts.items():
        validated(there, ServerName, "--against")
        if there in catalogue:
            raise SpecError(
                f"--against: {there} is a server of the catalogue, and what {name} is compared with has that name; leave it "
                "out, or name it otherwise"
            )
    cells = (each for cell in experiment.cells for each in (cell, replace(cell, server=counterparts[cell.server])))
    return replace(experiment, cells=tuple(cells), application=application, counterparts=counterparts)


def rows(experiment: Experiment, catalogue: Mapping[str, Server]) -> Mapping[str, Server]:
    """The servers with the other version, by name: each as the one of the catalogue that it is the counterpart of."""
    return {
        there: replace(catalogue[name], name=there, extends=catalogue[name].extends or name, is_against=True)
        for name, there in experiment.counterparts.items()
        if name in catalogue
    }
