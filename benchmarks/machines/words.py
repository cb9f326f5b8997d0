"""Numbers, durations, tables and lists as docs/scale.md has them. Pure."""

from collections.abc import Sequence


def number(value: float) -> str:
    """Three digits that count, with commas between thousands."""
    if value == 0:
        return "0"
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 100 else f"{rounded:.3g}"  # noqa: PLR2004 - three digits


def lasted(seconds: float) -> str:
    """Such as `12 s`, `4 min` or `1 h 20 min`."""
    if seconds < 100:  # noqa: PLR2004 - up to there seconds are read more easily
        return f"{number(seconds)} s"
    minutes = round(seconds / 60)
    if minutes < 10:  # noqa: PLR2004 - two digits
        return f"{seconds / 60:.1f} min"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"  # noqa: PLR2004 - minutes


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
