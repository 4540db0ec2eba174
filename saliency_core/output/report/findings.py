"""Sections of what to look at: suspects, slices, painted examples, and what people decided."""

from __future__ import annotations

from typing import Any

from saliency_core.analysis.error_slices import kept_discovered
from saliency_core.analysis.kept_suspects import HARMFUL, RELIED, UNTESTED, kept_suspects
from saliency_core.analysis.slice_comparison import settled_prediction
from saliency_core.errors import UserError, lower_first
from saliency_core.output.highlighting import folded, pieces_of_example, scale_of
from saliency_core.output.report.blocks import Examples, PaintedExample, Paragraph, Section, Table
from saliency_core.output.report.scope import View, interval, number, percent, plain_text
from saliency_core.shortcuts.presentation import (
    companion,
    evidence,
    grouped,
    name_of,
    sanity_check,
    with_judgements,
)
from saliency_core.store.query.wording import in_words

SUSPECTS = (
    "Words and other features that may give a class away without being about it. Relied on: the "
    "word accounts for more of the saliency than words of similar frequency do, and deleting it "
    "lowers the probability of the class more than deleting such a word does. Harmful: in "
    "addition, predictions of the class are wrong more often for texts that contain it than for "
    "others. The model also relies on words that carry the meaning of a class, so a person must "
    "decide whether a feature is spurious. In the control (in brackets), a word of similar "
    "frequency is deleted instead. The last three columns cover only texts that contain the "
    "feature and for which the class is predicted."
)
SUSPECT_COLUMNS = (
    "Feature*",
    "Class",
    "Assessment~",
    "Reviewer's verdict",
    "Texts with it#",
    "Share of saliency#",
    "Predictions that change without it (control)#",
    "Wrong predictions#",
)
EXPLAINED = 3
"""Harmful suspects whose association is put into a sentence."""
SLICES = 30
"""Slices listed, saved and found each."""
SHOWN_CHARACTERS = 1200
"""Characters of an example's text that are shown, around its strongest words."""


def suspects_section(view: View) -> Section | None:
    """Return the suspects that were measured, or judged by somebody, and kept with the run."""
    kept = kept_suspects(view.run)
    if kept is None:
        return None
    table = with_judgements(kept[0], view.run.verdicts())
    shown = table[table["assessment"].isin([HARMFUL, RELIED]) | (table["judgement"] != "")]
    unmeasured = (table["assessment"] == UNTESTED) & (table["judgement"] == "")
    blocks: list[Any] = [
        Paragraph(SUSPECTS + " The table covers the whole audit." * bool(view.where))
    ]
    if shown.empty:
        pairs = f"{len(table):,} pairs of a feature and a class"
        blocks.append(Paragraph(f"None of the {pairs} is known to be relied on."))
    else:
        rows = [_suspect(row) for row in grouped(shown).to_dict("records")]
        blocks.append(Table(SUSPECT_COLUMNS, rows))
        harmful = shown[(shown["assessment"] == HARMFUL) & (shown["leader"] == "")]
        for row in harmful.head(EXPLAINED).to_dict("records"):
            said = lower_first(evidence(row)["Association"][0])
            blocks.append(Paragraph(f"{name_of(row['feature'], row['kind'])}: {said}"))
    rest = sanity_check(kept[1])[0]
    if unmeasured.any():
        rest = (
            f"For {unmeasured.sum():,} other features that account for much of the saliency, the "
            f"effect of removing them was not measured. {rest}"
        )
    return Section("Possible shortcuts", [*blocks, Paragraph(rest)])


def _suspect(row: dict[str, Any]) -> list[str]:
    beside = companion(row)
    changed = f"{row['flip_rate']:.0%} ({number(row['control_flip_rate'], '.0%')})"
    if row["flip_rate"] != row["flip_rate"]:
        changed = "not measured"
    wrong = f"{row['errors_k']:,} of {row['errors_n']:,}" if row["errors_n"] else "–"
    return [
        row["feature"],
        row["class"],
        f"{row['assessment']}{'. ' if beside else ''}{beside}",
        row["judgement"] or "not judged",
        f"{row['examples']:,}",
        number(row["mean_share"], ".0%"),
        changed,
        wrong,
    ]


