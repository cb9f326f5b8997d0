"""A made-up run of two servers under two versions of an application."""

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from wsgilab import testing
from wsgilab.experiment import versions as doubling
from wsgilab.model import Observation, Origin, Run, Stack
from wsgilab.model.application import Version

BLOCKS = 12
CELLS = [testing.cell(name, workload="orders") for name in ("one", "two")]


def made(**changes: Any) -> Run:
    """A run of two servers under two versions."""
    own = testing.application()
    then = replace(doubling.settings_of(own), env={"FAST": "1"})
    version = Version(name="v1", revision="1" * 40, current="HEAD", current_revision="2" * 40, application=then)
    catalogue = {"one": testing.server("one"), "two": testing.server("two", stack="waitress")}
    plain = testing.experiment(*CELLS, blocks=BLOCKS, application=own)
    of = replace(doubling.doubled(plain, replace(own, against=version), catalogue), **changes)
    servers = {**catalogue, **doubling.rows(of, catalogue)}
    stacks = {
        "gunicorn": Stack(digest="sha256:0", packages={"flask": "3.1"}),
        "waitress": Stack(digest="sha256:3", packages={"waitress": "3"}),
        "waitress-against": Stack(digest="sha256:4", packages={"waitress": "3"}),
        "gunicorn-against": Stack(digest="sha256:1", packages={"flask": "3.0"}),
        "swarm": Stack(digest="sha256:2", packages={}),
    }
    origin = Origin(
        files={
            "locks": {"requirements.txt": "0" * 64},
            "your application": {"shop.py": "1" * 64},
            "your application against": {"shop.py": "2" * 64},
        }
    )
    return testing.run(of, *servers.values(), stacks=stacks, origin=origin, gil=dict.fromkeys(servers, True))


def observed(
    run: Run, factors: Mapping[str, float], *, others: float = 0.0, generator: Mapping[str, float] | None = None
) -> list[Observation]:
    """Blocks in which the machine is faster and slower by a quarter, and either version scatters by a percent; requests of a server
    take so many times what those of others do. `others`: what they use of the server's core beside its half; `generator`: and of
    the generator's, by server."""
    source, found = random.Random(1), []
    for block in range(BLOCKS):
        machine = source.uniform(0.8, 1.25)
        for position, cell in enumerate(run.experiment.cells):
            factor = machine * factors.get(cell.server, 1.0) * source.uniform(0.99, 1.01)
            report = testing.trial_report(
                throughput_rps=20 / factor,
                completed=round(100_000 / factor),
                latency_mean_ms=1600 * factor,
                window_s=5000.0,
                server_busy=0.5 + others,
                generator_others=(generator or {}).get(cell.server, 0.0),
            )
            found.append(
                testing.observation(
                    cell, block=block, position=position, swarm=report, server_cpu_s=2500.0, server_span_s=5000.0
                )
            )
    return found
