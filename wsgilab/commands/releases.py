"""`lab.run --release`: one server with several releases of a package, as rows beside each other."""

import re
from collections.abc import Mapping
from dataclasses import replace

from wsgilab.experiment.parsing import check_known, validated
from wsgilab.model import Server
from wsgilab.model.errors import UsageError
from wsgilab.model.limits import ServerName
from wsgilab.run.options import RunOptions
from wsgilab.run.workspace import Workspace, read_catalogue
from wsgilab.runtime import lock_text, releases
from wsgilab.runtime.protocol import Say

_PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_NOT_WITH = ("app", "source", "get", "against", "url")
"""Options of an application of the user's own, whose packages are locked with it."""


def rows(options: RunOptions, workspace: Workspace, say: Say) -> Mapping[str, Server]:
    """The server that `--servers` names, once for each release: name -> row. Raises LabError."""
    assert options.release is not None, "there are releases"
    if others := options.others(set(RunOptions.__annotations__) - set(_NOT_WITH)):
        raise UsageError(
            f"--release {options.release}: is of a server of the lab's with the lab's application; leave out --{min(others)}"
        )
    package, versions = _parsed(options.release)
    catalogue = read_catalogue(workspace)
    if len(options.servers) != 1:
        raise UsageError(
            f"--release {options.release}: is of one server; name it with --servers, such as --servers gunicorn-gthread-8"
        )
    check_known(list(options.servers), catalogue, "--servers", "server")
    base = catalogue[options.servers[0]]
    found: dict[str, Server] = {}
    for version in versions:
        name = validated(f"{base.name}-{releases.spelt(version)}", ServerName, "--release")
        if name in catalogue or name in found:
            raise UsageError(f"--release {package}={version}: there is a server {name} already; leave it out")
        stack = releases.stack_of(workspace.project, base.stack, package, version, say)
        found[name] = replace(
            base,
            name=name,
            stack=stack,
            extends=base.extends or base.name,
            summary=f"{base.summary}, with {package} {version}",
        )
    return found


def _parsed(text: str) -> tuple[str, list[str]]:
    package, _, listed = text.partition("=")
    versions = [each.strip() for each in listed.split(",")]
    if not _PACKAGE.fullmatch(package) or not all(map(lock_text.RELEASE.fullmatch, versions)) or len(versions) == 1:
        raise UsageError(
            f"--release {text}: must be a package and two releases of it or more, such as gunicorn=23.0.0,25.3.0,27.0.1"
        )
    return package, versions
