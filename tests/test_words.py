"""Words lie on exact character spans of any text, for all three families of tokenizers."""

import time

import numpy as np
import pytest
import regex
from hypothesis import example, given, settings
from hypothesis import strategies as st

from saliency_core.model.audited import without_spans
from saliency_core.words import (
    NAMES,
    blank_spans,
    is_spoken,
    named_spans,
    shares,
    word_name,
    word_scores,
    word_spans,
    words_of,
)
from tests.support.tiny_models import byte_level, tokenizer_of, unigram, wordpiece

FAMILIES = {
    "wordpiece": tokenizer_of(wordpiece()),
    "byte-bpe": tokenizer_of(byte_level()),
    "unigram": tokenizer_of(unigram()),
}
ODD = [
    "👩\u200d💻", "🇩🇪", "👍🏽", "e\u0301", "\u0323\u0301", "映画", "良い", "한국어", "والفيلم",
    "שלום", "\u200b", "\u200d", "\ufeff", "\u202e", "<script>alert(1)</script>", "&lt;", "don't",
    "well-known", "ﬁ", "ẞ", "İ", "x\u0301\u0302", " ", "\n", "\t", "\u00a0", "\u3000", "\x00",
    "\ud7ff", "123", "a_b", "½", "𝕏", "...", "这部电影非常好看", "この映画はとても面白い",
    "หนังเรื่องนี้สนุกมาก", "ខ្ញុំចូលចិត្តភាពយន្តនេះ", "2023年3月iPhone手机", "映画-良い", "aิ", "\u3099",
    "ラーメン", "\n\n", "\r\n", "  ", "𠮷野家", "ㅤ", "\u00ad",
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
        assert word_name(text[start:end]) == word
        place = end
    assert rebuilt + text[place:] == text


@pytest.mark.parametrize("family", FAMILIES)
@given(text=TEXT, seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_no_score_is_lost_between_pieces_and_words(family, text, seed):
    spans, sides = tokens_of(FAMILIES[family], text)
    found = words_of((text,), spans, sides)
    assert len(found.word_of_token) == len(found.token_of_piece) == len(found.piece_spans)
    assert set(found.token_of_piece.tolist()) == set(range(len(spans)))
    assert set(found.word_of_token.tolist()) == set(range(len(found.words)))
    assert (np.diff(found.word_of_token) >= 0).all()
    scores = np.random.default_rng(seed).normal(size=(3, len(spans)))
    pieces = found.shared_out(scores)
    of_token = np.array([np.bincount(found.token_of_piece, row, len(spans)) for row in pieces])
    assert np.allclose(of_token, scores, atol=1e-5), "the pieces of a token add up to it"
    by_word = word_scores(pieces, found.word_of_token, len(found.words))
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
    assert (found.sides[found.word_of_token] == sides[found.token_of_piece]).all()
    for (start, end), side, word in zip(found.spans, found.sides, found.words, strict=True):
        assert word_name((text, pair)[side][start:end]) == word


@pytest.mark.parametrize(
    ("family", "text", "words"),
    [
        ("wordpiece", "Unhappily, the café's 12 films!", "Unhappily|,|the|café's|12|films|!"),
        ("byte-bpe", "unhappy well-known don't 👩‍💻.", "unhappy|well-known|don't|👩‍💻|."),
        ("unigram", "映画は良い the film.", "映画|は|良い|the|film|."),
        ("wordpiece", "这部电影非常好看。", "这|部|电影|非常|好看|。"),
        ("byte-bpe", "この映画はとても面白い!", "この|映画|は|とても|面白い|!"),
        ("byte-bpe", "หนังเรื่องนี้สนุกมาก", "หนัง|เรื่อง|นี้|สนุก|มาก"),
    ],
)
def test_pieces_join_to_the_words_of_the_text(family, text, words):
    found = words_of((text,), *tokens_of(FAMILIES[family], text))
    assert list(found.words) == words.split("|")


def test_shares_are_the_parts_of_all_positive_score():
    found = shares(np.array([[3.0, -2.0, 1.0, 0.0], [-1.0, -2.0, 0.0, 0.0]]))
    assert np.allclose(found, [[0.75, 0, 0.25, 0], [0, 0, 0, 0]])


# Scripts without spaces


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("这部电影非常好看，真的。", "这|部|电影|非常|好看|，|真的|。"),
        ("この映画はとても面白い", "この|映画|は|とても|面白い"),
        ("ラーメンを食べた", "ラーメン|を|食|べた"),
        ("หนังเรื่องนี้สนุกมาก", "หนัง|เรื่อง|นี้|สนุก|มาก"),
        ("ຂ້ອຍມັກຮູບເງົານີ້", "ຂ້ອຍ|ມັກ|ຮູບເງົາ|ນີ້"),
        ("ខ្ញុំចូលចិត្តភាពយន្តនេះ", "ខ្ញុំ|ចូលចិត្ត|ភាពយន្ត|នេះ"),
        ("ဒီရုပ်ရှင်ကကောင်းတယ်", "ဒီ|ရုပ်ရှင်|က|ကောင်း|တယ်"),
        ("2023年3月iPhone-手机很好", "2023|年|3|月|iPhone|-|手机|很好"),
        ("영화는 정말 재미있다", "영화는|정말|재미있다"),
        ("والفيلم שלום", "والفيلم|שלום"),
        ("the café's well-known 3D film", "the|café's|well-known|3D|film"),
    ],
)
def test_scripts_without_spaces_are_divided_and_others_are_not(text, words):
    assert [text[start:end] for start, end in word_spans(text)] == words.split("|")


