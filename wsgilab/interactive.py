"""What the commands do with the interactive lab: bring it up, look at it, end it. What keeps it up is `keeper`."""

import contextlib
import ipaddress
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from wsgilab import grounds, process, standing
from wsgilab.errors import HostError, LabError, StoreError, UsageError
from wsgilab.host import boot_id
from wsgilab.keeper import CHARGE, LOOK, START_AGAIN, Charge
from wsgilab.parsing import unknown
from wsgilab.places import Places, choose_runtime, make_state
from wsgilab.process import Conversation, Hushed
from wsgilab.runtime.local import MARK
from wsgilab.runtime.ports import check_free, free_ports
from wsgilab.runtime.protocol import Say
from wsgilab.standing import Standing, Wanted

HOST, PORT = "127.0.0.1", 8089
HIGHEST_PORT = 65535
_BUILD_S = 3600.0
"""The longest silence while images are built; whatever takes its time has a limit of its own."""
_END_S = 60.0
_AGAIN_S = 300.0
_POLL_S = 0.05
_LOOK_S = 5.0


# --- up


def up(wanted: Wanted, say: Say, places: Places, environment: Mapping[str, str] = os.environ) -> Standing:
    """Bring the lab up; where it is up already, start again what has ended.

    Raises LabError where it cannot be, or is up but not as `wanted`; Interrupted ends what has been started.
    """
    _check_numbers(wanted)
    found = standing.read(places.state)
    if found is not None and found.lives():
        return _again(found, wanted, say, places)
    host = HOST if wanted.host is None else wanted.host
    address, port = choose_port(host, PORT if wanted.port is None else wanted.port)
    site = None if wanted.site is None else Path(wanted.site).absolute()
    charge = Charge(
        places=places,
        site=site,
        servers=wanted.servers,
        cores=wanted.cores or 1,
        runtime=wanted.runtime,
        workers=wanted.workers or 1,
        host=host,
        address=address,
        port=port,
        share_generator=wanted.share_generator,
        no_backends=wanted.no_backends,
        password=password(address, environment),
    )
    make_state(places)
    log = places.state / "keeper.log"
    log.unlink(missing_ok=True)
    conversation = Conversation(
        [sys.executable, "-m", "wsgilab.keeper"],
        cwd=places.project,
        env={**os.environ, MARK: places.lab_id},
        cpus=None,
        log=log,
    )
    try:
        _hear_until_up(conversation, charge, say)
    except BaseException:
        # Told so, rather than left alone: it may have said that all is up at this very moment.
        with contextlib.suppress(Hushed):
            conversation.say("end")
        conversation.end(_END_S)
        raise
    conversation.leave()
    return check(places)


def _hear_until_up(conversation: Conversation, charge: Charge, say: Say) -> None:
    try:
        conversation.say(CHARGE.dump_python(charge, mode="json"))
        while True:
            match conversation.hear(_BUILD_S):
                case {"event": "say", "text": str(text)}:
                    say(text)
                case {"event": "up"}:
                    return
                case {"event": "failed", "message": str(message), "detail": str(detail), "usage": usage}:
                    raise (UsageError if usage else LabError)(message, detail=detail)
    except Hushed as error:
        raise LabError(
            f"the interactive lab did not come up: {error}; invoke lab.down ends what may be left of it",
            detail=process.tail(conversation.log, 10),
        ) from None


def _check_numbers(wanted: Wanted) -> None:
    for option, number in (("cores", wanted.cores), ("workers", wanted.workers)):
        if number is not None and number < 1:
            raise UsageError(f"--{option} {number}: must be a whole number from 1")


def choose_port(host: str, port: int) -> tuple[str, int]:
    """The address that `host` stands for, and `port` there, or any free one where it is 0. Raises UsageError for what is
    none, and HostError for what this machine has not, or not free."""
    if not 0 <= port <= HIGHEST_PORT:
        raise UsageError(f"--port {port}: must be a whole number from 1 to {HIGHEST_PORT}, or 0 for any that is free")
    if not host:
        raise UsageError(f"--host: must be an address of this machine, such as {HOST}")
    port = port or free_ports(1, "")[0]
    try:
        return check_free(host, port), port
    except UnicodeError:
        raise HostError(f"--host {host}: is no address of this machine; name another with --host") from None


def password(address: str, environment: Mapping[str, str]) -> str | None:
    """Whoever can reach the web UI can have this machine loaded: beyond the machine itself it takes a login."""
    if ipaddress.ip_address(address).is_loopback:
        return None
    return environment.get("LAB_PASSWORD") or standing.new_password()


# --- up, a second time


