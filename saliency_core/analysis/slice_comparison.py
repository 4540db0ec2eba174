"""Two slices side by side, and the saved ones in one table: errors, coherence, words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from saliency_core.analysis.word_tables import contrast
from saliency_core.errors import UserError
from saliency_core.stats import mean_interval, wilson
from saliency_core.store import Run, Slice
from saliency_core.store.query.parser import parse
from saliency_core.store.query.tree import And, Not, Term, Tree, both, terms_of, text_of


def saved_slices(run: Run, *, layer: int) -> pd.DataFrame:
    """Return the saved slices with their metrics, those that err most first.

    Columns: name, where, examples, judged, error_rate, low, high, coherence (`slice_metrics`),
    problem, note. A problem is that a slice can't be read, or that its filter asks for right or
    wrong predictions, so that its error rate, left out, says nothing.
    """
    columns = ["examples", "judged", "error_rate", "low", "high", "coherence", "problem"]
    saved, rows = run.store.slices(), []
    for where in saved["where"]:
        try:
            part = run.filter(where)
            row = slice_metrics(part, layer) | {"problem": ""}
            if settled := settled_prediction(part):
                no_rate = dict.fromkeys(("error_rate", "low", "high"), np.nan)
                row |= no_rate | {"problem": f"no error rate: the filter asks for {settled} ones"}
            rows.append(row)
        except UserError as error:
            rows.append({"problem": str(error)})
    metrics = pd.DataFrame(rows, columns=columns, index=saved.index)
    metrics = metrics.astype({name: float for name in columns[2:6]})
    table = pd.concat([saved[["name", "where"]], metrics, saved["note"]], axis=1)
    return table.sort_values(["error_rate", "name"], ascending=[False, True], ignore_index=True)


def settled_prediction(part: Slice) -> str | None:
    """Return `right` or `wrong` where the filter itself asks for such predictions, else None.

    The error rate of such a slice says nothing about the model.
    """
    right, wrong = (part.filter(term).count() for term in ("right", "wrong"))
    if bool(right) == bool(wrong) or not _asks_for_predictions(part):
        return None
    return "right" if right else "wrong"


def without_settling(where: str) -> str:
    """Return a filter without its terms that ask for right or wrong predictions."""
    tree = parse(where)
    parts = tree.parts if isinstance(tree, And) else (tree,)
    kept = [part for part in parts if not _is_settling(part)]
    return text_of(both(kept)) if len(kept) < len(parts) else where


def _is_settling(part: Tree) -> bool:
    term = part.part if isinstance(part, Not) else part
    return isinstance(term, Term) and term.field in ("right", "wrong")


def _asks_for_predictions(part: Slice) -> bool:
    saved = part.run.store.slices().set_index("name")["where"]
    lines, fields, seen = [part.where], set[str](), set[str]()
    while lines:
        for term in terms_of(parse(lines.pop(), part.run.metadata_columns())):
            fields.add(term.field)
            names = {value.text for value in term.values} if term.field == "slice" else set()
            lines += [saved[name] for name in names - seen if name in saved.index]
            seen |= names
    return bool(fields & {"wrong", "right"}) or {"gold", "predicted"} <= fields


def compare_slices(part_a: Slice, part_b: Slice, *, layer: int | None = None) -> dict[str, Any]:
    """Return errors, coherence and words of two slices side by side.

    Returns:
        `a` and `b`, each with where, examples, judged, errors, error_rate, low, high (95 % Wilson),
        coherence (mean over examples at the layer), coherence_low, coherence_high; `shared`, the
        examples in both; `p` of Fisher's exact test that the error rates differ, None where they
        share examples, which the test takes to be apart; `layer`; `words`, a frame of
        `aggregate.contrast`.

    Raises:
        UserError: a slice can't be read.
    """
    layer = part_a.run.layer_to_read(layer)
    a, b = (slice_metrics(part, layer) for part in (part_a, part_b))
    tables = [[side["errors"], side["judged"] - side["errors"]] for side in (a, b)]
    shared = int(np.count_nonzero(part_a.mask() & part_b.mask()))
    apart = a["judged"] and b["judged"] and not shared
    p = float(stats.fisher_exact(tables).pvalue) if apart else None
    words = contrast(part_a, part_b, layer)
    return {"a": a, "b": b, "shared": shared, "p": p, "layer": layer, "words": words}


def slice_metrics(part: Slice, layer: int) -> dict[str, Any]:
    """Return one side of `compare_slices`.

    Raises:
        UserError: the slice can't be read.
    """
    _, right = part.confidence()
    n, errors = len(right), int(np.count_nonzero(~right))
    low, high = wilson(errors, n)
    coherence = part.column(f"coherence:{layer}").astype(float)
    coherence = coherence[~np.isnan(coherence)]
    mean = float(coherence.mean()) if len(coherence) else None
    error = float(coherence.std(ddof=1)) / len(coherence) ** 0.5 if len(coherence) > 1 else 0.0
    around = (None, None) if mean is None else mean_interval(mean, error)
    return {
        "where": part.where,
        "examples": part.count(),
        "judged": n,
        "errors": errors,
        "error_rate": errors / n if n else None,
        "low": low,
        "high": high,
        "coherence": mean,
        "coherence_low": around[0],
        "coherence_high": around[1],
    }
