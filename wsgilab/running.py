"""Runs that a user asks for: from what the command line says to an experiment, and to what comes of it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from wsgilab import analysis, execution, spec
from wsgilab import claims as claims_under_test
from wsgilab.claims import ClaimSet
from wsgilab.errors import UsageError
from wsgilab.execution import Manner
from wsgilab.grounds import Ground
from wsgilab.model import Comparison, Experiment, Server
from wsgilab.places import PROJECT, Places, read_catalogue, read_text, shown
from wsgilab.render import terminal
from wsgilab.render.claims import claims_md, claims_yaml
from wsgilab.store import Store

DEFAULT_EXPERIMENT = "experiments/answer.yaml"
DEFAULT_CLAIMS = "experiments/claims.yaml"


# --- running


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the command line asks of a run; None and empty mean: as the experiment says."""

    experiment: str | None = None
    runtime: str | None = None
    site: str | None = None
    """A file of the machines to run on; None: this one."""
    servers: tuple[str, ...] = ()
    cores: tuple[int, ...] = ()
    blocks: int | None = None
    precision: float | None = None
    max_blocks: int | None = None
    seed: int | None = None
    share_generator: bool = False
    generator_cores: int | None = None
    resume: str | None = None
    watch: bool = False
    port: int | None = None
    """Of the web UI, with `watch`."""


def run(request: Request, console: Console, places: Places) -> Comparison:
    """Execute an experiment, or go on with one; write its comparison, and print it.

    Whatever ends it early, what was measured by then is compared. Raises LabError or Interrupted.
    """
    given = replace(request, resume=None, runtime=None, site=None, watch=False, port=None)
    if request.resume is not None and given != Request():
        raise UsageError(
            f"--resume {request.resume}: a resumed run keeps its experiment and seed; give no other option"
        )
    manner = Manner(
        task="lab.run",
        runtime=request.runtime,
        site=site_file(request.site),
        seed=request.seed,
        resume=request.resume,
        watch=request.watch,
        port=request.port,
    )
    return execution.run(
        manner, lambda servers, ground: _experiment(request, servers, ground), analysis.conclude, console, places
    )


def site_file(name: str | None) -> Path | None:
    """The file of a site, as the command line names it."""
    return None if name is None else Path(name)


def _experiment(request: Request, servers: Mapping[str, Server], ground: Ground) -> Experiment:
    path = PROJECT / DEFAULT_EXPERIMENT if request.experiment is None else Path(request.experiment)
    experiment = spec.parse(
        read_text(path, "experiment"),
        shown(path),
        servers,
        cores=len(ground.usable),
        share_generator=request.share_generator,
        generator_cores=request.generator_cores,
        apart=ground.apart is not None,
    )
    return spec.narrow(
        experiment,
        servers,
        servers=request.servers,
        cores=request.cores,
        blocks=request.blocks,
        precision=request.precision,
        max_blocks=request.max_blocks,
        share_generator=request.share_generator,
        generator_cores=request.generator_cores,
    )


# --- claims


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimsRequest:
    """What the command line asks of a run for claims; None and empty mean: as the file says."""

    claims: str | None = None
    """The file."""
    only: tuple[str, ...] = ()
    """Ids of the claims to test."""
    run: str | None = None
    """A stored run to judge again; nothing is measured."""
    runtime: str | None = None
    site: str | None = None
    """A file of the machines to run on; None: this one."""
    blocks: int | None = None
    seed: int | None = None
    resume: str | None = None


def claims(request: ClaimsRequest, console: Console, places: Places) -> Comparison:
    """Test claims; write their verdicts beside the run's comparison, and print them.

    Whatever ends it early, what was measured by then is judged. Raises LabError or Interrupted.
    """
    path = PROJECT / DEFAULT_CLAIMS if request.claims is None else Path(request.claims)
    asked = claims_under_test.parse(read_text(path, "claims"), shown(path), read_catalogue(places))
    asked = claims_under_test.only(asked, request.only)

    def judged(store: Store, console: Console) -> Comparison:
        return _judged(store, asked, console)

    again = replace(request, claims=None, only=())
    if request.run is not None:
        if again != ClaimsRequest(run=request.run):
            raise UsageError(f"--run {request.run}: judges what is stored, and measures nothing; give no other option")
        return judged(Store.find(places.results, request.run), console)
    if request.resume is not None and replace(again, resume=None, runtime=None, site=None) != ClaimsRequest():
        raise UsageError(f"--resume {request.resume}: a resumed run keeps its blocks and seed; give no other option")
    manner = Manner(
        task="lab.claims",
        runtime=request.runtime,
        site=site_file(request.site),
        seed=request.seed,
        resume=request.resume,
    )

    def choose(servers: Mapping[str, Server], ground: Ground) -> Experiment:
        return _testing(asked, request.blocks, servers, ground)

    return execution.run(manner, choose, judged, console, places)


def _testing(asked: ClaimSet, blocks: int | None, servers: Mapping[str, Server], ground: Ground) -> Experiment:
    """The experiment that tests claims, as far as the machine has the cores."""
    elsewhere = 0 if ground.apart is None else asked.experiment.generator_cores
    return spec.narrow(claims_under_test.feasible(asked, len(ground.usable) + elsewhere), servers, blocks=blocks)


def _judged(store: Store, asked: ClaimSet, console: Console) -> Comparison:
    """Write comparison and verdicts, and print the verdicts."""
    comparison = analysis.write(store)
    results = claims_under_test.judge(comparison.run, store.observations(), asked.claims)
    store.write({**claims_md(comparison.run, results), **claims_yaml(comparison.run, results)})
    console.print(terminal.verdicts(results))
    analysis.say(console, f"The evidence, and what to do about it: {shown(store.folder)}/claims.md")
    return comparison
