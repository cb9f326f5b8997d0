"""Claims as a YAML file, such as `experiments/claims.yaml`: cells by name, and the claims that they test.

    name: claims
    blocks: 6
    cells:
      single: {server: flask-single, workload: sleep, users: 32}
    claims:
      - id: development-server-single
        claim: The plain development server (threaded=False) handles one request at a time.
        met: Flask's documentation
        holds:
          - {figure: peak_in_flight, of: single, at_most: 1}
        shows:
          - {figure: throughput_rps, of: single}
        explanation: It serves one connection after the other.
        advice: Use it to develop, and nothing else.

A condition in `holds` has `at_least`, `at_most` or both; `over:` makes it a ratio to another cell's figure. One in
`shows` has no limit.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar

from pydantic import Field

from wsgilab.analysis.claims.figures import FIGURES
from wsgilab.analysis.stats import FEWEST_BLOCKS
from wsgilab.experiment import resolve, workloads
from wsgilab.experiment.file import CircumstancesEntry, Settings, WorkloadName, users_or_rate
from wsgilab.experiment.parsing import check_known, read
from wsgilab.model import STRICT, Arrivals, Cell, Claim, Condition, Connection, Experiment, Server
from wsgilab.model.errors import SpecError
from wsgilab.model.limits import MOST_BLOCKS, Cores, Name, Range, Rate, Users

_Limit = Annotated[float, Range(0, 10**12)]
_Text = Annotated[str, Field(min_length=1)]
_Figure = Annotated[str, Field(json_schema_extra={"enum": list(FIGURES)})]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimSet:
    """Claims, and the experiment that tests them all."""

    experiment: Experiment
    claims: tuple[Claim, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Combination:
    """A cell without what else holds."""

    __pydantic_config__: ClassVar = {
        **STRICT,
        "json_schema_extra": users_or_rate(users={"type": "integer"}, rate={"type": "number"}, none={"type": "null"}),
    }

    server: str
    """One of the catalogue's."""
    workload: WorkloadName
    """What a request does."""
    users: Users | None = None
    """A closed loop: so many users at a time, each waiting for its answer before it asks again."""
    rate: Rate | None = None
    """An open loop, in place of users: so many requests a second, due on a schedule whether or not the server keeps
    up."""
    arrivals: Arrivals | None = None
    """How a rate is spaced: evenly (`constant`, the default), or at random (`poisson`)."""
    connection: Connection = "close"
    """`close`: a connection for each request. `keep-alive`: one for each user, kept."""
    cores: Cores = 1
    """To how many cores the server is pinned."""


@dataclass(frozen=True, kw_only=True)
class ClaimCell(CircumstancesEntry, _Combination):
    """One combination that is measured. The conditions of claims call it by its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What must hold of one figure of a cell, or of its ratio to another cell's."""

    __pydantic_config__: ClassVar = STRICT

    figure: _Figure
    """Times are in milliseconds, throughput in requests a second, `server_cpu` is a share of the server's cores."""
    of: str
    """The name of a cell of this file."""
    over: str | None = None
    """The name of another cell: the figure is then the ratio of the first to it, paired by block."""
    at_least: _Limit | None = None
    """The figure, or the ratio, is at least this."""
    at_most: _Limit | None = None
    """The figure, or the ratio, is at most this."""


