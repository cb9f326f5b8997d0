"""What is wrong with a part of a results folder."""


class Unsound(Exception):
    """A stored value that cannot be true, or that nothing must be computed with."""

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(problem)
        self.where = where
        """The key, or `:LINE`."""


def short(value: object, *, quoted: bool = True, most: int = 60) -> str:
    """`value` as Python spells it, or a text as it is, cut where it is long: it may be anything."""
    text = repr(value) if quoted else str(value)
    return text if len(text) <= most else f"{text[:most]}…"
