"""One of the generator's processes where it has several cores: Locust's own worker, which keeps every sample.

Run as `python -m wsgilab.load.worker HOST PORT` with the address of Locust's master, by `distributed.Workers`; or with
`--machine NAME` and `--clock-server HOST:PORT` besides, by `remote_workers`. Beside Locust's messages it sends

    lab_hello                        first of all
    lab_progress, lab_samples        during a trial, and after it
    lab_network                      in answer to `lab_read_network`: a NetworkReading, or an error
    lab_user_error                   when a Locust file's own code has failed
    lab_marked                       in answer to `lab_mark`: a WindowMark

and receives `lab_folder` (of a Locust file of the user's own: its content, or where its copy is on this machine), `lab_own` before
each trial (such a LocustFile, or None), `lab_clock` (how far the targets' machine's clock is ahead), `lab_window_end` and `lab_stop`.
"""

# Locust patches the standard library for gevent when it is imported: it has to come first.
import locust  # noqa: F401  isort: skip

import argparse
import ctypes
import gc
import os
import signal
import socket
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gevent
from locust.env import Environment

from wsgilab.load import own_locustfile
from wsgilab.load.distributed import HELLO
from wsgilab.load.idle import Silence, SilentConnections, share
from wsgilab.load.local import POLL_S, NoStats, Progress, end_window, environment, keep_for, mark, stop_users, use_clock
from wsgilab.load.locustfiles import BadLocustfile, every_user_class, report_user_errors
from wsgilab.load.own_locustfile import OwnLocustfile
from wsgilab.load.own_users import OwnRecorder
from wsgilab.load.reachability import Reachability, Unreachable
from wsgilab.load.recorder import Recorder
from wsgilab.model import Idle
from wsgilab.model.application import LocustFile
from wsgilab.system.ports import bracketed


class RecordingWorker:
    """Locust's worker with a recorder of samples, a new one for each test. Its users may be those of a user's own Locust file."""

    def __init__(self, environment: Environment, options: argparse.Namespace) -> None:
        """`options` are those of `worker_options`. The master waits for `send_hello`."""
        self._machine = options.machine
        self.environment = environment
        self.recorder = Recorder()
        self._own: OwnLocustfile | None = None
        """The user's own Locust file whose users are at work; None: the lab's are."""
        self._own_options: Mapping[str, Any] = {}
        """Its options, as it begins with them."""
        environment.events.request.add_listener(self._on_request)
        environment.events.test_start.add_listener(self.on_start)
        self.runner = environment.create_worker_runner(options.host, options.port)
        self.runner.register_message("lab_folder", self._on_folder)
        self.runner.register_message("lab_own", self._on_own)

    def send_hello(self) -> None:
        """Tell the master which machine this worker is on, if not the master's, and which process there has started it."""
        self.runner.send_message(HELLO, {"machine": self._machine, "starter": f"{socket.gethostname()} {os.getppid()}"})

    def join(self) -> None:
        """Work until the master ends it."""
        self.runner.greenlet.join()

    def _on_request(self, **request: Any) -> None:
        self.recorder.on_request(**request)

    def on_start(self, **_: Any) -> None:
        """A test starts."""
        if self._own is None:
            self.recorder = Recorder()
            return
        # Locust has put the master's options over them.
        vars(self.environment.parsed_options).update(self._own_options)
        self.recorder = OwnRecorder(self.environment, self._own.path, self._own.file)

    def _on_folder(self, msg: Any, **_: Any) -> None:
        if "at" in msg.data:
            own_locustfile.know(msg.data["folder"], Path(msg.data["at"]))
        else:
            own_locustfile.unpack(msg.data["folder"], msg.data["archive"])

    def _on_own(self, msg: Any, **_: Any) -> None:
        own_locustfile.end()
        self._own = None
        if msg.data is None:
            return
        try:
            own = own_locustfile.loaded(LocustFile(**msg.data["file"]))
            self.environment.host = msg.data["host"]
            own_locustfile.begin(own, self.environment, msg.data["users"])
        except BadLocustfile as error:
            self.report_user_error(str(error))
            return
        self._own = own
        self.environment.events.init.fire(environment=self.environment, runner=self.runner, web_ui=None)
        self._own_options = dict(vars(self.environment.parsed_options))

    def report_user_error(self, message: str) -> None:
        """Tell the master that a Locust file's own code has failed."""
        self.runner.send_message("lab_user_error", {"message": message})


