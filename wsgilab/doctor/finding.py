"""One thing that was looked at."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that `doctor` looked at. `remedy` is empty where all is well."""

    subject: str
    found: str
    remedy: str = ""
