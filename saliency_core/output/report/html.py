"""A document of plain blocks -> one self-contained HTML page, or Markdown.

Every text is taken for untrusted: HTML is escaped, Markdown is escaped, charts are images. The
page holds no script, loads nothing, and forbids both by its own policy.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from saliency_core.output.highlighting import STYLE, paint, scale_of

SHOWN_CHARACTERS = 1200
"""Characters of an example's text that are painted; what follows is left out and said to be."""
MARKDOWN = re.compile(r"([\\`*_\[\]<>|~$&@]|!(?=\[)|:(?=//)|(?<=www)\.|^[#+=-](?!\d))")
"""What Markdown takes for more than text, links that GitHub makes of bare addresses included."""
COLOURS = (
    "Orange words speak for the answer the model gave, blue ones against it; the stronger the "
    "colour, the more."
)
BOLD = "In bold the three words of each text that speak most for the answer the model gave."
ITEM = re.compile(r"^(\d{1,9})([.)])(?=\s|$)")
"""What begins an item of a numbered list."""
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; form-action 'none'"


@dataclass(frozen=True)
class Paragraph:
    """One paragraph of text."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    items: Sequence[str]


@dataclass(frozen=True)
class Facts:
    """A few big numbers with what they are."""

    items: Sequence[tuple[str, str, str]]
    """Name, value, remark."""


@dataclass(frozen=True)
class Table:
    """Rows of text; a column whose name ends with `#` is of numbers."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Chart:
    """A chart as SVG with its caption; left out of Markdown, whose tables hold the numbers."""

    svg: str
    caption: str


@dataclass(frozen=True)
class Painted:
    """Examples with their words on the background of their scores."""

    examples: Sequence[dict[str, Any]]
    """Dicts with about (list of lines), text, pair, words."""


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    title: str
    blocks: Sequence[Any]


@dataclass(frozen=True)
class Document:
    """A whole report."""

    title: str
    subtitle: str
    sections: Sequence[Section]


# HTML

CSS = """
:root{color-scheme:light}
*{box-sizing:border-box}
body{margin:0 auto;max-width:60rem;padding:2rem 1.5rem 4rem;background:#fff;color:#1b1f24;
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif}
h1{font-size:1.7rem;line-height:1.25;margin:0 0 .3rem;overflow-wrap:anywhere}
h2{font-size:1.25rem;margin:2.4rem 0 .6rem;padding-top:.8rem;border-top:2px solid #e4e7eb;
break-after:avoid}
p{margin:.5rem 0;overflow-wrap:anywhere}
.subtitle,.remark{color:#57606a}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(8rem,1fr));gap:.7rem;
margin:1rem 0}
.facts div{border:1px solid #d8dee4;border-radius:8px;padding:.6rem .8rem;break-inside:avoid}
.facts b{display:block;font-size:1.5rem;line-height:1.3}
.facts .remark{font-size:.82rem;line-height:1.35;display:block}
.table{overflow-x:auto;margin:.8rem 0}
table{border-collapse:collapse;width:100%;font-size:.9rem}
th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #e4e7eb;vertical-align:top;
overflow-wrap:anywhere;min-width:6rem}
th{color:#57606a;font-weight:600;vertical-align:bottom;overflow-wrap:normal}
td.n,th.n{text-align:right;min-width:3.2rem}
td.n{font-variant-numeric:tabular-nums;white-space:nowrap}
tr{break-inside:avoid}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(19rem,100%),1fr));
gap:1rem;align-items:start;margin:1rem 0}
.charts,.table,.examples{break-before:avoid}
figure{margin:0;break-inside:avoid}
figure img{max-width:100%;height:auto;display:block}
figcaption{font-size:.85rem;line-height:1.4;color:#57606a;margin-top:.3rem;max-width:26rem}
.examples>div{padding:.7rem 0;border-top:1px solid #e4e7eb;break-inside:avoid}
.about{font-size:.88rem;color:#57606a}
.about b{color:#1b1f24}
.painted{font-size:.98rem}
@media print{body{max-width:none;padding:0;font-size:11pt}table{font-size:9pt}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
@page{margin:16mm 15mm}
"""


def to_html(document: Document) -> str:
    """Return one page that needs nothing beside itself."""
    parts = [
        "<!doctype html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'>",
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        "<meta name='viewport' content='width=device-width,initial-scale=1'>",
        "<meta name='referrer' content='no-referrer'>",
        f"<title>{html.escape(document.title)}</title>",
        STYLE,
        f"<style>{CSS}</style>\n</head>\n<body>\n<main>",
        f"<h1>{html.escape(document.title)}</h1>",
        f"<p class='subtitle'>{html.escape(document.subtitle)}</p>",
    ]
    for section in document.sections:
        parts.append(f"<section>\n<h2>{html.escape(section.title)}</h2>")
        parts.extend(_html_blocks(section.blocks))
        parts.append("</section>")
    parts.append("</main>\n</body>\n</html>\n")
    return "\n".join(parts)


def _html_blocks(blocks: Sequence[Any]) -> list[str]:
    """Return blocks as HTML; charts that follow one another stand side by side."""
    parts: list[str] = []
    charts: list[str] = []
    for block in [*blocks, None]:
        if isinstance(block, Chart):
            charts.append(_HTML[Chart](block))
            continue
        if charts:
            parts.append(f"<div class='charts'>{''.join(charts)}</div>")
            charts = []
        if block is not None:
            parts.append(_HTML[type(block)](block))
    return parts


