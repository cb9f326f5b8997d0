"""One of the generator's processes where it has several cores: Locust's own worker, which keeps every sample.

Run as `python -m wsgilab.swarm.worker PORT` by `load.Crew`. Beside Locust's messages it hears `lab_void_after` and
`lab_stop`, and says `lab_progress` and `lab_samples`.
"""

# Locust patches the standard library for gevent when it is imported: it has to come first.
import locust  # noqa: F401  isort: skip

import ctypes
import gc
import signal
import sys
from dataclasses import asdict
from typing import Any

import gevent

from wsgilab.swarm.load import POLL_S, NoStats, Progress, environment, every_user_class, stop_users
from wsgilab.swarm.samples import Recorder


class Worker:
    """Does as the master says."""

    def __init__(self, port: int) -> None:
        self._recorder = Recorder()
        self._environment = environment(every_user_class())
        self._environment.events.request.add_listener(self._on_request)
        self._environment.events.test_start.add_listener(self._on_start)
        self._runner = self._environment.create_worker_runner("127.0.0.1", port)
        # Locust has given its worker statistics anew.
        self._environment.stats = NoStats()
        self._runner.register_message("lab_void_after", self._on_void_after)
        self._runner.register_message("lab_stop", self._on_stop, concurrent=True)

    def join(self) -> None:
        """Work until the master says that it is enough."""
        self._runner.greenlet.join()

    def _on_request(self, **told: Any) -> None:
        self._recorder.on_request(**told)

    def _on_start(self, **_: Any) -> None:
        self._recorder = Recorder()
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

    def _on_void_after(self, msg: Any, **_: Any) -> None:
        vars(self._environment.parsed_options)["void_after_ns"] = msg.data["at_ns"]

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


if __name__ == "__main__":
    # A generator that is killed takes its workers with it: prctl(2), PR_SET_PDEATHSIG.
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    Worker(int(sys.argv[1])).join()
