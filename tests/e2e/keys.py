"""How a machine of the tests is reached with authority: certificates for TLS, and an sshd with keys of its own."""

import contextlib
import os
import shlex
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

SSHD = "/usr/sbin/sshd"
_BEGIN_S = 60.0


def make_certificates(folder: Path, address: str) -> None:
    """An authority, and in `folder`/server and `folder`/client what each side needs: ca.pem, cert.pem and key.pem."""
    authority = folder / "authority"
    authority.mkdir(parents=True)
    made = shlex.split("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2")
    ours = [*made, "-keyout", str(authority / "key.pem"), "-out", str(authority / "ca.pem")]
    _openssl(*ours, "-subj", "/CN=authority of a test", "-addext", "keyUsage=critical,keyCertSign")
    for side, purpose in (("server", "serverAuth"), ("client", "clientAuth")):
        kept = folder / side
        kept.mkdir()
        signed = [*made, "-CA", str(authority / "ca.pem"), "-CAkey", str(authority / "key.pem"), "-subj", f"/CN={side}"]
        signed += ["-addext", f"subjectAltName=IP:{address}", "-addext", f"extendedKeyUsage={purpose}"]
        signed += ["-addext", "basicConstraints=critical,CA:FALSE"]
        _openssl(*signed, "-keyout", str(kept / "key.pem"), "-out", str(kept / "cert.pem"))
        (kept / "ca.pem").write_bytes((authority / "ca.pem").read_bytes())


def _openssl(*argv: str) -> None:
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


class Ssh:
    """What reaches an sshd of the tests: `ssh` in `folder`, to stand first on PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._config = folder / "config"

    def path(self) -> str:
        return os.pathsep.join([str(self.folder), os.environ.get("PATH", os.defpath)])

    def clients(self) -> list[psutil.Process]:
        """Every ssh that was started so."""
        mine = ["/usr/bin/ssh", "-F", str(self._config)]
        return [each for each in psutil.process_iter(["cmdline"]) if (each.info["cmdline"] or [])[:3] == mine]


@contextlib.contextmanager
def sshd(folder: Path, address: str, *within: str) -> Iterator[Ssh]:
    """An sshd at `address`, started by the command `within`; only the key made for it opens it, and only to root.

    Everything of it is in `folder`.
    """
    # An interrupted package installation lacks it, and it is not kept over a restart of the machine.
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    for name in ("host", "client"):
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(argv, check=True, timeout=60)
    (folder / "sshd.conf").write_text(
        f"""ListenAddress {address}
HostKey {folder / "host"}
AuthorizedKeysFile {folder / "client.pub"}
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
PidFile none
# The folder is a temporary one, which others could write to by name alone.
StrictModes no
MaxStartups 100
SetEnv PATH=/usr/bin:/bin
"""
    )
    (folder / "known").write_text(f"{address} {(folder / 'host.pub').read_text()}")
    (folder / "config").write_text(
        f"""IdentityFile {folder / "client"}
IdentitiesOnly yes
UserKnownHostsFile {folder / "known"}
GlobalKnownHostsFile /dev/null
StrictHostKeyChecking yes
BatchMode yes
"""
    )
    wrapper = folder / "ssh"
    # What is said first holds: a cable that is pulled is noticed in 6 s, in place of the lab's 15.
    sooner = "-o ServerAliveInterval=2"
    wrapper.write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F {shlex.quote(str(folder / "config"))} {sooner} "$@"\n')
    wrapper.chmod(0o755)
    with (folder / "log").open("wb") as log:
        argv = ["setpriv", "--pdeathsig", "TERM", *within, SSHD, "-D", "-e", "-f", str(folder / "sshd.conf")]
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + _BEGIN_S
        while not _listens(address):
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"sshd did not start:\n{(folder / 'log').read_text()}")
            time.sleep(0.05)
        reached = Ssh(folder)
        try:
            yield reached
        finally:
            for each in reached.clients():
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()
    finally:
        process.terminate()
        process.wait(60)


def _listens(address: str) -> bool:
    try:
        socket.create_connection((address, 22), timeout=1).close()
    except OSError:
        return False
    return True
