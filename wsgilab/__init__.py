"""wsgilab: how many requests a Python web server handles at once, settled with evidence from your own machine.

`wsgilab.commands` is the facade. The layers below it, and who may import whom, stand in CONTRIBUTING.md and are held by
import-linter.
"""

__version__ = "0.1.0"
