"""`lab.run --against`: what an application is compared with in the same run."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from wsgilab.experiment import application as applications
from wsgilab.experiment import versions
from wsgilab.experiment.parsing import load_yaml
from wsgilab.model import Application, ApplicationSettings, Experiment, Server
from wsgilab.model.application import Version
from wsgilab.model.errors import UsageError
from wsgilab.run.options import RunOptions
from wsgilab.run.workspace import given, read_text, shown
from wsgilab.runtime import versions as of_versions
from wsgilab.runtime.protocol import Say

_FILES = (".yaml", ".yml")


def compared(experiment: Experiment, options: RunOptions, catalogue: Mapping[str, Server], say: Say) -> Experiment:
    """The experiment with what `--against` names under each of its servers too. Raises LabError where that cannot be had."""
    name, application = options.against, experiment.application
    if name is None:
        return experiment
    if application is None:
        raise UsageError(
            f"--against {name}: compares versions of an application of your own; name that with --app, such as shop.yaml"
        )
    own = _file(options)
    is_file = Path(name).suffix in _FILES
    version = _of_file(name, application, own) if is_file else _of_revision(name, application, own, say)
    return versions.doubled(experiment, replace(application, against=version), catalogue)


def _of_file(name: str, application: Application, own: Path | None) -> Version:
    path = Path(name)
    return Version(
        name=shown(path),
        revision=None,
        current=application.entry if own is None else shown(own),
        current_revision=None,
        application=_settings(path, read_text(path, "application"), shown(path)),
    )


def _of_revision(name: str, application: Application, own: Path | None, say: Say) -> Version:
    revision = of_versions.find(application, name)
    settings = versions.settings_of(application)
    if own is not None:
        text = of_versions.text(revision, own)
        if text is None:
            say(f"Note: {shown(own)} is not in {name}: both versions are started as it says now.")
        else:
            settings = _settings(own, text, f"{shown(own)} at {name}")
    current, current_revision = of_versions.current(application)
    return Version(
        name=name,
        revision=revision.commit,
        current=current,
        current_revision=current_revision,
        application=settings,
    )


def _settings(path: Path, text: str, where: str) -> ApplicationSettings:
    """What an application file says beside its requests: those of the application itself are sent to both versions."""
    return applications.parse_settings(text, where, folder=os.path.relpath(path.parent))


def _file(options: RunOptions) -> Path | None:
    """The application's file, where it has one."""
    if options.app is not None:
        return Path(options.app) if Path(options.app).suffix in _FILES else None
    if options.file is None:
        return None
    path = given(options.file)
    named = load_yaml(read_text(path, "experiment"), shown(path)).get("application")
    return path.parent / named if isinstance(named, str) else None
