"""Which configurations the queueing model leaves out of a race before it begins."""

from wsgilab import testing
from wsgilab.analysis.tune.bounds import hopeless
from wsgilab.experiment import catalogue, space
from wsgilab.model import Run
from wsgilab.run.workspace import PROJECT

SERVERS = catalogue.parse((PROJECT / "compose" / "servers.yaml").read_text(), "servers.yaml")
REFERENCE = "gunicorn-sync-3"


def usual(cores: int = 1, users: int | None = 32, rate: float | None = None) -> Run:
    """A race of the usual space."""
    arrivals = None if rate is None else "poisson"
    rows = space.rows(space.usual(cores, users), SERVERS, "")
    thumb = space.rows([{"like": "gunicorn-sync-1", "workers": [2 * cores + 1]}], SERVERS, "")
    servers = {**rows, **thumb}
    cells = [testing.cell(name, cores=cores, users=users, rate=rate, arrivals=arrivals) for name in servers]
    return testing.run(testing.experiment(*cells, reference=next(iter(thumb))), *servers.values())


def test_where_requests_wait_those_with_few_slots_are_left_out_and_it_says_why() -> None:
    run = usual()
    out = hopeless(run, 50.0, 0.5)

    slots = {name: run.servers[name].slots for name in run.servers}
    assert set(out) == {name for name, count in slots.items() if (count or 99) < 16 and name != REFERENCE}
    assert 8 <= len(out) < len(slots) - 8
    assert out["gunicorn-sync-1"] == (
        "too few slots for requests of 50.0 ms, by the queueing model, where gunicorn-gthread-1x32 may have 637 requests/s: "
        "20.0 requests/s"
    )


def test_where_requests_compute_all_are_worth_a_race_on_one_core() -> None:
    assert hopeless(usual(), 5.0, 5.0) == {}


def test_where_requests_compute_a_process_is_too_few_for_many_cores() -> None:
    run = usual(cores=4)
    out = hopeless(run, 5.0, 5.0)
    processes = {name: run.servers[name].processes or 0 for name in run.servers}
    assert set(out) == {name for name, count in processes.items() if count == 1}
    assert out["gunicorn-gevent"].startswith("too few processes for requests that compute for 5.00 ms, by the")


def test_at_a_rate_littles_law_says_how_many_slots_are_needed() -> None:
    # 150 a second for 0.1 s each hold 15.
    run = usual(users=None, rate=150.0)
    out = hopeless(run, 100.0, 0.5)
    slots = {name: run.servers[name].slots or 99 for name in run.servers}
    assert set(out) == {name for name, count in slots.items() if count <= 7 and name != REFERENCE}


def test_the_reference_and_those_of_which_nothing_is_known_stay() -> None:
    servers = [testing.server("forks", slots=1, processes=None), testing.server("best", slots=64, processes=1)]
    servers.append(testing.server("thumb", slots=1))
    cells = [testing.cell(each.name) for each in servers]
    run = testing.run(testing.experiment(*cells, reference="thumb"), *servers)
    assert hopeless(run, 50.0, 1.0) == {}
    alone = testing.run(testing.experiment(cells[0]), servers[0])
    assert hopeless(alone, 50.0, 1.0) == {}
