"""What is wrong with the dataset itself, as far as it was checked."""

from __future__ import annotations

from typing import Any

from saliency_core.errors import cut
from saliency_core.output.report.blocks import Paragraph, Section, Table
from saliency_core.output.report.scope import View
from saliency_core.quality.findings import issue_rows, kept_data_quality
from saliency_core.shortcuts.presentation import shortcut_doubt

ISSUES = 10
"""Labels that may be wrong listed at most."""
CHARACTERS = 200
"""Of a text in the table."""


def data_section(view: View) -> Section | None:
    """Return the findings of the checks of the whole dataset; None where it was not checked."""
    found = kept_data_quality(view.run)
    if found is None:
        return None
    rows = [
        [finding.severity, finding.message]
        for finding in found.findings
        if finding.severity != "ok"
    ]
    passed = [finding.message for finding in found.findings if finding.severity == "ok"]
    blocks: list[Any] = []
    if rows:
        blocks.append(Table(["Severity*", "Finding~"], rows))
    if passed:
        blocks.append(Paragraph(f"Checks passed: {' '.join(passed)}"))
    labels = found.facts["label_issues"]
    if labels and labels["trained_on"]:
        blocks.append(Paragraph(labels["trained_on"]))
    if labels and labels["estimated"]:
        said = (
            "Labels that may be wrong, the least plausible first. Some may be right, because the "
            "model can be confidently wrong: check each label before you change it. A "
            "label's plausibility is the probability that the model assigns to it."
        )
        rows, listed = [], view.run.filter("label_issue")
        if (count := listed.count()) > ISSUES:
            said += f" The table shows {ISSUES} of the {count:,}; the dashboard lists them all."
        said = f"{said} {shortcut_doubt(listed)}".rstrip()
        frame = issue_rows(listed, limit=ISSUES)
        for row in frame.to_dict("records"):
            text = cut(row["text"], CHARACTERS)
            rows.append([row["id"], row["gold"], f"{row['quality']:.1%}", row["likely"], text])
        columns = ["Example*", "Label", "Label's plausibility#", "Suggested label", "Text~"]
        blocks += [Paragraph(said), Table(columns, rows)]
    return Section("Data quality", blocks)
