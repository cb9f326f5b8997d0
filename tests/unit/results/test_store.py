"""A run's folder."""

import errno
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.said import refusal
from wsgilab import testing
from wsgilab.model import Duet, Observation, Run
from wsgilab.model.errors import StoreError, UsageError
from wsgilab.results.store import DUETS_FILE, OBSERVATIONS_FILE, RUN_FILE, Journal, Store

OTHERS = [
    testing.cell("two"),
    testing.cell(users=8),
    testing.cell(users=None, rate=1.0, arrivals="constant"),
    testing.cell(users=None, rate=1.0, arrivals="poisson"),
    testing.cell(users=None, rate=2.0, arrivals="poisson"),
]
RUN = testing.run(testing.experiment(testing.cell(), *OTHERS, blocks=9))
FIRST, SECOND, THIRD = (testing.observation(block=block, position=block) for block in range(3))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "results", RUN)


def record(store: Store, *observations: Observation) -> None:
    with Journal(store) as journal:
        for observation in observations:
            journal.append(observation)


def journal_of(store: Store) -> Path:
    return store.folder / OBSERVATIONS_FILE


def change_run(store: Store, **changes: object) -> None:
    path = store.folder / RUN_FILE
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changes}))


# Making and finding a run.


def test_a_run_is_parsed_once_for_as_long_as_its_file_is_the_same(store: Store) -> None:
    assert store.run() is Store(store.folder).run()
    change_run(store, seed=RUN.seed + 1)
    assert store.run().seed == RUN.seed + 1


EXPERIMENT = testing.experiment(testing.cell("one"), testing.cell("two", cores=2, connection="keep-alive"))
SERVERS = (
    testing.server("one", slots=None, processes=None, environment={"A": "${LAB_BIND:-x}"}),
    testing.server("two", summary='quotes "and" : colons\nlines'),
)
AT_A_RATE = testing.experiment(
    testing.cell("one", users=None, rate=0.5, arrivals="poisson"), precision=0.03, max_blocks=50, generator_cores=2
)
OF_SHOP = testing.run(
    testing.experiment(testing.cell("one", workload="shop"), application=testing.application(env={"A": "b\x1b\r\n"}))
)


def test_a_run_of_an_application_is_read_back_with_every_byte_that_its_users_send(tmp_path: Path) -> None:
    store = Store.create(tmp_path, OF_SHOP)
    record(store, testing.observation(testing.cell("one", workload="shop")))

    assert store.run() == OF_SHOP
    assert len(store.observations()) == 1


