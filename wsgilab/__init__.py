"""wsgilab: how many requests a Python web server handles at once, settled with evidence from your own machine.

`wsgilab.commands` is the facade. The layers below it, and who may import whom, stand in CONTRIBUTING.md and are held by
import-linter.
"""

import sys

__version__ = "0.1.0"


def refuse_windows(system: str = sys.platform) -> None:
    """End the process, with what to do instead, where it runs on Windows itself: the lab's locks, signals and pipes are POSIX's."""
    if system == "win32":
        raise SystemExit(
            "error: wsgilab does not run on Windows itself; run it in WSL 2, with Docker Desktop's WSL integration (docs/engine.md)"
        )
