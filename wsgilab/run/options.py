"""What the command line asks of a run, for `lab.run`, `lab.tune`, `lab.capacity`, `lab.claims` and `lab.reports`."""

from collections.abc import Collection
from dataclasses import dataclass, fields
from pathlib import Path

from wsgilab.model import Run
from wsgilab.model.errors import UsageError
from wsgilab.model.text import called

_RESUMED = ("resume", "runtime", "site", "watch", "port", "verbose")
"""Options that a resumed run may be given: where it runs, and how it is watched and printed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """The options of one run. None and empty: what the file says, or the default."""

    task: str
    """`lab.run`, `lab.tune`, `lab.capacity`, `lab.claims` or `lab.reports`: the task that measures what is left of the run."""
    file: str | None = None
    """The experiment, or the claims to test."""
    app: str | None = None
    """A user's own application: its file, or its entry, such as `shop.wsgi:app`."""
    source: str | None = None
    """The folder that the entry is imported from; None: the current one."""
    get: str | None = None
    """The path that users of the entry or of the URL GET; None: /."""
    against: str | None = None
    """A revision of the application's repository, or another application file, to compare it with in the same run."""
    release: str | None = None
    """A package and its releases, such as `gunicorn=23.0.0,27.0.1`, to run one server with each of them."""
    url: str | None = None
    """Of a server that runs already."""
    catalogue: str | None = None
    """A catalogue file of the user's own."""
    group: str | None = None
    """A group of the claims that the lab comes with; None: the first, or that of the stored run. Of reports: those of it alone."""
    only: tuple[str, ...] = ()
    """Ids of the claims to test."""
    run: str | None = None
    """A stored run to judge again; nothing is measured."""
    resume: str | None = None
    """The id of a run to go on with, or `latest`."""
    runtime: str | None = None
    site: str | None = None
    """A file of the machines to run on; None: this machine."""
    servers: tuple[str, ...] = ()
    cores: tuple[int, ...] = ()
    blocks: int | None = None
    precision: float | None = None
    max_blocks: int | None = None
    budget_s: float | None = None
    seed: int | None = None
    share_generator: bool = False
    generator_cores: int | None = None
    watch: bool = False
    port: int | None = None
    """Where the web UI is, with `watch`."""
    is_bounded: bool = False
    """A race is without those that cannot be among the best by what a request takes."""
    verbose: bool = False
    """Print every table at the end."""

    def others(self, expected: Collection[str]) -> Collection[str]:
        """The options that were given, beside those that are `expected`."""
        given = (each.name for each in fields(self) if getattr(self, each.name) != each.default)
        return [name for name in given if name != "task" and name not in expected]

    def check_resumed(self, keeps: str, also: Collection[str] = (), *, others: bool = False) -> None:
        """Raises UsageError where a run is to go on, which `keeps` what it began with, and more is given than it may be, and than is in
        `also`. `others`: options that are none of these are given."""
        if self.resume is not None and (others or self.others((*_RESUMED, *also))):
            raise UsageError(f"--resume {self.resume}: a resumed run keeps its {keeps}; give no other option")

    @property
    def is_planned(self) -> bool:
        """Whether users, window and blocks follow from how long requests take: there is an application, and no experiment."""
        return self.task == "lab.run" and self.app is not None and self.file is None

    @property
    def site_file(self) -> Path | None:
        """The file of `site`."""
        return None if self.site is None else Path(self.site)

    def resume_command(self, run: Run) -> str:
        """The command that measures what is left of `run`."""
        return f"{called(self.task)} --resume {run.id}{'' if self.site is None else f' --site {self.site}'}"

    def report_command(self, run: Run) -> str:
        """The command that writes what a run says from its folder alone."""
        return f"{called(self.task if self.task in ('lab.claims', 'lab.reports') else 'lab.report')} --run {run.id}"
