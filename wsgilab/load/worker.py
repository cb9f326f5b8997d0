"""One of the generator's processes where it has several cores: Locust's own worker, which keeps every sample.

Run as `python -m wsgilab.load.worker HOST PORT` by `workers.Workers` with the master's address, and by `outpost`, which
adds `--machine NAME`, and `--beacon HOST:PORT` where the targets are elsewhere. Beside Locust's messages it says

    lab_hello                        first of all
    lab_progress, lab_samples        during a trial, and after it
    lab_seen                         when it hears `lab_look`: how the link to the targets' machine is
    lab_trouble                      when a user has failed by itself
    lab_marked                       when it hears `lab_mark`: what it has used of its core, and how idle that was

and hears `lab_clock` (how far the targets' machine's clock is ahead), `lab_window_end` and `lab_stop`.
"""

# Locust patches the standard library for gevent when it is imported: it has to come first.
import locust  # noqa: F401  isort: skip

import argparse
import ctypes
import gc
import os
import signal
import socket
from dataclasses import asdict
from typing import Any

import gevent

from wsgilab.load.local import (
    POLL_S,
    NoStats,
    Progress,
    count_in,
    end_window,
    environment,
    every_user_class,
    mark,
    stop_users,
    tell_trouble,
)
from wsgilab.load.reachability import Reachability, Unreached
from wsgilab.load.samples import Recorder
from wsgilab.load.workers import HELLO


class Worker:
    """Does as the master says."""

    def __init__(self, host: str, port: int, machine: str, reach: Reachability | None) -> None:
        self._reach = reach
        self._clock_offset_ns = 0
        self._recorder = Recorder()
        self._environment = environment(every_user_class())
        self._environment.events.request.add_listener(self._on_request)
        self._environment.events.test_start.add_listener(self._on_start)
        tell_trouble(self._environment, lambda told: self._runner.send_message("lab_trouble", {"message": told}))
        self._runner = self._environment.create_worker_runner(host, port)
        # Locust has given its worker statistics anew.
        self._environment.stats = NoStats()
        self._runner.register_message("lab_window_end", self._on_window_end)
        self._runner.register_message("lab_stop", self._on_stop, concurrent=True)
        self._runner.register_message("lab_look", self._on_look, concurrent=True)
        self._runner.register_message("lab_clock", self._on_clock)
        self._runner.register_message("lab_mark", self._on_mark)
        self._runner.send_message(HELLO, hello(machine))

    def join(self) -> None:
        """Work until the master says that it is enough."""
        self._runner.greenlet.join()

    def _on_request(self, **told: Any) -> None:
        self._recorder.on_request(**told)

    def _on_start(self, **_: Any) -> None:
        self._recorder = Recorder()
        count_in(self._environment, self._recorder, self._clock_offset_ns)
        gc.collect()
        gc.disable()
        self._reporting = gevent.spawn(self._report_progress, self._recorder)

    def _report_progress(self, recorder: Recorder) -> None:
        told = None
        while True:
            now = Progress(users=self._runner.user_count, answered=len(recorder.answered), failed=len(recorder.failed))
            if now != told:
                self._runner.send_message("lab_progress", asdict(now))
                told = now
            gevent.sleep(POLL_S)

    def _on_window_end(self, msg: Any, **_: Any) -> None:
        end_window(self._environment, **msg.data)

    def _on_stop(self, msg: Any, **_: Any) -> None:
        self._reporting.kill()
        stop_users(self._runner, msg.data["patience_s"])
        gc.enable()
        self._environment.stop_timeout = 0
        # Locust's own report, now rather than within three seconds: its master waits until no user is left.
        told: dict[str, Any] = {}
        self._environment.events.report_to_master.fire(client_id=self._runner.client_id, data=told)
        self._runner.send_message("stats", told)
        self._runner.send_message("lab_samples", {"samples": list(self._recorder.samples)})

    def _on_look(self, msg: Any, **_: Any) -> None:
        try:
            if self._reach is None:
                raise Unreached("it was not told where the targets' machine has its beacon")
            seen = asdict(self._reach.look(msg.data["patience_s"]))
        except Unreached as error:
            seen = {"error": str(error)}
        self._runner.send_message("lab_seen", seen)

    def _on_clock(self, msg: Any, **_: Any) -> None:
        self._clock_offset_ns = msg.data["offset_ns"]

    def _on_mark(self, **_: Any) -> None:
        self._runner.send_message("lab_marked", mark()._asdict())


def hello(machine: str) -> dict[str, str]:
    """What a worker says of itself first: which machine it is on, if not its master's, and whose it is there."""
    return {"machine": machine, "outpost": f"{socket.gethostname()} {os.getppid()}"}


def arguments() -> argparse.Namespace:
    """As `workers.Workers` and `outpost` start a worker."""
    parser = argparse.ArgumentParser(description="one of a generator's workers")
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--machine", default="")
    parser.add_argument("--beacon", type=Reachability)
    told = parser.parse_args()
    # As ZeroMQ spells an address of IPv6.
    told.host = f"[{told.host}]" if ":" in told.host else told.host
    return told


def end_with_parent() -> None:
    """A generator that is killed takes its workers with it: prctl(2), PR_SET_PDEATHSIG."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


if __name__ == "__main__":
    end_with_parent()
    told = arguments()
    Worker(told.host, told.port, told.machine, told.beacon).join()