class Worker(RecordingWorker):
    """A worker of the generator."""

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(environment(every_user_class()), options)
        self._reachability = options.clock_server
        self._clock_offset_ns = 0
        self._silent: SilentConnections | None = None
        # Locust has given its worker new statistics.
        self.environment.stats = NoStats()
        report_user_errors(self.environment, lambda error: None if self._own else self.report_user_error(error))
        self.runner.register_message("lab_window_end", self._on_window_end)
        self.runner.register_message("lab_stop", self._on_stop, concurrent=True)
        self.runner.register_message("lab_read_network", self._on_read_network, concurrent=True)
        self.runner.register_message("lab_clock", self._on_clock)
        self.runner.register_message("lab_mark", self._on_mark)
        self.send_hello()

    def on_start(self, **_: Any) -> None:
        super().on_start()
        if self._own is None:
            keep_for(self.environment, self.recorder)
        use_clock(self.environment, self.recorder, self._clock_offset_ns)
        options: Any = self.environment.parsed_options
        idle = Idle(connections=options.idle_connections, send=options.idle_send) if options.idle_connections else None
        own = share(idle, max(0, self.runner.worker_index), options.arrivals_parts)
        self._silent = None if own is None else SilentConnections(own, self.environment.host or "")
        if self._silent is not None:
            self._silent.open()
        gc.collect()
        gc.disable()
        self._reporting = gevent.spawn(self._report_progress, self.recorder)

    def _report_progress(self, recorder: Recorder) -> None:
        sent = None
        while True:
            now = Progress.of(self.runner, recorder)
            if now != sent:
                self.runner.send_message("lab_progress", asdict(now))
                sent = now
            gevent.sleep(POLL_S)

    def _on_window_end(self, msg: Any, **_: Any) -> None:
        end_window(self.environment, **msg.data)

    def _on_stop(self, msg: Any, **_: Any) -> None:
        self._reporting.kill()
        silence = Silence() if self._silent is None else self._silent.close(self._clock_offset_ns)
        stop_users(self.runner, msg.data["patience_s"])
        gc.enable()
        self.environment.stop_timeout = 0
        # Locust's own report, now rather than within three seconds: its master waits until no user is left.
        stats: dict[str, Any] = {}
        self.environment.events.report_to_master.fire(client_id=self.runner.client_id, data=stats)
        self.runner.send_message("stats", stats)
        self.recorder.parse_kept()
        self.runner.send_message("lab_samples", {"samples": list(self.recorder.samples), "silence": silence})

    def _on_read_network(self, msg: Any, **_: Any) -> None:
        try:
            if self._reachability is None:
                raise Unreachable("it was started without the address of the targets' clock server")
            reading = asdict(self._reachability.read(msg.data["patience_s"]))
        except Unreachable as error:
            reading = {"error": str(error)}
        self.runner.send_message("lab_network", reading)

    def _on_clock(self, msg: Any, **_: Any) -> None:
        self._clock_offset_ns = msg.data["offset_ns"]

    def _on_mark(self, **_: Any) -> None:
        self.runner.send_message("lab_marked", mark()._asdict())


def worker_options() -> argparse.Namespace:
    """The command line with which `distributed.Workers` and `remote_workers` start a worker."""
    parser = argparse.ArgumentParser(description="one of a generator's workers")
    # ZeroMQ takes an IPv6 address in brackets.
    parser.add_argument("host", type=bracketed)
    parser.add_argument("port", type=int)
    parser.add_argument("--machine", default="")
    parser.add_argument("--clock-server", type=Reachability)
    return parser.parse_args()


def end_with_parent() -> None:
    """Have the kernel end this worker when its generator is killed: prctl(2), PR_SET_PDEATHSIG."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


if __name__ == "__main__":
    end_with_parent()
    Worker(worker_options()).join()
