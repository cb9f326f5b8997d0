"""Text from elsewhere, made safe to show: what would move the cursor or hide is spelt out. Pure."""

import unicodedata

_KEPT = frozenset("\n\t")


def visible(text: str) -> str:
    r"""`text` with every character that does not print spelt as Python spells it, such as `\x1b` or `\u202e`.

    Those are control characters (an escape sequence can rewrite a terminal), characters that reverse, join or have no
    width (Unicode Technical Report 36, "Bidirectional Text Spoofing"), other line ends than `\n`, lone surrogates, and
    what Unicode does not define. Line ends, tabs and spaces stay; `\r\n` is a line end.
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in _KEPT or unicodedata.category(each) == "Zs" else _spelt(each)
        for each in text.replace("\r\n", "\n")
    )


def _spelt(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
