"""A new experiment file to begin with: it can be run as it is, and explains every key. And how new files spell what others wrote.
Pure."""

import json
import re
from collections.abc import Mapping

import yaml

from wsgilab.experiment.parsing import short, validated
from wsgilab.experiment.resolve import MAX_BLOCKS
from wsgilab.experiment.workloads import WORKLOADS
from wsgilab.model import Server
from wsgilab.model.limits import MOST_BLOCKS, Name
from wsgilab.model.text import called, visible

_WIDEST = 140
_PLAIN = re.compile(r"[A-Za-z_./](?:[A-Za-z0-9_./:-]*[A-Za-z0-9_/])?", re.ASCII)
_USUAL = ("gunicorn-sync-1", "gunicorn-gthread-8", "gunicorn-gevent")
"""One slot, eight threads, coroutines: who cannot choose yet begins with these, where the catalogue has them."""

_FILE = """\
# yaml-language-server: $schema=@SCHEMA@
#
# What is the question? Say it here: readers of the results will want to know.
#
# Run it with: @RUN@ --experiment @FILE@
# A line that begins with # and no space after it is an alternative: take the # away, and it counts.

# What its runs are called.
name: @SAFE_NAME@

# What is measured: the lab's own application (null), or one of your own by the path of its file. Its requests are the
# workloads then, and what is said of `workloads` below does not hold; see docs/applications.md.
application: null

# Passes over every cell, each in an order of its own. A verdict needs 3. One on a small difference needs more, and more
# still if many servers are compared. In place of them `budget: 120s` says how long trials go on: after two blocks the time
# goes where it decides most.
# `capacity: {p95_ms: 200}`, without blocks and without `users` or `rate` below, looks for the highest rate of requests at which
# each server answers 95 of 100 within 200 ms.
blocks: 11

# Go on beyond them until each comparison is decided, or its interval is within 3 % of its median; but stop after so many
# blocks all the same (from `blocks` to @MOST_BLOCKS@; @MAX_BLOCKS@ by default).
#precision: 0.03
#max_blocks: @MAX_BLOCKS@

# How long one trial is observed, in seconds, once every user has had an answer. The run takes longer than cells x blocks x
# window: before and after each window it waits for answers.
window_s: 0.4

# How long to wait for answers, in seconds: before the window for each user's first, and after it for the last ones.
#patience_s: 10

# `own`: servers and load generator never share a core. `shared`: they may where there are no others, and every number
# says so.
#generator: shared

# How many cores the generator has, a Locust worker on each. One is enough unless warnings say that it was too busy.
#generator_cores: 2

# The server that the others are compared with.
reference: @REFERENCE@

# What a request does, where it is not as usual. Times are in milliseconds of waiting (`cpu`: of computing), sizes in KiB;
# those of `mixed` are weights. As usual:
@PARAMETERS@
workloads:
  sleep: {ms: 50}
  cpu: {ms: 5}

# What is measured: groups of cells. Each is every combination of what its lists hold, and a cell that is in several
# groups counts once.
cells:
  # Names from the catalogue, which @LIST@ shows.
  - servers: [@SERVERS@]
    # What a request does: @WORKLOADS@.
    workloads: [sleep, cpu]
    # A closed loop: so many users at a time, each waiting for its answer before it asks again.
    users: [16]
    # `close` is a connection for each request, `keep-alive` one for each user, kept. By default: close.
    #connections: [close, keep-alive]
    # To how many cores servers are pinned. By default: one.
    #cores: [1, 2]
    # Or to 1, 2, 4 and so on, up to as many as there are beside the generator's.
    #cores: all
    # So many connections beside the users' are opened and ask for nothing.
    #idle: 4
    # Users pause for so many milliseconds between an answer and their next request.
    #gap_ms: 2100
    # Users give up after so many milliseconds without an answer.
    #abandon_ms: 500
    # What is done to the server in the middle of each trial: reload, kill-worker or stop.
    #during: {at_s: 0.2, do: reload}
    # CPU seconds that the server gets a second, on the cores that it is pinned to.
    #quota: 0.5

  # Every server of the catalogue.
  #- {servers: all, workloads: [sleep], users: [16]}

  # An open loop, in a group of its own: so many requests a second, due on a schedule whether or not the server keeps up,
  # evenly spaced (`constant`) or at random (`poisson`). Here latency is compared.
  #- {servers: [@SERVERS@], workloads: [sleep], rate: [10], arrivals: poisson}
"""


def new_experiment(
    name: str,
    catalogue: Mapping[str, Server],
    *,
    file: str = "experiments/@NAME@.yaml",
    schema: str = "../schemas/experiment.json",
) -> str:
    """The text of an experiment file, for servers of the catalogue, which is not empty.

    `file` is what a person calls it by, and `schema` leads to its JSON Schema from there.
    Raises SpecError where `name` cannot name an experiment.
    """
    validated(name, Name, "the name of an experiment")
    servers = [usual for usual in _USUAL if usual in catalogue] or list(catalogue)[: len(_USUAL)]
    filled = {
        "RUN": called("lab.run"),
        "LIST": called("lab.list"),
        "FILE": file,
        "SCHEMA": schema,
        "NAME": name,
        "SAFE_NAME": scalar(name),
        "REFERENCE": scalar(servers[0]),
        "SERVERS": ", ".join(map(scalar, servers)),
        "WORKLOADS": ", ".join(WORKLOADS),
        "PARAMETERS": "\n".join(
            f"#   {workload}: {{{', '.join(f'{key}: {parameter.usual:g}' for key, parameter in each.parameters.items())}}}"
            for workload, each in WORKLOADS.items()
            if each.parameters
        ),
        "MAX_BLOCKS": str(MAX_BLOCKS),
        "MOST_BLOCKS": str(MOST_BLOCKS),
    }
    text = _FILE
    for place, value in filled.items():
        text = text.replace(f"@{place}@", value)
    return text


def safe(text: str) -> str:
    """What somebody else wrote, for a comment: on one line, safe to show, cut where it is long."""
    return short(" ".join(visible(text[: 2 * _WIDEST]).split()), quoted=False, most=_WIDEST)


def scalar(text: str) -> str:
    """A text that prints, as YAML reads it, in lists and mappings too."""
    is_plain = _PLAIN.fullmatch(text) and yaml.safe_load(text) == text
    return text if is_plain else json.dumps(text, ensure_ascii=False)
