"""Locust's master and its workers behind the web UI: each request of its form becomes a test of one target."""

# Locust patches the standard library for gevent when it is imported: it has to come first.
import locust  # noqa: F401  isort: skip

import contextlib
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from typing import Any

import gevent
from locust import events
from locust.argument_parser import LocustArgumentParser, get_parser
from locust.env import Environment
from locust.runners import STATE_RUNNING, STATE_SPAWNING, STATE_STOPPING

from wsgilab.experiment.application import users_option
from wsgilab.load.distributed import Workers, make_master
from wsgilab.load.local import POLL_S
from wsgilab.load.locustfiles import BadLocustfile, user_classes
from wsgilab.load.own_locustfile import loaded, unpack
from wsgilab.load.pages import read_late
from wsgilab.load.recorder import Sample
from wsgilab.model import Cell
from wsgilab.model.text import called
from wsgilab.web.form import (
    DEFAULT_USERS,
    DEFAULT_WORKLOAD,
    LIMITS,
    NOT_HERE,
    calibration,
    cell_name,
    complaint,
    has_no_share,
    usual,
)
from wsgilab.web.live import WorkerReport
from wsgilab.web.sources import InteractiveTests

BUSY = "wait a moment: the test before is still being stopped"
IDLE_S = 5.0
"""How long workers whose users have all stopped may take until they are ready again: usually less than a second."""
WORKER_MODULE = "wsgilab.web.worker"
ASK_S = 1.0
"""How long after its answer a target is asked again what left later than its stamp says."""
ASKED_S = 60.0
"""How long that question may take, which queues as a request does: what it has taken from the target, no other finds there."""


