"""Cpuset lists, and who gets which core."""

from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
from hypothesis import given
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
def machines(draw: st.DrawFn, *, share: bool | None = None) -> Machine:
    """Machines on which every count fits, with one or two threads to a physical core, or no word on that."""
    shares = draw(st.booleans()) if share is None else share
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


@given(machines())
def test_every_count_gets_exactly_so_many_cores(machine: Machine) -> None:
    servers = machine.layout().servers

    assert {count: len(cores) for count, cores in servers.items()} == {count: count for count in machine.counts}


@given(machines())
def test_nobody_runs_on_a_core_that_is_not_usable(machine: Machine) -> None:
    layout = machine.layout()

    assert layout.generator <= machine.usable
    assert all(cores <= machine.usable for cores in layout.servers.values())


@given(machines())
def test_the_generator_has_as_many_cores_as_asked_for_each_on_a_physical_core_of_its_own(machine: Machine) -> None:
    generator = machine.layout().generator

    assert len(generator) == machine.generator_cores
    assert all(len(generator & group) <= 1 for group in machine.physical)


@given(machines())
def test_servers_take_the_generators_physical_cores_last(machine: Machine) -> None:
    layout = machine.layout()
    near = frozenset().union(*(group for group in machine.physical if group & layout.generator))

    assert all(cores >= machine.usable - near for cores in layout.servers.values() if cores & near)


def test_the_generator_has_one_core_unless_it_is_asked_otherwise() -> None:
    assert cpus.layout(usable=range(4), siblings=[], counts=[1], share=False).generator == {3}


@given(machines(share=False))
def test_a_core_of_the_generator_is_never_a_servers(machine: Machine) -> None:
    layout = machine.layout()

    assert not any(cores & layout.generator for cores in layout.servers.values())


@given(machines(share=True))
def test_a_shared_core_is_the_last_that_servers_take(machine: Machine) -> None:
    layout = machine.layout()

    own = len(machine.usable) - machine.generator_cores
    assert {count: len(cores & layout.generator) for count, cores in layout.servers.items()} == {
        count: max(0, count - own) for count in machine.counts
    }


@given(machines())
def test_fewer_cores_are_a_subset_of_more(machine: Machine) -> None:
    servers = machine.layout().servers
    by_size = [servers[count] for count in sorted(servers)]

    assert all(fewer <= more for fewer, more in pairwise(by_size))


@given(machines())
def test_backends_have_all_that_servers_and_generator_leave_and_else_the_generators_cores(machine: Machine) -> None:
    layout = replace(machine, backends=True).layout()

    left = machine.usable - layout.generator - layout.servers[max(machine.counts)]
    assert layout.backends == (left or layout.generator)


@given(machines(share=False))
def test_backends_never_take_a_servers_core_unless_the_generator_does(machine: Machine) -> None:
    layout = replace(machine, backends=True).layout()

    assert not any(cores & layout.backends for cores in layout.servers.values())


@given(machines())
def test_backends_change_nothing_for_the_others(machine: Machine) -> None:
    without, beside = machine.layout(), replace(machine, backends=True).layout()

    assert without.backends == frozenset()
    assert (without.servers, without.generator) == (beside.servers, beside.generator)
    assert beside.notes[: len(without.notes)] == without.notes


def test_cores_of_the_backends_own_need_no_note() -> None:
    layout = cpus.layout(usable=range(4), siblings=[], counts=[1, 2], share=False, backends=True)

    assert layout.backends == {2}
    assert layout.notes == ()


@pytest.mark.parametrize(
    ("generator_cores", "note"),
    [(1, "backends share the generator's core 3"), (2, "backends share the generator's cores 2-3")],
)
def test_backends_that_share_the_generators_cores_are_noted(generator_cores: int, note: str) -> None:
    layout = cpus.layout(
        usable=range(4),
        siblings=[],
        counts=[4 - generator_cores],
        share=False,
        generator_cores=generator_cores,
        backends=True,
    )

    assert layout.backends == layout.generator
    assert layout.notes == (note,)


