"""A report as plain blocks, which the templates turn into HTML or Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from saliency_core.output.highlighting import Piece


@dataclass(frozen=True)
class Paragraph:
    """One paragraph of text; `lead` sets off what a hurried reader should take away."""

    kind: ClassVar = "paragraph"
    text: str
    lead: bool = False


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    kind: ClassVar = "bullets"
    items: Sequence[str]
    numbered: bool = False


@dataclass(frozen=True)
class Facts:
    """A few big numbers with what they are: name, value, remark."""

    kind: ClassVar = "facts"
    items: Sequence[tuple[str, str, str]]


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    name: str
    style: str = ""
    """Classes of the style sheet."""


class Table:
    """Rows of text."""

    kind: ClassVar = "table"

    def __init__(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Take names of columns; what they end with says how they look.

        `#`: numbers; `*`: what the row is about; `~`: a sentence.
        """
        styles = {"#": "number", "*": "strong whole", "~": "wide"}
        self.columns = [Column(name.rstrip("#*~"), styles.get(name[-1:], "")) for name in columns]
        self.rows = rows


@dataclass(frozen=True)
class Chart:
    """A chart as SVG with its caption."""

    svg: str
    caption: str


@dataclass(frozen=True)
class Charts:
    """Charts side by side; left out of Markdown, whose tables hold the numbers."""

    kind: ClassVar = "charts"
    charts: Sequence[Chart]


@dataclass(frozen=True)
class PaintedExample:
    """One example with its words on the background of their scores."""

    heading: str
    details: Sequence[str]
    texts: Sequence[Sequence[Piece]]


@dataclass(frozen=True)
class Examples:
    """Examples one below another."""

    kind: ClassVar = "examples"
    examples: Sequence[PaintedExample]


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    title: str
    blocks: Sequence[Any]

    @property
    def anchor(self) -> str:
        """Return what a link within the page calls it."""
        return "".join(one if one.isalnum() else "-" for one in self.title.lower())


@dataclass(frozen=True)
class Document:
    """A whole report."""

    title: str
    subtitle: str
    sections: Sequence[Section]
    appendix: Sequence[Section]
