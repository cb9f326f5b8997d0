"""More machines than one, on one: Docker engines in network namespaces of their own, each joined to this by a wire.

The engine that the tests run on is one machine; each `Machine` is another, with its own images, its own addresses, and a
cable that can be pulled. It needs root, and the first engine, whose host it reaches the package index through.
"""

import contextlib
import fcntl
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import psutil
import pytest

from tests.conftest import require
from tests.e2e import keys
from tests.e2e.keys import Ssh
from wsgilab.runtime.command import DEFAULT_BASE, OWN_BASE

NEEDED = ("ip", "iptables", "nsenter", "setpriv", "dockerd", "openssl", "ssh-keygen", keys.SSHD)
NAMESPACES = Path("/run/netns")
KEPT = Path("/var/tmp")
"""Where the engines' images outlast the tests: they take a while to build."""
TLS_PORT = 2376
DOCKER = "/usr/bin/docker"
_WIRE = "wire"
"""The far end's name."""
_ANSWER_S = 60.0
_END_S = 60.0


def run(*argv: str) -> str:
    """What a command prints. Its complaint fails the test."""
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr or done.stdout}"
    return done.stdout


@contextlib.contextmanager
def rule(table: str, chain: str, *words: str) -> Iterator[None]:
    """A first rule of this machine's packet filter, while it lasts."""
    run("iptables", "-w", "-t", table, "-I", chain, *words)
    try:
        yield
    finally:
        run("iptables", "-w", "-t", table, "-D", chain, *words)


def wire_names(pid: int, name: str) -> tuple[str, str]:
    """The namespace of a machine of the tests in process `pid`, and the near end of its wire."""
    return f"wsgilab-{pid}-{name}", f"wl{pid}{name[0]}"


def sweep() -> None:
    """Remove the wires of test runs that were killed, with their namespaces and rules of the packet filter."""
    for each in NAMESPACES.glob("wsgilab-*"):
        found = re.fullmatch(r"wsgilab-(\d+)-(\w+)", each.name)
        if found and not psutil.pid_exists(int(found[1])):
            namespace, link = wire_names(int(found[1]), found[2])
            for table in ("filter", "nat", "mangle"):
                for line in map(shlex.split, run("iptables", "-w", "-t", table, "-S").splitlines()):
                    if link in line:
                        _try("iptables", "-w", "-t", table, "-D", *line[1:])
            _try("ip", "link", "delete", link)
            _try("ip", "netns", "delete", namespace)


def _try(*argv: str) -> None:
    """Another test run may have done it by now."""
    subprocess.run(argv, check=False, capture_output=True, timeout=120)


