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

A claim with a `thread` is a report (`experiments/reports.yaml`): what one user saw, and whether it is so today.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from wsgilab.analysis.claims.entries import ClaimCell, ClaimEntry, ClaimsFile, Limits
from wsgilab.analysis.claims.figures import FIGURES
from wsgilab.experiment import resolve, space, workloads
from wsgilab.experiment.parsing import check_known, read
from wsgilab.model import Cell, Claim, Condition, Experiment, Release, Server, Thread
from wsgilab.model.errors import SpecError


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimSet:
    """Claims, and the experiment that tests them all."""

    experiment: Experiment
    claims: tuple[Claim, ...]
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Name -> ids; empty where the file has none."""
    rows: Mapping[str, Server] = field(default_factory=dict)
    """The servers that the file makes of others, by name."""


class _Cells:
    """The cells of a file by name, and the rows that they are made of."""

    def __init__(self, file: ClaimsFile, source: str, catalogue: Mapping[str, Server]) -> None:
        self._catalogue = catalogue
        self.rows: dict[str, Server] = {}
        self.by_name = {name: self._cell(given, f"{source}: cells.{name}") for name, given in file.cells.items()}

    def server(self, given: str | dict[str, Any], where: str) -> str:
        """The name of a server of the catalogue, or of one that is made here. Raises SpecError."""
        found = space.row(given, {**self._catalogue, **self.rows}, where)
        if found.name not in self._catalogue:
            self.rows[found.name] = found
        return found.name

    def _cell(self, given: ClaimCell, where: str) -> Cell:
        check_known([given.workload], workloads.WORKLOADS, f"{where}.workload", "workload")
        users = [] if given.users is None else [given.users]
        rates = [] if given.rate is None else [given.rate]
        (load,) = resolve.loads(users, rates, given.arrivals, where)
        return replace(
            load,
            server=self.server(given.server, f"{where}.server"),
            workload=given.workload,
            cores=given.cores,
            connection=given.connection,
            circumstances=given.circumstances(),
        )


def parse(text: str, source: str, catalogue: Mapping[str, Server]) -> ClaimSet:
    """Read a file of claims. Raises SpecError naming `source`, the key and what would be right."""
    file = read(text, source, ClaimsFile, "a file of claims")
    cells = _Cells(file, source, catalogue)
    names: dict[Cell, str] = {}
    for name, cell in cells.by_name.items():
        if cell in names:
            raise SpecError(f"{source}: cells.{name}: is the same as {names[cell]}; one name is enough")
        names[cell] = name
    ids = Counter(claim.id for claim in file.claims)
    claims = tuple(_claim(claim, f"{source}: claims[{number}]", cells, ids) for number, claim in enumerate(file.claims))
    used = {cell: None for claim in claims for cell in cells_of(claim)}
    for name, cell in cells.by_name.items():
        if cell not in used:
            raise SpecError(f"{source}: cells.{name}: no claim uses it, so there is nothing to measure it for")
    measured = list(dict.fromkeys([*cells.by_name.values(), *used]))
    reference = measured[0].server if file.reference is None else file.reference
    check_known([reference], {**catalogue, **cells.rows}, f"{source}: reference", "server")
    return ClaimSet(
        experiment=resolve.resolve(file, measured, reference, source),
        claims=claims,
        groups=_groups(file, source, ids),
        rows=cells.rows,
    )


def _claim(given: ClaimEntry, where: str, cells: _Cells, ids: Mapping[str, int]) -> Claim:
    if ids[given.id] > 1:
        raise SpecError(f"{where}.id: {given.id!r} is given to {ids[given.id]} claims; each needs one of its own")
    if (given.thread is None) == (given.met is None):
        raise SpecError(f"{where}: needs met (where it is said) or thread and reported (who reported it), and not both")
    thread = given.thread
    for key in ("reported", "package"):
        if thread is None and getattr(given, key) is not None:
            raise SpecError(f"{where}.{key}: goes with a thread; give that, or leave this out")
    if thread is not None and given.reported is None:
        raise SpecError(f"{where}: has a thread, and not what was reported there; give reported")
    holds = tuple(_conditions(given.holds, f"{where}.holds", cells.by_name, decides=True))
    if given.picture is not None:
        check_known([given.picture], cells.by_name, f"{where}.picture", "cell")
    return Claim(
        id=given.id,
        claim=given.claim,
        met=given.met or (thread.url if thread is not None else ""),
        holds=holds,
        shows=tuple(_conditions(given.shows, f"{where}.shows", cells.by_name, decides=False)),
        explanation=given.explanation,
        advice=given.advice,
        thread=thread,
        reported=given.reported or "",
        package=given.package or _package(thread),
        releases=tuple(_releases(given.releases, f"{where}.releases", holds, cells)),
        picture=None if given.picture is None else cells.by_name[given.picture],
    )


def _package(thread: Thread | None) -> str:
    return "" if thread is None else thread.project.partition("/")[2].lower()


def _releases(
    given: Sequence[str | dict[str, Any]], where: str, holds: Sequence[Condition], cells: _Cells
) -> Iterable[Release]:
    """The conditions with each of the `given` servers in the place of that which the first one is about."""
    today = holds[0].of.server

    def other(cell: Cell, server: str) -> Cell:
        return replace(cell, server=server) if cell.server == today else cell

    for number, each in enumerate(given):
        server = cells.server(each, f"{where}[{number}]")
        if server == today:
            raise SpecError(
                f"{where}[{number}]: {server} is what the first condition is about; name an earlier release"
            )
        yield Release(
            server=server,
            holds=tuple(
                replace(
                    condition,
                    of=other(condition.of, server),
                    over=None if condition.over is None else other(condition.over, server),
                )
                for condition in holds
            ),
        )


def _groups(file: ClaimsFile, source: str, ids: Mapping[str, int]) -> Mapping[str, tuple[str, ...]]:
    """Raises SpecError unless each claim is in one group, or there are no groups."""
    grouped = Counter(claim for group in file.groups.values() for claim in group)
    for name, group in file.groups.items():
        check_known(group, ids, f"{source}: groups.{name}", "claim")
    for claim in ids if file.groups else ():
        if grouped[claim] != 1:
            much = "no group" if not grouped[claim] else f"{grouped[claim]} groups"
            raise SpecError(f"{source}: groups: {claim} is in {much}; each claim is in one")
    return {name: tuple(group) for name, group in file.groups.items()}


def cells_of(claim: Claim) -> Iterable[Cell]:
    """The cells that a claim is about, each once, in order."""
    conditions = (*claim.holds, *claim.shows, *(each for release in claim.releases for each in release.holds))
    both = [cell for condition in conditions for cell in (condition.of, condition.over) if cell is not None]
    return dict.fromkeys(both if claim.picture is None else [*both, claim.picture])


def only(claim_set: ClaimSet, ids: Collection[str], what: str = "claim") -> ClaimSet:
    """The claims of these ids, or all where there are none, and the cells that they need. Raises SpecError, which calls a claim
    `what` it is."""
    check_known(list(ids), {claim.id: claim for claim in claim_set.claims}, "--only", what)
    claims = tuple(claim for claim in claim_set.claims if not ids or claim.id in ids)
    needed = {cell for claim in claims for cell in cells_of(claim)}
    cells = tuple(cell for cell in claim_set.experiment.cells if cell in needed)
    return replace(claim_set, experiment=_of_cells(claim_set.experiment, cells), claims=claims)


def feasible(claim_set: ClaimSet, usable_cores: int, *, quotas: bool = True) -> Experiment:
    """The experiment without the cells that need more cores than the `usable_cores` there are or, unless there are `quotas`, one of
    these.

    `judge` leaves the claims about them untested. Raises SpecError where no cell remains.
    """
    experiment = claim_set.experiment
    if not quotas and any(cell.quota is None for cell in experiment.cells):
        experiment = _of_cells(experiment, tuple(cell for cell in experiment.cells if cell.quota is None))
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
