"""Users at work on one target from several cores, of one machine or more. Locust's own master and workers."""

# Locust patches the standard library for gevent when it is imported: it has to come first.
import locust  # noqa: F401  isort: skip

import argparse
import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wsgilab.load.local import UP_S, BadLocustfile, Progress, WindowMark, environment, every_user_class, user_classes
from wsgilab.load.reachability import Reachability, ReachReading, Unreached
from wsgilab.load.samples import Sample
from wsgilab.load.workers import Workers, make_master
from wsgilab.model import TrialSpec
from wsgilab.system import host

WORKER_MODULE = "wsgilab.load.worker"
_FOR_MASTER: Mapping[str, Any] = {"enable_rebalancing": False, "headless": True}
"""What Locust's master reads of its options."""
_AT_REST: Mapping[str, Any] = {"rate": 0.0, "window_end_ns": 0, "void_after_ns": 0}
"""What must not be left over from the trial before: workers keep options that they are not told anew."""


@dataclass(slots=True)
class _Heard:
    """What the workers have told of a trial, by worker."""

    progress: dict[str, Progress] = field(default_factory=dict)
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    here: list[WindowMark] = field(default_factory=list)
    """Of all on this machine together, their master included."""
    marks: defaultdict[str, list[WindowMark]] = field(default_factory=lambda: defaultdict(list))
    """Of each."""
    seen: dict[str, ReachReading | Unreached] = field(default_factory=dict)
    """By those that look, for all of their outpost."""
    trouble: list[str] = field(default_factory=list)
    """Of users that failed by themselves."""


