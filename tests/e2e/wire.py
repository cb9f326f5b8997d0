"""A longer or narrower way between two machines: what arrives at this one goes on to the other, but later.

The kernel may lack the means to delay packets (`netem`), so bytes are, in both directions. A connection takes the
time of its handshake too, which the kernel here answers at once.
"""

import asyncio
import contextlib
import functools
import threading
from collections.abc import Collection, Iterator

_CHUNK = 1 << 16
_BEGIN_S = 60.0
_BACKLOG = 1024
_UNDER_WAY = 256
"""Chunks of one connection that are on their way at once. Few would make the way narrower the longer it is."""

_Way = asyncio.Queue[tuple[float, bytes | OSError]]
"""What is under way in one direction of a connection, with when it arrives."""


def _way() -> _Way:
    return asyncio.Queue(maxsize=_UNDER_WAY)


class Detour:
    """Forwards ports of one address to the same of another, in a thread of its own. Either may be a socket's path."""

    def __init__(
        self, near: str, far: str, ports: Collection[int], *, delay_s: float = 0.0, mbps: float | None = None
    ) -> None:
        self._near, self._far, self._ports = near, far, ports
        self._delay_s = delay_s
        self._bytes_per_s = None if mbps is None else mbps * 1e6 / 8
        self._free_at = [0.0, 0.0]
        """When the way is free for the next bytes: to the far machine, and from it."""
        self.connections = 0
        """Made so far."""
        self.failure: BaseException | None = None
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        self._began = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @contextlib.contextmanager
    def open(self) -> Iterator["Detour"]:
        self._thread.start()
        assert self._began.wait(_BEGIN_S)
        if self.failure is not None:
            raise self.failure
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._ended.set)
            self._thread.join(_BEGIN_S)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as failure:  # noqa: BLE001 - told in the thread that waits for it
            self.failure = failure
            self._began.set()
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        handlers: set[asyncio.Task[None]] = set()

        async def accepted(port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            handlers.add(task)
            # Cancelled only in the end, when nobody waits for it.
            with contextlib.suppress(asyncio.CancelledError):
                await self._forward(reader, writer, port)
            handlers.discard(task)

        async with contextlib.AsyncExitStack() as servers:
            for port in self._ports:
                handler = functools.partial(accepted, port)
                if self._near.startswith("/"):
                    server = await asyncio.start_unix_server(handler, self._near, backlog=_BACKLOG, limit=_CHUNK)
                else:
                    server = await asyncio.start_server(handler, self._near, port, backlog=_BACKLOG, limit=_CHUNK)
                servers.push_async_callback(_close, server)
            self._began.set()
            await self._ended.wait()
        for each in handlers:
            each.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
        self.connections += 1
        # The kernel has shaken hands already. Over the whole way a client knows of that, and speaks, later ...
        await asyncio.sleep(2 * self._delay_s)
        there, back = _way(), _way()
        tasks = [asyncio.ensure_future(self._read(reader, there, 0))]
        far_writer = None
        try:
            # ... and what it says arrives together with its connection.
            await asyncio.sleep(self._delay_s)
            if self._far.startswith("/"):
                far_reader, far_writer = await asyncio.open_unix_connection(self._far, limit=_CHUNK)
            else:
                far_reader, far_writer = await asyncio.open_connection(self._far, port, limit=_CHUNK)
            tasks += [asyncio.ensure_future(self._read(far_reader, back, 1))]
            tasks += [asyncio.ensure_future(_write(there, far_writer)), asyncio.ensure_future(_write(back, writer))]
            await asyncio.gather(*tasks)
        except OSError:
            for broken in (writer, far_writer):
                if broken is not None:
                    broken.transport.abort()
        finally:
            for task in tasks:
                task.cancel()
            writer.close()
            if far_writer is not None:
                far_writer.close()

    async def _read(self, reader: asyncio.StreamReader, way: _Way, direction: int) -> None:
        """Send on their way what arrives, the end of it, or what broke it."""
        clock = asyncio.get_running_loop().time
        data: bytes | OSError = b"-"
        while data and not isinstance(data, OSError):
            try:
                data = await reader.read(_CHUNK)
            except OSError as failure:
                data = failure
            free_at = clock()
            if self._bytes_per_s is not None and isinstance(data, bytes):
                free_at = max(free_at, self._free_at[direction]) + len(data) / self._bytes_per_s
                self._free_at[direction] = free_at
            await way.put((free_at + self._delay_s, data))


async def _write(way: _Way, writer: asyncio.StreamWriter) -> None:
    """Hand over what has come to the end of its way. Raises OSError where that is broken."""
    clock = asyncio.get_running_loop().time
    while True:
        due, data = await way.get()
        await asyncio.sleep(max(0.0, due - clock()))
        if isinstance(data, OSError):
            raise data
        if not data:
            writer.write_eof()
            return
        writer.write(data)
        await writer.drain()


async def _close(server: asyncio.Server) -> None:
    server.close()