class Machine:
    """An engine in a network namespace of its own."""

    def __init__(self, name: str, folder: Path, data: Path, subnet: str) -> None:
        self.name = name
        self.folder = folder
        self.near = f"{subnet}.1"
        """This machine's address on the wire."""
        self.address = f"{subnet}.2"
        """The other machine's."""
        self.detour = f"{subnet}.3"
        """Another of this machine's, for what is to stand between the two."""
        self.engine = f"unix://{folder}/docker.sock"
        self.by_tcp = f"tcp://{self.address}:{TLS_PORT}"
        self.by_ssh = f"ssh://root@{self.address}{folder}/docker.sock"
        self.certificates = folder / "tls" / "client"
        """What a client needs for `by_tcp`."""
        self._subnet = f"{subnet}.0/24"
        self._namespace, self._link = wire_names(os.getpid(), name)
        self._within = ("nsenter", f"--net={NAMESPACES / self._namespace}")
        self._data = data
        self._dockerd: subprocess.Popen[bytes] | None = None

    # --- the wire

    @contextlib.contextmanager
    def wired(self) -> Iterator[None]:
        """The namespace, the wire, and the way through this machine to the package index."""
        with contextlib.ExitStack() as undone:
            run("ip", "netns", "add", self._namespace)
            undone.callback(run, "ip", "netns", "delete", self._namespace)
            run("ip", "link", "add", self._link, "type", "veth", "peer", "name", _WIRE, "netns", self._namespace)
            # By itself it would stay until the namespace's last process and packet are gone.
            undone.callback(run, "ip", "link", "delete", self._link)
            for address in (self.near, self.detour):
                run("ip", "address", "add", f"{address}/24", "dev", self._link)
            run("ip", "link", "set", self._link, "up")
            run("ip", "-n", self._namespace, "address", "add", f"{self.address}/24", "dev", _WIRE)
            run("ip", "-n", self._namespace, "link", "set", "lo", "up")
            self._plug_in()
            # The first engine lets nothing through this machine but what is of its own containers.
            undone.enter_context(rule("filter", "FORWARD", "-i", self._link, "-j", "ACCEPT"))
            undone.enter_context(rule("filter", "FORWARD", "-o", self._link, "-j", "ACCEPT"))
            away = ("-s", self._subnet, "!", "-o", self._link)
            undone.enter_context(rule("nat", "POSTROUTING", *away, "-j", "MASQUERADE"))
            yield

    def _plug_in(self) -> None:
        run("ip", "-n", self._namespace, "link", "set", _WIRE, "up")
        run("ip", "-n", self._namespace, "route", "replace", "default", "via", self.near)

    @contextlib.contextmanager
    def unplugged(self) -> Iterator[None]:
        """The cable pulled: at the far end, so that packets for it still go nowhere else."""
        run("ip", "-n", self._namespace, "link", "set", _WIRE, "down")
        try:
            yield
        finally:
            self._plug_in()

    @contextlib.contextmanager
    def lossy(self, share: float) -> Iterator[None]:
        """Such a share of the packets lost, in each direction."""
        lost = ("-m", "statistic", "--mode", "random", "--probability", str(share), "-j", "DROP")
        with (
            rule("mangle", "PREROUTING", "-i", self._link, *lost),
            rule("mangle", "POSTROUTING", "-o", self._link, *lost),
        ):
            yield

    # --- the engine

    @contextlib.contextmanager
    def powered(self) -> Iterator[None]:
        """The engine at work, with nothing in it but images; whatever tests leave in it goes with it."""
        keys.make_certificates(self.folder / "tls", self.address)
        self._configure()
        try:
            self.start()
            self.empty()
            yield
            self.start()
            self.empty()
        finally:
            assert self._dockerd is not None
            self._dockerd.terminate()
            self._dockerd.wait(_END_S)
            # Namespaces of its containers, and what it could not undo where it was killed.
            for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
                place = Path(line.split()[1])
                if place.is_relative_to(self.folder) or place.is_relative_to(self._data):
                    run("umount", "--lazy", str(place))

    def start(self) -> None:
        """Have the engine answer, where it does not: after `kill`."""
        if self._dockerd is not None and self._dockerd.poll() is None:
            return
        argv = ["setpriv", "--pdeathsig", "TERM", *self._within, "dockerd", "--config-file"]
        with (self.folder / "log").open("ab") as log:
            self._dockerd = subprocess.Popen(
                [*argv, str(self.folder / "daemon.json")], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + _ANSWER_S
        while not self._answers():
            if self._dockerd.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"the engine {self.name} did not start:\n{(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.1)

    def kill(self) -> None:
        """The engine gone at once. What runs in its containers runs on, until it starts again."""
        assert self._dockerd is not None
        self._dockerd.kill()
        self._dockerd.wait()
        # It ends with its parent. A new engine would wait ten seconds for one that nobody has buried.
        beside = self.folder / "exec" / "containerd" / "containerd.pid"
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(beside.read_text()), signal.SIGKILL)
        beside.unlink()
        # Where that number is another's by then, if only a thread's, the next engine takes it for this one.
        (self.folder / "pid").unlink(missing_ok=True)

    def _configure(self) -> None:
        certificates = self.folder / "tls" / "server"
        written = {
            "hosts": [self.engine, self.by_tcp],
            "data-root": str(self._data),
            "exec-root": str(self.folder / "exec"),
            "pidfile": str(self.folder / "pid"),
            "tlsverify": True,
            "tlscacert": str(certificates / "ca.pem"),
            "tlscert": str(certificates / "cert.pem"),
            "tlskey": str(certificates / "key.pem"),
        }
        (self.folder / "daemon.json").write_text(json.dumps(written))

    def _answers(self) -> bool:
        argv = [DOCKER, "--host", self.engine, "version"]
        return subprocess.run(argv, check=False, capture_output=True, timeout=_ANSWER_S).returncode == 0

    def client(self) -> docker.DockerClient:
        return docker.DockerClient(base_url=self.engine, timeout=60)

    def empty(self) -> None:
        """Nothing is left in it but images."""
        with contextlib.closing(self.client()) as client:
            for container in client.containers.list(all=True, ignore_removed=True):
                container.remove(force=True)
            client.networks.prune()

    @contextlib.contextmanager
    def sshd(self) -> Iterator[Ssh]:
        with (
            tempfile.TemporaryDirectory(dir=self.folder, prefix="ssh-") as folder,
            keys.sshd(Path(folder), self.address, *self._within) as ssh,
        ):
            yield ssh

    def copy_base(self) -> None:
        """The first engine's base image, without a registry."""
        names = {os.environ.get("LAB_BASE_IMAGE", OWN_BASE), OWN_BASE, DEFAULT_BASE}
        with contextlib.closing(docker.from_env()) as first, contextlib.closing(self.client()) as own:
            here, there = _ids(own), _ids(first)
        for tag in names & there.keys():
            if here.get(tag) != there[tag]:
                archive = str(self.folder / "base.tar")
                run(DOCKER, "save", "--output", archive, tag)
                run(DOCKER, "--host", self.engine, "load", "--input", archive)

    # --- what is in it

    def names(self, lab_id: str) -> list[str]:
        """The containers and networks of a lab that stand here."""
        return left_running(self.client(), lab_id)

    def containers(self, lab_id: str, service: str) -> list[Any]:
        """The containers of one of a lab's services that run here."""
        with contextlib.closing(self.client()) as client:
            found = client.containers.list(filters={"label": f"wsgilab.lab={lab_id}"}, ignore_removed=True)
            return [each for each in found if each.labels["com.docker.compose.service"] == service]


