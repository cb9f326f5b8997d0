"""What a trial consumed: the target, its backends, the lab itself, and others on the same cores."""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import replace

from wsgilab.model import Cell, Run, TrialReport, Usage
from wsgilab.model.errors import TargetError
from wsgilab.runtime.protocol import Running, RunningBackend, Target
from wsgilab.system import cpus, neighbours


class TrialMeter:
    """What a target, and its backends, consumed between the window's ends, over the time between the two readings; and what
    else ran on this machine, where `owns` is given."""

    def __init__(
        self,
        run: Run,
        cell: Cell,
        target: Target,
        backends: Sequence[RunningBackend],
        owns: neighbours.Owns | None,
    ) -> None:
        self._servers = cpus.parse(run.server_cpus[cell.cores]) if cell.cores else frozenset[int]()
        self._generator = cpus.parse(run.generator_cpus)
        self._parts: Sequence[Running] = (target, *backends)
        self._owns = owns
        self._before: list[Usage] | None = None
        self._read_ns = 0
        self._first: neighbours.Snapshot | None = None
        self._last: neighbours.Snapshot | None = None
        self.cpu_s: float | None = None
        self.span_s: float | None = None
        self.resident_bytes: int | None = None
        self.os_threads: int | None = None
        self.backend_cpu_s: float | None = None
        self.throttled: int | None = None
        self.throttled_s: float | None = None

    def begin(self) -> int | None:
        """Read at the window's begin. When the target was read, CLOCK_MONOTONIC in nanoseconds; None where it could not be."""
        self._before = self._read()
        self._first = self._look()
        return self._read_ns if self._before is not None else None

    def end(self) -> int | None:
        """The same at its end."""
        self._last = self._look()
        after = self._read()
        if self._before is None or after is None:
            return None
        self.span_s = after[0].at_s - self._before[0].at_s
        pairs = zip(self._before, after, strict=True)
        self.cpu_s, *backends_s = (max(0.0, later.cpu_s - earlier.cpu_s) for earlier, later in pairs)
        self.backend_cpu_s = sum(backends_s) if backends_s else None
        self.resident_bytes = after[0].resident_bytes
        self.os_threads = max(after[0].os_threads, self._before[0].os_threads)
        if after[0].throttled is not None and self._before[0].throttled is not None:
            self.throttled = max(0, after[0].throttled - self._before[0].throttled)
        if after[0].throttled_s is not None and self._before[0].throttled_s is not None:
            self.throttled_s = round(max(0.0, after[0].throttled_s - self._before[0].throttled_s), 6)
        return self._read_ns

    @property
    def lab_cpu(self) -> float | None:
        """What this process used meanwhile, in CPU seconds a second."""
        if self._first is None or self._last is None:
            return None
        used_s = self._last.own_s - self._first.own_s
        return round(used_s / (self._last.at_s - self._first.at_s), 6)

    def programs(self) -> Sequence[str]:
        """Programs of others that ran on the cores meanwhile, as far as they are known."""
        if self._owns is None or self._first is None or self._last is None:
            return ()
        return neighbours.programs(self._first, self._last, self._servers | self._generator, self._owns)

    def refined(self, report: TrialReport) -> TrialReport:
        """The report, with what was used of the cores to the nanosecond where the kernel counts that for this process alone: the
        generator may be in a container, and then has 10 ms to count in."""
        if self._first is None or self._last is None:
            return report
        servers, generator = neighbours.busy(self._first, self._last)
        if servers is None or generator is None or report.generator_used is None:
            return report
        return replace(
            report,
            server_busy=round(max(0.0, servers / len(self._servers)), 6),
            generator_others=round(max(0.0, (generator - report.generator_used) / len(self._generator)), 6),
        )

    def _look(self) -> neighbours.Snapshot | None:
        return None if self._owns is None else neighbours.snapshot(self._servers, self._generator)

    def _read(self) -> list[Usage] | None:
        """What each has consumed by now, the target first; None where one has ended."""
        if any(part.failure() is not None for part in self._parts):
            return None
        # One that ends at this very moment is found to have ended after the trial.
        with contextlib.suppress(TargetError):
            target, *backends = self._parts
            asked_ns = time.monotonic_ns()
            used = target.usage()
            done_ns, at_ns = time.monotonic_ns(), round(used.at_s * 1e9)
            # An engine, whose clock is another one, takes a few milliseconds, and reads some time in between.
            self._read_ns = at_ns if asked_ns <= at_ns <= done_ns else (asked_ns + done_ns) // 2
            return [used, *(each.usage() for each in backends)]
        return None
