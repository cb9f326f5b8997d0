"""Locust's master and its workers under the web UI: what somebody asks for there becomes a test of one target."""

# Locust patches the standard library for gevent when it is imported: it has to come first.
import locust  # noqa: F401  isort: skip

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, get_args

from locust import events
from locust.argument_parser import LocustArgumentParser, get_parser
from locust.env import Environment
from locust.runners import STATE_RUNNING, STATE_SPAWNING, STATE_STOPPING

from wsgilab import workloads
from wsgilab.model import Cell, Connection, Run
from wsgilab.swarm.load import user_classes
from wsgilab.swarm.samples import Sample
from wsgilab.swarm.workers import Workers, make_master
from wsgilab.ui.live import Told
from wsgilab.ui.session import Session

DEFAULT_USERS = 32
DEFAULT_WORKLOAD = "sleep"
NOT_HERE = frozenset({"request_timeout", "rate", "arrivals", "arrivals_seed"})
"""Options of the Locust files that experiments are for, and that the lab's tab could not show rightly."""
CONNECTIONS: Sequence[str] = get_args(Connection)
LIMITS: Mapping[str, tuple[type[int] | type[float], float, float]] = {
    "user_count": (int, 1, 10_000),
    **{name: (each.kind, each.least, each.most) for name, each in workloads.OPTIONS.items()},
}
"""Numbers that are asked for: their type, least and most."""
WORKER_MODULE = "wsgilab.ui.worker"


