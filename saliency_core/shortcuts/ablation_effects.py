"""Causal evidence of suspects: what the model answers once a word is deleted or masked.

docs/method.md, “Suspects”, part 3.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats

from saliency_core.analysis.features import TEXT, WORD, Features, carriers, features_of
from saliency_core.analysis.kept_suspects import DATA, UNTESTED
from saliency_core.model.audited import answers, edit_of, edited, mask_of, texts_and_words
from saliency_core.progress import Progress, silent
from saliency_core.shortcuts.suspects import Thresholds, assessments, ranked
from saliency_core.stats import benjamini_hochberg
from saliency_core.store import Run
from saliency_core.words import is_spoken

if TYPE_CHECKING:
    from saliency_core.model.classifier import Classifier

EXAMPLES = 200
"""Examples a word is deleted from, at most."""
CANDIDATES = 30
"""Features whose effect is measured, at most."""
NEAR = 0.25
"""Words whose log frequency is that near to the nearest one's may be the control word."""
EFFECT_COLUMNS = (
    "effect_n mean_drop flips flip_rate flip_low flip_high control_mean_drop control_flip_rate"
    " masked_mean_drop masked_flip_rate p_effect"
).split()

KEY = ["feature", "kind", "class"]
TABLE = "effects"


def with_effects(
    run: Run,
    table: pd.DataFrame,
    classifier: Classifier,
    *,
    layer: int | None = None,
    words: Sequence[str] = (),
    examples: int = EXAMPLES,
    candidates: int = CANDIDATES,
    thresholds: Thresholds | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> pd.DataFrame:
    """Return the suspects with the causal evidence of the strongest, assessments made anew.

    Effects kept with the run (`keep_effects`) are taken from there.

    For a feature and class: up to `examples` of the examples that have the feature and were
    predicted the class, with the words that carry it deleted, with them masked, and with a control
    word of like frequency in the same example deleted. p is that of Wilcoxon's signed-rank test
    that the drop of p(class) is greater than for the control word.

    Args:
        run: a run.
        table: of `suspects.suspects`.
        classifier: of `classifier_of`.
        layer: the layer of the table; None for the recommended one.
        words: words, and other features of texts, that are tested whatever their rank.
        examples: a feature, drawn with `seed`.
        candidates: features that are tested, strongest first.
        thresholds: what the assessment asks for.
        seed: of the draws.
        progress: called with (stage, done, total).
    """
    names = run.label_names
    layer = run.layer_to_read(layer)
    found = _known(run, table, examples, seed)
    missing = [place for place in _candidates(table, candidates, words) if place not in found.index]
    if missing:
        features = features_of(run, layer)
        tester = _Tester(run, features, classifier, examples, seed)
        rows = []
        for done, place in enumerate(missing):
            progress("deleting words", done, len(missing))
            row = table.loc[place]
            rows.append(tester.test(row["feature"], row["kind"], names.index(row["class"])))
        progress("deleting words", len(missing), len(missing))
        measured = pd.DataFrame(rows, index=missing, columns=EFFECT_COLUMNS, dtype=float)
        found = pd.concat([found, measured]) if len(found) else measured
    return _joined(table, found, thresholds)


def with_kept_effects(
    run: Run, table: pd.DataFrame, *, thresholds: Thresholds | None = None
) -> pd.DataFrame:
    """Return the suspects with the effects last kept with the run, if any; no model runs."""
    kept = run.tables()
    kept = kept[kept["name"] == TABLE]
    if kept.empty:
        return table
    return _joined(table, _known(run, table, **kept["settings"].iloc[0]), thresholds)


def _joined(
    table: pd.DataFrame, effects: pd.DataFrame, thresholds: Thresholds | None
) -> pd.DataFrame:
    """Return the suspects with effects by row, judged and ranked anew."""
    table = table.drop(columns=[*EFFECT_COLUMNS, "q_effect"], errors="ignore").join(effects)
    table["q_effect"] = benjamini_hochberg(table["p_effect"].to_numpy(float))
    table["assessment"] = assessments(table, thresholds or Thresholds())
    return ranked(table)


def p_of_gain(gain: np.ndarray) -> float:
    """Return p of Wilcoxon's signed-rank test that gains lie above zero; 1 where all are zero.

    A gain, (example,), is the fall of p(class) beyond that of the control word.
    """
    if not np.any(gain != 0):
        return 1.0
    return float(stats.wilcoxon(gain, alternative="greater", zero_method="zsplit").pvalue)


def keep_effects(run: Run, table: pd.DataFrame, examples: int = EXAMPLES, seed: int = 0) -> None:
    """Keep what `with_effects` measured, so that the same is never measured twice."""
    from saliency_core.store import save_table

    measured = table.loc[table["effect_n"].notna(), [*KEY, *EFFECT_COLUMNS]]
    save_table(run.store.path, run.number, TABLE, measured, {"examples": examples, "seed": seed})


def _known(run: Run, table: pd.DataFrame, examples: int, seed: int) -> pd.DataFrame:
    """Return the effects kept with the run, by the rows of the table they belong to."""
    kept = run.table(TABLE, {"examples": examples, "seed": seed})
    if kept is None:
        return pd.DataFrame(columns=EFFECT_COLUMNS, dtype=float)
    place = pd.Series(table.index, pd.MultiIndex.from_frame(table[KEY]))
    kept = kept.set_index(KEY)
    kept = kept[kept.index.isin(place.index)]
    return kept.set_axis(place.loc[kept.index].to_numpy())


def _candidates(table: pd.DataFrame, count: int, words: Sequence[str]) -> list[int]:
    """Return the rows to test: the named, the salient words, a few other features and associated.

    One in ten is a feature that is no word, two in ten are words that only the data knows.
    """
    has_answers = table[table["predictions"] > 0]
    is_word = has_answers["kind"] == WORD
    salient = has_answers["assessment"] == UNTESTED
    named = has_answers["kind"].isin([WORD, TEXT]) & has_answers["feature"].str.lower().isin(
        [word.lower() for word in words]
    )
    associated = is_word & (has_answers["assessment"] == DATA)
    others = salient & (has_answers["kind"] == TEXT)
    quotas = ((salient & is_word, 0.7), (others, 0.1), (associated, 0.2))
    chosen = has_answers.index[named].tolist()
    for group, quota in quotas:
        chosen += has_answers.index[group][: max(round(quota * count), 1)].tolist()
    return list(dict.fromkeys(chosen))


class _Tester:
    """Measures the effect of features on the answers."""

    def __init__(
        self, run: Run, features: Features, classifier: Classifier, examples: int, seed: int
    ) -> None:
        self.run, self.predicted = run, run.column("predicted")
        self.features, self.classifier = features, classifier
        self.examples, self.seed = examples, seed
        self.mask = mask_of(classifier)
        self.code = {
            key: code for code, key in enumerate(zip(features.names, features.kinds, strict=True))
        }
        self.frequency = np.bincount(features.feature, minlength=len(features.names))

    def test(self, name: str, kind: str, label: int) -> list[float]:
        """Return the values of `EFFECT_COLUMNS` of a feature and class.

        Texts that are the same without the feature take no part.
        """
        rows = self.features.holding(self.code[name, kind])
        rows = rows[self.predicted[rows] == label]
        # A draw of its own, so that the effect does not depend on what else is tested.
        draw = np.random.default_rng([self.seed, zlib.crc32(f"{kind} {name}".encode()), label])
        if len(rows) > self.examples:
            rows = np.sort(draw.choice(rows, self.examples, replace=False))
        positions = self.features.positions[rows].tolist()
        before, deleted, masked, control = [], [], [], []
        for text, found in texts_and_words(self.run, positions):
            sides = [side for side in text if side is not None]
            places = carriers(name, kind, sides, found)
            without = edited(text, found, places)
            if without == text:
                continue
            before.append(text)
            deleted.append(without)
            masked.append(edited(text, found, places, self.mask))
            other = carriers(self._control(found, places, draw), WORD, sides, found)
            control.append(edited(text, found, other))
        if not before:
            return [0, *[np.nan] * (len(EFFECT_COLUMNS) - 1)]
        probabilities = answers(self.classifier, [*before, *deleted, *masked, *control])
        first, *after = np.split(probabilities, 4)
        own, hidden, swapped = (edit_of(first, part, label) for part in after)
        return [
            own.n,
            own.mean_drop,
            own.flips,
            own.flip_rate,
            own.low,
            own.high,
            swapped.mean_drop,
            swapped.flip_rate,
            hidden.mean_drop,
            hidden.flip_rate,
            p_of_gain(own.drops - swapped.drops),
        ]

    def _control(
        self, words: list[dict[str, Any]], places: Sequence[int], draw: np.random.Generator
    ) -> str:
        """Return the word of a text nearest in frequency to those under test; "" if none is left.

        A text with no other word has no control: nothing is deleted from it.
        """
        lower = [word["word"].lower() for word in words]
        tested = {lower[place] for place in places}
        others = sorted(
            word for word in set(lower) - tested if is_spoken(word) and (word, WORD) in self.code
        )
        if not others:
            return ""
        aim = np.log(max((self._seen(word) for word in tested), default=1))
        gaps = np.array([abs(np.log(self._seen(word)) - aim) for word in others])
        return others[int(draw.choice(np.flatnonzero(gaps <= gaps.min() + NEAR)))]

    def _seen(self, word: str) -> int:
        """Return in how many examples a word is, at least one."""
        code = self.code.get((word, WORD))
        return 1 if code is None else max(int(self.frequency[code]), 1)
