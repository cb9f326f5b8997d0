"""On PYTHONPATH, this swaps the formats of a comparison for those without charts, which are next to it.

Python imports it at its start. Drawing takes two seconds of computing a run, and most tests look at no chart.
"""

import sys
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path


class _Swap:
    @staticmethod
    def find_spec(name: str, *_: object) -> ModuleSpec | None:
        if name != "wsgilab.report.formats":
            return None
        return spec_from_file_location(name, Path(__file__).with_name("formats.py"))


sys.meta_path.insert(0, _Swap)
