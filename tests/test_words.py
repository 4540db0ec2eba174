"""Words lie on exact character spans of any text, for all three families of tokenizers."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiny_models import byte_level, tokenizer_of, unigram, wordpiece

from saliency_core.words import shares, word_scores, word_spans, words_of

FAMILIES = {
    "wordpiece": tokenizer_of(wordpiece()),
    "byte-bpe": tokenizer_of(byte_level()),
    "unigram": tokenizer_of(unigram()),
}
ODD = [
    "👩\u200d💻", "🇩🇪", "👍🏽", "e\u0301", "\u0323\u0301", "映画", "良い", "한국어", "والفيلم",
    "שלום", "\u200b", "\u200d", "\ufeff", "\u202e", "<script>alert(1)</script>", "&lt;", "don't",
    "well-known", "ﬁ", "ẞ", "İ", "x\u0301\u0302", " ", "\n", "\t", "\u00a0", "\u3000", "\x00",
    "\ud7ff", "123", "a_b", "½", "𝕏", "...",
]  # fmt: skip
TEXT = st.lists(
    st.one_of(st.sampled_from(ODD), st.sampled_from(["the", "film", "unhappy", " "]), st.text()),
    max_size=12,
).map("".join)


def tokens_of(tokenizer, *texts):
    """Return the spans and sides of the tokens that are not special, as the models module does."""
    encoded = tokenizer(*texts, return_offsets_mapping=True)
    sides = np.array([-1 if side is None else side for side in encoded.sequence_ids(0)], np.int8)
    spans = np.array(encoded["offset_mapping"], np.int32).reshape(-1, 2)
    return spans[sides >= 0], sides[sides >= 0]


@pytest.mark.parametrize("family", FAMILIES)
@given(text=TEXT)
@example(text="<script>alert('👩‍💻')</script>\u200b")
@example(text="  the\u00a0film\u0301 , שלום映画  ")
@settings(max_examples=40, deadline=None)
def test_words_and_gaps_rebuild_the_text(family, text):
    spans, sides = tokens_of(FAMILIES[family], text)
    found = words_of((text,), spans, sides)
    rebuilt, place = "", 0
    for (start, end), word in zip(found.spans.tolist(), found.words, strict=True):
        assert place <= start <= end, "words stand one after another and never overlap"
        rebuilt += text[place:start] + text[start:end]
        assert text[start:end].strip() == word
        place = end
    assert rebuilt + text[place:] == text


@pytest.mark.parametrize("family", FAMILIES)
@given(text=TEXT, seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_no_score_is_lost_between_pieces_and_words(family, text, seed):
    spans, sides = tokens_of(FAMILIES[family], text)
    found = words_of((text,), spans, sides)
    assert len(found.word_of_token) == len(spans)
    assert set(found.word_of_token.tolist()) == set(range(len(found.words)))
    assert (np.diff(found.word_of_token) >= 0).all()
    scores = np.random.default_rng(seed).normal(size=(3, len(spans)))
    by_word = word_scores(scores, found.word_of_token, len(found.words))
    assert np.allclose(by_word.sum(1), scores.sum(1), atol=1e-4)


@given(text=TEXT)
@settings(max_examples=100, deadline=None)
def test_every_character_outside_white_space_belongs_to_one_word(text):
    covered = np.zeros(len(text), int)
    for start, end in word_spans(text):
        covered[start:end] += 1
    assert covered.max(initial=0) <= 1
    assert all(covered[place] for place, character in enumerate(text) if not character.isspace())


@pytest.mark.parametrize("family", FAMILIES)
@given(text=TEXT, pair=TEXT)
@settings(max_examples=30, deadline=None)
def test_a_word_never_reaches_from_one_text_of_a_pair_into_the_other(family, text, pair):
    spans, sides = tokens_of(FAMILIES[family], text, pair)
    found = words_of((text, pair), spans, sides)
    for token, side in enumerate(sides):
        assert found.sides[found.word_of_token[token]] == side
    for (start, end), side, word in zip(found.spans, found.sides, found.words, strict=True):
        assert (text, pair)[side][start:end].strip() == word


@pytest.mark.parametrize(
    ("family", "text", "words"),
    [
        ("wordpiece", "Unhappily, the café's 12 films!", "Unhappily|,|the|café's|12|films|!"),
        ("byte-bpe", "unhappy well-known don't 👩‍💻.", "unhappy|well-known|don't|👩‍💻|."),
        ("unigram", "映画は良い the film.", "映画は良い|the|film|."),
    ],
)
def test_pieces_join_to_the_words_of_the_text(family, text, words):
    found = words_of((text,), *tokens_of(FAMILIES[family], text))
    assert [word for word in found.words if word] == words.split("|")


def test_shares_are_the_parts_of_all_positive_score():
    found = shares(np.array([[3.0, -2.0, 1.0, 0.0], [-1.0, -2.0, 0.0, 0.0]]))
    assert np.allclose(found, [[0.75, 0, 0.25, 0], [0, 0, 0, 0]])
