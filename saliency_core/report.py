"""An audit or a slice -> one page an analyst forwards: HTML that needs nothing else, or Markdown.

It says what was audited, how right the model is, what it leans on and how far that can be
trusted, in words of someone who never saw the tool.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from saliency_core.documents import (
    Bullets,
    Chart,
    Document,
    Facts,
    Painted,
    Paragraph,
    Section,
    Table,
    to_html,
    to_markdown,
)
from saliency_core.errors import UserError

if TYPE_CHECKING:
    from saliency_core.store import Store

FORMATS = {"html": to_html, "markdown": to_markdown}
ENDINGS = {".html": "html", ".htm": "html", ".md": "markdown", ".markdown": "markdown"}
CHARTED_CLASSES = 6
"""Classes that get a chart of words each; more get a table."""
WORDS_A_CLASS = 12
TABLED_CLASSES = 40
"""Classes listed one by one; of more, those with the most errors."""
SUSPECTS = 20
SLICES = 30
FONT = "Noto Sans, Helvetica, Arial, sans-serif"


def write_report(
    store: Store,
    output: str | Path,
    *,
    format: str | None = None,
    where: str = "",
    run: int | None = None,
    examples: int = 20,
    title: str | None = None,
) -> dict[str, Any]:
    """Write the report of an audit or a slice; return what was written, as `--json` prints it.

    Args:
        store: An open file.
        output: File to write.
        format: `html` or `markdown`; by the ending of `output` where None.
        where: A slice; everything by default.
        run: Run number; the newest by default.
        examples: Examples shown painted.
        title: Heading; made from model and dataset where None.

    Raises:
        UserError: an empty slice, a format or place that can't be.
    """
    output = Path(output)
    format = format or ENDINGS.get(output.suffix.lower())
    if format not in FORMATS:
        raise UserError(f"{output} tells no format by its ending; choose --format html, markdown.")
    if output.exists() and output.resolve() == Path(store.path).resolve():
        raise UserError(f"{output} is the database itself; choose another --output.")
    document = build_report(store, where=where, run=run, examples=examples, title=title)
    text = FORMATS[format](document)
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{output} can't be written: {error.strerror}.") from error
    return {
        "output": str(output),
        "format": format,
        "run": store.run(run)["run"],
        "examples": store.count(where, run=run),
        "bytes": len(text.encode()),
    }


@dataclass(frozen=True)
class _View:
    """The slice of a run that a report speaks of."""

    store: Store
    run: int
    facts: dict[str, Any]
    where: str

    def count(self, term: str = "") -> int:
        return self.store.count(f"{self.where} {term}".strip(), run=self.run)

    @property
    def layer(self) -> int:
        recommended = self.facts["recommended"]
        return self.facts["layers"] if recommended is None else recommended

    @property
    def labels(self) -> list[str]:
        return list(self.facts["label_names"])

    @property
    def regression(self) -> bool:
        return self.facts["model"]["task"] == "regression"


def build_report(
    store: Store,
    *,
    where: str = "",
    run: int | None = None,
    examples: int = 20,
    title: str | None = None,
) -> Document:
    """Return the report as blocks; see `write_report`."""
    facts = store.run(run)
    view = _View(store, facts["run"], facts, where.strip())
    total = view.count()
    if not total:
        said = f"The slice {view.where!r}" if view.where else f"Run {view.run}"
        raise UserError(f"{said} holds no audited example; there is nothing to report.")
    model, dataset = Path(facts["model"]["name"]).name, facts["dataset"]["name"]
    about = f"slice {view.where}; " if view.where else ""
    about += f"{total:,} examples; {_day(facts['created'])}"
    sections = [
        _in_brief(view),
        _accuracy(view),
        _layers(view),
        _words(view),
        _contrast(view),
        _suspects(view),
        _verdicts(view),
        _slices(view),
        _examples(view, examples),
        _notes(view),
        _audited(view),
        _method(view),
        _limits(view),
    ]
    return Document(
        title=title or f"How {model} decides on {dataset}",
        subtitle=f"An audit of a text classifier; {about}",
        sections=[section for section in sections if section is not None],
    )


# Numbers as text


def _day(stamp: str) -> str:
    """Return a time as people write it."""
    return datetime.datetime.fromisoformat(stamp).strftime("%-d %B %Y, %H:%M UTC")


def _percent(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole else "–"


def _interval(right: int, judged: int) -> str:
    """Return the 95 % Wilson interval of a rate as text."""
    if not judged:
        return ""
    z = 1.959963984540054
    rate, spread = right / judged, z * z / judged
    middle = (rate + spread / 2) / (1 + spread)
    half = z * np.sqrt(rate * (1 - rate) / judged + spread / (4 * judged)) / (1 + spread)
    return f"{max(0, middle - half):.1%} to {min(1, middle + half):.1%}"


def _number(value: Any, form: str = ".3f") -> str:
    """Return a number as text, a dash where there is none."""
    if value is None or value != value:
        return "–"
    return format(value, form)


def _svg(chart: Any, width: int) -> str:
    """Draw an Altair chart; nothing is fetched while drawing."""
    try:
        import vl_convert
    except ImportError as error:
        raise UserError(
            "Charts of a report need vl-convert-python; `pip install vl-convert-python`, or write "
            "--format markdown."
        ) from error
    drawn = chart.properties(width=width).configure(font=FONT, background="#ffffff")
    return vl_convert.vegalite_to_svg(drawn.to_dict(), allowed_base_urls=[])


# Sections


def _in_brief(view: _View) -> Section:
    from saliency_core.findings import findings

    total, right, wrong = view.count(), view.count("right"), view.count("wrong")
    failed, truncated = view.count("failed"), view.count("truncated")
    items = [("Examples", f"{total:,}", "in this slice" if view.where else "audited")]
    if right + wrong:
        items.append(
            (
                "Accuracy",
                _percent(right, right + wrong),
                f"95 % interval {_interval(right, right + wrong)}",
            )
        )
        items.append(("Wrong", f"{wrong:,}", f"of {right + wrong:,} with a label"))
    items.append(("Read in part", f"{truncated:,}", "texts longer than the model takes"))
    items.append(("Failed", f"{failed:,}", "empty, or no finite answer"))
    blocks: list[Any] = [Facts(items)]
    if not right + wrong:
        blocks.append(
            Paragraph(
                "These examples have no labels, so right and wrong are unknown; what follows tells "
                "what the model leans on, not how good it is."
            )
        )
    if view.where:
        blocks.append(Paragraph(_against_all(view, right, wrong)))
    else:
        sentences = [finding.sentence for finding in findings(view.store, view.run)]
        if sentences:
            blocks += [Paragraph("What stands out:"), Bullets(sentences)]
    return Section("In brief", blocks)


def _against_all(view: _View, right: int, wrong: int) -> str:
    everything = view.store.count(run=view.run)
    said = f"The slice {view.where} holds {view.count():,} of the {everything:,} audited examples."
    judged = [view.store.count(term, run=view.run) for term in ("right", "wrong")]
    if right + wrong and sum(judged):
        said += (
            f" The model is right on {_percent(right, right + wrong)} of it, and on "
            f"{_percent(judged[0], sum(judged))} of all examples."
        )
    return said


def _accuracy(view: _View) -> Section | None:
    from saliency_core import charts
    from saliency_core.calibration import expected_calibration_error

    store, where, run = view.store, view.where, view.run
    values, right = store.confidence(where, run=run)
    if not len(values):
        return None
    confusion = _svg(charts.confusion(store.confusion(where, run=run), view.labels), 330)
    histogram = _svg(charts.confidence(values, right), 330)
    metrics = store.class_metrics(where, run=run)
    metrics["wrong"] = metrics["support"] - metrics["right"]
    blocks: list[Any] = [
        Chart(
            confusion,
            "What the label says (gold) against what the model said; the diagonal is right.",
        ),
        Chart(histogram, "How sure the model was of its right and of its wrong answers."),
    ]
    error = expected_calibration_error(values, right)
    blocks.append(
        Paragraph(
            f"Expected calibration error {error:.3f}: the mean gap between how sure the model is "
            "and how often it is right; 0 is best."
        )
    )
    if len(metrics) > TABLED_CLASSES:
        blocks.append(
            Paragraph(f"The {TABLED_CLASSES} of {len(metrics)} classes with the most errors:")
        )
        metrics = metrics.nlargest(TABLED_CLASSES, "wrong")
    blocks.append(
        Table(
            ["Class", "Examples#", "Predicted#", "Wrong#", "Precision#", "Recall#", "F1#"],
            [
                [
                    str(row["class"]),
                    f"{row['support']:,}",
                    f"{row['predicted']:,}",
                    f"{row['wrong']:,}",
                    *(_number(row[name]) for name in ("precision", "recall", "f1")),
                ]
                for row in metrics.to_dict("records")
            ],
        )
    )
    return Section("How right it is", blocks)


def _layers(view: _View) -> Section:
    from saliency_core import charts

    layers = view.store.layers(run=view.run)
    recommended, equals = view.facts["recommended"], view.facts["equals"]
    blocks: list[Any] = [
        Paragraph(
            "A classifier of this kind works in layers; 0 is its input. For each layer: does it "
            "point at words of like meaning when the answer is the same (coherence), do its "
            "features still name their own word (decodability), and does the answer fall when the "
            "words it points at are masked (comprehensiveness; higher is more faithful) but not "
            "when only they are kept (sufficiency; lower is better)?"
        )
    ]
    if recommended is not None:
        also = f"; layers {', '.join(map(str, equals))} do as well" if equals else ""
        how = "faithfulness" if layers["comprehensiveness"].notna().any() else "coherence"
        blocks.append(
            Paragraph(
                f"This report reads layer {recommended}, the best by {how}{also}."
                if how == "coherence" or not view.where
                else f"This report reads layer {recommended}, the best by {how} over the whole "
                f"audit{also}."
            )
        )
    shown = [("coherence", "Coherence"), ("comprehensiveness", "Comprehensiveness")]
    for column, name in shown:
        if layers[column].notna().any():
            svg = _svg(charts.by_layer(layers, column, name, recommended), 330)
            blocks.append(Chart(svg, f"{name} by layer; orange is the layer read here."))
    measured = [
        name
        for name in ("decodability", "comprehensiveness", "sufficiency")
        if layers[name].notna().any()
    ]
    blocks.append(
        Table(
            ["Layer#", "Coherence#", "95 % interval#", *(f"{n.capitalize()}#" for n in measured)],
            [
                [
                    f"{row['layer']}{' *' if row['layer'] == recommended else ''}",
                    _number(row["coherence"]),
                    f"{_number(row['low'])} to {_number(row['high'])}",
                    *(_number(row[name]) for name in measured),
                ]
                for row in layers.to_dict("records")
            ],
        )
    )
    return Section("Which layer to read", blocks)


def _words(view: _View) -> Section | None:
    from saliency_core import charts
    from saliency_core.aggregate import word_table

    table = word_table(
        view.store, view.layer, view.where, run=view.run, by_class=not view.regression
    )
    table = table[table["word"].str.contains(r"\w", regex=True)]
    if table.empty:
        return Section(
            "What it leans on",
            [Paragraph("No word stands in five examples or more, so no mean is shown.")],
        )
    lead = (
        f"Words of at least five examples, at layer {view.layer}, by their mean share: the part of "
        "all that speaks for the answer in a text which falls to this word. Bars end at the mean, "
        "lines span its 95 % interval."
    )
    blocks: list[Any] = [Paragraph(lead)]
    classes = [
        name for name in dict.fromkeys([*view.labels, None]) if (table["class"] == name).any()
    ]
    if view.regression:
        classes = [None]
    few = len(classes) <= CHARTED_CLASSES
    rows: list[list[str]] = []
    for name in classes:
        part = table if name is None else table[table["class"] == name]
        part = part.head(WORDS_A_CLASS if few else 5)
        if few:
            bars = charts.word_bars(
                part[["word", "examples", "mean_share", "low", "high"]], "mean_share", "Mean share"
            )
            heading = f"Predicted {name}" if name is not None else "All examples"
            svg = _svg(bars.properties(title=_plain_title(heading)), 240)
            blocks.append(Chart(svg, f"{heading}: words by mean share."))
        rows += [_word_row(row, name) for row in part.to_dict("records")]
    columns = ["Predicted", "Word", "Examples#", "Mean share#", "95 % interval#", "In the top 3#"]
    blocks.append(Table(columns, rows))
    return Section("What it leans on", blocks)


def _plain_title(text: str) -> str:
    """Return a title that Vega takes for text."""
    return text if len(text) <= 60 else text[:59] + "…"


def _word_row(row: dict[str, Any], name: str | None) -> list[str]:
    return [
        name or "all",
        row["word"],
        f"{row['examples']:,}",
        _number(row["mean_share"]),
        f"{_number(row['low'])} to {_number(row['high'])}",
        f"{row['top3_rate']:.0%}",
    ]


def _contrast(view: _View) -> Section | None:
    """Words that lead more often in wrong answers than in right ones, and the other way round."""
    from saliency_core.aggregate import contrast

    if not (view.count("right") and view.count("wrong")):
        return None
    wrong, right = (f"{view.where} {term}".strip() for term in ("wrong", "right"))
    table = contrast(view.store, view.layer, wrong, right, run=view.run)
    table = table[table["word"].str.contains(r"\w", regex=True) & (table["z"].abs() > 1.96)]
    table = table.sort_values("z", ascending=False)
    parts = [("wrong", table[table["z"] > 0].head(10)), ("right", table[table["z"] < 0].tail(10))]
    rows = [
        [side, row["word"], f"{row['log_odds']:+.2f}", f"{row['z']:+.1f}"]
        for side, part in parts
        for row in part.to_dict("records")
    ]
    if not rows:
        return None
    return Section(
        "Words of wrong and of right answers",
        [
            Paragraph(
                "Words that are among the three most salient of a text more often in wrong answers "
                "than in right ones, or less often. Log-odds with a prior that shrinks rare words; "
                "|z| above 1.96. With many words tested, some of these are chance."
            ),
            Table(["Typical of", "Word", "Log-odds#", "z#"], rows),
        ],
    )


def _suspects(view: _View) -> Section | None:
    """Return the newest table of suspects that was kept with the run."""
    kept = view.store.tables(run=view.run)
    kept = kept[kept["name"] == "suspects"]
    if kept.empty:
        return None
    table = view.store.table("suspects", kept["settings"].iloc[0], run=view.run)
    if table is None or table.empty:
        return None
    rows = [_suspect_row(row) for row in table.head(SUSPECTS).to_dict("records")]
    return Section(
        "Suspects: words it may lean on for the wrong reason",
        [
            Paragraph(
                "Three kinds of evidence: how strongly the word goes with the class in the data, "
                "how much the model leans on it, and how often the answer changes when the word is "
                "deleted. A word that carries the class's meaning is also leaned on: whether it is "
                "spurious is for a person to say. The suspects are of the whole audit."
            ),
            Table(
                [
                    "Word",
                    "Class",
                    "Verdict by rule",
                    "Examples#",
                    "With the class#",
                    "Mean share#",
                    "Answers flipped#",
                    "Error ratio#",
                ],
                rows,
            ),
        ],
    )


def _suspect_row(row: dict[str, Any]) -> list[str]:
    share = _part(row, "association", "k"), _part(row, "association", "n")
    rate = None if None in share or not share[1] else share[0] / share[1]
    return [
        str(row.get("word", "")),
        str(row.get("class", "")),
        str(row.get("verdict", "")),
        _number(share[1], ",.0f"),
        _number(rate, ".0%"),
        _number(_part(row, "reliance", "mean_share")),
        _number(_part(row, "effect", "flip_rate"), ".0%"),
        _number(_part(row, "errors", "risk_ratio"), ".2f"),
    ]


def _part(row: dict[str, Any], group: str, name: str) -> float | None:
    """Return a number of a suspect, kept as a dictionary or as a column of its own."""
    nested = row.get(group)
    value = nested.get(name) if isinstance(nested, dict) else row.get(f"{group}_{name}")
    return None if value is None or value != value else float(value)


def _verdicts(view: _View) -> Section | None:
    rows = [
        [_text(row[name]) for name in ("word", "class", "verdict", "note")]
        for row in view.store.verdicts(run=view.run).to_dict("records")
    ]
    if not rows:
        return None
    return Section(
        "What people decided on words", [Table(["Word", "Class", "Verdict", "Note"], rows)]
    )


def _slices(view: _View) -> Section | None:
    rows = []
    for row in view.store.slices().head(SLICES).to_dict("records"):
        right, wrong, total = (
            _count_or_none(view, f"{row['where']} {term}") for term in ("right", "wrong", "")
        )
        if total is None:
            continue
        rows.append(
            [
                _text(row["name"]),
                _text(row["where"]),
                f"{total:,}",
                _percent(right, right + wrong),
                _interval(right, right + wrong) or "–",
                _text(row["note"]),
            ]
        )
    if not rows:
        return None
    columns = ["Name", "Examples that are", "Examples#", "Accuracy#", "95 % interval#", "Note"]
    return Section("Saved slices", [Table(columns, rows)])


def _count_or_none(view: _View, where: str) -> int | None:
    """Count a saved slice; None where it means nothing for this run."""
    try:
        return view.store.count(where.strip(), run=view.run)
    except UserError:
        return None


def _examples(view: _View, limit: int) -> Section | None:
    if limit < 1:
        return None
    wrong = view.count("wrong")
    if wrong:
        where, title = f"{view.where} wrong".strip(), "Wrong answers the model was surest of"
    else:
        where, title = f"{view.where} -failed".strip(), "Answers the model was least sure of"
    frame = view.store.examples(
        where, sort="confidence", descending=bool(wrong), limit=limit, run=view.run
    )
    if frame.empty:
        return None
    words = view.store.top_words(frame["example"].tolist(), view.layer, run=view.run)
    total = view.count("wrong" if wrong else "-failed")
    painted = [
        {
            "about": _about(row, view),
            "text": _text(row["text"]),
            "pair": _text(row["pair"]),
            "words": found,
        }
        for row, found in zip(frame.to_dict("records"), words, strict=True)
    ]
    lead = (
        f"{len(painted)} of {total:,}, at layer {view.layer}. Orange words speak for the answer "
        "the model gave, blue ones against it; the stronger the colour, the more."
    )
    if wrong:
        lead += " Wrong labels often stand among these: the model may be right."
    return Section(title, [Paragraph(lead), Painted(painted)])


def _about(row: dict[str, Any], view: _View) -> list[str]:
    gold = _text(row["gold"])
    first = f"{gold} → {_text(row['predicted'])}" if gold else f"→ {_text(row['predicted'])}"
    lines = [f"{first}  ·  confidence {_number(row['confidence'])}  ·  id {_text(row['id'])}"]
    if row["chars_seen"] < row["chars_total"]:
        lines.append(f"read {row['chars_seen']:,} of {row['chars_total']:,} characters")
    note = view.store.note(str(row["id"]), run=view.run)
    if note and note["note"]:
        lines.append(f"Note: {note['note']}")
    if note and note["proposed_label"]:
        lines.append(f"Proposed label: {note['proposed_label']}")
    return lines


def _notes(view: _View) -> Section | None:
    """List proposed labels, the part of the notes somebody has to act on."""
    notes = view.store.notes(run=view.run)
    inside = set(view.store.examples(view.where, run=view.run)["id"]) if len(notes) else set()
    rows = [
        [_text(row["id"]), _text(row["proposed_label"]), _text(row["note"])]
        for row in notes.to_dict("records")
        if row["id"] in inside
    ]
    if not rows:
        return None
    return Section("Notes on examples", [Table(["Id", "Proposed label", "Note"], rows)])


def _text(value: Any) -> str:
    return "" if value is None or value != value else str(value)


def _audited(view: _View) -> Section:
    facts, model, dataset = view.facts, view.facts["model"], view.facts["dataset"]
    settings = facts["settings"]
    roles = ", ".join(f"{role} = {column}" for role, column in dataset["columns"].items())
    rows = [
        ["Model", f"{model['name']}{_revision(model)}"],
        ["Kind", f"{model['architecture']}, {model['layers']} layers, {model['task']}"],
        ["Labels", _some(view.labels)],
        ["Dataset", f"{dataset['source']}{_revision(dataset)}"],
        ["Split", dataset["split"] or ""],
        ["Columns", roles],
        ["Language-model head", model["lm_head"]],
        ["Scores speak for", _target(settings["target"])],
        ["Steps", str(settings["steps"])],
        ["Longest text", f"{settings['max_length']} tokens, longer ones: {settings['long_text']}"],
        ["Computed in", settings["dtype"]],
        ["Weights", model["model_digest"]],
        ["Database", f"{view.store.path.name}, run {view.run}, {facts['created']}"],
        ["Versions", ", ".join(f"{name} {v}" for name, v in facts["versions"].items())],
    ]
    blocks: list[Any] = [Table(["", ""], [row for row in rows if row[1]])]
    if facts["warnings"]:
        blocks += [Paragraph("To be kept in mind:"), Bullets(facts["warnings"])]
    if facts["status"] != "finished":
        blocks.append(Paragraph("The audit is not finished; numbers will change."))
    return Section("What was audited", blocks)


def _revision(what: dict[str, Any]) -> str:
    return f" at {what['revision']}" if what.get("revision") else ""


def _target(target: str) -> str:
    return {
        "predicted": "the class the model predicted",
        "gold": "the class of the label",
    }.get(target, target)


def _some(names: Iterable[str], shown: int = 20) -> str:
    names = list(names)
    more = f", ... ({len(names)} in all)" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def _method(view: _View) -> Section:
    steps = view.facts["settings"]["steps"]
    return Section(
        "How this was measured",
        [
            Paragraph(
                "Each text is compared with a blank one of the same length, in which every word is "
                f"masked. On the way from the blank to the text, in {steps} steps, the model's own "
                "gradient tells how much every place of every layer adds to the answer. The "
                "pretrained language model the classifier was made from then says which of the "
                "text's own words each place stands for. So every word gets a score at every "
                "layer."
            ),
            Paragraph(
                "Scores are in logits, the model's own unit before it turns them into "
                "probabilities. The scores of a text add up to (nearly) the difference between the "
                "text and its blank. A word's share is its part of all that speaks for the answer, "
                "from 0 to 1."
            ),
            Paragraph(
                "From Hou and Castañón, Decoding Layer Saliency in Language Transformers (ICML "
                "2023): saliency of the hidden layers, their decoding through the language-model "
                "head, and the idea of a layer's coherence. The path from a blank, the weighting "
                "among a text's own words, the definition of coherence and the choice of a layer "
                "by faithfulness are this tool's completion."
            ),
        ],
    )


def _limits(view: _View) -> Section:
    items = [
        "This shows what the model used, not what is right to use. A word that carries the meaning "
        "of a class is also relied on; the judgement is a person's.",
        "A high share is evidence, not proof: only deleting a word and seeing the answer change "
        "shows an effect.",
        "Means of few examples are uncertain; read the intervals. Of many words compared, some "
        "stand out by chance.",
        "Scores depend on what counts as a blank text; here its words are replaced by "
        f"{view.facts['model']['blank_token']}.",
        "Labels may be wrong too, most of all among the answers the model was surest of.",
        "Numbers are of these examples; another dataset may behave otherwise.",
    ]
    if view.facts["model"]["causal"]:
        items.append(
            "The language-model head of this kind of model speaks of the next word, so a layer's "
            "decoding is a likeness, not an identity."
        )
    if view.facts["model"]["lm_head_is_fallback"]:
        items.append(
            "No language-model head was given: layers were decoded through the input embeddings, "
            "which is rougher."
        )
    return Section("Limits", [Bullets(items)])
