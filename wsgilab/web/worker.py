"""The UI's users on one of the generator's cores: Locust's own worker, which tells every sample a few times a second.

Run as `python -m wsgilab.web.worker HOST PORT [--machine NAME] [--beacon HOST:PORT]` by `server`, or by `swarm.outpost` on
another machine. Beside Locust's messages it says `lab_hello` and `lab_told`: a `live.Told`.
"""

# Locust patches the standard library for gevent when it is imported: it has to come first.
import locust  # noqa: F401  isort: skip

import time
from typing import Any

import gevent
from locust import runners
from locust.env import Environment
from locust.log import setup_logging

from wsgilab.load.local import every_user_class, stop_users
from wsgilab.load.reachability import Reachability
from wsgilab.load.samples import Recorder
from wsgilab.load.worker import arguments, end_with_parent, hello
from wsgilab.load.workers import HELLO
from wsgilab.web.clock import TheirClock

TELL_S = 0.25
PATIENCE_S = 5.0
"""How long requests under way may take when a test is stopped; nothing that comes then counts."""


class UiWorker:
    """Does as the master says."""

    def __init__(self, host: str, port: int, machine: str, reach: Reachability | None) -> None:
        self._clock_ns = TheirClock(reach)
        self._recorder = Recorder()
        self._users = 0
        self._environment = Environment(user_classes=every_user_class())
        self._environment.events.request.add_listener(self._on_request)
        self._environment.events.test_start.add_listener(self._on_start)
        self._environment.events.test_stopping.add_listener(self._on_stopping)
        self._environment.events.test_stop.add_listener(self._on_stop)
        self._telling: Any = None
        self._runner = self._environment.create_worker_runner(host, port)
        self._runner.send_message(HELLO, hello(machine))

    def join(self) -> None:
        """Work until the master says that it is enough."""
        self._runner.greenlet.join()

    def _on_request(self, **told: Any) -> None:
        self._recorder.on_request(**told)

    def _on_start(self, **_: Any) -> None:
        self._recorder = Recorder()
        self._users = 0
        self._telling = gevent.spawn(self._tell_on)

    def _on_stopping(self, **_: Any) -> None:
        if (spawning := self._runner.spawning_greenlet) is not None:
            spawning.kill()
        # Locust itself would wait without end for users whom a server that was killed has left without a word.
        stop_users(self._runner, PATIENCE_S)

    def _on_stop(self, **_: Any) -> None:
        self._telling.kill()
        self._tell()
        # Locust's worker waits for as long again before it is ready for another test; all have stopped by now.
        self._environment.stop_timeout = 0

    def _tell_on(self) -> None:
        while True:
            gevent.sleep(TELL_S)
            self._tell()

    def _tell(self) -> None:
        recorder, users = self._recorder, self._runner.user_count
        if users != self._users:
            # Who has had an answer is asked anew of every user: some of those who had may be gone.
            self._users = users
            recorder.answered.clear()
            recorder.failed.clear()
        samples, recorder.samples = recorder.samples, []
        # A Told, but for the worker's name, which every message carries.
        told = {
            "at_ns": self._clock_ns(),
            "cpu_s": time.process_time(),
            "users": users,
            "answered": len(recorder.answered),
            "failed": len(recorder.failed),
            "samples": samples,
        }
        self._runner.send_message("lab_told", told)


if __name__ == "__main__":
    end_with_parent()
    told = arguments()
    setup_logging("INFO")
    # The UI looks every two seconds.
    runners.WORKER_REPORT_INTERVAL = 1.0
    UiWorker(told.host, told.port, told.machine, told.beacon).join()