def test_backends_on_a_physical_core_of_the_servers_are_noted() -> None:
    layout = cpus.layout(usable=range(4), siblings=[(0, 2), (1, 3)], counts=[1], share=False, backends=True)

    assert layout.servers == {1: {0}}
    assert layout.backends == {2, 3}
    assert layout.notes == ("servers and backends share a physical core (logical cores 0,2)",)


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


def test_a_generator_of_two_cores_takes_the_last_two_physical_ones() -> None:
    layout = cpus.layout(
        usable=range(8), siblings=[(0, 4), (1, 5), (2, 6), (3, 7)], counts=[2, 4, 6], share=False, generator_cores=2
    )

    assert layout.generator == {2, 3}
    assert layout.servers == {2: {0, 1}, 4: {0, 1, 4, 5}, 6: {0, 1, 4, 5, 6, 7}}
    assert layout.notes == ("servers and generator share a physical core (logical cores 2,6; 3,7)",)


def test_only_the_physical_cores_that_are_really_shared_are_noted() -> None:
    layout = cpus.layout(
        usable=range(8), siblings=[(0, 4), (1, 5), (2, 6), (3, 7)], counts=[5], share=False, generator_cores=2
    )

    assert layout.notes == ("servers and generator share a physical core (logical cores 2,6)",)


def test_two_shared_cores_are_noted_with_the_counts_that_share_them() -> None:
    layout = cpus.layout(usable=range(4), siblings=[], counts=[2, 3, 4], share=True, generator_cores=2)

    assert layout.servers[3] == {0, 1, 3}
    assert layout.notes == ("with 3, 4 server cores the generator shares core 2-3 with the servers",)


def test_what_does_not_fit_beside_a_generator_of_two_cores_tells_which_those_are() -> None:
    with pytest.raises(cpus.DoesNotFit, match="only 2 are left beside the generator's core 2-3"):
        cpus.layout(usable=range(4), siblings=[], counts=[3], share=False, generator_cores=2)


def test_first_threads_of_other_physical_cores_come_before_second_threads() -> None:
    layout = cpus.layout(usable=range(8), siblings=[(0, 4), (1, 5), (2, 6), (3, 7)], counts=[3, 6], share=False)

    assert layout.generator == {3}
    assert layout.servers == {3: {0, 1, 2}, 6: {0, 1, 2, 4, 5, 6}}
    assert layout.notes == ()


def test_a_shared_physical_core_is_noted() -> None:
    layout = cpus.layout(usable=range(4), siblings=[(0, 2), (1, 3)], counts=[1, 3], share=False)

    assert layout.generator == {1}
    assert layout.servers[3] == {0, 2, 3}
    assert layout.notes == ("servers and generator share a physical core (logical cores 1,3)",)


def test_a_shared_core_is_noted_with_the_counts_that_share_it() -> None:
    layout = cpus.layout(usable={0, 1}, siblings=[], counts=[1, 2], share=True)

    assert layout.notes == ("with 2 server cores the generator shares core 1 with the servers",)


def test_what_does_not_fit_tells_the_cores_that_are_left_and_the_remedy() -> None:
    with pytest.raises(cpus.DoesNotFit) as caught:
        cpus.layout(usable={4, 5}, siblings=[], counts=[2], share=False)

    message = str(caught.value)
    assert "2 server cores asked for" in message
    assert "of the usable cores 4-5 only 1 is left beside the generator's core 5" in message
    assert "ask for fewer" in message
    assert "--share-generator" in message


def test_who_shares_already_is_not_told_to_share() -> None:
    with pytest.raises(cpus.DoesNotFit) as caught:
        cpus.layout(usable={0, 1}, siblings=[], counts=[3], share=True)

    assert "--share-generator" not in str(caught.value)
