"""What an example has, and which of its words carry it."""

import numpy as np
import pytest

from saliency_core.analysis.features import (
    TEXT,
    TEXT_TESTS,
    WORD,
    carriers,
    features_in,
    features_of,
)
from saliency_core.records import Example
from saliency_core.words import word_spans
from tests.support.word_model import WordModel, audited_store

TEXTS = (
    "Dull film!!! See https://example.org/a now",
    "bright day in 1999, 12 of 20",
    "фильм is NOT bland",
    "www.example.com",
    "kindly kindly, kindly",
    "…",
)
FOUND = {
    "has a URL": {0, 3},
    "has a run of punctuation": {0},
    "has a digit": {1},
    "has letters of another script than Latin": {2},
    "has a word in upper case": {2},
    "begins with “dull”": {0},
    "ends with “now”": {0},
    "begins with “kindly”": {4},
    "ends with “kindly”": {4},
    "ends with “bland”": {2},
    "begins with “www”": {3},
}


def words_of(text: str, side: int = 0) -> list[dict]:
    return [
        {"word": text[start:end], "start": start, "end": end, "side": side}
        for start, end in word_spans(text)
    ]


def carried(name: str, text: str, kind: str = TEXT) -> list[str]:
    words = words_of(text)
    return [words[place]["word"] for place in carriers(name, kind, [text], words)]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    rows = [Example(i, f"id-{i}", text, None, "positive") for i, text in enumerate(TEXTS)]
    rows.append(Example(len(TEXTS), "pair", "bright", "see www.b.org", "positive"))
    return audited_store(tmp_path_factory.mktemp("features") / "a.sqlite", WordModel(4.0), rows)


def test_the_store_and_a_bare_text_have_the_same_features(store):
    found = features_of(store.run(1), 1)
    for place, text in enumerate([*TEXTS, None]):
        sides = ["bright", "see www.b.org"] if text is None else [text]
        has = {
            (found.kinds[code], found.names[code])
            for code in found.feature[found.example == place]
            if found.kinds[code] in (WORD, TEXT)
        }
        assert has == features_in(sides)


@pytest.mark.parametrize(("name", "rows"), FOUND.items())
def test_features_are_where_a_reader_sees_them(name, rows):
    assert {i for i, text in enumerate(TEXTS) if (TEXT, name) in features_in([text])} == rows


def test_the_words_that_carry_a_feature():
    assert carried("kindly", "Kindly reply, kindly.", WORD) == ["Kindly", "kindly"]
    assert carried("has a digit", TEXTS[1]) == ["1999", "12", "20"]
    assert "".join(carried("has a URL", TEXTS[0])) == "https://example.org/a"
    assert "".join(carried("has a run of punctuation", TEXTS[0])) == "!!!"
    assert carried("has a word in upper case", TEXTS[2]) == ["NOT"]
    assert carried("begins with “dull”", TEXTS[0]) == ["Dull"]
    assert carried("ends with “kindly”", TEXTS[4]) == ["kindly"]
    assert carried("length<7", TEXTS[0]) == []


def test_a_pair_carries_features_on_its_own_side():
    words = words_of("bright") + words_of("see www.b.org", 1)
    places = carriers("has a URL", TEXT, ["bright", "see www.b.org"], words)
    assert "".join(words[place]["word"] for place in places) == "www.b.org"
    assert {words[place]["side"] for place in places} == {1}


def test_scores_are_of_the_words_that_carry_a_feature(store):
    found = features_of(store.run(1), 1)
    words = store.run().top_words(list(range(len(TEXTS) + 1)), 1)
    checked = 0
    for code, (name, kind) in enumerate(zip(found.names, found.kinds, strict=True)):
        if kind not in (WORD, TEXT) or name in TEXT_TESTS or name.startswith("has "):
            continue
        for pair in np.flatnonzero(found.feature == code):
            row = found.example[pair]
            texts = [TEXTS[row]] if row < len(TEXTS) else ["bright", "see www.b.org"]
            own = [words[row][place] for place in carriers(name, kind, texts, words[row])]
            assert found.score[pair] == pytest.approx(sum(w["score"] for w in own), abs=1e-3)
            assert found.share[pair] == pytest.approx(sum(w["share"] for w in own), abs=1e-3)
            checked += 1
    assert checked > 30
    digits = found.names.index("has a digit")
    assert len(found.holding(digits)) == 1
