"""One edit over a filter of a million examples, and its undo: seconds beside their budget.

    python -m benchmarks.bulk_edits --examples 1000000 --folder /tmp

The file has every row that annotating and filtering read, but no scores.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from saliency_core.records import DatasetInfo, ModelInfo, RunSettings
from saliency_core.store import Edit, annotate, open_store, open_writer, undo
from saliency_core.store.connection import writing
from saliency_core.store.format import codec

BUDGET = 3.0
LABELS = ("negative", "positive")
CHUNK = 8192
DATASET = DatasetInfo("made up", "made_up.csv", None, None, {"text": "text"}, (), None)
MODEL = ModelInfo(
    "some/model", None, "Bert", LABELS, "single-label", 1, "tied", False, False, "[MASK]",
    "weights", "tokenizer", "head",
)  # fmt: skip


def build(path: Path, examples: int) -> None:
    """Write the examples of a run, a tenth of them wrong, straight into the tables."""
    with open_writer(path) as writer:
        run = writer.begin_run(DATASET, MODEL, RunSettings())
    draw = np.random.default_rng(1)
    gold = draw.integers(0, 2, examples)
    predicted = np.where(draw.random(examples) < 0.1, 1 - gold, gold)
    with writing(path) as connection:
        connection.execute("INSERT INTO texts VALUES (1, 'a text of some words', NULL)")
        connection.executemany(
            "INSERT INTO examples (run, position, id, text_id, label, gold, predicted)"
            " VALUES (?, ?, ?, 1, ?, ?, ?)",
            (
                (run, n, str(n), LABELS[g], int(g), int(p))
                for n, (g, p) in enumerate(zip(gold, predicted, strict=True))
            ),
        )
        for chunk, start in enumerate(range(0, examples, CHUNK)):
            part = slice(start, start + CHUNK)
            positions = np.arange(start, min(start + CHUNK, examples))
            connection.execute(
                "INSERT INTO chunks VALUES (?, ?, ?" + ", x''" * 11 + ", NULL, NULL)",
                (run, chunk, len(positions)),
            )
            for name, values in (
                ("position", positions),
                ("gold", gold[part].astype(np.int8)),
                ("predicted", predicted[part].astype(np.int8)),
            ):
                connection.execute(
                    "INSERT INTO columns VALUES (?, ?, ?, ?)",
                    (run, name, chunk, codec.pack(values)),
                )


def timed(what: str, call: Callable[[], object], budget: float | None = BUDGET) -> None:
    """Print how long a call takes, and the part of its budget that is."""
    begun = time.perf_counter()
    found = call()
    seconds = time.perf_counter() - begun
    share = "" if budget is None else f"  {seconds / budget:5.0%} of {budget:g} s"
    print(f"{what:48} {seconds:7.3f} s{share}  {found}", flush=True)


def main() -> None:
    """Build the file and time the edits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, default=Path("/tmp"))
    options = parser.parse_args()
    path = options.folder / f"bulk-{options.examples}.sqlite"
    if not path.is_file():
        build(path, options.examples)
    store = open_store(path)
    run = store.run()
    for where, edits in (
        ("", [Edit("label", LABELS[0])]),
        ("", [Edit("tag", "look again"), Edit("reviewed")]),
        ("wrong", [Edit("label", LABELS[1]), Edit("note", "all of them")]),
    ):
        said = f"annotate {where or 'all'}: {', '.join(edit.what for edit in edits)}"
        timed(said, lambda where=where, edits=edits: annotate(path, 1, edits, where=where).examples)
        timed("  and its undo", lambda: undo(path, 1))
        annotate(path, 1, edits, where=where)
    timed("one example", lambda: annotate(path, 1, [Edit("right")], ids=["17"]).examples, 0.2)
    timed("filter reviewed, first", lambda: run.filter("reviewed").count(), 1.0)
    timed("progress of wrong", lambda: run.filter("wrong").progress(), 1.0)
    timed("filter wrong tag, again", lambda: run.filter('wrong tag:"look again"').count(), 0.2)
    while len(actions := run.actions()) and actions["undone"].isna().any():
        undo(path, 1)


if __name__ == "__main__":
    main()
