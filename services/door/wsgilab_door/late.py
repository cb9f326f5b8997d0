"""The file of what left late: LAB_LATE, which all processes of one server append to, and the lab empties.

A line is `<the five numbers of the Lab-Stamp header> <left ns>`. Each is one write to a descriptor that appends, so lines of
many processes and threads never mix. The file has to be on a tmpfs: an append costs about a microsecond there.
"""

import os

MOST_BYTES = 32 << 20
"""Nothing is appended beyond this: where nobody reads the file, it would fill the memory that it is in."""
_READ_BYTES = 1 << 20


class LateFile:
    """The file at `path`, made when it is first needed."""

    def __init__(self, path: str) -> None:
        # Absolute, because the working folder changes.
        self._path = os.path.abspath(path)  # noqa: PTH100 - pathlib is more to import than the rest of this
        self._process, self._descriptor = 0, -1

    def append(self, line: str) -> None:
        """Append `line`, without its end. What goes wrong is no matter of the request that it is about, and is passed over."""
        try:
            if self._process != os.getpid():
                # In each process anew: a server may close what it inherits.
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
                self._descriptor = os.open(self._path, flags, 0o600)
                self._process = os.getpid()
            if os.fstat(self._descriptor).st_size < MOST_BYTES:
                os.write(self._descriptor, f"{line}\n".encode())
        except OSError:
            pass

    def take(self) -> bytes:
        """All lines, and empty the file. What is appended at the very moment of that may be lost: ask when nothing is under way.

        Raises OSError.
        """
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return b""
        try:
            pieces = []
            while piece := os.read(descriptor, _READ_BYTES):
                pieces.append(piece)
            os.ftruncate(descriptor, 0)
            return b"".join(pieces)
        finally:
            os.close(descriptor)
