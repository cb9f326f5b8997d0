"""A Docker engine that can be made to stop: a socket in front of the real one, closed when a test says so."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit


class StoppableEngine:
    """Forwards a Unix socket to the engine's own until `stop`, which also cuts what is under way."""

    def __init__(self, path: Path, address: str) -> None:
        self.address = f"unix://{path}"
        self._real = urlsplit(address).path
        self._open: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        self._path = path
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        self._path.unlink(missing_ok=True)
        self._listener.close()
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            far.connect(self._real)
            self._open += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
        # Attaching to a container closes one direction and goes on with the other.
        sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def stoppable(path: Path, address: str) -> Iterator[StoppableEngine]:
    engine = StoppableEngine(path, address)
    try:
        yield engine
    finally:
        engine.stop()
