"""What the headings of the groups' tables mean, where they could be misread."""

from collections.abc import Iterable, Sequence

from wsgilab.model import Comparison
from wsgilab.report.tables import SAME_WITHIN, group_columns


def legend(comparison: Comparison) -> Iterable[tuple[str, str]]:
    """The entries of LEGEND for the columns that its groups have."""
    headings = {column.heading for column in group_columns(comparison)}
    return [(term, meaning) for term, meaning in LEGEND if not headings.isdisjoint(term.split(", "))]


LEGEND: Sequence[tuple[str, str]] = (
    (
        "rank",
        (
            "the places that the server may have, of which 1 is the fastest's: it comes behind the servers that are faster "
            "for sure and before those that are slower for sure; servers that cannot be told apart have a place in common"
        ),
    ),
    ("in flight", "the most requests inside the application at one moment, of the slots declared (∞: unbounded)"),
    ("busiest", "requests of the busiest process over its even share: 1 is even, 2 of 2 processes is one doing it all"),
    (
        "busiest user",
        (
            "answers of the user who had most of them, over an even share: 1 is even, 8 of 8 users is one who had all; with kept "
            "connections a user is a connection"
        ),
    ),
    ("requests/s", "correct answers a second, the median of the windows"),
    ("interval", "where the true median of requests/s lies, with the chance that is named above"),
    ("of limit", "throughput over the most that slots and service time, or cores and CPU time a request, allow"),
    (
        "x reference",
        (
            "throughput over the reference's (at a fixed rate: mean latency over the reference's), the median of ratios "
            "paired by block, and the verdict; all verdicts, ranks and advice of a run are right together with a chance "
            f"of 95 %; {SAME_WITHIN}: any difference is smaller than that"
        ),
    ),
    (
        "x cost, cost interval",
        (
            "cost, which is the server's CPU time a request, over the reference's, and the verdict: less or more where the whole "
            "interval is beyond 1 %, or beyond what others on the cores may have made of it"
        ),
    ),
    ("p50 ms, p99 ms", "latency as users measured it, including the wait in the server's queue"),
    (
        "round trip ms",
        (
            "the time of a small message from the users' machine to the targets' and back, both idle, which is a part of "
            "every latency; bound by network: by that, by the link's bandwidth, or by what was lost on the way"
        ),
    ),
    ("CPU", "share of the server's pinned cores"),
    ("CPU ms", "the cost: CPU time of all the server's processes for each request"),
    ("MB", "resident memory of the whole server"),
    (
        "PSS MB, private MB",
        (
            "memory of all the server's processes, before its first trial and after one: pages that they share counted once (PSS), and "
            "those alone that one process has for itself"
        ),
    ),
    (
        "failed, longest gap ms, lost capacity",
        (
            "over the trials in the middle of which something was done to the server: requests that failed, the longest time in which "
            "no user had an answer, and by which share fewer were answered a second after it than before"
        ),
    ),
    ("throttled", "share of the time in which its quota stopped the server; bound by quota: it used that up"),
    ("OS threads", "threads of all the server's processes, as the operating system counts them"),
    ("generator", "share of the generator's busiest core; from 80 % on the generator may be what is measured"),
    ("backends", "share of the cores of the backends that its requests wait for, such as a database"),
    ("lost", "requests lost with a kept connection that the server closed; they were sent again, or failed"),
    ("given up", "requests that users gave up in the windows, because no answer came in time"),
    (
        "for nobody",
        "of the time that requests were inside the application, the share of those that were given up before their answer",
    ),
    (
        "first event ms, event gap ms",
        "how long a stream's first event took, and the longest time between two of its events",
    ),
    ("silent closed, after s", "silent connections that the server closed, and how long after they were opened"),
    (
        "bound by",
        (
            "slots, cpu, gil, balance, generator, backend, demand (no more to serve) or unexplained; failures, cut-off, late, "
            "little or declaration: no reason is known, because that gate is broken"
        ),
    ),
    ("because", "the figures that show what it is bound by"),
)