class WorkerPool:
    """Locust's master in this process, and its workers; for many trials. After it has raised Lost it is of no use."""

    def __init__(
        self, cpus: Collection[int], *, reach: Reachability | None = None, port: int = 0, elsewhere: int = 0
    ) -> None:
        """A worker on each of `cpus`, and `elsewhere` more that come to `port` from other machines. Raises Lost."""
        self._cpus = frozenset(cpus)
        self._reach = reach
        self._heard = _Heard()
        self._classes = every_user_class()
        self._environment = environment(self._classes)
        self._runner = make_master(self._environment, port, elsewhere)
        self._runner.register_message("lab_progress", self._on_progress)
        self._runner.register_message("lab_samples", self._on_samples)
        self._runner.register_message("lab_trouble", self._on_trouble)
        self._runner.register_message("lab_marked", self._on_marked)
        self._runner.register_message("lab_seen", self._on_seen)
        self._workers = Workers(self._runner, WORKER_MODULE, cpus, elsewhere)

    def load(self, order: TrialSpec) -> "DistributedLoad":
        """Users for one trial, spread evenly over the workers. Raises Lost and BadLocustfile."""
        self._workers.check()
        self._heard = _Heard()
        classes = user_classes(order.locustfile)
        if other := next((each for each in classes if each not in self._classes), None):
            raise BadLocustfile(
                f"locustfiles/{order.locustfile}.py: another Locust file has a {other.__name__} too: rename one"
            )
        self._environment.host = order.base_url
        # Locust sends these to its workers with each start.
        options: Mapping[str, Any] = {**_FOR_MASTER, **_AT_REST, **order.options, "arrivals_parts": len(self._workers)}
        self._environment.parsed_options = argparse.Namespace(**options)
        self._environment.user_classes = classes
        self._environment.stop_timeout = 0
        users = order.users if not order.rate else len(self._workers)
        return DistributedLoad(self, users)

    def look(self, patience_s: float) -> Sequence[ReachReading]:
        if self._reach is None:
            return ()
        heard = self._heard
        heard.seen.clear()
        # One of each outpost, so that they do not hold each other up.
        outposts = self._workers.by_outpost
        for looking, *_ in outposts:
            self._runner.send_message("lab_look", {"patience_s": patience_s}, looking)
        own = self._reach.look(patience_s)
        self._workers.wait(lambda: len(heard.seen) == len(outposts), patience_s + UP_S)
        found = [own]
        self._count_in(self._workers.here, own)
        for looking, *others in outposts:
            seen = heard.seen[looking]
            if isinstance(seen, Unreached):
                raise Unreached(f"on {self._workers.elsewhere[looking]}, {seen}")
            self._count_in([looking, *others], seen)
            found.append(seen)
        return found

    def _count_in(self, workers: Collection[str], seen: ReachReading) -> None:
        for worker in workers:
            self._runner.send_message("lab_clock", {"offset_ns": seen.offset_ns}, worker)

    def start(self, users: int) -> None:
        self._workers.wait(lambda: self._workers.are_ready, UP_S)
        self._runner.start(users, spawn_rate=users)
        self._workers.wait(lambda: self.progress().users == users, UP_S)

    def progress(self) -> Progress:
        self._workers.check()
        if self._heard.trouble:
            raise BadLocustfile(self._heard.trouble[0])
        told = self._heard.progress.values()
        return Progress(
            users=sum(each.users for each in told),
            answered=sum(each.answered for each in told),
            failed=sum(each.failed for each in told),
        )

    def end_window(self, at_ns: int, void_ns: int) -> None:
        self._workers.check()
        self._runner.send_message("lab_window_end", {"at_ns": at_ns, "void_ns": void_ns})

    def stop(self, patience_s: float) -> list[Sample]:
        self._runner.send_message("lab_stop", {"patience_s": patience_s})
        self._workers.wait(lambda: len(self._heard.samples) == len(self._workers), patience_s + UP_S)
        self._runner.stop()
        self._workers.wait(lambda: self._workers.are_ready, UP_S)
        return [sample for each in self._heard.samples.values() for sample in each]

    def mark(self) -> None:
        # The others tell when they hear of it; until then nothing is waited for.
        for worker in self._workers.elsewhere:
            self._runner.send_message("lab_mark", None, worker)
        at_ns, idle_s = time.monotonic_ns(), host.idle_s(self._cpus)
        used_s, own_s = self._workers.cpu_s(), time.process_time()
        self._heard.here.append(WindowMark(at_ns, sum(used_s) + own_s, idle_s))
        for number, cpu_s in enumerate(used_s):
            # The master runs on these workers' cores: what it uses is added to each.
            self._heard.marks[f"here {number}"].append(WindowMark(at_ns, cpu_s + own_s, idle_s))

    def busiest(self) -> float:
        self._wait_for_marks()
        return max(begin.share(end) for begin, end in self._heard.marks.values())

    def used(self) -> float:
        begin, end = self._heard.here
        return begin.share(end)

    def others(self) -> float:
        self._wait_for_marks()
        begin, end = self._heard.here
        elsewhere = (self._heard.marks[worker] for worker in self._workers.elsewhere)
        return max([begin.others(end, len(self._cpus)), *(first.others(last, cores=1) for first, last in elsewhere)])

    def _wait_for_marks(self) -> None:
        marks = self._heard.marks
        self._workers.wait(lambda: sum(len(each) == 2 for each in marks.values()) == len(self._workers), UP_S)  # noqa: PLR2004 - the window's two ends

    def end(self) -> None:
        self._workers.end()

    def _on_progress(self, msg: Any, **_: Any) -> None:
        self._heard.progress[msg.node_id] = Progress(**msg.data)

    def _on_samples(self, msg: Any, **_: Any) -> None:
        self._heard.samples[msg.node_id] = [Sample(*row) for row in msg.data["samples"]]

    def _on_trouble(self, msg: Any, **_: Any) -> None:
        self._heard.trouble.append(msg.data["message"])

    def _on_marked(self, msg: Any, **_: Any) -> None:
        self._heard.marks[msg.node_id].append(WindowMark(**msg.data))

    def _on_seen(self, msg: Any, **_: Any) -> None:
        error = msg.data.pop("error", None)
        self._heard.seen[msg.node_id] = ReachReading(**msg.data) if error is None else Unreached(error)


class DistributedLoad:
    """The users of one trial on a crew."""

    def __init__(self, crew: WorkerPool, users: int) -> None:
        self._crew = crew
        self._users = users
        self.look = crew.look
        self.progress = crew.progress
        self.end_window = crew.end_window
        self.stop = crew.stop
        self.mark = crew.mark
        self.busiest = crew.busiest
        self.others = crew.others
        self.used = crew.used

    def start(self) -> None:
        self._crew.start(self._users)
