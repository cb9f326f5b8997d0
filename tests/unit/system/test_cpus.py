"""Cpuset lists, and who gets which core."""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsgilab.system import cpus

CORES = st.frozensets(st.integers(min_value=0, max_value=300), min_size=1)


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Usable cores, the groups on one physical core, and how many cores servers may get."""

    usable: frozenset[int]
    siblings: tuple[frozenset[int], ...]
    counts: tuple[int, ...]
    share: bool
    generator_cores: int
    backends: bool = False

    def layout(self) -> cpus.Layout:
        return cpus.layout(
            usable=self.usable,
            siblings=self.siblings,
            counts=self.counts,
            share=self.share,
            generator_cores=self.generator_cores,
            backends=self.backends,
        )

    @property
    def physical(self) -> tuple[frozenset[int], ...]:
        """The usable cores of each physical core."""
        found = {
            self.usable & next((group for group in self.siblings if core in group), {core}) for core in self.usable
        }
        return tuple(found)


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    """Machines on which every count fits, with one or two threads to a physical core, or no word on that."""
    shares = draw(st.booleans())
    usable = draw(st.frozensets(st.integers(0, 11), min_size=1 if shares else 2))
    groups = draw(
        st.sampled_from(
            [
                (),
                tuple(frozenset({core}) for core in range(12)),
                tuple(frozenset({core, core + 6}) for core in range(6)),
                tuple(frozenset({core, core + 1}) for core in range(0, 12, 2)),
            ]
        )
    )
    physical = len({usable.intersection(next((group for group in groups if core in group), {core})) for core in usable})
    generator_cores = draw(st.integers(1, physical if shares else min(physical, len(usable) - 1)))
    most = len(usable) - (0 if shares else generator_cores)
    counts = draw(st.lists(st.integers(1, most), min_size=1, max_size=4))
    return Machine(usable=usable, siblings=groups, counts=tuple(counts), share=shares, generator_cores=generator_cores)


@given(CORES)
def test_what_is_spelled_is_parsed_back(cores: frozenset[int]) -> None:
    assert cpus.parse(cpus.spell(cores)) == cores


@given(CORES)
def test_no_two_parts_of_a_spelled_list_could_be_one(cores: frozenset[int]) -> None:
    parts = [sorted(cpus.parse(part)) for part in cpus.spell(cores).split(",")]

    assert all(later[0] > earlier[-1] + 1 for earlier, later in pairwise(parts))


@pytest.mark.parametrize(
    ("text", "cores"),
    [("0", {0}), ("0,2-3", {0, 2, 3}), ("3-3", {3}), ("2-3,0-2", {0, 1, 2, 3}), ("0, 2", {0, 2})],
)
def test_a_list_is_parsed(text: str, cores: set[int]) -> None:
    assert cpus.parse(text) == cores


@pytest.mark.parametrize("text", ["", ",", "0,", "a", "-1", "1-", "1-2-3", "0x1", "1.5", "²", "٣", "1 2"])
def test_anything_else_is_no_list(text: str) -> None:
    with pytest.raises(ValueError, match="is not a list of cores such as 0,2-3"):
        cpus.parse(text)


def test_a_range_that_runs_backwards_is_named() -> None:
    with pytest.raises(ValueError, match="'0,3-2': the range 3-2 runs backwards"):
        cpus.parse("0,3-2")


def test_no_cores_are_spelled_as_nothing() -> None:
    assert cpus.spell([]) == ""


@settings(max_examples=100)
@given(machines())
def test_servers_and_generator_have_as_many_cores_as_asked_for_and_share_as_few_as_can_be(machine: Machine) -> None:
    layout = machine.layout()
    servers, generator = layout.servers, layout.generator

    assert {count: len(cores) for count, cores in servers.items()} == {count: count for count in machine.counts}
    assert all(cores <= machine.usable for cores in (*servers.values(), generator))
    # Each core of the generator is on a physical core of its own ...
    assert len(generator) == machine.generator_cores
    assert all(len(generator & group) <= 1 for group in machine.physical)
    # ... which servers take last, and the generator's own at the very last, where they may.
    near = frozenset().union(*(group for group in machine.physical if group & generator))
    assert all(cores >= machine.usable - near for cores in servers.values() if cores & near)
    own = len(machine.usable) - machine.generator_cores
    shared = {count: max(0, count - own) if machine.share else 0 for count in machine.counts}
    assert {count: len(cores & generator) for count, cores in servers.items()} == shared
    # Fewer cores are a subset of more.
    assert all(fewer <= more for fewer, more in pairwise(servers[count] for count in sorted(servers)))


@settings(max_examples=100)
@given(machines())
def test_backends_have_what_is_left_or_else_the_generators_cores_and_change_nothing(machine: Machine) -> None:
    without, beside = machine.layout(), replace(machine, backends=True).layout()

    left = machine.usable - beside.generator - beside.servers[max(machine.counts)]
    assert beside.backends == (left or beside.generator)
    assert machine.share or not any(cores & beside.backends for cores in beside.servers.values())
    assert without.backends == frozenset()
    assert (without.servers, without.generator) == (beside.servers, beside.generator)
    assert beside.notes[: len(without.notes)] == without.notes


FOUR, EIGHT = ((0, 2), (1, 3)), ((0, 4), (1, 5), (2, 6), (3, 7))
"""Cores of which two each are one physical core."""


@pytest.mark.parametrize(
    ("asked", "found", "notes"),
    [
        # The generator has one core unless it is asked otherwise, and backends on cores of their own need no note.
        ({"counts": [1, 2], "backends": True}, {"generator": {3}, "backends": {2}}, []),
        ({"counts": [3], "backends": True}, {"backends": {3}}, ["backends share the generator's core 3"]),
        (
            {"counts": [2], "generator_cores": 2, "backends": True},
            {"backends": {2, 3}, "generator": {2, 3}},
            ["backends share the generator's cores 2-3"],
        ),
        (
            {"siblings": FOUR, "counts": [1], "backends": True},
            {"servers": {1: {0}}, "backends": {2, 3}},
            ["servers and backends share a physical core (logical cores 0,2)"],
        ),
        # The last physical cores are the generator's; only those that are really shared are noted.
        (
            {"usable": range(8), "siblings": EIGHT, "counts": [2, 4, 6], "generator_cores": 2},
            {"generator": {2, 3}, "servers": {2: {0, 1}, 4: {0, 1, 4, 5}, 6: {0, 1, 4, 5, 6, 7}}},
            ["servers and generator share a physical core (logical cores 2,6; 3,7)"],
        ),
        (
            {"usable": range(8), "siblings": EIGHT, "counts": [5], "generator_cores": 2},
            {},
            ["servers and generator share a physical core (logical cores 2,6)"],
        ),
        (
            {"counts": [2, 3, 4], "share": True, "generator_cores": 2},
            {"servers": {2: {0, 1}, 3: {0, 1, 3}, 4: {0, 1, 2, 3}}},
            ["with 3, 4 server cores the generator shares core 2-3 with the servers"],
        ),
        # First threads of other physical cores come before second threads.
        (
            {"usable": range(8), "siblings": EIGHT, "counts": [3, 6]},
            {"generator": {3}, "servers": {3: {0, 1, 2}, 6: {0, 1, 2, 4, 5, 6}}},
            [],
        ),
        (
            {"siblings": FOUR, "counts": [1, 3]},
            {"generator": {1}, "servers": {1: {0}, 3: {0, 2, 3}}},
            ["servers and generator share a physical core (logical cores 1,3)"],
        ),
        (
            {"usable": {0, 1}, "counts": [1, 2], "share": True},
            {},
            ["with 2 server cores the generator shares core 1 with the servers"],
        ),
    ],
)
def test_who_has_which_cores_and_what_is_noted_of_those_that_are_shared(
    asked: dict[str, Any], found: dict[str, object], notes: list[str]
) -> None:
    layout = cpus.layout(**{"usable": range(4), "siblings": [], "share": False, **asked})

    assert {name: getattr(layout, name) for name in found} == found
    assert layout.notes == tuple(notes)


@given(machines())
def test_a_core_too_many_does_not_fit(machine: Machine) -> None:
    free = len(machine.usable) - (0 if machine.share else machine.generator_cores)

    with pytest.raises(cpus.DoesNotFit, match=f"{free + 1} server cores asked for"):
        replace(machine, counts=(1, free + 1)).layout()


@given(machines())
def test_a_generator_with_more_cores_than_there_are_physical_ones_does_not_fit(machine: Machine) -> None:
    physical = len(machine.physical)

    with pytest.raises(cpus.DoesNotFit) as caught:
        replace(machine, generator_cores=physical + 1).layout()

    assert str(caught.value) == (
        f"{physical + 1} generator cores asked for, but the usable cores {cpus.spell(machine.usable)} are only "
        f"{physical} physical ones; ask for fewer with --generator-cores"
    )


def test_what_does_not_fit_beside_a_generator_of_two_cores_tells_which_those_are() -> None:
    with pytest.raises(cpus.DoesNotFit, match="only 2 are left beside the generator's core 2-3"):
        cpus.layout(usable=range(4), siblings=[], counts=[3], share=False, generator_cores=2)


def test_what_does_not_fit_tells_the_cores_that_are_left_and_the_remedy() -> None:
    with pytest.raises(cpus.DoesNotFit) as caught:
        cpus.layout(usable={4, 5}, siblings=[], counts=[2], share=False)

    message = str(caught.value)
    assert "2 server cores asked for" in message
    assert "of the usable cores 4-5 only 1 is left beside the generator's core 5" in message
    assert "ask for fewer" in message
    assert "--share-generator" in message

    with pytest.raises(cpus.DoesNotFit) as caught:
        cpus.layout(usable={0, 1}, siblings=[], counts=[3], share=True)
    assert "--share-generator" not in str(caught.value), "who shares already is not told to"
