"""Is this really the model? Proved on texts before anything is stored.

Batched, padded and cut as an audit does it, a model must answer as transformers' own forward
answers each text alone, tokenized by its own tokenizer.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import torch
from torch import nn

from saliency_core.errors import UserError
from saliency_core.model.classifier import Classifier
from saliency_core.model.encoding import Encoding
from saliency_core.records import Doubt

PROVED = 8
"""Real texts whose logits are compared with those of transformers' own forward."""
PROOF_TOKENS = 8192
"""Tokens after which no further text is compared: long texts take long."""
SURVEYED = 100
"""Texts among whose tokens the unknown ones are counted."""
UNKNOWN_REPORTED = 0.2
UNKNOWN_REFUSED = 0.9
TOKENS_TO_REFUSE = 3
"""Of fewer tokens, none known may be chance: one odd text does not tell of the tokenizer."""


def prove(
    classifier: Classifier, texts: Sequence[str], pairs: Sequence[str] | None = None
) -> list[str]:
    """Prove on a few texts that the model is what transformers itself would run.

    A hundred texts of a dataset are enough. Returns what a reader of the numbers must be warned of.

    Raises:
        UserError: the tokenizer does not know the texts, the logits are others than transformers'
            own or not numbers, or they do not depend on the text.
    """
    texts, pairs = texts[:SURVEYED], pairs[:SURVEYED] if pairs is not None else None
    encodings = classifier.encode(texts, pairs)
    warnings = _check_tokens_known(classifier, texts, encodings)
    _check_logits(classifier, texts, pairs, encodings)
    return warnings


def own_logits(classifier: Classifier, text: str, pair: str | None = None) -> np.ndarray:
    """Return (class,) logits of transformers' own forward of one text; raises what it raises.

    Nothing of ours takes part: neither batches nor padding nor what `collate` makes of a text.
    """
    encoded = classifier.tokenizer(
        text, pair, truncation=True, max_length=classifier.max_length, return_tensors="pt"
    )
    taken = input_names(classifier.model) & set(encoded)
    with torch.inference_mode():
        output = classifier.model(**{name: encoded[name].to(classifier.device) for name in taken})
    return output.logits[0].float().cpu().numpy()


def input_names(model: nn.Module) -> frozenset[str]:
    """Return what a model's forward names among what a tokenizer returns."""
    known = {"input_ids", "attention_mask", "token_type_ids", "position_ids"}
    return frozenset(known & set(inspect.signature(model.forward).parameters))


def _check_tokens_known(
    classifier: Classifier, texts: Sequence[str], encodings: Sequence[Encoding]
) -> list[str]:
    """Refuse a tokenizer that knows next to nothing of the texts; warn of one that knows little."""
    unknown_id = classifier.tokenizer.unk_token_id
    unknown = known = 0
    for text, encoding in zip(texts, encodings, strict=True):
        own = np.array(encoding.input_ids, np.int64)[~encoding.special]
        if text.strip() and not len(own):
            unknown += len(text.split())
            continue
        missed = int((own == unknown_id).sum()) if unknown_id is not None else 0
        unknown, known = unknown + missed, known + len(own) - missed
    share = unknown / max(unknown + known, 1)
    name = classifier.info.name
    if share > UNKNOWN_REFUSED and unknown + known >= TOKENS_TO_REFUSE:
        raise UserError(
            f"The tokenizer of {name} does not know {share:.0%} of the tokens of the first "
            f"{len(texts)} texts: it is not the tokenizer of this model, or the model was not "
            "made for texts like these."
        )
    if share > UNKNOWN_REPORTED:
        return [
            f"The tokenizer of {name} does not know {share:.0%} of the tokens of the first "
            f"{len(texts)} texts; {Doubt.UNKNOWN_WORDS}."
        ]
    return []


def _check_logits(
    classifier: Classifier,
    texts: Sequence[str],
    pairs: Sequence[str] | None,
    encodings: Sequence[Encoding],
) -> None:
    """Compare the logits of a few texts, batched, with those of each alone."""
    rows = _chosen(encodings)
    if not rows:
        return
    name = classifier.info.name
    ours = classifier.logits([encodings[row] for row in rows])  # (text, class)
    compared: dict[int, np.ndarray] = {}
    for place, row in enumerate(rows):
        with suppress(Exception):  # Such a text fails in the audit too, and alone.
            compared[place] = own_logits(classifier, texts[row], pairs[row] if pairs else None)
    finite = [place for place, logits in compared.items() if np.isfinite(logits).all()]
    if compared and not finite:
        raise UserError(
            f"{name} returns NaN or infinite numbers as logits, for {texts[rows[0]]!r:.60} too, "
            "though its weights are finite; try --dtype float32."
        )
    for place in finite:
        difference = float(np.abs(ours[place] - compared[place]).max())
        if not difference <= tolerance(compared[place], classifier.dtype):
            raise UserError(
                f"{name} answers {texts[rows[place]]!r:.60} otherwise among other texts than alone "
                f"in transformers: its logits differ by {difference:.2g}. It can't be audited in "
                "batches."
            )
    _check_depends_on_text(name, ours[finite])


def _chosen(encodings: Sequence[Encoding]) -> list[int]:
    """Return the rows of the first different texts with something to read."""
    rows: dict[tuple[int, ...], int] = {}
    tokens = 0
    for row, encoding in enumerate(encodings):
        if encoding.special.all() or encoding.input_ids in rows:
            continue
        if len(rows) == PROVED or (rows and tokens + len(encoding.input_ids) > PROOF_TOKENS):
            break
        rows[encoding.input_ids] = row
        tokens += len(encoding.input_ids)
    return list(rows.values())


def _check_depends_on_text(name: str, logits: np.ndarray) -> None:
    """Refuse a model that gives different texts the same (text, class) logits."""
    if len(logits) < 2:
        return
    spread = float(np.ptp(logits, axis=0).max())
    if spread <= 1e-6 * max(1.0, float(np.abs(logits).max())):
        raise UserError(
            f"{name} gives {len(logits)} different texts the same logits "
            f"({', '.join(f'{value:.3g}' for value in logits[0][:4])}): its answer does not "
            "depend on the text, so there is nothing to explain."
        )


def tolerance(logits: np.ndarray, dtype: str) -> float:
    """Return the rounding that another batch shape may cause."""
    return (0.1 if dtype == "bfloat16" else 1e-3) * max(1.0, float(np.abs(logits).max()))
