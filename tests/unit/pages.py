"""HTML as tests look at it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser

VOID = {"meta", "link"}


class Page(HTMLParser):
    """A page as its elements, by their paths from the root, with attributes and texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, Mapping[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(page)
        self.close()
        assert self.open == [], "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(("/".join([*self.open, tag]), dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(("/".join([*self.open, tag]), dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.open[-1] if self.open else "", data))

    def tags(self) -> Counter[str]:
        return Counter(path.split("/")[-1] for path, _ in self.elements)

    def of(self, tag: str) -> Sequence[Mapping[str, str | None]]:
        return [attributes for path, attributes in self.elements if path.split("/")[-1] == tag]

    def words(self) -> Sequence[str]:
        """Each text that is to be read, in order."""
        return [" ".join(text.split()) for tag, text in self.texts if tag != "style"]

    def text(self) -> str:
        return " ".join(self.words())