def _again(found: Standing, wanted: Wanted, say: Say, places: Places) -> Standing:
    if not found.servers:
        raise LabError("the interactive lab is being brought up already; wait for it, or end it with invoke lab.down")
    if contradicted := contradictions(found, wanted):
        stands, asked = (", ".join(side) for side in zip(*contradicted, strict=True))
        raise LabError(f"the interactive lab is up with {stands}, not with {asked}; invoke lab.down first")
    say("The interactive lab is up already; what has ended is started again.")
    found.tell(START_AGAIN)
    deadline = time.monotonic() + _AGAIN_S
    while True:
        now = check(places)
        if now.answered > found.answered:
            return now
        if time.monotonic() > deadline:
            raise LabError(f"what has ended is not up again within {_AGAIN_S:.0f} s; see invoke lab.status")
        time.sleep(_POLL_S)


def contradictions(stands: Standing, wanted: Wanted) -> Sequence[tuple[str, str]]:
    """The options that were given and are not as they stand: how each stands, and how it was given."""
    given: tuple[tuple[str, object, object], ...] = (
        ("--cores", stands.cores, wanted.cores),
        ("--runtime", stands.runtime, wanted.runtime),
        ("--site", stands.site, None if wanted.site is None else str(Path(wanted.site).absolute())),
        ("--workers", stands.workers, wanted.workers),
        # Where 0 is asked for, any port is right.
        ("--port", stands.port, wanted.port or None),
        ("--host", stands.host, wanted.host),
    )
    found = [(f"{name} {is_}", f"{name} {asked}") for name, is_, asked in given if asked is not None and asked != is_]
    if wanted.servers and set(wanted.servers) != set(stands.servers):
        found.append((f"--servers {','.join(stands.servers)}", f"--servers {','.join(wanted.servers)}"))
    if wanted.share_generator and not stands.share_generator:
        found.append(("cores of the generator's own", "--share-generator"))
    if wanted.no_backends and stands.backends:
        found.append(("backends", "--no-backends"))
    return found


# --- looking at it


def check(places: Places) -> Standing:
    """What is up. Raises LabError, with the remedy, where nothing is."""
    found = standing.read(places.state)
    if found is None:
        raise LabError("the interactive lab is not up; invoke lab.up brings it up")
    if found.ended:
        raise LabError(
            f"the interactive lab has ended: {found.ended}; invoke lab.up brings it up again", detail=found.evidence
        )
    if not found.lives():
        cause = "was killed" if found.boot == boot_id() else "is gone: this machine was started again since"
        raise LabError(
            f"the interactive lab is not up: what kept it up {cause}; invoke lab.down ends what may be left of it, "
            "invoke lab.up brings it up anew"
        )
    if not found.servers:
        raise LabError("the interactive lab is still being brought up; wait for it, or end it with invoke lab.down")
    return found


def look(places: Places) -> Standing:
    """`check`, after the keeper has looked at all that is up, which it does every few seconds by itself.

    So this says what the web UI says too.
    """
    found = check(places)
    if found.looked is not None and found.tell(LOOK):
        deadline = time.monotonic() + _LOOK_S
        # It may be busy, with a server that does not start again. What it knew before must do then.
        while (now := check(places)).looked == found.looked and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        return now
    return found


def log(name: str, places: Places, *, follow: bool) -> Iterator[str]:
    """The lines that a server or backend has written, and with `follow` those that it still writes. Raises LabError."""
    found = standing.read(places.state)
    # Also after the keeper was killed: that is when logs are wanted.
    if found is None or not found.servers:
        found = check(places)
    if name not in {**found.servers, **found.backends}:
        raise UsageError(unknown("server or backend", name, [*found.servers, *found.backends]))
    cores = found.cores if name in found.servers else None
    if not found.site:
        return choose_runtime(places, found.runtime)[0].log(name, cores, follow=follow)
    return _far_log(name, cores, Path(found.site), places, follow=follow)


def _far_log(name: str, cores: int | None, site: Path, places: Places, *, follow: bool) -> Iterator[str]:
    with grounds.targets(places, site) as runtime:
        yield from runtime.log(name, cores, follow=follow)


# --- down


def site_of(places: Places) -> Path | None:
    """The file of the site that the interactive lab is up on, or was when it was last heard of."""
    with contextlib.suppress(StoreError):
        found = standing.read(places.state)
        if found is not None and found.site:
            return Path(found.site)
    return None


def end(places: Places) -> int:
    """End the interactive lab in order; how many parts of it ran. What is left then, a sweep finds."""
    ended = 0
    # What cannot be read cannot be asked to end.
    with contextlib.suppress(StoreError):
        found = standing.read(places.state)
        if found is not None and found.tell(signal.SIGTERM):
            running = len(found.servers) + len(found.backends) - len(found.failures)
            if found.wait_for_end(_END_S):
                ended = running + bool(found.servers)
            else:
                found.tell(signal.SIGKILL)
    standing.remove(places.state)
    return ended