@given(text=TEXT)
@settings(max_examples=100, deadline=None)
def test_only_scripts_without_spaces_are_divided(text):
    """The words of other text are those of the pattern alone; no boundary cuts a character."""
    word = regex.compile(r"[\p{L}\p{N}\p{M}]+(?:['’\-][\p{L}\p{N}\p{M}]+)*|\X")
    spaceless = regex.compile(
        r"[\p{scx=Han}\p{scx=Hira}\p{scx=Kana}\p{scx=Thai}\p{scx=Laoo}\p{scx=Khmr}\p{scx=Mymr}]"
    )
    whole = [match.span() for match in word.finditer(text) if not match.group().isspace()]
    found = word_spans(text)
    for start, end in whole:
        if not spaceless.search(text, start, end):
            assert (start, end) in found
        assert "".join(text[a:b] for a, b in found if start <= a < end) == text[start:end]
    beginnings = {start for start, _ in whole}
    marks = [start for start, _ in found if regex.match(r"\p{M}", text[start])]
    assert set(marks) <= beginnings, "no mark is parted from its letter"


@given(text=st.text(st.characters(max_codepoint=127)))
@settings(max_examples=100, deadline=None)
def test_ascii_text_has_the_words_of_the_pattern_for_all(text):
    general = word_spans(f"{text}\u00a0é")[:-1]
    assert word_spans(text) == general


def test_a_token_over_several_words_is_shared_out_by_characters():
    text = "非常好看 the"
    spans = np.array([[0, 1], [1, 4], [4, 8]], np.int32)
    found = words_of((text,), spans, np.zeros(3, np.int8))
    assert found.words == ("非常", "好看", "the")
    assert found.token_of_piece.tolist() == [0, 1, 1, 2]
    assert found.word_of_token.tolist() == [0, 0, 1, 2]
    assert found.piece_spans.tolist() == [[0, 1], [1, 2], [2, 4], [4, 8]]
    pieces = found.shared_out(np.array([[1.0, 3.0, 5.0]], np.float32))
    assert np.allclose(pieces, [[1, 1, 2, 5]])


def test_a_long_line_is_divided_in_a_moment():
    for text in (
        "这部电影非常好看" * 1250,
        "หนังเรื่องนี้สนุกมาก" * 500,
        "the film " * 1200,
        "ー" * 10_000,
    ):
        started = time.perf_counter()
        assert word_spans(text)[-1][1] == len(text.rstrip())
        assert time.perf_counter() - started < 0.5


# What nobody can see


@pytest.mark.parametrize(
    ("characters", "name"),
    [
        ("\n", "line break"), (" \r\n ", "line break"), ("\u2028", "line break"),
        ("\t", "tab character"), (" \t", "tab character"), ("  ", "white space"),
        ("\u00a0", "white space"), ("\u3000", "white space"), ("\x07", "control character"),
        ("\u200b", "invisible character"), ("\ufeff", "invisible character"),
        ("\ufe0f", "invisible character"), ("", "white space"), (" film ", "film"),
        ("❤\ufe0f", "❤\ufe0f"), ("👩\u200d💻", "👩\u200d💻"), ("tab", "tab"),
    ],
)  # fmt: skip
def test_what_nobody_can_see_has_a_name(characters, name):
    assert word_name(characters) == name
    assert is_spoken(name) == (name in ("film", "tab"))


def test_no_word_that_can_be_seen_has_the_name_of_one_that_cannot():
    assert all(" " in name for name in NAMES)
    assert not any(" " in text[a:b] for text in ODD for a, b in word_spans(text))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nice\n\nand a  plot \n", "nice|line break|and|a|white space|plot|white space|line break"),
        ("the film", "the|film"),
        ("a\tb", "a|tab character|b"),
        ("film\u00a0plot", "film|white space|plot"),
    ],
)
def test_white_space_of_its_own_is_a_word_with_a_name(text, words):
    found = words_of((text,), *tokens_of(FAMILIES["byte-bpe"], text))
    assert list(found.words) == words.split("|")


def test_white_space_words_of_a_text_without_tokens():
    text = " a  b\n\n\tc d \n"
    names = [name for name, _, _ in named_spans(text)]
    assert names == [
        "white space", "a", "white space", "b", "line break", "tab character", "c", "d",
        "white space", "line break",
    ]  # fmt: skip
    assert [text[start:end] for start, end in blank_spans(text)] == [
        " ", "  ", "\n\n", "\t", " ", "\n"
    ]  # fmt: skip


def test_a_token_of_the_space_between_two_words_belongs_to_the_next_word():
    text = "the film"
    spans = np.array([[0, 0], [0, 3], [3, 4], [4, 8], [8, 8]], np.int32)
    found = words_of((text,), spans, np.zeros(5, np.int8))
    assert found.words == ("the", "film")
    assert found.word_of_token.tolist() == [0, 0, 1, 1, 1]
    assert found.spans.tolist() == [[0, 3], [4, 8]]


@pytest.mark.parametrize("family", FAMILIES)
@given(text=TEXT)
@settings(max_examples=60, deadline=None)
def test_to_delete_a_word_deletes_it(family, text):
    """A word that is there once is not there any more, and nothing else that can be seen goes."""
    found = words_of((text,), *tokens_of(FAMILIES[family], text))
    for (start, end), name in zip(found.spans.tolist(), found.words, strict=True):
        without = without_spans(text, [(start, end)])
        assert without != text or start == end
        left = text[:start] + text[end:]
        assert "".join(without.split()) == "".join(left.split())
        if (
            name in NAMES
            and text[:start].split()
            and text[end:].split()
            and not text[start:end].strip()
        ):
            assert len(without.split()) >= len(text.split()), "two words never grow into one"