def discovered_section(view: View) -> Section | None:
    """Return the slices in which the model was found to err more than elsewhere."""
    found = kept_discovered(view.run)
    if found is None:
        return None
    rows = [
        [
            in_words(row["where"]),
            f"{row['examples']:,}",
            f"{row['errors']:,}",
            f"{row['error_rate']:.1%}",
            f"{row['low']:.1%} to {row['high']:.1%}",
            f"{row['rest_error_rate']:.1%}",
        ]
        for row in found.head(SLICES).to_dict("records")
    ]
    said = (
        "Slices of the audited data in which the error rate is higher than elsewhere by more than "
        "chance would explain, even allowing for the number of slices tried. The one that accounts "
        "for the most errors comes first."
        if rows
        else "A search found no slice in which the model is wrong more often than chance would "
        "explain."
    )
    columns = ["Examples where*", "Examples#", "Wrong#", "Error rate#", "95% interval#"]
    table = [Table([*columns, "Error rate elsewhere#"], rows)] if rows else []
    return Section("Where the model is wrong most often", [Paragraph(said), *table])


def saved_section(view: View) -> Section | None:
    """Return the slices people saved, with the accuracy on each."""
    rows = []
    for row in view.run.store.slices().head(SLICES).to_dict("records"):
        try:
            part = view.run.filter(row["where"])
            right, wrong, total = (part.filter(term).count() for term in ("right", "wrong", ""))
            settled = settled_prediction(part)
        except UserError:
            continue  # It means nothing for this run.
        asked = f"all {settled}, as the filter asks" if settled else ""
        rows.append(
            [
                plain_text(row["name"]),
                in_words(row["where"]),
                f"{total:,}",
                asked or percent(right, right + wrong),
                "–" if asked else interval(right, right + wrong) or "–",
                plain_text(row["note"]),
            ]
        )
    if not rows:
        return None
    columns = ["Name*", "Examples where", "Examples#", "Accuracy#", "95% interval#", "Note~"]
    return Section("Saved slices", [Table(columns, rows)])


def examples_section(view: View, limit: int) -> Section | None:
    """Return the worst examples painted: the surest wrong predictions, else the least sure ones."""
    if limit < 1:
        return None
    if view.wrong:
        part, title = view.filter("wrong"), "The most confident wrong predictions"
    else:
        part, title = view.filter("-failed"), "The least confident predictions"
    frame = part.examples(sort="confidence", descending=bool(view.wrong), limit=limit)
    if frame.empty:
        return None
    words = view.run.top_words(frame["example"].tolist(), view.layer)
    painted = []
    for row, found in zip(frame.to_dict("records"), words, strict=True):
        heading, *details = _about(row, view)
        pieces = pieces_of_example(row, found, scale_of([word["score"] for word in found]))
        texts = [folded(one, SHOWN_CHARACTERS) for one in pieces]
        painted.append(PaintedExample(heading, details, texts))
    of = "wrong predictions" if view.wrong else "predictions"
    lead = (
        f"The list shows {len(painted)} of the {part.count():,} {of}, with words highlighted "
        f"according to their scores at layer {view.layer}."
    )
    if view.wrong:
        lead += " Where the model is this confident, the label itself may be wrong."
    return Section(title, [Paragraph(lead), Examples(painted)])


def _about(row: dict[str, Any], view: View) -> list[str]:
    gold = plain_text(row["gold"])
    label = f"labelled {gold}, " if gold else ""
    confidence = number(row["confidence"], ".4f")
    lines = [f"{label}predicted {plain_text(row['predicted']) or 'nothing'}"]
    lines.append(f"confidence {confidence}, id {plain_text(row['id'])}")
    if row["chars_seen"] < row["chars_total"]:
        lines.append(f"The model read {row['chars_seen']:,} of {row['chars_total']:,} characters.")
    note = view.run.note(str(row["id"])) or {}
    if note.get("proposed_label"):
        lines.append(f"Corrected label: {note['proposed_label']}")
    if note.get("note"):
        lines.append(f"Note: {note['note']}")
    return lines


def reviewers_section(view: View) -> Section | None:
    """Return what people decided: verdicts on words, corrected labels, notes."""
    blocks: list[Any] = []
    verdicts = [
        [plain_text(row[name]) for name in ("word", "class", "verdict", "note")]
        for row in view.run.verdicts().to_dict("records")
    ]
    if verdicts:
        blocks += [
            Paragraph("Verdicts on words that the model may rely on for the wrong reason:"),
            Table(["Word*", "Class", "Verdict", "Note~"], verdicts),
        ]
    rows = [
        [
            plain_text(row["id"]),
            plain_text(row["gold"]) or "none",
            plain_text(row["predicted"]) or "none",
            plain_text(row["correct_label"]) or "unchanged",
            plain_text(row["note"]),
        ]
        for row in view.corrections().to_dict("records")
    ]
    if rows:
        blocks += [
            Paragraph("Corrected labels and notes on examples:"),
            Table(["Id*", "Label", "Prediction", "Corrected label", "Note~"], rows),
        ]
    return Section("What reviewers decided", blocks) if blocks else None
