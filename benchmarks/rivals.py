"""Programs of others that the lab is held against: wrk, a generator in C, and nginx, a server that does next to
nothing.

wrk: https://github.com/wg/wrk
"""

import json
import math
import resource
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.outcome import Rate
from wsgilab.model import Connection
from wsgilab.model.errors import HostError, SwarmError, TargetError
from wsgilab.system import process
from wsgilab.system.ports import free_ports
from wsgilab.system.process import Child

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SCRIPT = Path(__file__).resolve().with_name("wrk_report.lua")
_MARGIN_S = 20.0
_START_S = 10.0
_POLL_S = 0.02

# A stamp of no request, so that the lab's users, who look for one, find it.
_NGINX = """
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log stderr;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    default_type text/plain;
    server {{
        listen 127.0.0.1:{port};
        location = /hello {{
            add_header Lab-Stamp "1 1 1 1000000 1000001";
            return 200 "hello\\n";
        }}
    }}
}}
"""


def _program(name: str, package: str) -> str:
    found = shutil.which(name, path=_PATH)
    if found is None:
        raise HostError(f"{name} is not installed; apt-get install {package}")
    return found


def _version(*argv: str) -> str:
    """The first line that a program prints about itself, on either stream."""
    finished = process.run(argv, timeout_s=_MARGIN_S)
    return (finished.stdout + finished.stderr).splitlines()[0].partition(" Copyright")[0].strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What wrk says of one run."""

    rate: Rate
    requests: int
    took_us: Mapping[int, int]
    """Microseconds -> how many requests took so long, from when they were sent: wrk does not count how long a connection took to
    open."""
    printed_us: Mapping[int, int]
    """The same as `wrk --latency` prints it: see `uncorrected`."""


class Wrk:
    """wrk with one thread, on the cores of whoever calls it. Raises HostError where it is not installed."""

    def __init__(self) -> None:
        self._program = _program("wrk", "wrk")
        self.version = _version(self._program, "-v")

    def rate(self, base_url: str, *, connection: Connection, connections: int, window_s: float) -> Rate:
        """The rate of `/hello` that wrk reports, from its own start. It knows whole seconds only, so `window_s` is
        rounded up.

        Raises SwarmError where any request failed.
        """
        return self.load(base_url, connection=connection, connections=connections, window_s=window_s).rate

    def load(self, base_url: str, *, connection: Connection, connections: int, window_s: float) -> Load:
        """The same, and what else it says."""
        seconds = math.ceil(window_s)
        # With the same header as the lab's users, whose requests differ in nothing else.
        header = f"Connection: {connection}"
        argv = [self._program, "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(_SCRIPT), "-H", header]
        before_s = _children_cpu_s()
        try:
            finished = process.run([*argv, f"{base_url}/hello"], timeout_s=seconds + _MARGIN_S)
        except process.TooSlow as error:
            raise SwarmError(f"wrk failed: {error}") from None
        used_s = _children_cpu_s() - before_s
        if finished.code != 0:
            raise SwarmError(f"wrk failed: {finished.last_line}", detail=finished.stderr)
        found = json.loads(finished.stdout.splitlines()[-1])
        requests, duration_us, printed_us = (
            found.pop("requests"),
            found.pop("duration_us"),
            dict(found.pop("latencies")),
        )
        failures = {what: count for what, count in found.items() if count}
        if failures or not requests:
            raise SwarmError(f"wrk: {requests} requests of {base_url} ({connection}) answered, failures: {failures}")
        each = requests // connections
        return Load(
            rate=Rate(rps=requests / duration_us * 1e6, generator_cpu=used_s / duration_us * 1e6),
            requests=requests,
            took_us=uncorrected(printed_us, duration_us // each) if each else printed_us,
            printed_us=printed_us,
        )


def uncorrected(took_us: Mapping[int, int], expected_us: int) -> Mapping[int, int]:
    """What wrk has measured, from what it prints.

    For each request that took twice as long as a connection's requests do on average, or longer, wrk adds requests that nobody
    sent, each shorter by that time than the one before, as if users had a schedule (`stats_correct` in its `src/stats.c`).
    """
    found = dict(took_us)
    for us in sorted((us for us in took_us if us >= 2 * expected_us), reverse=True):
        for added_us in range(us - expected_us, expected_us, -expected_us):
            found[added_us] -= found[us]
    return {us: count for us, count in found.items() if count}


def percentile_ms(took_us: Mapping[int, int], percent: float) -> float:
    """So many percent of the requests took so long at most: nearest rank."""
    rank, count = math.ceil(sum(took_us.values()) * percent / 100), 0
    for us, of_these in sorted(took_us.items()):
        count += of_these
        if count >= rank:
            return us / 1000
    raise ValueError("there are no requests")


def _children_cpu_s() -> float:
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime


@contextmanager
def nginx(bench: Bench) -> Iterator[tuple[str, str]]:
    """nginx with one worker on the servers' core, answering `/hello`. Its URL and its version."""
    program = _program("nginx", "nginx-light")
    [port] = free_ports(1, bench.ports)
    with tempfile.TemporaryDirectory(prefix="wsgilab-nginx-") as name:
        folder = Path(name)
        log, configuration = folder / "log", folder / "nginx.conf"
        configuration.write_text(_NGINX.format(folder=folder, port=port))
        argv = [program, "-e", "stderr", "-p", name, "-c", str(configuration)]
        child = process.spawn(argv, cwd=folder, env={"PATH": _PATH}, cpus=bench.server_cpus, log=log)
        try:
            _wait_until_up(child, port, log)
            yield f"http://127.0.0.1:{port}", _version(program, "-v")
        finally:
            child.end()


def _wait_until_up(child: Child, port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while child.exit_code() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(_POLL_S)
        else:
            return
    raise TargetError("nginx did not start; see its last lines below", detail=process.tail(log, 10))