# `_conditions` checks this.
_Deciding = Annotated[
    Limits, Field(json_schema_extra={"anyOf": [{"required": ["at_least"]}, {"required": ["at_most"]}]})
]
_Shown = Annotated[
    Limits, Field(json_schema_extra={"properties": {"at_least": {"type": "null"}, "at_most": {"type": "null"}}})
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimEntry:
    """A sentence about servers, and what would make it true."""

    __pydantic_config__: ClassVar = STRICT

    id: Name
    """Its short name, for --only: lower-case letters, digits and hyphens."""
    claim: _Text
    """The sentence."""
    met: _Text
    """Where it is met."""
    holds: Annotated[list[_Deciding], Field(min_length=1)]
    """It is true if all of these are, and false if any is false."""
    shows: list[_Shown] = field(default_factory=list)
    """Figures that are shown beside the verdict, and decide nothing."""
    explanation: _Text
    """Why it is so."""
    advice: _Text
    """What a reader should do about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimsFile(Settings):
    """Claims of wsgilab: sentences about servers, and the cells that are measured to test them."""

    __pydantic_config__: ClassVar = STRICT

    blocks: Annotated[int, Range(FEWEST_BLOCKS, MOST_BLOCKS)] = 6
    """Passes over every cell, each in an order of its own."""
    cells: Annotated[dict[str, ClaimCell], Field(min_length=1)]
    """What is measured: a name, and a cell. Each is one that a claim uses."""
    claims: Annotated[list[ClaimEntry], Field(min_length=1)]
    """What is tested."""
    reference: str | None = None
    """The server that the comparison beside the verdicts is with; by default the first cell's."""


def parse(text: str, source: str, catalogue: Mapping[str, Server]) -> ClaimSet:
    """Read a file of claims. Raises SpecError naming `source`, the key and what would be right."""
    file = read(text, source, ClaimsFile, "a file of claims")
    cells = {name: _cell(given, f"{source}: cells.{name}", catalogue) for name, given in file.cells.items()}
    names: dict[Cell, str] = {}
    for name, cell in cells.items():
        if cell in names:
            raise SpecError(f"{source}: cells.{name}: is the same as {names[cell]}; one name is enough")
        names[cell] = name
    ids = Counter(claim.id for claim in file.claims)
    claims = tuple(
        Claim(
            id=_single(claim.id, ids, f"{source}: claims[{number}].id"),
            claim=claim.claim,
            met=claim.met,
            holds=tuple(_conditions(claim.holds, f"{source}: claims[{number}].holds", cells, decides=True)),
            shows=tuple(_conditions(claim.shows, f"{source}: claims[{number}].shows", cells, decides=False)),
            explanation=claim.explanation,
            advice=claim.advice,
        )
        for number, claim in enumerate(file.claims)
    )
    used = {cell for claim in claims for cell in cells_of(claim)}
    for name, cell in cells.items():
        if cell not in used:
            raise SpecError(f"{source}: cells.{name}: no claim uses it, so there is nothing to measure it for")
    reference = next(iter(cells.values())).server if file.reference is None else file.reference
    check_known([reference], catalogue, f"{source}: reference", "server")
    return ClaimSet(experiment=resolve.resolve(file, list(cells.values()), reference, source), claims=claims)


def cells_of(claim: Claim) -> Iterable[Cell]:
    """The cells that a claim is about, each once, in order."""
    conditions = (*claim.holds, *claim.shows)
    both = (cell for condition in conditions for cell in (condition.of, condition.over) if cell is not None)
    return dict.fromkeys(both)


def only(claim_set: ClaimSet, ids: Collection[str]) -> ClaimSet:
    """The claims of these ids, or all where there are none, and the cells that they need. Raises SpecError."""
    check_known(list(ids), {claim.id: claim for claim in claim_set.claims}, "--only", "claim")
    claims = tuple(claim for claim in claim_set.claims if not ids or claim.id in ids)
    needed = {cell for claim in claims for cell in cells_of(claim)}
    cells = tuple(cell for cell in claim_set.experiment.cells if cell in needed)
    return ClaimSet(experiment=_of_cells(claim_set.experiment, cells), claims=claims)


def feasible(claim_set: ClaimSet, usable_cores: int) -> Experiment:
    """The experiment without the cells that need more cores than the `usable_cores` there are.

    `judge` leaves the claims about them undecided. Raises SpecError where no cell remains.
    """
    experiment = claim_set.experiment
    cells = tuple(cell for cell in experiment.cells if cores_needed(cell, experiment) <= usable_cores)
    if not cells:
        least = min(cores_needed(cell, experiment) for cell in experiment.cells)
        remedy = "" if experiment.generator == "shared" else "; let servers and generator share with --share-generator"
        raise SpecError(
            f"experiment {experiment.name}: needs {least} cores at least, and of this machine's {usable_cores} can be "
            f"used{remedy}"
        )
    return _of_cells(experiment, cells)


def _of_cells(experiment: Experiment, cells: tuple[Cell, ...]) -> Experiment:
    servers = [cell.server for cell in cells]
    return replace(
        experiment,
        cells=cells,
        reference=experiment.reference if experiment.reference in servers else servers[0],
        parameters=workloads.parameters({cell.workload for cell in cells}, experiment.parameters),
    )


def cores_needed(cell: Cell, experiment: Experiment) -> int:
    """By the server, and by the generator where it has cores of its own."""
    return cell.cores + (experiment.generator_cores if experiment.generator == "own" else 0)


def _cell(given: ClaimCell, where: str, catalogue: Mapping[str, Server]) -> Cell:
    check_known([given.server], catalogue, f"{where}.server", "server")
    check_known([given.workload], workloads.WORKLOADS, f"{where}.workload", "workload")
    users = [] if given.users is None else [given.users]
    rates = [] if given.rate is None else [given.rate]
    (load,) = resolve.loads(users, rates, given.arrivals, where)
    return replace(
        load,
        server=given.server,
        workload=given.workload,
        cores=given.cores,
        connection=given.connection,
        circumstances=given.circumstances(),
    )


def _single(claim: str, ids: Mapping[str, int], where: str) -> str:
    if ids[claim] > 1:
        raise SpecError(f"{where}: {claim!r} is given to {ids[claim]} claims; each needs one of its own")
    return claim


def _conditions(
    given: Iterable[Limits], where: str, cells: Mapping[str, Cell], *, decides: bool
) -> Iterable[Condition]:
    for number, each in enumerate(given):
        at = f"{where}[{number}]"
        check_known([each.figure], FIGURES, f"{at}.figure", "figure")
        check_known([each.of], cells, f"{at}.of", "cell")
        if each.over is not None:
            check_known([each.over], cells, f"{at}.over", "cell")
        if each.over == each.of:
            raise SpecError(f"{at}.over: {each.over!r} is the cell itself; name another, or none")
        limits = [limit for limit in (each.at_least, each.at_most) if limit is not None]
        if decides and not limits:
            raise SpecError(f"{at}: needs a limit, at_least or at_most; a figure without one belongs in shows")
        if not decides and limits:
            raise SpecError(f"{at}: has a limit, but shows decides nothing; what is to decide belongs in holds")
        if limits != sorted(limits):
            raise SpecError(f"{at}: nothing is at least {each.at_least:g} and at most {each.at_most:g}")
        yield Condition(
            figure=each.figure,
            of=cells[each.of],
            over=None if each.over is None else cells[each.over],
            at_least=each.at_least,
            at_most=each.at_most,
        )
