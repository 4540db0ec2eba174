"""Templates of `output/templates` -> text, in which every value is escaped."""

from __future__ import annotations

import base64
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

FOLDER = Path(__file__).with_name("templates")
MARKDOWN = re.compile(r"([\\`*_\[\]<>|~$&@]|!(?=\[)|:(?=//)|(?<=www)\.|^[#+=-](?!\d))")
"""What Markdown takes for more than text, links that GitHub makes of bare addresses included."""
ITEM = re.compile(r"^(\d{1,9})([.)])(?=\s|$)")
"""What begins an item of a numbered list."""


def render(template: str, **values: Any) -> str:
    """Return a template filled in; its ending, `.html` or `.md`, says how values are escaped."""
    markdown = template.endswith(".md")
    return _environment(markdown).get_template(f"{template}.jinja").render(values)


@cache
def _environment(markdown: bool) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_markdown_value if markdown else None,
    )
    environment.filters.update(
        base64=_base64, css_text=css_text, direction=direction_of, inline=_inline
    )
    return environment


def escape_markdown(text: str) -> str:
    """Return text so that Markdown shows it as it is, on one line."""
    return ITEM.sub(r"\1\\\2", MARKDOWN.sub(r"\\\1", " ".join(text.split())))


def _markdown_value(value: Any) -> Any:
    """Escape what a template of Markdown fills in, once."""
    return value if isinstance(value, Markup) else Markup(escape_markdown(str(value)))


def _inline(text: str) -> Markup:
    """Escape a stretch of a line of Markdown, keeping the spaces at its ends."""
    return Markup(MARKDOWN.sub(r"\\\1", re.sub(r"\s+", " ", text)))


def direction_of(pieces: Iterable[tuple[str, str, str]]) -> str:
    """Return `rtl` where most letters of a text are written from right to left, else `ltr`.

    The first letter decides nothing: many an Arabic message begins with a Latin name.

    Args:
        pieces: of `highlighting.pieces_of`; a piece of class `cut` is not part of the text.
    """
    letters = Counter(
        unicodedata.bidirectional(letter)
        for part, style, _ in pieces
        if not style.startswith("cut")
        for letter in part
    )
    return "rtl" if letters["R"] + letters["AL"] > letters["L"] else "ltr"


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def css_text(text: str) -> Markup:
    """Return text as a quoted string of CSS in which only letters and digits stand as they are."""
    plain = "".join(one if one.isascii() and one.isalnum() else f"\\{ord(one):x} " for one in text)
    return Markup(f'"{plain}"')
