"""The tables and sentences of docs/scale.md that say what was measured, and what it alone comes to. Pure."""

from collections.abc import Sequence

from benchmarks.machines import limits
from benchmarks.machines.found import Found
from benchmarks.machines.limits import MOST
from benchmarks.machines.words import bullets, lasted, number, table
from wsgilab.store import LARGEST_OBSERVATIONS

POLL_S = 0.002
"""As `wsgilab.swarm.load`, which only the generator's processes may import."""
TRIAL_S = 1.0
"""Of which limits are told: the length of a trial, or of a window."""
REQUESTS = 1_000_000


def machine(found: Found) -> str:
    host = found.host
    quick = " A quick run: fewer and shorter measurements." if found.quick else ""
    trials = found.crews[0].trials
    once = (
        f"Each crew of workers was started once, and a trial of it is the median of {trials} in a row; each number of requests, "
        f"and of lanes, was measured once; a lane's steps are medians of {found.sited.rounds} rounds, each with a new start. That is "
        "too few for intervals: there are none here, nor of what is extrapolated."
    )
    return (
        f"Measured {found.date[:10]} on one machine: {host.cpu}, usable cores {host.usable_cpus}, "
        f"{host.memory_bytes / 2**30:.0f} GiB, Linux {host.kernel}, Python {host.python}, Docker Engine {found.engine}.{quick} "
        f"{once}"
    )


def master(found: Found) -> str:
    rows = [
        [
            str(each.workers),
            "a process each" if each.processes else "one process",
            f"{each.idle_cpu * 1000:.2f}",
            f"{each.cpu_ms:.1f}",
            f"{each.window_cpu_ms:.1f}",
            number(each.look_us),
            number(each.beyond_ms),
        ]
        for each in found.crews
    ]
    head = ["workers", "they are", "idle, ms a second", "a trial, ms", "of it in the window, ms"]
    return table([*head, "a look, µs", "wall beyond the window, ms"], rows)


def master_lines(found: Found) -> str:
    idle, trial, window, look = (of(found) for of in (limits.idle, limits.trial_ms, limits.window_ms, limits.look_us))
    return bullets(
        [
            f"Idle: {idle.each * 1e6:.0f} µs of CPU a second for each worker.",
            (
                f"A trial: {trial.alone:.1f} ms, and {trial.each:.2f} ms more for each worker; of that, "
                f"{window.alone:.1f} ms and {window.each:.2f} ms are within the window."
            ),
            (
                f"A look at how far the workers are: {look.each:.2f} µs for each worker, every {POLL_S * 1000:g} ms until all users "
                "have had an answer."
            ),
            *_same(found),
        ]
    )


def _same(found: Found) -> Sequence[str]:
    """How the workers that share a process compare with as many that are one each."""
    shared = {each.workers: each for each in found.crews if not each.processes}
    return [
        f"{real.workers} real workers cost the master {real.cpu_ms / shared[real.workers].cpu_ms:.2f} times what "
        f"{real.workers} in one process do, a trial; idle, {real.idle_cpu / shared[real.workers].idle_cpu:.2f} times."
        for real in found.crews
        if real.processes and real.workers in shared
    ]


def requests(found: Found) -> str:
    rows = [
        [
            f"{each.requests:,}",
            number(each.bytes_each),
            f"{each.receive_us:.2f}",
            f"{each.report_us:.2f}",
            number(each.memory_bytes),
        ]
        for each in found.gathered
    ]
    head = ["requests of a trial", "sent, bytes each", "received, µs each", "reported, µs each", "memory, bytes each"]
    return table(head, rows)


def request_limits(found: Found) -> str:
    most = max(found.gathered, key=lambda each: each.requests)
    each_us, idle, trial, look = (
        limits.request_us(found),
        limits.idle(found),
        limits.trial_ms(found),
        limits.look_us(found),
    )
    return bullets(
        [
            (
                f"{REQUESTS:,} requests in a trial: {lasted(REQUESTS * each_us / 1e6)} of the master's core after the window, "
                f"{REQUESTS * most.memory_bytes / 1e9:.1f} GB of its memory, {REQUESTS * most.bytes_each / 1e6:.0f} MB on the way "
                f"to it."
            ),
            (
                f"The master works as long on a window as the window was at {number(1e6 / each_us)} requests a second, from "
                "however many workers: beyond that, more than half of the time is spent between windows."
            ),
            (
                f"Workers alone, without a request: their heartbeats would fill the master's core at about "
                f"{number(idle.reaches(1))}, and a trial would cost it {TRIAL_S:g} s at about "
                f"{number(trial.reaches(TRIAL_S * 1000))}. Looking at how far they are would fill it, until all users have had an answer, at "
                f"about {number(look.reaches(POLL_S * 1e6))}."
            ),
        ]
    )


def lab(found: Found) -> str:
    journaled = found.journaled
    rows = [
        [f"{each.lanes} lane{'s' if each.lanes > 1 else ''}", f"{each.cpu_ms:.2f}", f"{each.wall_ms:.2f}"]
        for each in found.lanes
    ]
    rows.append(["of it: the observation recorded", f"{journaled.cpu_ms:.2f}", f"{journaled.wall_ms:.2f}"])
    return table(["a trial, in the lab process", "CPU, ms", "wall, ms"], rows)


def lab_limits(found: Found) -> str:
    serial_s, sited, concluded = limits.lab_s(found), found.sited, found.concluded
    observations = LARGEST_OBSERVATIONS / found.journaled.bytes_each
    return bullets(
        [
            (
                f"One lab process does at most {number(1 / serial_s)} trials a second, which are as many lanes with trials of "
                f"{TRIAL_S:g} s each."
            ),
            (
                f"Beside it run {sited.clients} processes of the Docker client for each machine of the swarm, with "
                f"{number(sited.clients_mb)} MB and {number(sited.clients_cpu_ms)} ms of CPU a trial: "
                f"{number(MOST * sited.clients_mb / 1000)} GB for {MOST} machines."
            ),
            (
                f"An observation takes {number(found.journaled.bytes_each)} bytes. `observations.jsonl` may have "
                f"{LARGEST_OBSERVATIONS >> 20} MB, which is {number(observations)} of them."
            ),
            (
                f"Compared and rendered, {concluded.trials:,} observations took {number(concluded.seconds)} s and "
                f"{number(concluded.megabytes)} MB ({concluded.date[:10]}): {concluded.seconds / concluded.trials * 1000:.2f} ms each."
            ),
        ]
    )


def lane(found: Found) -> str:
    sited = found.sited
    rows = [
        ["a machine is reached and asked what it is", f"{sited.reach_s:.2f}"],
        ["its images are made sure of (they are there)", f"{sited.build_s:.2f}"],
        [f"a fleet of {sited.few} server is up", f"{sited.fleet_s:.2f}"],
        [f"a fleet of {sited.more} servers is up", f"{sited.more_fleet_s:.2f}"],
        ["beacon and generator are up", f"{sited.swarm_s:.2f}"],
        ["the link is looked at", f"{sited.link_s:.2f}"],
        ["beacon and generator are down again", f"{sited.stop_s:.2f}"],
        [f"the fleet of {sited.few} is down again", f"{sited.fleet_stop_s:.2f}"],
        [f"the fleet of {sited.more} is down again", f"{sited.more_fleet_stop_s:.2f}"],
        [
            f"a trial, beyond its window of {sited.window_s:g} s ({sited.rounds} x {sited.trials} trials)",
            f"{sited.beyond_s:.2f}",
        ],
    ]
    return table([f"a lane of a real site, medians of {sited.rounds}", "seconds"], rows)
