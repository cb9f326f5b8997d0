"""What speaks against a server, whatever its figures are: an older release, one slot, what the lab's own claims say of it."""

import re
from collections.abc import Iterable, Mapping, Sequence

from wsgilab.model import ExecutionModel, Run, Server

CLAIMED: Mapping[ExecutionModel, tuple[str, str]] = {
    "coroutines": ("coroutines-compute", "a request that computes holds up all others of its process"),
    "event-loop": ("tornado-worker", "it handles one request at a time, even where that waits"),
}
"""By how a server runs requests: the id in experiments/claims.yaml of the claim that speaks against it, and the words."""


def objections_to(run: Run, name: str | None) -> Sequence[str]:
    """What speaks against the advised server of this name; nothing without one, or of one that the run does not know."""
    return list(objections(run, run.servers[name])) if name is not None and name in run.servers else []


def objections(run: Run, server: Server) -> Iterable[str]:
    """Each as a clause that `although` can stand before; none for a server of which nothing is known."""
    yield from _older(run, server)
    if server.model is not None and server.model in CLAIMED:
        claim, words = CLAIMED[server.model]
        yield f"{words} (claim {claim})"
    elif server.slots == 1:
        yield "it has one slot, so that a request that waits holds up all others"


def _older(run: Run, server: Server) -> Iterable[str]:
    """That it is an older release of a program that was measured in a newer one too."""
    stacks = {each.stack: run.stacks[each.stack] for each in run.servers.values() if each.stack in run.stacks}
    own = stacks[server.stack].packages if server.stack in stacks else {}
    program = next((name for word in server.command if (name := word.rpartition("/")[2]) in own), None)
    if program is None:
        return
    newest = max((each.packages[program] for each in stacks.values() if program in each.packages), key=_release)
    if _release(own[program]) < _release(newest):
        yield f"its {program} is older ({own[program]}, where {newest} was measured too)"


def _release(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d{1,9}", version)))
