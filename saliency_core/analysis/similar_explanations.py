"""Which examples are explained alike? Cosine of explanations, from the file alone."""

from __future__ import annotations

import numpy as np
import pandas as pd

from saliency_core.errors import UserError
from saliency_core.store import Slice
from saliency_core.store.read.token_directions import (
    TokenDirections,
    explanations,
    token_directions,
)

SAMPLE = 20_000
"""Examples compared at most; a seeded sample of a larger file."""
NEIGHBOURS = 5
BLOCK = 512
"""Examples compared at a time: their directions stay in the processor's cache."""


def nearest_explanations(
    part: Slice, position: int, layer: int, *, count: int = NEIGHBOURS
) -> pd.DataFrame:
    """Return the `count` examples of each kind of answer whose explanation lies nearest.

    cos(q_e, q_f), with q the direction of an example's three most salient tokens in the language
    model's own space (docs/method.md, “Coherence of a layer”).

    Returns:
        Columns example, answer (`right`, `wrong` or `unknown`), cosine (-1 to 1) and words (the
        tokens of the explanation), nearest first.

    Raises:
        UserError: the audit kept no directions, or the example has no explanation at this layer.
    """
    run = part.run
    directions = token_directions(run)
    if directions is None:
        raise UserError(
            "This run keeps no token directions, so explanations can't be compared. Merge only "
            "finished audits, or audit the dataset into a new file."
        )
    own = run.example(int(position))["explanation"][layer]
    own = directions.explanations(own[None])[0]
    if not own.any():
        raise UserError(
            "No word speaks for the prediction at this layer: there is nothing to compare."
        )
    positions, tokens = explanations(part, layer, limit=SAMPLE)
    others = positions != position
    positions, tokens = positions[others], tokens[others]
    blocks = np.array_split(tokens, max(1, len(tokens) // BLOCK))
    cosines = np.concatenate([directions.explanations(block) @ own for block in blocks])
    chosen = []
    rows = run.columns.rows_of(positions)
    right, wrong = (run.filter(answer).mask()[rows] for answer in ("right", "wrong"))
    answers = {"right": right, "wrong": wrong, "unknown": ~right & ~wrong}
    for name, members in answers.items():
        places = np.flatnonzero(members & (tokens >= 0).any(1))
        places = places[np.lexsort((positions[places], -cosines[places]))][:count]
        chosen += [
            (int(positions[at]), name, float(cosines[at]), _words(directions, tokens[at]))
            for at in places
        ]
    return pd.DataFrame(chosen, columns=["example", "answer", "cosine", "words"])


def _words(directions: TokenDirections, tokens: np.ndarray) -> str:
    rows = directions.rows_of(tokens[tokens >= 0])
    return ", ".join(directions.texts[row] for row in rows if row >= 0)