def _ids(client: docker.DockerClient) -> dict[str, str]:
    """Tag -> image, of an engine's images."""
    # Not the library's own list, which looks at each image again: another lab may have removed it by then.
    return {str(tag): str(image["Id"]) for image in client.api.images() for tag in image["RepoTags"] or ()}


def left_running(client: docker.DockerClient, lab_id: str) -> list[str]:
    """The containers and networks of a lab that stand on an engine."""
    with contextlib.closing(client):
        names = [str(each.name) for each in client.containers.list(all=True, ignore_removed=True)]
        names += [str(each.name) for each in client.networks.list()]
    return [name for name in names if lab_id in name]


@contextlib.contextmanager
def brought_up(name: str) -> Iterator[Machine]:
    """One more machine. Skips where this one cannot be more than one, and fails where it was promised to."""
    require("compose")
    missing = [each for each in NEEDED if shutil.which(each) is None]
    if os.geteuid() != 0 or missing:
        reason = f"a second machine needs root and {', '.join(NEEDED)}; not here: {', '.join(missing) or 'root'}"
        if os.environ.get("LAB_REQUIRE_DOCKER") == "1":
            pytest.fail(f"LAB_REQUIRE_DOCKER=1, but {reason}")
        pytest.skip(reason)
    if "PYTEST_XDIST_WORKER" in os.environ:
        # The tests on several machines take longest in one process, so they go before those beside them.
        os.setpriority(os.PRIO_PROCESS, 0, -10)
    sweep()
    with contextlib.ExitStack() as undone:
        # Sockets have short paths.
        folder = Path(undone.enter_context(tempfile.TemporaryDirectory(prefix=f"{name}-", dir="/tmp")))
        machine = Machine(name, folder, undone.enter_context(_kept(name, folder)), _free_subnet())
        undone.enter_context(machine.wired())
        undone.enter_context(machine.powered())
        machine.copy_base()
        yield machine


@contextlib.contextmanager
def _kept(name: str, folder: Path) -> Iterator[Path]:
    """Where an engine has its images: with those of earlier tests, but for where other tests are at work there."""
    kept = KEPT / f"wsgilab-engine-{name}"
    kept.mkdir(exist_ok=True)
    with (kept / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield folder / "data"
        else:
            yield kept / "data"


def _free_subnet() -> str:
    for third in range(os.getpid() % 200, 255):
        subnet = f"10.87.{third}"
        if not run("ip", "-4", "route", "show", f"{subnet}.0/24"):
            return subnet
    pytest.fail("no free subnet in 10.87.0.0/16")