@pytest.mark.parametrize(
    "run",
    [
        RUN,
        testing.run(EXPERIMENT, *SERVERS, cpu_iterations=12345, notes=("été",), seed=-7, runtime="compose"),
        testing.run(AT_A_RATE),
    ],
)
def test_a_run_is_read_back_as_it_was(tmp_path: Path, run: Run) -> None:
    # The folder of results is made too.
    assert Store.create(tmp_path / "deep" / "results", run).run() == run


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"entry": "a\x1b[2J:b"}, "experiment.application.entry: must be text on one line"),
        ({"mixes": {"shop": {"sell": 1.0}}}, "experiment.application.mixes.shop: 'sell' is none of its requests"),
        ({"mixes": {}}, "experiment.parameters.shop: is no workload of its application"),
        ({"more": 1}, "unknown key 'experiment.application.more'"),
    ],
)
def test_a_run_of_what_is_no_application_is_refused(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    store = Store.create(tmp_path, OF_SHOP)
    experiment = yaml.safe_load((store.folder / RUN_FILE).read_text())["experiment"]
    change_run(store, experiment={**experiment, "application": {**experiment["application"], **changes}})

    assert refusal(StoreError, store.run).startswith(f"{store.folder / RUN_FILE}: {told}")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"id": "../elsewhere"}, "id: must be the id of a run, not '../elsewhere'"),
        ({"servers": {}}, "experiment.cells[0].server: 'gunicorn-sync-1' is none of servers"),
        ({"notes": ("",)}, "notes[0]: must be a few words, not ''"),
    ],
)
def test_a_run_that_could_not_be_read_again_is_not_made(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    message = refusal(StoreError, Store.create, tmp_path / "results", replace(RUN, **changes))

    assert message.endswith(f"/run.yaml: {told}; such a run cannot be recorded")
    assert not (tmp_path / "results").exists()


def test_latest_is_the_newest_run(store: Store) -> None:
    results = store.folder.parent
    newer = Store.create(results, replace(RUN, id="20270102-030405-trial-run"))

    assert (results / "latest").is_symlink()
    assert Store.find(results, "latest").folder == newer.folder.resolve()


def test_what_a_killed_run_left_of_latest_is_in_nobodys_way(tmp_path: Path) -> None:
    results = tmp_path / "deep" / "results"
    results.mkdir(parents=True)
    (results / ".latest.new").symlink_to("nowhere")

    assert Store.create(results, RUN).folder == results / RUN.id
    assert Store.find(results, "latest").run() == RUN


def test_a_run_is_found_by_its_id_and_by_its_path(store: Store, tmp_path: Path) -> None:
    assert Store.find(store.folder.parent, RUN.id).run() == RUN
    assert Store.find(tmp_path / "elsewhere", str(store.folder)).run() == RUN
    assert Store.find(tmp_path / "elsewhere", str(store.folder.rename(tmp_path / "a b"))).run() == RUN


def test_a_run_that_is_not_there_is_answered_with_the_newest_that_are(store: Store) -> None:
    results = store.folder.parent
    for year in (2027, 2028, 2029):
        Store.create(results, replace(RUN, id=f"{year}-x"))

    told = f"{results}: no run 'nowhere'; the newest are 2029-x, 2028-x, 2027-x"
    assert refusal(UsageError, Store.find, results, "nowhere") == told


def test_a_run_is_found_by_a_part_of_its_id_that_no_other_has(store: Store) -> None:
    results = store.folder.parent
    for name in ("2027-x", "2028-x", "2028-x-2", "2027-latest"):
        Store.create(results, replace(RUN, id=name))

    assert Store.find(results, "2026").folder == store.folder.resolve()
    assert Store.find(results, "x-2").folder.name == "2028-x-2"
    assert Store.find(results, "2028-x").folder.name == "2028-x", "which is also a part of another"
    assert Store.find(results, "latest").folder.name == "2027-latest"
    (results / "latest").unlink()
    assert "no run 'latest'" in refusal(UsageError, Store.find, results, "latest")


def test_a_part_that_several_runs_have_is_refused_with_their_ids(store: Store) -> None:
    results = store.folder.parent
    for number in range(7):
        Store.create(results, replace(RUN, id=f"x-{number}"))

    assert refusal(UsageError, Store.find, results, "x-") == (
        f"{results}: 'x-' is a part of 7 runs: x-6, x-5, x-4, x-3, x-2 and 2 more; give more of one"
    )


def test_where_there_are_no_runs_the_remedy_is_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no run 'latest'; make one with invoke lab\.run"):
        Store.find(tmp_path / "results", "latest")


@pytest.mark.parametrize(
    "name", ["../x;y", "../../../../etc/passwd", "$(id)", "a\0b", "a\nb", "", "/", "..", "x" * 5000]
)
def test_a_name_that_is_no_run_is_a_clean_error(store: Store, name: str) -> None:
    assert f"no run {name!r}" in refusal(UsageError, Store.find, store.folder.parent, name)


@pytest.mark.parametrize(
    ("inside", "told"), [("", "is there already; move it away"), ("still", "make the folder writable")]
)
def test_results_that_cannot_be_written_are_named_with_the_remedy(tmp_path: Path, inside: str, told: str) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")

    message = refusal(StoreError, Store.create, file / inside, RUN)

    assert str(file) in message
    assert told in message


def test_a_run_never_takes_the_folder_of_another(store: Store) -> None:
    record(store, FIRST)

    with pytest.raises(StoreError, match=str(store.folder.parent)):
        Store.create(store.folder.parent, RUN)

    assert store.observations() == [FIRST]


# run.yaml


@pytest.mark.parametrize("content", ["", "[]", "text"])
def test_a_run_file_that_holds_no_run_has_no_schema(store: Store, content: str) -> None:
    (store.folder / RUN_FILE).write_text(content)

    with pytest.raises(StoreError, match=r"run\.yaml: has results of schema None"):
        store.run()


def test_a_run_of_an_earlier_version_is_read_without_the_keys_that_came_later(tmp_path: Path) -> None:
    store = Store.create(tmp_path, testing.run())
    document = yaml.safe_load((store.folder / RUN_FILE).read_text())
    for key in ("precision", "max_blocks", "generator_cores"):
        del document["experiment"][key]
    for cell in document["experiment"]["cells"]:
        del cell["rate"], cell["arrivals"]
    change_run(store, **document)

    assert store.run() == testing.run()


# observations.jsonl


def test_observations_are_read_back_in_order_as_they_were(store: Store) -> None:
    rich = testing.observation(
        testing.cell("two"), block=7, reason="été\n| \xa0\tx", swarm=testing.trial_report(errors={"x": 2}, failures=2)
    )
    missing = testing.observation(block=8, position=53, swarm=None, status="failed", reason="no", server_cpu_s=None)
    record(store, SECOND, rich, FIRST, missing)

    assert store.observations() == [SECOND, rich, FIRST, missing]


def test_a_run_that_has_not_begun_has_no_observations(store: Store) -> None:
    assert store.observations() == []
    assert store.done() == frozenset()


def test_a_trial_that_others_disturbed_is_worth_another_try(store: Store) -> None:
    busy = testing.trial_report(server_busy=1.0, generator_others=0.0)
    record(store, FIRST, testing.observation(block=1, position=1, swarm=busy))
    assert store.done() == {(0, FIRST.cell)}

    record(store, SECOND)

    assert store.done() == {(0, FIRST.cell), (1, FIRST.cell)}


def test_an_observation_is_on_the_disk_when_append_returns(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bytes] = []
    path = journal_of(store)
    monkeypatch.setattr(os, "fsync", lambda _: synced.append(path.read_bytes()))

    with Journal(store) as journal:
        journal.append(FIRST)
        assert synced == [path.read_bytes()]
        assert store.observations() == [FIRST]
        journal.append(SECOND)
        assert synced[1:] == [path.read_bytes()]


@pytest.mark.parametrize("cut", [1, 2, 200])
def test_a_torn_last_line_is_no_observation(store: Store, cut: int) -> None:
    record(store, FIRST, SECOND)
    os.truncate(journal_of(store), journal_of(store).stat().st_size - cut)

    assert store.observations() == [FIRST]
    assert store.done() == {(FIRST.block, FIRST.cell)}

    record(store, THIRD)

    assert store.observations() == [FIRST, THIRD]
    assert journal_of(store).read_bytes().count(b"\n") == 2


def test_a_file_of_one_torn_line_begins_anew(store: Store) -> None:
    journal_of(store).write_bytes(b'{"block": 0')
    assert store.observations() == []

    record(store, FIRST)

    assert store.observations() == [FIRST]


def without(store: Store, *keys: str) -> None:
    """The journal's only observation as one that lacks these keys of its report, and a cell without a rate."""
    observation = json.loads(journal_of(store).read_bytes())
    del observation["cell"]["rate"], observation["cell"]["arrivals"]
    for key in keys:
        del observation["swarm"][key]
    journal_of(store).write_text(json.dumps(observation) + "\n")


def test_an_observation_without_the_keys_that_have_a_default_is_read_with_them(store: Store) -> None:
    record(store, testing.observation(swarm=testing.trial_report(settling_s=0.5, late=3)))
    without(store, "settling_s", "late")

    (observation,) = store.observations()

    assert observation == testing.observation()
    assert observation.swarm is not None
    assert (observation.swarm.settling_s, observation.swarm.late) == (0.0, 0)


def test_a_failed_trial_of_an_earlier_version_is_read(store: Store) -> None:
    failed = testing.observation(swarm=None, status="failed", reason="no")
    record(store, failed)
    without(store)

    assert store.observations() == [failed]


def test_cells_that_differ_in_their_load_are_different_trials(store: Store) -> None:
    observations = [testing.observation(cell) for cell in (testing.cell(), *OTHERS[1:])]
    record(store, *observations)

    assert store.observations() == observations
    assert len(store.done()) == 5


def test_a_failed_trial_is_not_done(store: Store) -> None:
    failed = testing.observation(block=1, swarm=None, status="failed", reason="no")
    record(store, FIRST, failed)

    assert store.done() == {(FIRST.block, FIRST.cell)}


def test_the_last_observation_of_a_repeated_trial_wins(store: Store) -> None:
    failed = testing.observation(block=0, swarm=None, status="failed", reason="no")
    record(store, failed, SECOND, FIRST)

    assert store.observations() == [SECOND, FIRST]
    assert store.done() == {(0, FIRST.cell), (1, SECOND.cell)}


def test_two_journals_of_one_run_are_refused_with_the_remedy(store: Store) -> None:
    with (
        Journal(store),
        pytest.raises(StoreError, match=r"another run is writing there; wait for it, or stop it"),
        Journal(store),
    ):
        pass

    record(store, FIRST)
    assert store.observations() == [FIRST]


def test_a_journal_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")

    with pytest.raises(StoreError, match=r"file/observations\.jsonl: cannot be written"), Journal(Store(file)):
        pass


def test_a_full_disk_ends_the_run_but_keeps_what_is_there(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    record(store, FIRST)
    monkeypatch.setattr(os, "fsync", full_disk)

    with pytest.raises(StoreError, match=r"cannot be written \(No space left on device\); what is there is kept"):
        record(store, SECOND)

    assert FIRST in store.observations()


# Files that are none, or too large.


@pytest.fixture(params=[RUN_FILE, OBSERVATIONS_FILE])
def in_its_place(request: pytest.FixtureRequest, store: Store) -> Path:
    """Where one of the run's files was."""
    record(store, FIRST)
    path = store.folder / str(request.param)
    path.rename(path.with_name("moved"))
    return path


def refused(store: Store, path: Path, why: str) -> None:
    """Reading the file is refused for that reason."""
    read = store.run if path.name == RUN_FILE else store.observations
    assert refusal(StoreError, read).startswith(f"{path}: {why}")


@pytest.mark.parametrize("target", ["moved", "/dev/zero", "nowhere"])
def test_a_link_in_place_of_a_file_is_not_followed(store: Store, in_its_place: Path, target: str) -> None:
    in_its_place.symlink_to(target)

    refused(store, in_its_place, "is a link, not a file; put the file itself there")


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir])
def test_what_is_no_file_in_place_of_one_is_not_waited_for(
    store: Store, in_its_place: Path, make: Callable[[Path], None]
) -> None:
    make(in_its_place)

    refused(store, in_its_place, "is not a file; put the file itself there")


