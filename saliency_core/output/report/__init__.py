"""An audit or a slice -> one page an analyst forwards: HTML that needs nothing else, or Markdown.

It says what was audited, how right the model is, what it relies on and how far that can be
trusted, in words of someone who never saw the tool.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from saliency_core.errors import UserError
from saliency_core.output.highlighting import COLOURS
from saliency_core.output.rendering import render
from saliency_core.output.report import brief, data, findings, performance, provenance
from saliency_core.output.report.blocks import Document
from saliency_core.output.report.scope import View, name_of
from saliency_core.store import Slice
from saliency_core.store.connection import day

FORMATS = {"html": "report.html", "markdown": "report.md"}
"""The template of each."""
ENDINGS = {".html": "html", ".htm": "html", ".md": "markdown", ".markdown": "markdown"}


def write_report(
    part: Slice,
    output: str | Path,
    *,
    format: str | None = None,
    examples: int = 20,
    title: str | None = None,
) -> dict[str, Any]:
    """Write the report of an audit or a slice; return what was written, as `--json` prints it.

    Args:
        part: a slice.
        output: File to write.
        format: `html` or `markdown`; by the ending of `output` where None.
        examples: Examples shown painted.
        title: Heading; made from model and dataset where None.

    Raises:
        UserError: an empty slice, a format or place that can't be.
    """
    output = Path(output)
    format = format or ENDINGS.get(output.suffix.lower())
    if format not in FORMATS:
        raise UserError(
            f"{output} has no ending that names a format; choose --format html, markdown."
        )
    if output.exists() and output.resolve() == part.run.store.path.resolve():
        raise UserError(f"{output} is the database itself; choose another --output.")
    document = build_report(part, examples=examples, title=title)
    text = render(FORMATS[format], document=document, colours=COLOURS)
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{output} can't be written: {error.strerror}.") from error
    return {
        "output": str(output),
        "format": format,
        "run": part.run.number,
        "examples": part.count(),
        "bytes": len(text.encode()),
    }


def build_report(part: Slice, *, examples: int = 20, title: str | None = None) -> Document:
    """Return the report as blocks; see `write_report`."""
    run, view = part.run, View(part.run, part.lines)
    total = view.count()
    if not total:
        said = f"The slice {view.where!r}" if view.where else f"Run {run.number}"
        raise UserError(f"{said} contains no audited examples; there is nothing to report.")
    scope = f"Only the examples that match the filter “{view.where}”. " if view.where else ""
    examples_of = f"{total:,} example{'s' * (total != 1)}"
    sections = [
        brief.in_brief_section(view),
        brief.next_steps_section(view),
        findings.suspects_section(view),
        findings.discovered_section(view),
        data.data_section(view),
        findings.saved_section(view),
        findings.examples_section(view, examples),
        findings.reviewers_section(view),
        performance.accuracy_section(view),
        performance.words_section(view),
        performance.layers_section(view),
        provenance.method_section(view),
        provenance.limits_section(view),
    ]
    appendix = [
        performance.classes_section(view),
        performance.word_table_section(view),
        performance.contrast_section(view),
        performance.layer_table_section(view),
        provenance.audited_section(view),
    ]
    return Document(
        title=title or f"Audit of “{name_of(run.model.name)}” on “{name_of(run.dataset.name)}”",
        subtitle=f"{scope}{examples_of}, audited on {day(run.created)}.",
        sections=list(filter(None, sections)),
        appendix=list(filter(None, appendix)),
    )
