"""CPU time between readings of it. Pure."""

from bisect import bisect_right

_KEPT = 120
"""Readings, at most: those of a quarter of a minute at least, where they come four times a second."""


class Meter:
    """CPU seconds at moments, and by interpolation in between: readings and windows do not fall on the same moments."""

    def __init__(self) -> None:
        self._at_ns: list[int] = []
        self._cpu_s: list[float] = []

    def read(self, at_ns: int, cpu_s: float) -> None:
        """Add a reading, later than all before. Where it is lower, it is of another process, and those before are dropped."""
        if self._cpu_s and cpu_s < self._cpu_s[-1]:
            self._at_ns.clear()
            self._cpu_s.clear()
        self._at_ns.append(at_ns)
        self._cpu_s.append(cpu_s)
        if len(self._at_ns) > _KEPT:
            del self._at_ns[: _KEPT // 2], self._cpu_s[: _KEPT // 2]

    def used_s(self, begin_ns: int, end_ns: int) -> float | None:
        """CPU seconds used in [begin_ns, end_ns), by straight lines between readings; None where they do not reach."""
        begin, end = self._at(begin_ns), self._at(end_ns)
        return None if begin is None or end is None else end - begin

    def _at(self, at_ns: int) -> float | None:
        after = bisect_right(self._at_ns, at_ns)
        if after == 0:
            return None
        if after == len(self._at_ns):
            return self._cpu_s[-1] if at_ns == self._at_ns[-1] else None
        first_ns, then_ns = self._at_ns[after - 1], self._at_ns[after]
        first_s, then_s = self._cpu_s[after - 1], self._cpu_s[after]
        return first_s + (then_s - first_s) * (at_ns - first_ns) / (then_ns - first_ns)