def test_a_run_without_its_file_is_refused(store: Store) -> None:
    (store.folder / RUN_FILE).unlink()

    refused(store, store.folder / RUN_FILE, "cannot be read (No such file or directory)")


@pytest.mark.parametrize(("megabytes", "name"), [(16, RUN_FILE), (256, OBSERVATIONS_FILE)])
def test_a_file_of_gigabytes_is_refused_unread(store: Store, megabytes: int, name: str) -> None:
    path = store.folder / name
    for size in (megabytes << 20) + 1, 1 << 40:
        with path.open("ab") as file:
            file.truncate(size)

        refused(store, path, f"is larger than the {megabytes} MB that a run may have there")


def test_a_line_that_is_too_long_is_refused_whether_it_ends_or_not(store: Store) -> None:
    record(store, FIRST)
    with journal_of(store).open("ab") as file:
        file.write(b" " * (8 << 20))
    assert store.observations() == [FIRST], "a torn line may be as long as a whole one"

    for more in (b" ", b"\n"):
        with journal_of(store).open("ab") as file:
            file.write(more)
        assert refusal(StoreError, store.observations).startswith(f"{journal_of(store)}:2: is longer than the 8 MB")


def test_a_journal_keeps_a_last_line_that_is_longer_than_any(store: Store) -> None:
    journal_of(store).write_bytes(b" " * (9 << 20))

    record(store)

    assert journal_of(store).stat().st_size == 9 << 20


