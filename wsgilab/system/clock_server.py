"""Serves a machine's clock over TCP: its time, and bytes to measure the round trip and the bandwidth. Standard library alone.

    python3 -m wsgilab.system.clock_server serve PORT         answer, on all addresses
    python3 -m wsgilab.system.clock_server host               what this machine is, as one JSON line
    python3 -m wsgilab.system.clock_server busy CPUSET S      how busy its cores are in the next S seconds, as one JSON line
    python3 -m wsgilab.system.clock_server memory             what programs can still have of its memory, as one JSON line
    python3 -m wsgilab.system.clock_server probe HOST PORT    what lies between this machine and a clock server, as one JSON line

One request a line: `clock` is answered with the nanoseconds of CLOCK_MONOTONIC, a line; `idle CPUSET` with these and
the nanoseconds for which those cores have been idle, a line; `bytes N` with so many bytes and the connection's end. Whatever
else is said ends the connection. Nothing that it answers is secret. Its client is `clock_client`.
"""

import json
import os
import re
import selectors
import signal
import socket
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

from wsgilab.system import cpus, host
from wsgilab.system.clock_client import LONGEST_LINE, MOST_BYTES, ClockClient

_CHUNK = os.urandom(1 << 16)
"""Not zeroes: some links compress."""
_TOO_LARGE = re.compile(rb"[0-9]{5}")
"""Of the number of a core: Linux has 8192 at most, and no client may have millions counted."""
_LONGEST_SENDING_S = 5.0
_MOST_CONNECTIONS = 64
_CLOCKSOURCE = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")


# --- answering


class ClockServer:
    """Answers its clients, one event after the other. Where too many are connected, the longest silent one is dropped."""

    def __init__(self, port: int, *, bind: str = "0.0.0.0", clock_ns: Callable[[], int] = time.monotonic_ns) -> None:  # noqa: S104 - it is asked from elsewhere
        self._clock_ns = clock_ns
        self._listener = socket.create_server((bind, port), backlog=_MOST_CONNECTIONS)
        self._listener.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._asking: OrderedDict[socket.socket, _Asking] = OrderedDict()
        """The longest silent first."""

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    def serve(self) -> NoReturn:
        while True:
            self.step(timeout_s=None)

    def step(self, timeout_s: float | None) -> None:
        """Answer what has come, or comes within `timeout_s`."""
        for key, _ in self._selector.select(timeout_s):
            if key.fileobj is self._listener:
                self._accept()
            elif (asking := self._asking.get(key.data)) is not None:
                self._attend(asking)

    def close(self) -> None:
        for asking in list(self._asking.values()):
            self._drop(asking)
        self._selector.close()
        self._listener.close()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            # It has gone again, or there are too many files open.
            return
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if len(self._asking) >= _MOST_CONNECTIONS:
            self._drop(next(iter(self._asking.values())))
        self._asking[connection] = _Asking(connection)
        self._selector.register(connection, selectors.EVENT_READ, connection)

    def _attend(self, asking: "_Asking") -> None:
        self._asking.move_to_end(asking.connection)
        try:
            if asking.left_bytes:
                asking.send()
            else:
                asking.receive(self._clock_ns)
        except BlockingIOError:
            return
        except (OSError, ValueError):
            # It has gone, or has said what nobody says who is meant to ask.
            self._drop(asking)
            return
        if asking.left_bytes:
            self._selector.modify(asking.connection, selectors.EVENT_WRITE, asking.connection)
        elif asking.is_done:
            self._drop(asking)

    def _drop(self, asking: "_Asking") -> None:
        del self._asking[asking.connection]
        self._selector.unregister(asking.connection)
        asking.connection.close()


class _Asking:
    """One who asks."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.left_bytes = 0
        """To be sent."""
        self.is_done = False
        self._until = 0.0
        self._unread = b""

    def receive(self, clock_ns: Callable[[], int]) -> None:
        """Take in and answer a line, if it has all come. Raises OSError and ValueError where that is the end of it."""
        received = self.connection.recv(LONGEST_LINE)
        if not received:
            raise ConnectionError("closed")
        line, newline, beyond = (self._unread + received).partition(b"\n")
        if beyond or len(line) > LONGEST_LINE:
            raise ValueError("says more than is asked for")
        self._unread = b"" if newline else line
        match line.split(b" ") if newline else ():
            case ():
                pass
            case (b"clock",):
                # Whoever does not read the answer, and so lets it fill the buffers, is dropped.
                self.connection.sendall(b"%d\n" % clock_ns())
            case (b"idle", cpuset) if not _TOO_LARGE.search(cpuset):
                cores = cpus.parse(cpuset.decode("ascii"))
                self.connection.sendall(b"%d %d\n" % (clock_ns(), round(host.idle_s(cores) * 1e9)))
            case (b"bytes", count) if count.isdigit():
                self.left_bytes = min(int(count), MOST_BYTES)
                self.is_done = not self.left_bytes
                self._until = time.monotonic() + _LONGEST_SENDING_S
            case _:
                raise ValueError("nonsense")

    def send(self) -> None:
        """Some of what is to be sent. Raises OSError where that takes too long."""
        if time.monotonic() > self._until:
            raise TimeoutError
        self.left_bytes -= self.connection.send(_CHUNK[: self.left_bytes])
        self.is_done = self.left_bytes == 0


# --- as a command


def about() -> dict[str, object]:
    """This machine, its time (seconds since 1970), what its clocks are read from, and which start of it this is."""
    try:
        clocksource = _CLOCKSOURCE.read_text().strip()
    except OSError:
        clocksource = ""
    answer = {"host": asdict(host.fingerprint()), "time": time.time(), "clocksource": clocksource}
    return {**answer, "boot": host.boot_id()}


def probe(address: str, port: int, timeout_s: float = 5.0) -> dict[str, float]:
    """What lies between this machine and a clock server. Raises OSError."""
    link = ClockClient(address, port, timeout_s)
    reading = link.read()
    link.close()
    return {
        "round_trip_ms": reading.round_trip_ms,
        "offset_ns": reading.offset_ns,
        "bandwidth_mbps": link.bandwidth_mbps(),
    }


def main(argv: list[str]) -> int:
    match argv:
        case ["serve", port]:
            # The first process of a container has no default for it.
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
            ClockServer(int(port)).serve()
        case ["host"]:
            answer: object = about()
        case ["busy", cpuset, seconds]:
            answer = host.busy(cpus.parse(cpuset), float(seconds))
        case ["memory"]:
            answer = {"available_bytes": host.available_bytes()}
        case ["probe", address, port]:
            try:
                answer = probe(address, int(port))
            except OSError as error:
                answer = {"error": f"{ClockClient(address, int(port), 0)} is not reached: {error}"}
        case _:
            answer = {"error": "to be called with: serve PORT, host, busy CPUSET S, memory, or probe HOST PORT"}
    sys.stdout.write(json.dumps(answer) + "\n")
    return int(isinstance(answer, dict) and "error" in answer)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
