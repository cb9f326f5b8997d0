"""Log files that exist for as long as the processes that write them, and the lines of a log."""

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

_POLL_S = 0.2


@contextlib.contextmanager
def kept(folder: Path, name: str) -> Iterator[Path]:
    """A new, empty `name`.log, removed on exit; so is the folder, with its last log."""
    log = folder / f"{name}.log"
    try:
        # Inside the try, because an interrupt may come before this is done.
        folder.mkdir(parents=True, exist_ok=True)
        log.write_bytes(b"")
        yield log
    finally:
        log.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            folder.rmdir()


def read(log: Path, *, follow: bool) -> Iterator[bytes]:
    """A log's content, and with `follow` what is written to it until it is removed; nothing where there is no file."""
    with contextlib.suppress(FileNotFoundError), log.open("rb") as file:
        while True:
            # First this, then reading: what was written just before the removal is then read too.
            removed = os.fstat(file.fileno()).st_nlink == 0
            if chunk := file.read():
                yield chunk
            elif removed or not follow:
                return
            else:
                time.sleep(_POLL_S)


def lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """The lines in `chunks`, each as soon as it is complete, without its line end; the last one may lack that."""
    pending = b""
    for chunk in chunks:
        *whole, pending = (pending + chunk).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace").removesuffix("\r")
    if pending:
        yield pending.decode(errors="replace")
