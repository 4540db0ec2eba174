"""Words of white space and of scripts without spaces, from the tokenizer to the store."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from saliency_core.analysis.features import features_in, features_of
from saliency_core.analysis.kept_suspects import UNTESTED
from saliency_core.cli import main
from saliency_core.errors import UserError
from saliency_core.model.audited import answers, classifier_of, replace_word, without_spans
from saliency_core.model.loading import load_classifier
from saliency_core.pipeline.options import AuditOptions
from saliency_core.pipeline.run_audit import audit
from saliency_core.saliency.attributor import Attributor
from saliency_core.shortcuts.ablation_effects import with_effects
from saliency_core.shortcuts.counterfactuals import replace_in_slice
from saliency_core.shortcuts.invariance_checks import write_checks
from saliency_core.shortcuts.presentation import evidence
from saliency_core.shortcuts.suspects import suspects
from saliency_core.store import open_store
from saliency_core.words import NAMES
from tests.support.tiny_bert import save_tiny_bert
from tests.support.tiny_models import KINDS, SPECIAL, save_tiny

ADJECTIVES = ["good", "nice", "dull"]


def text_of(number):
    end = "\n\nand a  plot was bad \n" if number % 2 else " and a plot was bad"
    return f"the film was {ADJECTIVES[number % 3]}{end}"


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def store(request, tmp_path_factory):
    """Return a run of texts of which only the white space differs with the class."""
    folder = tmp_path_factory.mktemp(request.param)
    model, lm_head = save_tiny(request.param, folder)
    rows = [{"text": text_of(n), "label": str(n % 2)} for n in range(24)]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    options = AuditOptions(lm_head=lm_head, steps=1, evaluate=False, trust_labels=True)
    audit(model, folder / "rows.jsonl", db=folder / "a.sqlite", options=options)
    return open_store(folder / "a.sqlite")


def test_every_word_has_a_name_and_no_score_is_lost(store):
    layer = 0
    for position, words in enumerate(store.run().top_words(range(4), layer)):
        example = store.run().example(position)
        assert all(word["word"].strip() for word in words)
        scores = example["saliency"]["predicted"][layer]
        assert sum(word["score"] for word in words) == pytest.approx(scores.sum(), abs=1e-3)
        named = {word["word"] for word in words} & NAMES
        assert named == ({"line break", "white space"} if position % 2 else set())
    assert "" not in store.vocabulary().tolist()
    assert store.run().filter('word:"line break"').count() == 12


def test_deleting_line_breaks_is_what_collapsing_them_by_hand_is(store):
    classifier = classifier_of(store.run())
    summary, frame = replace_in_slice(store.run().filter(), classifier, "line break")
    assert summary["n"] == 12
    texts = [text_of(n) for n in range(24) if n % 2]
    by_hand = [(text.replace("\n\n", " ").replace("\n", ""), None) for text in texts]
    before = answers(classifier, [(text, None) for text in texts])
    after = answers(classifier, by_hand)
    own = before.argmax(1)
    rows = np.arange(12)
    assert np.allclose(frame["drop"], before[rows, own] - after[rows, own], atol=1e-6)
    assert np.abs(frame["drop"]).max() > 1e-4


def test_the_effect_of_white_space_is_measured_on_texts_that_change(store):
    table = suspects(store.run())[0]
    table = with_effects(
        store.run(),
        table,
        classifier_of(store.run()),
        words=["line break"],
        candidates=1,
        examples=50,
    )
    rows = table[(table["feature"] == "line break") & (table["predictions"] > 0)]
    assert (rows["effect_n"] == rows["predictions"]).all()
    assert (rows["mean_drop"] != 0).all()


def test_an_edit_that_changes_no_text_claims_no_effect(store, monkeypatch):
    table = suspects(store.run())[0]
    monkeypatch.setattr("saliency_core.shortcuts.ablation_effects.carriers", lambda *_: [])
    table = with_effects(
        store.run(), table, classifier_of(store.run()), words=["film"], candidates=1
    )
    row = table[(table["feature"] == "film") & table["effect_n"].notna()].iloc[0]
    assert row["effect_n"] == 0
    assert row[["mean_drop", "flip_rate", "p_effect", "q_effect", "control_mean_drop"]].isna().all()
    assert evidence(row.to_dict())["Effect"][0] == "Not measured: deleting it changes no text."
    assert "relied" not in row["assessment"] or row["assessment"] == UNTESTED


def test_no_word_to_edit_is_refused(store, monkeypatch, capsys):
    with pytest.raises(UserError, match="Name the word to edit"):
        replace_in_slice(store.run().filter(), classifier_of(store.run()), " ")
    with pytest.raises(UserError, match="Name the word to edit"):
        replace_word("a text", "", "x")
    monkeypatch.setattr(sys, "argv", ["saliency", "what-if", "--drop", "", "--db", str(store.path)])
    with pytest.raises(SystemExit):
        main()
    assert "Name the word to edit" in capsys.readouterr().err


def test_checks_hold_only_texts_that_differ(store, tmp_path):
    write_checks(store.run().filter(), tmp_path / "checks.jsonl", ["line break"])
    rows = [json.loads(line) for line in (tmp_path / "checks.jsonl").read_text().splitlines()]
    assert len(rows) == 12
    assert all("\n" in row["text"] and "\n" not in row["edited"] for row in rows)


def test_training_data_know_the_same_words(store):
    audited = features_of(store.run(1), 0)
    named = {name for name in audited.names if name in NAMES}
    assert named == {"line break", "white space"}
    training = features_in([text_of(1)])
    assert {("word", name) for name in named} <= training
    assert ("text", "ends with “bad”") in training
    assert not any("begins with" in name and "line break" in name for name in audited.names)


@pytest.mark.parametrize(
    ("text", "word", "edited"),
    [
        ("nice\n\nand a plot\n", "line break", "nice and a plot"),
        ("a  plot ", "white space", "a plot"),
        ("a\tb", "Tab character", "a b"),
        ("好看\n很", "line break", "好看 很"),
        ("这部电影非常好看", "电影", "这部非常好看"),
        ("bad!! x", "!", "bad x"),
        ("film\u200b", "invisible character", "film"),
        ("the film", "film", "the "),
        ("film the film x", "film", "the x"),
    ],
)
def test_a_word_is_deleted_with_the_space_it_leaves(text, word, edited):
    assert replace_word(text, word, "") == edited


def test_the_one_space_between_two_words_is_never_deleted():
    assert without_spans("the film", [(3, 4)]) == "the film"


# What was cut


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    model, lm_head = save_tiny_bert(tmp_path_factory.mktemp("cut"))
    return load_classifier(model, lm_head=lm_head)


@pytest.mark.parametrize(
    "text", ["good cafe\u0301", "good film \u2764\ufe0f", "good film\u200b", "good film \n", "good"]
)
def test_a_text_of_which_every_token_was_read_is_not_cut(bert, text):
    (alone,) = bert.encode([text])
    (pair,) = bert.encode([text], ["film\u200b"])
    assert alone.chars_seen == alone.chars_total == len(text)
    assert pair.chars_seen == pair.chars_total == len(text) + 5


def test_a_text_of_which_tokens_were_left_out_is_cut(bert):
    text = "good film " * 40 + "\u200b"
    (alone,) = bert.encode([text])
    assert text[: alone.chars_seen] == ("good film " * 31).strip()
    (pair,) = bert.encode(["good"], [text])
    assert pair.chars_seen < pair.chars_total


@pytest.mark.parametrize("end", [" \n", "🙂"])
def test_cut_white_space_and_cut_bytes_are_cut(store, end):
    classifier = classifier_of(store.run())
    (whole,) = classifier.encode(["film" + end])
    (cut,) = classifier.encode(["film" + end], max_length=len(whole.input_ids) - 1)
    assert whole.chars_seen == whole.chars_total > cut.chars_seen


# A token over several words


def test_a_token_over_two_words_is_stored_shared_out(tmp_path, monkeypatch):
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("<mask>", 0.0)]
    pieces += [("▁", -9.0), *((character, -9.0) for character in "这部电影非常好看。")]
    pieces += [("影非常", -1.0), ("部电", -1.0)]
    raw = Tokenizer(models.Unigram(pieces, unk_id=3))
    raw.pre_tokenizer = pre_tokenizers.Metaspace()
    raw.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    kind = replace(KINDS["xlm-roberta"], tokenizer=lambda: (raw, SPECIAL))
    monkeypatch.setitem(KINDS, "xlm-roberta", kind)
    model, lm_head = save_tiny("xlm-roberta", tmp_path)
    text = "这部电影非常好看。"
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": text}))
    audit(
        model,
        tmp_path / "a.jsonl",
        db=tmp_path / "a.sqlite",
        options=AuditOptions(lm_head=lm_head, steps=1, evaluate=False),
    )
    classifier = load_classifier(model, lm_head=lm_head)
    encodings = classifier.encode([text])
    (maps,) = Attributor(classifier, steps=1).compute(encodings, [None])
    tokens = [text[a:b] for a, b in encodings[0].spans[~encodings[0].special]]
    assert tokens[-6:] == ["这", "部电", "影非常", "好", "看", "。"]
    found = open_store(tmp_path / "a.sqlite")
    assert found.run().example(0)["tokens"][-8:] == [
        "这",
        "部",
        "电",
        "影",
        "非常",
        "好",
        "看",
        "。",
    ]
    for layer in range(3):
        words = found.run().top_words([0], layer)[0]
        assert [word["word"] for word in words] == ["这", "部", "电影", "非常", "好看", "。"]
        scores = maps.scores[0, layer]
        film = scores[-5] / 2 + scores[-4] / 3
        assert words[2]["score"] == pytest.approx(film, abs=2e-3)
        assert sum(word["score"] for word in words) == pytest.approx(scores.sum(), abs=5e-3)