def test_a_torn_line_after_a_long_journal_is_dropped(store: Store) -> None:
    whole = b" " * (5 << 20) + b"\n"
    journal_of(store).write_bytes(whole * 2 + b"{")

    record(store)

    assert journal_of(store).read_bytes() == whole * 2


@pytest.mark.parametrize("link", [True, False])
def test_a_journal_is_not_written_elsewhere(store: Store, tmp_path: Path, link: bool) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"kept")
    if link:
        journal_of(store).symlink_to(outside)
    else:
        os.mkfifo(journal_of(store))

    with pytest.raises(StoreError, match=r"observations\.jsonl: (is a link|is not a file)"):
        record(store, FIRST)

    assert outside.read_bytes() == b"kept"


def test_a_trial_that_is_none_of_the_run_is_not_recorded(store: Store) -> None:
    record(store, FIRST)

    with pytest.raises(StoreError, match=r"cannot be recorded: is no observation: cell: .*; what is there is kept"):
        record(store, testing.observation(testing.cell("three")))

    assert store.observations() == [FIRST]


# Renderings.


@pytest.mark.parametrize("name", ["a.md", ".a.md.new", "plots/a.md", "plots/.a.md.new"])
def test_what_is_written_replaces_links_and_follows_none(store: Store, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"kept")
    (store.folder / "plots").mkdir()
    (store.folder / name).symlink_to(outside)

    store.write({"a.md": b"x", "plots/a.md": b"y"})

    assert outside.read_bytes() == b"kept"
    assert not any(path.is_symlink() for path in store.folder.rglob("*"))
    assert [(store.folder / each).read_bytes() for each in ("a.md", "plots/a.md")] == [b"x", b"y"]


