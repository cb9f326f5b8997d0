"""Experiments: from what a file asks for to an `Experiment` with every cell spelled out. Pure.

An experiment file lists groups of cells; each group is the product of its lists, and a cell that stands in several
groups counts once:

    name: answer
    blocks: 3
    window_s: 0.5
    reference: gunicorn-sync-1
    workloads: {sleep: {ms: 50}, cpu: {ms: 2}}
    cells:
      - {servers: all, workloads: [hello, sleep, cpu], users: [32], connections: [close]}
      - {servers: [gunicorn-gthread-2x4], workloads: [sleep], users: [32], connections: [keep-alive]}
      - {servers: all, workloads: [sleep], rate: [10], arrivals: poisson}
      - {servers: all, workloads: [cpu], users: [32], cores: all}

`users` is a closed loop: so many users, each waiting for its answer. `rate` is an open one: so many requests a second,
due on a schedule whether or not the server keeps up.
"""

from wsgilab.spec.file import ExperimentFile, Group, Settings
from wsgilab.spec.narrowed import narrow
from wsgilab.spec.resolved import MAX_BLOCKS, doubling, loads, parse, resolve
from wsgilab.spec.site import SiteFile, parse_site

__all__ = [
    "MAX_BLOCKS",
    "ExperimentFile",
    "Group",
    "Settings",
    "SiteFile",
    "doubling",
    "loads",
    "narrow",
    "parse",
    "parse_site",
    "resolve",
]
