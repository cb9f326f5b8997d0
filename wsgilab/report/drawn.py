"""Tables and figures as the templates take them, drawn for a phone and for a desk."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from wsgilab.report.charts import svg
from wsgilab.report.charts.figure import Figure, one_line
from wsgilab.report.tables import Table

_SENTENCE = 30
"""From more characters on a column needs room to be folded in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """A table, which of its columns is the rows' heading, and what each column is: `number`, `words`, or `long` where it
    holds sentences."""

    table: Table
    heading: int
    kinds: tuple[str, ...]


def sheet(table: Table) -> Sheet:
    """A table as the template `macros.html` takes it."""
    heading = next((index for index, column in enumerate(table.columns) if not column.numeric), 0)
    kinds = tuple(
        "number" if column.numeric else "long" if any(len(row[index]) > _SENTENCE for row in table.rows) else "words"
        for index, column in enumerate(table.columns)
    )
    return Sheet(table=table, heading=heading, kinds=kinds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A figure with the drawings of its panels, and its table."""

    figure: Figure
    by_width: Mapping[int, Sequence[str]]
    """Width in pixels -> a drawing of each panel, as `svg` makes them."""
    sheet: Sheet

    @classmethod
    def of(cls, figure: Figure) -> "Drawn":
        """Draws it, which takes a while."""
        widths = svg.widths(len(figure.panels))
        drawn = [svg.draw_both(panel, widths) for panel in figure.panels]
        by_width = {width: [of_panel[at] for of_panel in drawn] for at, width in enumerate(widths)}
        return cls(figure=figure, by_width=by_width, sheet=sheet(figure.table))

    @property
    def narrow(self) -> Sequence[str]:
        """The drawings for a phone."""
        return self.by_width[min(self.by_width)]

    @property
    def for_file(self) -> Sequence[str]:
        """Those of its file: for a phone, side by side, unless they are laid out otherwise for a whole page."""
        has_wide = any(panel.wide is not None for panel in self.figure.panels)
        return self.by_width[max(self.by_width)] if has_wide else self.narrow

    @property
    def layout(self) -> str:
        """The class of how many lie side by side on a desk."""
        widest = max(self.by_width)
        return {svg.widths(1)[-1]: "of-1", svg.widths(2)[-1]: "of-2"}.get(widest, "of-3")

    @property
    def drawings(self) -> Sequence[Mapping[str, Markup | None]]:
        """Of each panel the one for a phone and, where there is one, that for a desk."""
        wide = self.by_width[max(self.by_width)] if len(self.by_width) > 1 else [None] * len(self.narrow)
        return [
            {
                "narrow": self._named(narrow, panel.title),
                "wide": None if each_wide is None else self._named(each_wide, panel.title),
            }
            for narrow, each_wide, panel in zip(self.narrow, wide, self.figure.panels, strict=True)
        ]

    def _named(self, drawn: str, title: Sequence[str]) -> Markup:
        return named(drawn, f"{self.figure.title}. {', '.join(title)}. The table below has its figures.")


def named(drawn: str, label: str) -> Markup:
    """A drawing that says what it shows, to those who do not see it. Parts of it that have the focus are no image's."""
    role = "group" if svg.FOCUSABLE in drawn else "img"
    # Vega has escaped what comes from the run, and here the label is.
    head = Markup('<svg role="{}" aria-label="{}" ').format(role, one_line(label))
    return Markup(drawn).replace("<svg ", head, 1)  # noqa: S704
