"""What a database holds, compared with what it was given and with another."""

import sqlite3

import numpy as np

from saliency_core.store import open_store
from tests.support.store_made_up import LABELS, content


def check_same(found: dict, audited) -> None:
    """Compare what the store says of an example with what it was given."""
    row = audited.example
    assert found["example"] == row.position
    assert (found["id"], found["text"], found["pair"]) == (row.id, row.text, row.pair)
    assert found["metadata"] == row.metadata
    assert found["failure"] == audited.failure
    assert found["gold"] == (None if audited.gold is None else LABELS[audited.gold])
    np.testing.assert_array_equal(found["logits"], audited.logits)
    assert (found["chars_seen"], found["chars_total"]) == (audited.chars_seen, audited.chars_total)
    assert set(found["saliency"]) == {saliency.target for saliency in audited.saliency}
    if not audited.saliency:
        return
    np.testing.assert_allclose(found["probabilities"], audited.probabilities, rtol=1e-5)
    assert found["predicted"] == LABELS[audited.predicted]
    assert found["words"] == list(audited.words)
    np.testing.assert_array_equal(found["word_spans"], audited.word_spans)
    np.testing.assert_array_equal(found["word_of_token"], audited.word_of_token)
    np.testing.assert_array_equal(found["spans"], audited.spans)
    np.testing.assert_array_equal(found["sides"], audited.sides)
    np.testing.assert_array_equal(found["token_ids"], audited.token_ids)
    np.testing.assert_array_equal(found["explanation"], audited.explanation)
    for saliency in audited.saliency:
        np.testing.assert_array_equal(found["saliency"][saliency.target], saliency.scores)
        np.testing.assert_array_equal(found["completeness"][saliency.target], saliency.completeness)


def blobs(path) -> dict:
    """Return the content that must be the same; ids of words depend on the order of batches."""
    found = content(path)
    store = open_store(path)
    for name in ("vocabulary", "postings", "tokens"):
        found.pop(name)
    found["token_summary"] = sorted(
        store.connection.execute("SELECT * FROM token_summary").fetchall()
    )
    words = store.run().filter().occurrences(2)
    found["occurrences"] = [
        words.example.tolist(),
        [words.vocabulary[word] for word in words.word],
        words.score.tolist(),
        words.top3.tolist(),
    ]
    return found


def is_sound(path) -> bool:
    connection = sqlite3.connect(path)
    try:
        connection.execute("INSERT INTO texts_fts (texts_fts) VALUES ('integrity-check')")
        return (
            connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            and connection.execute("PRAGMA foreign_key_check").fetchall() == []
        )
    finally:
        connection.close()
