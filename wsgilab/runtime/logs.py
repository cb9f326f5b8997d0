"""The logs that a runtime keeps of its processes while they are up, and the lines in any log."""

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

_POLL_S = 0.2


@contextlib.contextmanager
def kept(folder: Path, name: str) -> Iterator[Path]:
    """A new, empty `name`.log, for as long as what writes it. The folder goes with the last one."""
    log = folder / f"{name}.log"
    try:
        # Within, because an interrupt may come before this is done.
        folder.mkdir(parents=True, exist_ok=True)
        log.write_bytes(b"")
        yield log
    finally:
        log.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            folder.rmdir()


def read(log: Path, *, follow: bool) -> Iterator[bytes]:
    """What is in a log, and with `follow` what comes to it until it is removed; nothing where there is none."""
    with contextlib.suppress(FileNotFoundError), log.open("rb") as file:
        while True:
            # In this order: what was written last, before the removal, is read as well.
            removed = os.fstat(file.fileno()).st_nlink == 0
            if chunk := file.read():
                yield chunk
            elif removed or not follow:
                return
            else:
                time.sleep(_POLL_S)


def lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """The lines in `chunks`, each as soon as it is whole, without its line end; a last one that has none as well."""
    pending = b""
    for chunk in chunks:
        *whole, pending = (pending + chunk).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace").removesuffix("\r")
    if pending:
        yield pending.decode(errors="replace")
