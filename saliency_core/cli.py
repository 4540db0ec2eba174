"""The command line: `python -m saliency_core COMMAND`; parses, calls, prints, nothing else.

Everything a user can cause ends in one sentence on standard error and exit status 2.
"""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from saliency_core.errors import UserError
from saliency_core.paths import default_database, demo_folder

app = typer.Typer(
    help="Audit a text classifier: which words drive it, in which layer, and where it goes wrong.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
errors_to = Console(stderr=True)


class LongText(StrEnum):
    """What happens to a text longer than the model takes."""

    truncate = "truncate"
    window = "window"


class Dtype(StrEnum):
    """Number format the model computes in."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    auto = "auto"


Database = Annotated[
    Path | None, typer.Option("--db", help="The SQLite file (default: cache/saliency.sqlite).")
]
RunOption = Annotated[int | None, typer.Option("--run", help="Run number (default: the newest).")]
Where = Annotated[str, typer.Option(help='A slice, e.g. "wrong confidence>0.9 word:people".')]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")]


def main() -> None:
    """Run the command line; user errors become one sentence and exit status 2."""
    try:
        app()
    except UserError as error:
        errors_to.print(f"Error: {error}", style="red", markup=False, highlight=False)
        sys.exit(2)
    except KeyboardInterrupt:
        errors_to.print(
            "Stopped. What was computed is kept; the same command goes on from there.", markup=False
        )
        sys.exit(130)


def _existing(database: Path | None) -> Path:
    """Return the database to read; say how to make one where there is none."""
    path = database or default_database()
    if not path.is_file():
        raise UserError(
            f"There is no database at {path}. Make one with "
            f"`python -m saliency_core audit MODEL DATASET --db {path}`."
        )
    return path


def _open(database: Path | None):
    from saliency_core.store import open_store

    return open_store(_existing(database))


def _print_json(value: Any) -> None:
    """Print one JSON object; NaN is not JSON, so it becomes null."""
    print(json.dumps(_plain(value), ensure_ascii=False, allow_nan=False))


def _plain(value: Any) -> Any:
    """Turn numpy scalars, NaN and nested containers into what JSON knows."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and value != value:
        return None
    return value


def _records(frame) -> list[dict]:
    """Return a frame's rows as dictionaries."""
    return [_plain(row) for row in frame.to_dict("records")]


def _show(rows: list[dict], columns: list[str], title: str | None = None) -> None:
    """Print rows as a table; text from the data is never taken for markup."""
    from rich.text import Text

    table = Table(title=title)
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*(Text(_cell(row.get(column))) for column in columns))
    Console().print(table)


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def _progress(quiet: bool) -> Progress:
    """Return the progress bar of every long command: rate and time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=errors_to,
        disable=quiet,
        transient=False,
    )


class _Bar:
    """Feeds a rich progress bar from the audit's progress callback."""

    def __init__(self, bar: Progress) -> None:
        self.bar = bar
        self.tasks: dict[str, int] = {}

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """Show that `done` of `total` steps of a stage are finished."""
        if stage not in self.tasks:
            self.tasks[stage] = self.bar.add_task(stage, total=total, rate="", completed=done)
            return
        task = self.bar.tasks[self.tasks[stage]]
        rate = f"{task.speed:.0f}/s" if task.speed else ""
        self.bar.update(task.id, completed=done, total=total, rate=rate)


