"""One word of an audit: how often it stands there, what it is worth in each layer, how it errs."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from saliency_core.aggregate import word_table
from saliency_core.errors import UserError
from saliency_core.store import Store
from saliency_core.store.slices import quote


@dataclass(frozen=True)
class WordProfile:
    """What an audit tells about one word within a slice."""

    word: str
    examples: int
    wrong_with: int
    judged_with: int
    """Labelled, answered examples that hold the word; `wrong_with` of them are wrong."""
    wrong_without: int
    judged_without: int
    by_layer: pd.DataFrame
    """layer, mean_share, low, high, mean_score, top3_rate."""


def word_profile(
    store: Store, word: str, where: str = "", *, run: int | None = None
) -> WordProfile:
    """Return the profile of a lower-cased word over a slice.

    Raises:
        UserError: no example of the slice holds the word.
    """
    word = word.strip().lower()
    holding = f"word:{quote(word)} {where}".strip()
    without = f"-word:{quote(word)} {where}".strip()
    examples = store.count(holding, run=run)
    if not examples:
        raise UserError(f"No example of this filter holds the word {word!r}.")
    rows = []
    for layer in range(store.run(run)["layers"] + 1):
        table = word_table(store, layer, holding, run=run, by_class=False, minimum=1)
        row = table[table["word"] == word]
        if len(row):
            rows.append({"layer": layer, **row.iloc[0].to_dict()})
    wrong_with, judged_with = _errors(store, holding, run)
    wrong_without, judged_without = _errors(store, without, run)
    columns = ["layer", "mean_share", "low", "high", "mean_score", "top3_rate"]
    return WordProfile(
        word=word,
        examples=examples,
        wrong_with=wrong_with,
        judged_with=judged_with,
        wrong_without=wrong_without,
        judged_without=judged_without,
        by_layer=pd.DataFrame(rows, columns=columns if not rows else None),
    )


def _errors(store: Store, where: str, run: int | None) -> tuple[int, int]:
    """Return wrong and judged examples of a slice."""
    wrong = store.count(f"wrong {where}", run=run)
    return wrong, wrong + store.count(f"right {where}", run=run)