class Master:
    """The users of the web UI, in a worker on each of `cpus`, and in `remote` more that connect to `port`."""

    def __init__(
        self,
        tests: InteractiveTests,
        base_urls: Mapping[str, str],
        cpus: frozenset[int],
        loading: Callable[[str | None], None],
        *,
        folders: Mapping[str, bytes],
        clock_server: str | None = None,
        port: int = 0,
        remote: int = 0,
    ) -> None:
        """`loading` is called with the server under load from now on, or None. `folders` are those of the user's own Locust files,
        packed. `clock_server` is the address of the one on the targets' machine, where that is another.

        Raises WorkerLost and BadLocustfile.
        """
        self.base_urls = dict(base_urls)
        self._tests = tests
        self._loading = loading
        self._users_wanted = 0
        self._has_stopped = False
        self._asking: gevent.Greenlet | None = None
        self._usual = usual(tests.run)
        self._calibration = calibration(tests.run)
        # The workloads' files add their options when they are loaded: the drop-downs come before them, and what is not
        # for this UI can be hidden only after.
        events.init_command_line_parser.add_listener(self._add_choices)
        self._application = tests.run.experiment.application
        self._own = self._application.locust_files if self._application else {}
        self._own_error = ""
        # Also where all requests are Locust files: the form's options are those of this file.
        named = ["application"] if self._application else map(_locustfile, tests.run.experiment.parameters)
        of_lab = {name: user_classes(name) for name in named}
        copies = {folder: unpack(folder, archive) for folder, archive in folders.items()}
        own = {name: loaded(file) for name, file in self._own.items()}
        self.notes = list(dict.fromkeys(note for each in own.values() for note in each.notes))
        """What the user must know of the Locust files, in sentences."""
        self._classes = {
            name: [own[name].user_class]
            if name in own
            else of_lab["application" if self._application else _locustfile(name)]
            for name in tests.run.experiment.parameters
        }
        self._first = DEFAULT_WORKLOAD if self._application is None else next(iter(self._classes))
        events.init_command_line_parser.add_listener(self._adapt_options)
        events.test_start.add_listener(self._on_start)
        events.test_stopping.add_listener(self._on_stopping)
        self.environment = Environment(
            user_classes=self._classes[self._first],
            parsed_options=get_parser().parse_args([]),
            events=events,
            locustfile="wsgilab",
        )
        self._runner = make_master(self.environment, port, remote)
        self._runner.register_message("lab_report", self._on_report)
        arguments = ["--clock-server", clock_server] if clock_server else []
        self._runner.register_message("lab_user_error", self._on_user_error)
        self._workers = Workers(self._runner, WORKER_MODULE, cpus, remote, arguments)
        for folder, copy in copies.items():
            self._workers.share(folder, folders[folder], copy)

    def check(self) -> None:
        """Notice a changed number of users, of which Locust fires no event. Raises WorkerLost where a worker has gone, and BadLocustfile
        where a worker could not load one."""
        self._workers.check()
        if self._own_error:
            raise BadLocustfile(self._own_error)
        wanted = self._runner.target_user_count
        if self._is_running() and wanted != self._users_wanted:
            self._users_wanted = wanted
            self._tests.set_users(wanted)

    def end(self) -> None:
        """End the workers."""
        self._workers.end()

    # --- options

    def _add_choices(self, parser: LocustArgumentParser) -> None:
        targets, workload = list(self._tests.targets), self._options.get("workload", self._first)
        target = self._options.get("target", targets[0])
        parser.add_argument("--target", choices=targets, default=target, help="the server to load")
        parser.add_argument("--workload", choices=list(self._classes), default=workload, help="what a request does")

    def _adapt_options(self, parser: LocustArgumentParser) -> None:
        usual = {"num_users": DEFAULT_USERS, "spawn_rate": float(DEFAULT_USERS), **self._usual, **self._calibration}
        # The form keeps what was chosen last.
        parser.set_defaults(**{name: self._options.get(name, value) for name, value in usual.items()})
        shown = parser.args_included_in_web_ui
        for option in NOT_HERE & shown.keys():
            shown[option].include_in_web_ui = False

    @property
    def _options(self) -> Mapping[str, Any]:
        """As they were chosen last; empty before the first time."""
        environment: Environment | None = getattr(self, "environment", None)
        return {} if environment is None else vars(environment.parsed_options)

    # --- requests

    def prepare(self, form: Mapping[str, str], stop: Callable[[], object]) -> str | None:
        """Prepare for the test that the form describes. Why there can be none, in one line; None where Locust may start it.

        Users can be more or fewer while a test runs. Where anything else changes, it is another test: the one under way is
        ended first, by `stop`.
        """
        if (why := self._wrong(form)) is not None:
            return why
        if self._is_running():
            if not self._is_another(form):
                return None
            stop()
        elif self._runner.state == STATE_STOPPING:
            return BUSY
        if not self._is_idle():
            return BUSY
        workload = form.get("workload", self._options["workload"])
        self.environment.user_classes = self._classes[workload]
        own = None
        host = self.base_urls[form.get("target", self._options["target"])]
        users = int(form.get("user_count", DEFAULT_USERS))
        # Before Locust starts its users: listeners and options of such a file are the workers' alone.
        if workload in self._own:
            own = {"file": asdict(self._own[workload]), "host": host, "users": users}
        self._runner.send_message("lab_own", own)
        if self._application is not None:
            # Locust hands its options to the workers.
            vars(self.environment.parsed_options)["application"] = users_option(self._application, workload)
        return None

    def _wrong(self, form: Mapping[str, str]) -> str | None:
        """What is wrong with the form, in one line; None where nothing is."""
        choices: Mapping[str, Collection[str]] = {"target": self._tests.targets, "workload": self._classes}
        if (why := complaint(form, choices)) is not None:
            return why
        chosen = form.get("workload", self._options["workload"])
        if self._application is None and has_no_share(chosen, {**self._options, **form}):
            return f"{chosen}: one share at least must be more than 0"
        target = self._tests.targets[form.get("target", self._options["target"])]
        if target.failure is not None and not (self._is_running() and not self._is_another(form)):
            return f"{target.server.name} {target.failure}: start it again first, in the tab Lab or with {called('lab.up')}"
        return None

    def _is_another(self, form: Mapping[str, str]) -> bool:
        """Whether the form describes another test than the last one, the number of users apart."""
        options = self._options
        return any(
            # As numbers: the page writes 50 for 50.0.
            (LIMITS[name][0](form[name]) if name in LIMITS else form[name]) != options[name]
            for name in ("target", "workload", "connection", *self._usual)
            if name in form
        )

    def _is_idle(self) -> bool:
        """Whether a test can start. Waits up to IDLE_S for workers that are not ready yet."""
        deadline = time.monotonic() + IDLE_S
        while self._runner.state == STATE_STOPPING or not self._workers.are_ready:
            if time.monotonic() > deadline:
                return False
            gevent.sleep(POLL_S)
        return True

    def _is_running(self) -> bool:
        return self._runner.state in (STATE_RUNNING, STATE_SPAWNING)

    def _on_start(self, **_: Any) -> None:
        options = self._options
        server = options["target"]
        # Whatever host the form has: the lab loads its own targets, and nothing else.
        self.environment.host = self.base_urls[server]
        self._users_wanted = self._runner.target_user_count
        cell = Cell(
            server=server,
            cores=next(iter(self._tests.run.server_cpus)),
            workload=self._workload(options),
            # Locust's own users keep theirs.
            connection="keep-alive" if options["workload"] in self._own else options["connection"],
        )
        self._tests.begin(cell, self._users_wanted)
        if self._asking is not None:
            self._asking.kill(block=False)
        self._has_stopped = False
        self._asking = gevent.spawn(self._ask_late, server)
        self._loading(server)

    def _ask_late(self, server: str) -> None:
        """Ask the target all the time what left later than its stamp says, for the last time when nothing is under way any more."""
        has_ended = False
        while not has_ended:
            has_ended = self._has_stopped and not self._is_running() and self._runner.state != STATE_STOPPING
            # Where it does not say, the stamp counts, as before the first answer.
            with contextlib.suppress(ValueError):
                self._tests.late_from(lambda: read_late(self.base_urls[server], ASKED_S))
            gevent.sleep(ASK_S)

    def _workload(self, options: Mapping[str, Any]) -> str:
        """The workload's name, and its parameters where they are not the usual ones: other work is another cell."""
        if self._application is not None:
            return str(options["workload"])
        return cell_name(options["workload"], {name: options[name] for name in self._usual}, self._usual)

    def _on_stopping(self, **_: Any) -> None:
        self._tests.stop()
        self._has_stopped = True
        self._loading(None)

    def _on_user_error(self, msg: Any, **_: Any) -> None:
        self._own_error = msg.data["message"]

    def _on_report(self, msg: Any, **_: Any) -> None:
        samples = [Sample.sent(row, msg.node_id) for row in msg.data.pop("samples")]
        self._tests.add_report(WorkerReport(worker=msg.node_id, samples=samples, **msg.data))


def _locustfile(workload: str) -> str:
    return workload.replace("-", "_")