def test_a_folder_that_is_a_link_is_not_written_through(store: Store, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (store.folder / "plots").symlink_to(outside)

    with pytest.raises(StoreError, match="plots: is a link; remove it"):
        store.write({"plots/a.svg": b"x"})

    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("name", ["a.md", ".a.md.new"])
def test_a_folder_in_place_of_what_is_written_is_named(store: Store, name: str) -> None:
    (store.folder / name / "inside").mkdir(parents=True)

    with pytest.raises(StoreError, match=r"a\.md: cannot be written \(Is a directory\)"):
        store.write({"a.md": b"x"})


def full_disk(_: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_files_take_the_place_of_what_was_there(store: Store) -> None:
    store.write({"a.md": b"old", "b.md": b"other", "plots/a.svg": b"old"})
    store.write({"a.md": b"new", "plots/a.svg": b"new", "plots/b.svg": b"y"})

    made = {str(path.relative_to(store.folder)): path for path in store.folder.rglob("*") if path.is_file()}
    assert made.keys() == {RUN_FILE, "a.md", "b.md", "plots/a.svg", "plots/b.svg"}
    read = {name: path.read_bytes() for name, path in made.items()}
    assert (read["a.md"], read["b.md"], read["plots/a.svg"]) == (b"new", b"other", b"new")


def test_a_file_is_on_the_disk_before_it_takes_the_place_of_another(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write({"a.md": b"old"})
    synced: list[bytes] = []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(Path(f"/proc/self/fd/{number}").read_bytes()))

    store.write({"a.md": b"new"})

    assert synced == [b"new"]


def test_a_file_that_cannot_be_written_whole_is_left_as_it_was(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write({"a.md": b"old"})
    monkeypatch.setattr(os, "fsync", full_disk)

    with pytest.raises(StoreError, match=r"a\.md: cannot be written \(No space left on device\)"):
        store.write({"a.md": b"new"})

    assert (store.folder / "a.md").read_bytes() == b"old"
    assert {path.name for path in store.folder.iterdir()} == {RUN_FILE, "a.md"}


def test_a_folder_that_is_none_cannot_be_written_to(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")

    with pytest.raises(StoreError, match=r"file/a\.md: cannot be written \(Not a directory\)"):
        Store(file).write({"a.md": b""})


@pytest.mark.parametrize("spoilt", [{"server_cpu_s": float("nan")}, {"reason": "\ud800"}])
def test_what_could_not_be_read_again_is_not_written(tmp_path: Path, spoilt: dict[str, Any]) -> None:
    store = Store.create(tmp_path, RUN)
    with Journal(store) as journal:
        journal.append(testing.observation())
        with pytest.raises(StoreError, match="cannot be recorded"):
            journal.append(
                testing.observation(block=1, swarm=testing.trial_report(latency_mean_ms=float("nan")), **spoilt)
            )
    assert store.observations() == [testing.observation()]


def test_locks_of_an_own_application_are_kept_beside_its_run(store: Store) -> None:
    assert store.locks() == {}
    locks = {"gunicorn": "flask==3.0.3\n", "gunicorn-gevent": "gevent==26.9.0\n"}
    store.write_locks(locks)
    assert (store.folder / "locks" / "gunicorn.txt").read_text() == "flask==3.0.3\n"
    assert store.locks() == locks
    (store.folder / "locks" / "gunicorn.txt").unlink()
    (store.folder / "locks" / "gunicorn.txt").symlink_to("/etc/passwd")
    with pytest.raises(StoreError, match="is a link, not a file"):
        store.locks()


# Duets.


def duet_of(number: int, **changes: Any) -> Duet:
    one, other = testing.observation(OTHERS[0], block=number, took_s=1.0), testing.observation(block=number, took_s=1.0)
    return replace(Duet(one=one, other=other), **changes)


def test_duets_are_kept_apart_from_observations_and_the_last_one_of_a_number_counts(store: Store) -> None:
    failed = replace(testing.observation(OTHERS[0], block=1, status="failed", reason="it died"), swarm=None)
    with Journal(store) as journal:
        journal.append(FIRST)
        assert not (store.folder / DUETS_FILE).exists(), "a run without any has no such file"
        journal.append_duet(duet_of(0))
        journal.append_duet(duet_of(1, one=failed))

    assert store.observations() == [FIRST]
    assert store.duets() == [duet_of(0), duet_of(1, one=failed)]
    assert store.done_duets() == {(0, OTHERS[0])}
    with Journal(store) as journal:
        journal.append_duet(duet_of(1))
    assert store.duets() == [duet_of(0), duet_of(1)]
    assert store.done_duets() == {(0, OTHERS[0]), (1, OTHERS[0])}


def test_a_duet_that_was_torn_by_a_killed_run_is_none_and_the_next_one_is_whole(store: Store) -> None:
    with Journal(store) as journal:
        journal.append_duet(duet_of(0))
    with (store.folder / DUETS_FILE).open("ab") as file:
        file.write(b'{"one": {"block"')

    assert store.duets() == [duet_of(0)]
    with Journal(store) as journal:
        journal.append_duet(duet_of(1))
    assert store.duets() == [duet_of(0), duet_of(1)]


@pytest.mark.parametrize(
    ("duet", "told"),
    [
        (
            duet_of(0, other=testing.observation(testing.cell("three"))),
            "other.cell: 'three' so is no cell of the experiment",
        ),
        (
            duet_of(0, other=testing.observation(OTHERS[1])),
            "other.cell: 'gunicorn-sync-1' so cannot be compared with 'two'",
        ),
        (duet_of(0, other=testing.observation(OTHERS[0])), "other.cell: 'two' so cannot be compared with 'two'"),
        (duet_of(0, other=testing.observation(block=1)), "other.block: is of another duet"),
        (duet_of(99), "one.block: 99 is none of the run's 9, counted from 0"),
    ],
)
def test_what_is_no_duet_of_the_run_is_not_recorded(store: Store, duet: Duet, told: str) -> None:
    with Journal(store) as journal:
        message = refusal(StoreError, journal.append_duet, duet)

    assert message == f"{store.folder / DUETS_FILE}: cannot be recorded: is no duet: {told}; what is there is kept"
    assert store.duets() == []
