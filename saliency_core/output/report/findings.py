"""Sections of what to look at: suspects, slices, painted examples, and what people said."""

from __future__ import annotations

from typing import Any

from saliency_core.errors import UserError
from saliency_core.output.report.html import Painted, Paragraph, Section, Table
from saliency_core.output.report.scope import View, interval, number, percent, plain_text

SUSPECTS = 20
SUSPECT_COLUMNS = (
    "Feature",
    "Class",
    "Verdict by rule",
    "Examples#",
    "With the class#",
    "Mean share#",
    "Answers changed (control)#",
    "Error ratio#",
)
SLICES = 30
"""Slices listed, saved and found each."""


def suspects_section(view: View) -> Section | None:
    """Return the strongest suspects that were kept with the run."""
    from saliency_core.analysis.kept_suspects import NONE, kept_suspects

    kept = kept_suspects(view.run)
    if kept is None:
        return None
    table, control = kept
    shown = table[table["verdict"] != NONE].head(SUSPECTS)
    blocks: list[Any] = [
        Paragraph(
            "Three kinds of evidence: how often a word (or another feature of a text) goes with "
            "the class in the data, how much the model leans on it, and how often its answer "
            "changes when the word is deleted, beside a frequency-matched control word. A word "
            "that carries the class's meaning is also leaned on: whether it is spurious is for a "
            "person to say. These are the suspects of the whole audit."
        )
    ]
    if shown.empty:
        blocks.append(
            Paragraph(f"None of the {len(table):,} features and classes tested stands out.")
        )
    else:
        blocks.append(Table(SUSPECT_COLUMNS, [_suspect(row) for row in shown.to_dict("records")]))
    if control.get("repeats"):
        blocks.append(
            Paragraph(
                f"Control: with labels and answers shuffled {control['repeats']:.0f} times, "
                f"{control['mean_flagged']:.0f} of {control['tests']:,.0f} tests pass on average; "
                f"at most {control['expected']:.0f} should."
            )
        )
    return Section("Suspects: what it may lean on for the wrong reason", blocks)


def _suspect(row: dict[str, Any]) -> list[str]:
    return [
        row["feature"],
        row["class"],
        row["verdict"],
        f"{row['examples']:,}",
        percent(row["k"], row["n"]),
        number(row["mean_share"]),
        _changed(row),
        number(row["risk_ratio"], ".2f"),
    ]


def _changed(row: dict[str, Any]) -> str:
    """Return how often deleting changes the answer, and for the control word."""
    if row.get("flip_rate") is None or row["flip_rate"] != row["flip_rate"]:
        return "–"
    return f"{row['flip_rate']:.0%} ({number(row.get('control_flip_rate'), '.0%')})"


def verdicts_section(view: View) -> Section | None:
    """Return what people decided on words."""
    rows = [
        [plain_text(row[name]) for name in ("word", "class", "verdict", "note")]
        for row in view.run.verdicts().to_dict("records")
    ]
    if not rows:
        return None
    return Section(
        "What people decided on words", [Table(["Word", "Class", "Verdict", "Note"], rows)]
    )


def discovered_section(view: View) -> Section | None:
    """Return the slices in which the model was found to err more than elsewhere."""
    from saliency_core.analysis.error_slices import kept_discovered

    found = kept_discovered(view.run)
    if found is None:
        return None
    rows = [
        [
            row["where"],
            f"{row['examples']:,}",
            f"{row['errors']:,}",
            f"{row['error_rate']:.1%}",
            f"{row['low']:.1%} to {row['high']:.1%}",
            f"{row['rest_error_rate']:.1%}",
        ]
        for row in found.head(SLICES).to_dict("records")
    ]
    said = (
        "Slices of the whole audit in which more answers are wrong than in the rest, those that "
        "explain most errors first; corrected for the number of slices tried."
        if rows
        else "Slices were looked for; none errs more than the rest beyond chance."
    )
    columns = ["Examples that are", "Examples#", "Wrong#", "Rate#", "95 % interval#", "Elsewhere#"]
    blocks = [Paragraph(said), *([Table(columns, rows)] if rows else [])]
    return Section("Where it errs more than elsewhere", blocks)


def saved_section(view: View) -> Section | None:
    """Return the slices people saved, with the accuracy on each."""
    rows = []
    for row in view.run.store.slices().head(SLICES).to_dict("records"):
        try:
            saved = view.run.filter(row["where"])
            right, wrong, total = (saved.filter(term).count() for term in ("right", "wrong", ""))
        except UserError:
            continue  # It means nothing for this run.
        rows.append(
            [
                plain_text(row["name"]),
                plain_text(row["where"]),
                f"{total:,}",
                percent(right, right + wrong),
                interval(right, right + wrong) or "–",
                plain_text(row["note"]),
            ]
        )
    if not rows:
        return None
    columns = ["Name", "Examples that are", "Examples#", "Accuracy#", "95 % interval#", "Note"]
    return Section("Saved slices", [Table(columns, rows)])


def examples_section(view: View, limit: int) -> Section | None:
    """Return the worst examples painted: the surest wrong answers, else the least sure ones."""
    if limit < 1:
        return None
    wrong = view.count("wrong")
    if wrong:
        part, title = view.part.filter("wrong"), "Wrong answers the model was surest of"
    else:
        part, title = view.part.filter("-failed"), "Answers the model was least sure of"
    frame = part.examples(sort="confidence", descending=bool(wrong), limit=limit)
    if frame.empty:
        return None
    words = view.run.top_words(frame["example"].tolist(), view.layer)
    total = part.count()
    painted = [
        {
            "about": _about(row, view),
            "text": plain_text(row["text"]),
            "pair": plain_text(row["pair"]),
            "words": found,
        }
        for row, found in zip(frame.to_dict("records"), words, strict=True)
    ]
    lead = f"{len(painted)} of {total:,}, at layer {view.layer}."
    if wrong:
        lead += " Wrong labels often stand among these: the model may be right."
    return Section(title, [Paragraph(lead), Painted(painted)])


def _about(row: dict[str, Any], view: View) -> list[str]:
    gold = plain_text(row["gold"])
    first = (
        f"{gold} → {plain_text(row['predicted'])}" if gold else f"→ {plain_text(row['predicted'])}"
    )
    lines = [f"{first}  ·  confidence {number(row['confidence'])}  ·  id {plain_text(row['id'])}"]
    if row["chars_seen"] < row["chars_total"]:
        lines.append(f"read {row['chars_seen']:,} of {row['chars_total']:,} characters")
    note = view.run.note(str(row["id"]))
    if note and note["note"]:
        lines.append(f"Note: {note['note']}")
    if note and note["proposed_label"]:
        lines.append(f"Proposed label: {note['proposed_label']}")
    return lines


def notes_section(view: View) -> Section | None:
    """List proposed labels, the part of the notes somebody has to act on."""
    notes = view.run.notes()
    inside = set(view.part.examples()["id"]) if len(notes) else set()
    rows = [
        [plain_text(row["id"]), plain_text(row["proposed_label"]), plain_text(row["note"])]
        for row in notes.to_dict("records")
        if row["id"] in inside
    ]
    if not rows:
        return None
    return Section("Notes on examples", [Table(["Id", "Proposed label", "Note"], rows)])