class Master:
    """The users of the web UI, in a worker on each of `cpus`, and in `elsewhere` more that come to `port` from outposts."""

    def __init__(
        self,
        session: Session,
        base_urls: Mapping[str, str],
        cpus: frozenset[int],
        loading: Callable[[str | None], None],
        *,
        beacon: str | None = None,
        port: int = 0,
        elsewhere: int = 0,
    ) -> None:
        """`loading` is told which server is under load from now on. `beacon` is where workers ask the time, if not here.

        Raises Lost.
        """
        self.base_urls = dict(base_urls)
        self._session = session
        self._loading = loading
        self._users_wanted = 0
        self._usual = usual(session.run)
        # The workloads' files add their options when they are loaded: the drop-downs come before them, and what is not
        # for this UI can be hidden only after.
        events.init_command_line_parser.add_listener(self._add_choices)
        self._classes = {name: user_classes(name.replace("-", "_")) for name in session.run.experiment.parameters}
        events.init_command_line_parser.add_listener(self._adapt_options)
        events.test_start.add_listener(self._on_start)
        events.test_stopping.add_listener(self._on_stopping)
        self.environment = Environment(
            user_classes=self._classes[DEFAULT_WORKLOAD],
            parsed_options=get_parser().parse_args([]),
            events=events,
            locustfile="wsgilab",
        )
        self._runner = make_master(self.environment, port, elsewhere)
        self._runner.register_message("lab_told", self._on_told)
        words = ["--beacon", beacon] if beacon else []
        self._workers = Workers(self._runner, WORKER_MODULE, cpus, elsewhere, words)

    def check(self) -> None:
        """Notice what nobody tells. Raises Lost where a worker has gone."""
        self._workers.check()
        wanted = self._runner.target_user_count
        if self._is_running() and wanted != self._users_wanted:
            self._users_wanted = wanted
            self._session.want(wanted)

    def end(self) -> None:
        """End the workers."""
        self._workers.end()

    # --- options

    def _add_choices(self, parser: LocustArgumentParser) -> None:
        targets, workload = list(self._session.targets), self._options.get("workload", DEFAULT_WORKLOAD)
        target = self._options.get("target", targets[0])
        parser.add_argument("--target", choices=targets, default=target, help="the server to load")
        parser.add_argument("--workload", choices=list(self._classes), default=workload, help="what a request does")

    def _adapt_options(self, parser: LocustArgumentParser) -> None:
        usual = {"num_users": DEFAULT_USERS, "spawn_rate": float(DEFAULT_USERS), **self._usual}
        # Whoever comes back to the page finds what was chosen last.
        parser.set_defaults(**{name: self._options.get(name, value) for name, value in usual.items()})
        shown = parser.args_included_in_web_ui
        for option in NOT_HERE & shown.keys():
            shown[option].include_in_web_ui = False

    @property
    def _options(self) -> Mapping[str, Any]:
        """As they were chosen last; empty before there are any."""
        environment: Environment | None = getattr(self, "environment", None)
        return {} if environment is None else vars(environment.parsed_options)

    # --- what somebody asks for

    def refuse(self, form: Mapping[str, str]) -> str | None:
        """Why there can be no test as the form asks, in one line. Where there can be, it is prepared for."""
        for name, (kind, least, most) in LIMITS.items():
            if name in form and not _is_within(form[name], kind, least, most):
                return f"{name.replace('_', ' ')}: must be a number from {least:g} to {most:g}, not {form[name]!r}"
        known: Mapping[str, Collection[str]] = {
            "target": self._session.targets,
            "workload": self._classes,
            "connection": CONNECTIONS,
        }
        for name, choices in known.items():
            if name in form and form[name] not in choices:
                return f"{name}: must be one of {', '.join(choices)}, not {form[name]!r}"
        options = self._options
        if self._is_running():
            changed = [name for name in (*known, *self._usual) if name in form and form[name] != str(options[name])]
            return f"stop the test first: {changed[0]} cannot change while it runs" if changed else None
        if self._runner.state == STATE_STOPPING:
            return "wait a moment: the test before is still being stopped"
        target = self._session.targets[form.get("target", options["target"])]
        if target.failure is not None:
            return f"{target.server.name} {target.failure}: start it again first, in the tab Lab or with invoke lab.up"
        self.environment.user_classes = self._classes[form.get("workload", options["workload"])]
        return None

    def _is_running(self) -> bool:
        return self._runner.state in (STATE_RUNNING, STATE_SPAWNING)

    def _on_start(self, **_: Any) -> None:
        options = self._options
        server = options["target"]
        # Whatever the form says of a host: the lab loads its own targets, and nothing else.
        self.environment.host = self.base_urls[server]
        self._users_wanted = self._runner.target_user_count
        cell = Cell(
            server=server,
            cores=next(iter(self._session.run.server_cpus)),
            workload=self._workload(options),
            connection=options["connection"],
        )
        self._session.begin(cell, self._users_wanted)
        self._loading(server)

    def _workload(self, options: Mapping[str, Any]) -> str:
        """The workload's name, and its parameters where they are not the usual ones: other work is another cell."""
        return cell_name(options["workload"], {name: options[name] for name in self._usual}, self._usual)

    def _on_stopping(self, **_: Any) -> None:
        self._session.stop()
        self._loading(None)

    def _on_told(self, msg: Any, **_: Any) -> None:
        samples = [Sample(*row) for row in msg.data.pop("samples")]
        self._session.hear(Told(worker=msg.node_id, samples=samples, **msg.data))


def usual(run: Run) -> Mapping[str, int | float]:
    """Option -> what it is by default. Computing is told in iterations, as they were calibrated for this run."""
    given = run.experiment.parameters
    return {
        option: LIMITS[option][0](value)
        for workload in given
        for option, value in workloads.options(workload, given, run.cpu_iterations).items()
    }


def cell_name(workload: str, options: Mapping[str, Any], usual: Mapping[str, Any]) -> str:
    """A workload with those of its options, and of what it is made of, that are not as usual: `sleep-20-ms`."""
    told = workload
    for owner in (workload, *workloads.WORKLOADS[workload].parts):
        prefix = f"{owner}_".replace("-", "_")
        for option in usual:
            if option.startswith(prefix) and options[option] != usual[option]:
                name = option.removeprefix(prefix) if owner == workload else option
                told += f"-{options[option]:g}-{name.replace('_', '-')}"
    return told


def _is_within(text: str, kind: type[int] | type[float], least: float, most: float) -> bool:
    try:
        return least <= kind(text) <= most
    except ValueError:
        return False
