"""The UI's users on one of the generator's cores: Locust's own worker, which sends its samples a few times a second.

Run as `python -m wsgilab.web.worker HOST PORT [--machine NAME] [--clock-server HOST:PORT]` by `server`, or by
`load.remote_workers` on another machine. Beside Locust's messages it sends `lab_hello` and `lab_report`: a
`live.WorkerReport`.
"""

# Locust patches the standard library for gevent when it is imported: it has to come first.
import locust  # noqa: F401  isort: skip

import argparse
import time
from typing import Any

import gevent
from locust import runners
from locust.env import Environment
from locust.log import setup_logging

from wsgilab.load.local import stop_users
from wsgilab.load.locustfiles import every_user_class
from wsgilab.load.worker import RecordingWorker, end_with_parent, worker_options
from wsgilab.web.clock import TargetsClock

REPORT_S = 0.25
PATIENCE_S = 5.0
"""How long requests under way may take when a test is stopped; nothing that comes then counts."""


class UiWorker(RecordingWorker):
    """A worker of the web UI."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._clock_ns = TargetsClock(options.clock_server)
        self._users = 0
        self._reporting: Any = None
        super().__init__(Environment(user_classes=every_user_class()), options)
        self.environment.events.test_stopping.add_listener(self._on_stopping)
        self.environment.events.test_stop.add_listener(self._on_stop)
        self.send_hello()

    def on_start(self, **_: Any) -> None:
        super().on_start()
        self.recorder.clock_offset_ns = self._clock_ns.offset_ns
        self._users = 0
        self._reporting = gevent.spawn(self._keep_reporting)

    def _on_stopping(self, **_: Any) -> None:
        if (spawning := self.runner.spawning_greenlet) is not None:
            spawning.kill()
        # Locust itself would wait without end for the users of a server that was killed and has closed nothing.
        stop_users(self.runner, PATIENCE_S)

    def _on_stop(self, **_: Any) -> None:
        self._reporting.kill()
        self._report()
        # Locust's worker waits for as long again before it is ready for another test; all have stopped by now.
        self.environment.stop_timeout = 0

    def _keep_reporting(self) -> None:
        while True:
            gevent.sleep(REPORT_S)
            self._report()

    def _report(self) -> None:
        recorder, users = self.recorder, self.runner.user_count
        if users != self._users:
            # Count anew which users have had an answer: some of those who had may be gone.
            self._users = users
            recorder.answered.clear()
            recorder.failed.clear()
        samples, recorder.samples = recorder.samples, []
        recorder.clock_offset_ns = self._clock_ns.offset_ns
        # A WorkerReport, but for the worker's name, which every message carries.
        report = {
            "at_ns": self._clock_ns(),
            "cpu_s": time.process_time(),
            "users": users,
            "answered": len(recorder.answered),
            "failed": len(recorder.failed),
            "samples": samples,
        }
        self.runner.send_message("lab_report", report)


if __name__ == "__main__":
    end_with_parent()
    setup_logging("INFO")
    # The UI polls every two seconds.
    runners.WORKER_REPORT_INTERVAL = 1.0
    UiWorker(worker_options()).join()
