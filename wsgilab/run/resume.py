"""Whether an earlier run can go on: its trials must be comparable with those that are still to come."""

from collections.abc import Callable, Sequence

from wsgilab.model import Host, Origin, Run
from wsgilab.model.errors import StoreError, UsageError
from wsgilab.run.options import RunOptions
from wsgilab.runtime.protocol import Say

Part = tuple[str, Callable[[Run], object]]
"""What a message calls it, and how it is read of a run."""


def _identity(host: Host) -> object:
    """What makes a machine the same one; its memory may differ a little from one start to the next."""
    return host.cpu, host.architecture, host.usable_cpus, host.kernel


BEFORE_START: Sequence[Part] = (
    ("the machine", lambda run: _identity(run.host)),
    (
        "the machines of the site",
        lambda run: [
            [(each.name, each.cpus, _identity(each.host)) for each in (lane.targets, *lane.swarm)] for lane in run.lanes
        ],
    ),
    ("the servers in the catalogue", lambda run: dict(run.servers)),
)
"""What is known before anything is installed or started."""
ONCE_UP: Sequence[Part] = (
    ("the cores", lambda run: (dict(run.server_cpus), run.generator_cpus, run.backend_cpus)),
    (
        "the installed packages",
        lambda run: (
            {name: (each.python, dict(each.packages)) for name, each in run.stacks.items()},
            {name for name, is_on in run.gil.items() if not is_on},
        ),
    ),
)


def check_options(earlier: Run, options: RunOptions) -> None:
    """A run goes on on the machines where it began. Raises UsageError."""
    if earlier.lanes and options.site is None:
        names = ", ".join(lane.targets.name for lane in earlier.lanes)
        raise UsageError(
            f"--resume {earlier.id}: its targets ran on {names}; give the site file that has them, with --site"
        )
    if options.site is not None and not earlier.lanes:
        raise UsageError(f"--resume {earlier.id}: it ran on one machine, without a site; leave out --site")


def check_same(earlier: Run, current: Run, *parts: Part) -> None:
    """Raises StoreError where one of `parts` has changed since `earlier` began."""
    for what, part in parts:
        if part(earlier) != part(current):
            raise StoreError(f"--resume {earlier.id}: {what} changed since it began; start a new run")


def check_files(earlier: Run, now: Origin, say: Say) -> None:
    """Raises StoreError where a file that `earlier` began with has changed, or is gone."""
    if earlier.origin is None:
        say(
            f"Note: the files that {earlier.id} began with are not recorded, so whether they have changed is not known."
        )
        return
    for part, files in earlier.origin.files.items():
        found = now.files.get(part, {})
        # A file that is new is unknown to those that were there.
        if changed := [path for path, digest in files.items() if found.get(path) != digest]:
            more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
            raise StoreError(
                f"--resume {earlier.id}: {part}: {changed[0]}{more} changed since it began; put it back, or start a new run"
            )
