"""`runs`, `info`, `layers`, `errors`, `words`: what a file contains."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from saliency_core.cli.tables import counted, megabytes, records, say, say_which_layer, show
from saliency_core.cli.terminal import (
    AsJson,
    Database,
    LayerOption,
    RunOption,
    Where,
    filtered,
    open_database,
    open_run,
    print_json,
)
from saliency_core.errors import UserError
from saliency_core.progress import duration

EXAMPLES = (
    'saliency errors --where "confidence>0.9 word:people"',
    "saliency errors --sort margin --limit 10",
    "saliency errors | cut -f 1,2,3",
)
ASCENDING = ("position", "label_quality")
"""Sorts whose lowest value comes first; of the others the highest does."""


def runs(database: Database = None, as_json: AsJson = False) -> None:
    """List the runs in a file."""
    frame = open_database(database).runs()
    if as_json:
        print_json({"runs": records(frame)})
        return
    columns = ["run", "model", "dataset", "examples", "failed", "accuracy", "status"]
    show(records(frame), columns, nothing="The file contains no run yet.")


def info(database: Database = None, as_json: AsJson = False) -> None:
    """Show what a file contains: runs, models, datasets, sizes, versions."""
    store = open_database(database)
    facts = store.info()
    if as_json:
        print_json(facts)
        return
    say(f"{facts['database']} (format {facts['version']})")
    columns = ["run", "model", "dataset", "examples", "failed", "accuracy", "layers", "target"]
    show(
        facts["runs"],
        [*columns, "seconds", "bytes"],
        nothing="It contains no run yet.",
        formats={"seconds": duration, "bytes": megabytes},
    )
    for row in facts["runs"]:
        for sentence in _sentences(row):
            say(f"Run {row['run']}: {sentence}")


def _sentences(row: dict[str, Any]) -> list[str]:
    """Return what there is to say of a run besides its numbers."""
    sentences = list(row["warnings"])
    is_finished = row["status"] == "finished"
    if not is_finished:
        sentences.append("Not finished: run the same audit again, which goes on where it stopped.")
    if row["orphans"]:
        subject = counted(row["orphans"], "note")
        sentences.append(
            f"Of rows that are gone: {subject}, listed by `annotations export` as orphans."
            if is_finished
            else f"Without a row until that audit has gone through its dataset: {subject}."
        )
    return sentences


def layers(database: Database = None, number: RunOption = None, as_json: AsJson = False) -> None:
    """Show every measure by layer, and the layers to read."""
    run = open_run(database, number)
    rows = [with_choice(row) for row in records(run.layers())]
    if as_json:
        print_json(
            {
                "run": run.number,
                "layers": rows,
                "recommended": run.recommended,
                "most_readable": run.most_readable,
                "tied": run.tied,
                "mosaics": run.extra.get("mosaics"),
            }
        )
        return
    for row in rows:
        row["choice"] = _interval(row["choice"])
    columns = ["layer", "choice", "comprehensiveness", "sufficiency", "mosaic"]
    columns += ["coherence", "low", "high", "uniform_baseline", "decodability"]
    if rows and "next_decodability" in rows[0]:
        columns.append("next_decodability")
    show(rows, [*columns, "completeness"])
    if run.recommended is None:
        why = (
            "there was too little to compare the layers by"
            if run.is_finished
            else "it has not finished; the same audit goes on from where it stopped"
        )
        say(f"Run {run.number} recommends no layer: {why}.")
    else:
        say_which_layer(run)


def with_choice(row: dict[str, Any]) -> dict[str, Any]:
    """Return a layer whose choice score and interval stand together, as JSON has them."""
    ends = {"score": "choice", "low": "choice_low", "high": "choice_high"}
    choice = {end: row.pop(name) for end, name in ends.items()}
    return {**row, "choice": choice}


def _interval(choice: dict[str, float | None]) -> str | None:
    if choice["score"] is None:
        return None
    return f"{choice['score']:.2f} ({choice['low']:.2f} to {choice['high']:.2f})"


def errors(
    database: Database = None,
    number: RunOption = None,
    where: Where = "",
    layer: Annotated[int | None, typer.Option(help="Layer of the words.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Rows to print.")] = 50,
    offset: Annotated[int, typer.Option(min=0, help="Rows to skip.")] = 0,
    sort: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="confidence, margin, coherence, length, position or label_quality."
        ),
    ] = "confidence",
    as_json: AsJson = False,
) -> None:
    """List misclassified examples, most confident first."""
    run = open_run(database, number)
    wrong = filtered(run, where).filter("wrong")
    frame = wrong.examples(sort=sort, descending=sort not in ASCENDING, limit=limit, offset=offset)
    layer = run.layer_to_read(layer)
    words = run.top_words(frame["example"].tolist(), layer) if len(frame) else []
    rows = [{**row, "words": found} for row, found in zip(records(frame), words, strict=True)]
    total = wrong.count()
    if as_json:
        print_json({"total": total, "rows": rows})
        return
    for row in rows:
        leading = sorted(row["words"], key=lambda word: -word["score"])[:3]
        row["words"] = ", ".join(word["word"] for word in leading)
    show(rows, ["id", "gold", "predicted", "confidence", "words", "text"])
    if run.accuracy is None:
        say("No example has a label and a prediction to compare, so right and wrong are unknown.")
    else:
        say(f"{len(rows):,} of {counted(total, 'misclassified example')}.")


def words(
    database: Database = None,
    number: RunOption = None,
    where: Where = "",
    layer: LayerOption = None,
    predicted: Annotated[
        str | None, typer.Option("--class", metavar="NAME", help="Predicted class.")
    ] = None,
    minimum: Annotated[int, typer.Option(min=1, help="Examples a word must be in.")] = 5,
    limit: Annotated[int, typer.Option(min=1, help="Words to print.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show the salient words of a slice by predicted class."""
    from saliency_core.analysis.word_tables import word_table

    part = filtered(open_run(database, number), where)
    layer = part.run.layer_to_read(layer)
    frame = word_table(part, layer, by_class=True, minimum=minimum)
    if predicted is not None:
        names = part.run.label_names
        if predicted not in names:
            raise UserError(
                f"--class {predicted!r} is not a label; choose from {', '.join(names)}."
            )
        frame = frame[frame["class"] == predicted]
    rows = records(frame.head(limit))
    if as_json:
        print_json({"layer": layer, "examples": part.count(), "words": rows})
        return
    columns = ["word", "class", "examples", "mean_share", "low", "high", "total_share", "top3_rate"]
    nothing = f"No word is in {minimum} examples or more of these; see --minimum and --where."
    show(rows, columns, f"Layer {layer}", nothing)
