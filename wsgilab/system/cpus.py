"""Arithmetic on sets of logical cores: cpuset lists, and who gets which core. Pure."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass


def parse(text: str) -> frozenset[int]:
    """The cores of a cpuset list such as `0,2-3`; the format of cpuset(7), "List format".

    Raises ValueError for anything else, an empty list included.
    """
    cores: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or not first.isascii() or (dash and not (last.isdecimal() and last.isascii())):
            raise ValueError(f"{text!r} is not a list of cores such as 0,2-3")
        begin, end = int(first), int(last or first)
        if begin > end:
            raise ValueError(f"{text!r}: the range {part.strip()} runs backwards")
        cores.update(range(begin, end + 1))
    return frozenset(cores)


def spell(cores: Iterable[int]) -> str:
    """The shortest cpuset list of `cores`: the inverse of `parse`."""
    runs: list[list[int]] = []
    for core in sorted(set(cores)):
        if runs and core == runs[-1][1] + 1:
            runs[-1][1] = core
        else:
            runs.append([core, core])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Who runs where."""

    servers: dict[int, frozenset[int]]
    """Number of cores -> the cores that servers with so many are pinned to."""
    generator: frozenset[int]
    backends: frozenset[int] = frozenset()
    """Empty where none are asked for."""
    notes: tuple[str, ...]


class DoesNotFit(ValueError):
    """More cores are asked for than there are beside the generator's."""


def named(cpuset: str) -> str:
    """A cpuset list in words, such as `core 1` or `cores 2-3`."""
    return f"core{'s' * (len(parse(cpuset)) > 1)} {cpuset}"


def layout(
    *,
    usable: Collection[int],
    siblings: Iterable[Collection[int]],
    counts: Iterable[int],
    share: bool,
    generator_cores: int = 1,
    backends: bool = False,
) -> Layout:
    """Give each count in `counts` its server cores, and the generator cores of its own.

    `siblings` are groups of logical cores on one physical core. The generator takes the last physical cores, one
    logical core of each; servers take first threads from the front before any second thread, and the generator's own
    physical cores last. With `share`, servers may take the generator's cores too, when all others are taken. Every
    count takes a prefix of one order, so fewer cores are a subset of more.

    With `backends`, these have what neither the most server cores nor the generator's are; where nothing is left, the
    generator's cores.

    Raises DoesNotFit with the cause and the remedy.
    """
    counts = sorted(set(counts))
    usable = frozenset(usable)
    groups = _groups(usable, siblings)
    if generator_cores > len(groups):
        raise DoesNotFit(
            f"{generator_cores} generator cores asked for, but the usable cores {spell(usable)} are only {len(groups)} "
            "physical ones; ask for fewer with --generator-cores"
        )
    for_servers, for_generator = groups[:-generator_cores], groups[-generator_cores:]
    generator = frozenset(group[0] for group in for_generator)
    order = _first_threads_first(for_servers)
    order += [core for group in for_generator for core in group[1:]]
    if share:
        order += sorted(generator, reverse=True)

    most = counts[-1]
    if most > len(order):
        raise DoesNotFit(
            f"{most} server cores asked for, but of the usable cores {spell(usable)} "
            f"{f'only {len(order)}' if order else 'none'} {'are' if len(order) > 1 else 'is'} left beside the generator's "
            f"core {spell(generator)}" + ("" if share else "; ask for fewer, or let them share with --share-generator")
        )
    servers = {count: frozenset(order[:count]) for count in counts}
    notes: list[str] = []
    if taken := generator & servers[most]:
        shared = ", ".join(str(count) for count in counts if generator & servers[count])
        notes.append(f"with {shared} server cores the generator shares core {spell(taken)} with the servers")
    elif any(servers[most].intersection(group) for group in for_generator):
        both = [group for group in for_generator if servers[most].intersection(group)]
        spelt = "; ".join(map(spell, both))
        notes.append(f"servers and generator share a physical core (logical cores {spelt})")
    if not backends:
        return Layout(servers=servers, generator=generator, notes=tuple(notes))
    left = usable - servers[most] - generator
    if not left:
        notes.append(f"backends share the generator's {'cores' if len(generator) > 1 else 'core'} {spell(generator)}")
    elif both := [group for group in groups if left.intersection(group) and servers[most].intersection(group)]:
        notes.append(f"servers and backends share a physical core (logical cores {'; '.join(map(spell, both))})")
    return Layout(servers=servers, generator=generator, backends=left or generator, notes=tuple(notes))


def layout_remote(
    *,
    usable: Collection[int],
    siblings: Iterable[Collection[int]],
    counts: Iterable[int],
    generator: Collection[int],
    backends: bool = False,
) -> Layout:
    """Give each count in `counts` its server cores on a machine that the generator, on `generator` of another, leaves to
    them. Every count takes a prefix of one order, first threads of physical cores before any second.

    With `backends`, these have what the most server cores are not. Raises DoesNotFit with the cause and the remedy.
    """
    counts = sorted(set(counts))
    usable = frozenset(usable)
    groups = _groups(usable, siblings)
    order = _first_threads_first(groups)
    most = counts[-1]
    if most > len(order) - backends:
        beside = " beside one for the backends" if backends else ""
        raise DoesNotFit(
            f"{most} server cores asked for{beside}, but the machine of the targets has {len(order)} that can be used "
            f"({spell(usable)}); ask for fewer, or name a larger machine"
        )
    servers = {count: frozenset(order[:count]) for count in counts}
    left = usable - servers[most] if backends else frozenset[int]()
    both = [group for group in groups if left.intersection(group) and servers[most].intersection(group)]
    notes = (
        [f"servers and backends share a physical core (logical cores {'; '.join(map(spell, both))})"] if both else []
    )
    return Layout(servers=servers, generator=frozenset(generator), backends=left, notes=tuple(notes))


def _groups(usable: frozenset[int], siblings: Iterable[Collection[int]]) -> list[list[int]]:
    """The usable logical cores, those of one physical core together."""
    groups = sorted(sorted(usable.intersection(group)) for group in siblings)
    known = {core for group in groups for core in group}
    return sorted([group for group in groups if group] + [[core] for core in usable - known])


def _first_threads_first(groups: Sequence[Sequence[int]]) -> list[int]:
    depths = range(max((len(group) for group in groups), default=0))
    return [group[depth] for depth in depths for group in groups if depth < len(group)]