def _html_list(items: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{html.escape(item)}</li>" for item in items) + "</ul>"


def _html_facts(block: Facts) -> str:
    tiles = (
        f"<div>{html.escape(name)}<b>{html.escape(value)}</b>"
        f"<span class='remark'>{html.escape(remark)}</span></div>"
        for name, value, remark in block.items
    )
    return f"<div class='facts'>{''.join(tiles)}</div>"


def _html_table(block: Table) -> str:
    kinds = [" class='n'" if name.endswith("#") else "" for name in block.columns]
    head = "".join(
        f"<th{kind}>{html.escape(name.removesuffix('#'))}</th>"
        for name, kind in zip(block.columns, kinds, strict=True)
    )
    rows = "".join(
        "<tr>"
        + "".join(
            f"<td{kind}>{html.escape(cell)}</td>" for cell, kind in zip(row, kinds, strict=True)
        )
        + "</tr>"
        for row in block.rows
    )
    return (
        f"<div class='table'><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        "</div>"
    )


def _html_chart(block: Chart) -> str:
    data = base64.b64encode(block.svg.encode()).decode()
    caption = html.escape(block.caption)
    return (
        f"<figure><img alt='{caption}' src='data:image/svg+xml;base64,{data}'>"
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _html_painted(block: Painted) -> str:
    parts = [f"<p class='remark'>{COLOURS}</p>", "<div class='examples'>"]
    for example in block.examples:
        first, *rest = example["about"]
        lines = [f"<b>{html.escape(first)}</b>", *map(html.escape, rest)]
        parts.append(f"<div><div class='about'>{'<br>'.join(lines)}</div>")
        scale = scale_of([word["score"] for word in example["words"]])
        for side, text in enumerate((example["text"], example["pair"] or "")):
            shown, left_out = _shortened(text)
            words = [
                word
                for word in example["words"]
                if word["side"] == side and word["end"] <= len(shown)
            ]
            if text:
                parts.append(paint(shown, words, scale))
            if left_out:
                parts.append(f"<p class='remark'>{left_out}</p>")
        parts.append("</div>")
    return "".join([*parts, "</div>"])


def _shortened(text: str) -> tuple[str, str]:
    """Return the text as far as it is shown, and what to say of the rest."""
    if len(text) <= SHOWN_CHARACTERS:
        return text, ""
    return text[:SHOWN_CHARACTERS], f"({len(text) - SHOWN_CHARACTERS:,} more characters)"


_HTML = {
    Paragraph: lambda block: f"<p>{html.escape(block.text)}</p>",
    Bullets: lambda block: _html_list(block.items),
    Facts: _html_facts,
    Table: _html_table,
    Chart: _html_chart,
    Painted: _html_painted,
}


# Markdown


def escape_markdown(text: str) -> str:
    """Return text so that Markdown shows it as it is, on one line."""
    return ITEM.sub(r"\1\\\2", MARKDOWN.sub(r"\\\1", " ".join(text.split())))


def to_markdown(document: Document) -> str:
    """Return the document without its charts, whose numbers stand in the tables."""
    parts = [f"# {escape_markdown(document.title)}", escape_markdown(document.subtitle)]
    for section in document.sections:
        parts.append(f"## {escape_markdown(section.title)}")
        parts.extend(_MARKDOWN[type(block)](block) for block in section.blocks)
    return "\n\n".join(part for part in parts if part) + "\n"


def _markdown_table(block: Table) -> str:
    line = "| {} |".format
    head = [escape_markdown(name.removesuffix("#")) for name in block.columns]
    rule = ["--:" if name.endswith("#") else "---" for name in block.columns]
    rows = [[escape_markdown(cell) for cell in row] for row in block.rows]
    return "\n".join(line(" | ".join(cells)) for cells in [head, rule, *rows])


def _markdown_painted(block: Painted) -> str:
    """Return each example with its three most salient words in bold."""
    parts = [f"{BOLD}\n"]
    for example in block.examples:
        best = sorted(example["words"], key=lambda word: -word["score"])[:3]
        texts = []
        for side, text in enumerate((example["text"], example["pair"] or "")):
            shown, left_out = _shortened(text)
            strong = [w for w in best if w["side"] == side and w["score"] > 0]
            texts.append(_bold(shown, strong) + left_out)
        about = escape_markdown("; ".join(example["about"]))
        parts.append(f"- {about}  \n  " + "  \n  ".join(text for text in texts if text))
    return "\n".join(parts)


def _bold(text: str, words: Sequence[dict[str, Any]]) -> str:
    pieces, at = [], 0
    for word in sorted(words, key=lambda word: word["start"]):
        if word["start"] < at or word["end"] > len(text):
            continue
        pieces.append(_inline(text[at : word["start"]]))
        pieces.append(f"**{escape_markdown(text[word['start'] : word['end']])}**")
        at = word["end"]
    return "".join([*pieces, _inline(text[at:])]).strip()


def _inline(text: str) -> str:
    """Escape a stretch of a line, keeping the spaces at its ends."""
    return MARKDOWN.sub(r"\\\1", re.sub(r"\s+", " ", text))


_MARKDOWN = {
    Paragraph: lambda block: escape_markdown(block.text),
    Bullets: lambda block: "\n".join(f"- {escape_markdown(item)}" for item in block.items),
    Facts: lambda block: _markdown_table(Table(["", "#", ""], block.items)),
    Table: _markdown_table,
    Chart: lambda block: "",
    Painted: _markdown_painted,
}