@app.command()
def audit(
    model: Annotated[str, typer.Argument(help="Folder or hub name of a sequence classifier.")],
    dataset: Annotated[str, typer.Argument(help="File, folder or hub name of a dataset.")],
    database: Database = None,
    text_column: Annotated[str | None, typer.Option(help="Column of the text.")] = None,
    pair_column: Annotated[str | None, typer.Option(help="Column of the second text.")] = None,
    label_column: Annotated[str | None, typer.Option(help="Column of the gold label.")] = None,
    id_column: Annotated[str | None, typer.Option(help="Column of a stable id.")] = None,
    metadata_columns: Annotated[
        str | None, typer.Option(help="Columns kept beside, comma-separated (default: the rest).")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split of the dataset.")] = None,
    config: Annotated[str | None, typer.Option(help="Configuration of a hub dataset.")] = None,
    revision: Annotated[str | None, typer.Option(help="Revision of a hub dataset.")] = None,
    no_header: Annotated[bool, typer.Option("--no-header", help="CSV without header.")] = False,
    label_map: Annotated[
        str | None, typer.Option(help='Dataset label to model label: "0=negative,1=positive".')
    ] = None,
    trust_labels: Annotated[
        bool, typer.Option("--trust-labels", help="Skip the label-order guard.")
    ] = False,
    lm_head: Annotated[
        str | None, typer.Option(help="Folder or hub name of the pretrained language model.")
    ] = None,
    target: Annotated[str, typer.Option(help="predicted, gold or class:NAME.")] = "predicted",
    steps: Annotated[int, typer.Option(min=1, help="Steps m of the path.")] = 4,
    dtype: Annotated[Dtype, typer.Option(help="Number format of the model.")] = Dtype.float32,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda ...")] = "auto",
    batch_tokens: Annotated[
        int | None, typer.Option(min=1, help="Tokens a batch, padding included.")
    ] = None,
    max_length: Annotated[int | None, typer.Option(min=3, help="Tokens a text may have.")] = None,
    long_text: Annotated[LongText, typer.Option(help="Longer texts.")] = LongText.truncate,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N rows.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of every sample.")] = 0,
    no_evaluate: Annotated[
        bool, typer.Option("--no-evaluate", help="Skip the faithfulness sample.")
    ] = False,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code shipped with the model.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, estimate time and size, stop.")
    ] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Compute saliency of every layer for every example and keep it in one SQLite file."""
    from saliency_core.audit import AuditOptions
    from saliency_core.audit import audit as run_audit

    options = AuditOptions(
        text_column=text_column,
        pair_column=pair_column,
        label_column=label_column,
        id_column=id_column,
        metadata_columns=metadata_columns.split(",") if metadata_columns is not None else None,
        split=split,
        config=config,
        revision=revision,
        header=not no_header,
        label_map=_label_map(label_map),
        trust_labels=trust_labels,
        lm_head=lm_head,
        target=target,
        steps=steps,
        dtype=dtype.value,
        device=device,
        batch_tokens=batch_tokens,
        max_length=max_length,
        long_text=long_text.value,
        limit=limit,
        seed=seed,
        evaluate=not no_evaluate,
        trust_remote_code=trust_remote_code,
        dry_run=dry_run,
    )
    with _progress(quiet or as_json) as bar:
        result = run_audit(
            model, dataset, db=database or default_database(), options=options, progress=_Bar(bar)
        )
    if as_json:
        _print_json(result.as_dict())
    elif not quiet:
        print(result.sentence())


def _label_map(text: str | None) -> dict[str, str]:
    """Parse "0=negative,1=positive"."""
    if not text:
        return {}
    pairs = [part.split("=", 1) for part in text.split(",")]
    for pair in pairs:
        if len(pair) != 2 or not all(side.strip() for side in pair):
            raise UserError(
                f"--label-map: {'='.join(pair)!r} is not of the form DATASET_LABEL=MODEL_LABEL."
            )
    return {old.strip(): new.strip() for old, new in pairs}


@app.command()
def runs(database: Database = None, as_json: AsJson = False) -> None:
    """List the runs a file holds."""
    frame = _open(database).runs()
    if as_json:
        _print_json({"runs": _records(frame)})
        return
    columns = ["run", "model", "dataset", "examples", "failed", "accuracy", "status"]
    _show(_records(frame), columns)


@app.command()
def info(database: Database = None, as_json: AsJson = False) -> None:
    """Tell what a file holds: runs, models, datasets, sizes, versions."""
    store = _open(database)
    facts = store.info()
    if as_json:
        _print_json(facts)
        return
    print(f"{facts['database']} (format {facts['version']})")
    columns = ["run", "model", "dataset", "examples", "failed", "accuracy", "layers", "target"]
    _show(facts["runs"], [*columns, "seconds", "bytes"])
    for row in facts["runs"]:
        for warning in store.run(row["run"])["warnings"]:
            print(f"Run {row['run']}: {warning}")


@app.command()
def layers(database: Database = None, run: RunOption = None, as_json: AsJson = False) -> None:
    """Show coherence and faithfulness by layer, and the recommended layer."""
    store = _open(database)
    facts = store.run(run)
    rows = _records(store.layers(run=run))
    if as_json:
        _print_json(
            {
                "run": facts["run"],
                "layers": rows,
                "recommended": facts["recommended"],
                "equals": facts["equals"],
            }
        )
        return
    columns = ["layer", "coherence", "low", "high", "zero_line", "decodability"]
    _show(rows, [*columns, "comprehensiveness", "sufficiency", "explained"])
    print(f"Recommended layer: {facts['recommended']}. Equals: {facts['equals'] or 'none'}.")


@app.command()
def errors(
    database: Database = None,
    run: RunOption = None,
    where: Where = "",
    layer: Annotated[int | None, typer.Option(help="Layer of the words.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Rows to print.")] = 50,
    offset: Annotated[int, typer.Option(min=0, help="Rows to skip.")] = 0,
    sort: Annotated[str, typer.Option(help="confidence, margin, coherence, length, position.")] = (
        "confidence"
    ),
    as_json: AsJson = False,
) -> None:
    """List misclassified examples, most confident first."""
    store = _open(database)
    condition = f"wrong {where}".strip()
    frame = store.examples(
        condition, run=run, sort=sort, descending=sort != "position", limit=limit, offset=offset
    )
    layer = store.run(run)["recommended"] if layer is None else layer
    words = store.top_words(frame["example"].tolist(), layer, run=run) if len(frame) else []
    rows = [{**row, "words": found} for row, found in zip(_records(frame), words, strict=True)]
    total = store.count(condition, run=run)
    if as_json:
        _print_json({"total": total, "rows": rows})
        return
    for row in rows:
        row["words"] = " ".join(word["word"] for word in row["words"][:3])
    _show(rows, ["id", "gold", "predicted", "confidence", "words", "text"])
    print(f"{len(rows)} of {total} misclassified examples.")


@app.command()
def tokens(
    database: Database = None,
    run: RunOption = None,
    where: Where = "",
    layer: Annotated[int | None, typer.Option(help="Layer (default: recommended).")] = None,
    predicted: Annotated[str | None, typer.Option("--class", help="Predicted class.")] = None,
    minimum: Annotated[int, typer.Option(min=1, help="Examples a word must be in.")] = 5,
    limit: Annotated[int, typer.Option(min=1, help="Words to print.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show the salient words of a slice by predicted class."""
    from saliency_core.aggregate import word_table

    store = _open(database)
    layer = store.run(run)["recommended"] if layer is None else layer
    frame = word_table(store, layer, where, run=run, by_class=True, minimum=minimum)
    if predicted is not None:
        names = store.run(run)["label_names"]
        if predicted not in names:
            raise UserError(
                f"--class {predicted!r} is not a label; choose from {', '.join(names)}."
            )
        frame = frame[frame["class"] == predicted]
    rows = _records(frame.head(limit))
    if as_json:
        _print_json({"layer": layer, "examples": store.count(where, run=run), "words": rows})
        return
    columns = ["word", "class", "examples", "mean_share", "low", "high", "total_share", "top3_rate"]
    _show(rows, columns, f"Layer {layer}")


@app.command()
def dashboard(
    database: Database = None,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 8501,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only serve.")] = False,
) -> None:
    """Open the dashboard on 127.0.0.1."""
    from saliency_core.serve import serve

    serve(database or default_database(), port=port, open_browser=not no_browser)


@app.command()
def demo(
    folder: Annotated[Path | None, typer.Option(help="Where it is built.")] = None,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 8501,
    no_dashboard: Annotated[
        bool, typer.Option("--no-dashboard", help="Build and audit only.")
    ] = False,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only serve.")] = False,
    quiet: Quiet = False,
) -> None:
    """Build the embedded demonstration, audit it and open the dashboard."""
    from saliency_core.audit import AuditOptions
    from saliency_core.audit import audit as run_audit
    from saliency_core.demo import build_demo

    folder = folder or demo_folder()
    database = folder / "demo.sqlite"
    with _progress(quiet) as bar:
        progress = _Bar(bar)
        built = build_demo(folder, progress=progress)
        options = AuditOptions(
            text_column="text", label_column="label", id_column="id", lm_head=str(built.lm_head)
        )
        result = run_audit(
            str(built.model), str(built.dataset), db=database, options=options, progress=progress
        )
    if not quiet:
        print(result.sentence())
    if not no_dashboard:
        from saliency_core.serve import serve

        serve(database, port=port, open_browser=not no_browser)
