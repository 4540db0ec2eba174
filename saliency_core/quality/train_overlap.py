"""Which texts of the audited set stand in the training data, exactly or nearly?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from saliency_core.progress import Progress, silent
from saliency_core.quality.duplicates import THRESHOLD, Texts, check_threshold
from saliency_core.quality.text_sets import Bands, jaccard, signatures, text_key
from saliency_core.store import Run

EXACT, NEAR = 1, 2
"""What `in_train` says of a text that the training data have; 0 where they have none like it."""
CANDIDATES = 8
"""Audited texts of one band that a training text is compared with at most."""


class TrainOverlap:
    """Takes training texts in blocks, and tells which audited ones are among them."""

    def __init__(
        self, run: Run, *, threshold: float = THRESHOLD, progress: Progress = silent
    ) -> None:
        """Read the audited texts.

        Args:
            run: the audited set.
            threshold: Jaccard similarity of word pairs from which texts are nearly the same.
            progress: called with stage, done, total.

        Raises:
            UserError: the threshold can't be used.
        """
        check_threshold(threshold)
        self.threshold = threshold
        self.texts = Texts(run)
        self.keys, self.rows, self.text_of = self.texts.distinct(progress)
        self.found = np.zeros(len(self.keys), np.int8)
        self.bands = Bands(self.threshold)
        self.audited = self.texts.signatures(
            self.rows, self.bands, "reading audited texts", progress
        )
        self.order = np.empty(self.audited.bands.shape, np.int32)
        for number, band in enumerate(self.audited.bands):
            self.order[number] = np.argsort(band, kind="stable")
            band[:] = band[self.order[number]]

    def add(self, folded: Sequence[str]) -> None:
        """Take in folded training texts; empty ones are nobody's."""
        said = [text for text in folded if text]
        if not said or not len(self.keys):
            return
        keys = np.array([text_key(text) for text in said])
        places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        self.found[places[self.keys[places] == keys]] = EXACT
        known = signatures(said, self.bands)
        pairs = [self._candidates(n, band) for n, band in enumerate(known.bands)]
        codes = np.unique(np.concatenate([ours * len(said) + theirs for ours, theirs in pairs]))
        ours, theirs = np.divmod(codes, len(said))
        likely = self.audited.estimates(ours, known, theirs) >= self.bands.least
        ours, theirs = ours[likely], theirs[likely]
        texts = dict(zip(ours.tolist(), self.texts.of(self.rows[ours]), strict=True))
        for audited, train in zip(ours.tolist(), theirs.tolist(), strict=True):
            if not self.found[audited] and jaccard(texts[audited], said[train]) >= self.threshold:
                self.found[audited] = NEAR

    def _candidates(self, number: int, theirs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return pairs of audited texts, not yet found, and training texts that share a band."""
        ours = self.audited.bands[number]
        low = np.searchsorted(ours, theirs, side="left")
        high = np.minimum(np.searchsorted(ours, theirs, side="right"), low + CANDIDATES)
        many = high - low
        train = np.repeat(np.arange(len(theirs)), many)
        within = np.arange(len(train)) - np.repeat(np.cumsum(many) - many, many)
        audited = self.order[number][low[train] + within].astype(np.int64)
        waiting = self.found[audited] == 0
        return audited[waiting], train[waiting]

    def in_train(self) -> np.ndarray:
        """Return (example,) int8 by rising position: 0, `EXACT` or `NEAR`."""
        return np.append(self.found, np.int8(0))[self.text_of]
