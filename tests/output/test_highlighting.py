"""Long texts are folded around their strongest words; what the model did not read stays folded."""

import re

import pytest

from saliency_core.output.highlighting import (
    EMPTY,
    ROOM,
    folded,
    painted,
    painted_row,
    pieces_of,
)
from saliency_core.store.query.wording import in_words

TEXT = "filler words of no use " * 200


def word(start, score):
    return {"start": start, "end": TEXT.index(" ", start), "score": score, "side": 0}


def test_a_long_text_is_shown_around_its_strongest_words():
    words = [word(23 * 10, 0.1), word(23 * 60, 1.0), word(23 * 150, -0.9)]
    pieces = folded(pieces_of(TEXT, words, 1.0, seen=23 * 160))
    assert [style for _, style, _ in pieces if style.startswith("s")].count("s10") == 1
    assert "s0" in {style for _, style, _ in pieces}
    shown = sum(len(text) for text, style, _ in pieces if style != "cut")
    assert shown <= ROOM
    gaps = [text for text, style, _ in pieces if style == "cut"]
    left_out = sum(int(re.search(r"[\d,]+", gap)[0].replace(",", "")) for gap in gaps)
    assert shown + left_out == len(TEXT)
    assert f"{len(TEXT) - 23 * 160:,} characters not read by the model" in gaps[-1]


def test_a_short_text_stays_as_it_is():
    pieces = pieces_of("a <b> c", [{"start": 2, "end": 5, "score": 1.0}], 1.0)
    assert folded(pieces) == pieces
    assert "<b>" not in painted([pieces])
    assert "&lt;b&gt;" in painted([pieces])


@pytest.mark.parametrize(
    ("text", "direction"),
    [
        ("RT @user: هذا الفيلم رائع جدا", "rtl"),
        ("שלום לכולם", "rtl"),
        ("a film called سلام is in English", "ltr"),
        ("12:30", "ltr"),
    ],
)
def test_a_text_runs_the_way_of_most_of_its_letters(text, direction):
    assert f'dir="{direction}"' in painted([pieces_of(text, [], 1.0)])
    assert painted_row(example(text), [])["direction"] == direction


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_text_is_said_to_be_empty(text):
    assert painted_row(example(text), [])["columns"] == [[[EMPTY]]]
    assert "(empty text)" in painted([[EMPTY]])


def example(text):
    known = {"id": "1", "gold": "a", "predicted": "a", "confidence": 0.9, "pair": None}
    return known | {"text": text, "chars_seen": len(text), "chars_total": len(text)}


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("", ""),
        ("meta.channel:voicemail", "“channel” is voicemail"),
        ("wrong -word:kindly", "the prediction is wrong and the text does not contain “kindly”"),
        ("gold:a,b length>=10", "the label is a or b and length is at least 10 tokens"),
        ("salient:thing@5", "“thing” is among the three strongest words"),
        ("no filter <", "no filter <"),
        ("label_issue -duplicate", "the label may be wrong and the text is no duplicate"),
        ("-tag:odd", "the example does not have the tag “odd”"),
    ],
)
def test_a_filter_is_said_in_words(where, words):
    assert in_words(where) == words
