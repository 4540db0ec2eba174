"""Every task and every kind of input: one audit each, on tiny models and on real data."""

import json

import numpy as np
import pytest
import torch

from saliency_core.errors import UserError
from saliency_core.model.loading import load_classifier
from saliency_core.pipeline.run_audit import audit
from saliency_core.records import Example
from saliency_core.saliency.attributor import Attributor
from saliency_core.store import open_store
from tests.support.tiny_models import TEXTS, save_tiny

LABELS = {"id2label": {0: "joy", 1: "anger", 2: "fear"}}


def audited(folder, rows, name="bert", model_options=None, **options):
    """Audit rows with a tiny model and return the result and the file."""
    model, lm_head = save_tiny(name, folder, **(LABELS | (model_options or {})))
    data = folder / "data.jsonl"
    data.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    result = audit(
        model, str(data), db=folder / "a.sqlite", lm_head=lm_head, **({"steps": 2} | options)
    )
    return result, open_store(folder / "a.sqlite")


MULTI = {"problem_type": "multi_label_classification"}


def test_multi_label_has_one_target_a_label_above_threshold(tmp_path):
    model, lm_head = save_tiny("bert", tmp_path, **LABELS, **MULTI)
    classifier = load_classifier(model, lm_head=lm_head)
    bias = classifier.model.classifier.bias
    bias.data = torch.tensor([2.0, -9.0, 1.0])
    encodings = classifier.encode(TEXTS)
    examples = [Example(number, str(number), text) for number, text in enumerate(TEXTS)]
    rows = Attributor(classifier).audit(examples, encodings, [None] * 4)
    by_class = [
        Attributor(classifier, target=f"class:{name}").maps(encodings, [None] * 4)
        for name in ("joy", "fear")
    ]
    for place, row in enumerate(rows):
        names = [found.target for found in row.saliency]
        assert set(names) == {"label:joy", "label:fear"}
        assert names[0] == f"label:{classifier.info.label_names[row.predicted]}"
        assert row.probabilities.sum() > 1  # a sigmoid each
        for name, maps in zip(("label:joy", "label:fear"), by_class, strict=True):
            own = maps.saliency[0][:, place, maps.own[place]]
            stored = row.saliency[names.index(name)].scores.astype(np.float32)
            assert np.allclose(stored, own, atol=2e-3)


def test_multi_label_without_any_label_explains_the_highest(tmp_path):
    model, lm_head = save_tiny("bert", tmp_path, **LABELS, **MULTI)
    classifier = load_classifier(model, lm_head=lm_head)
    classifier.model.classifier.bias.data = torch.tensor([-9.0, -5.0, -9.0])
    row = Attributor(classifier).audit(
        [Example(0, "0", TEXTS[0])], classifier.encode(TEXTS[:1]), [None]
    )[0]
    assert [found.target for found in row.saliency] == ["label:anger"]


@pytest.mark.parametrize("label", [["joy", "fear"], "joy, fear", [1, 0, 1], ["0", "2"], []])
def test_multi_label_gold_sets_are_kept_as_written(tmp_path, label):
    rows = [{"text": text, "label": label} for text in TEXTS]
    result, store = audited(tmp_path, rows, model_options=MULTI)
    assert (result.computed, result.failed) == (4, 0)
    assert len(store.run(1).filter().examples()) == 4
    assert store.run(1).filter("wrong").count() == 0


def test_multi_label_with_an_unknown_label_stops(tmp_path):
    rows = [{"text": text, "label": ["joy", "pride"]} for text in TEXTS]
    with pytest.raises(UserError, match="pride"):
        audited(tmp_path, rows, model_options=MULTI)


def test_target_gold_needs_one_gold_class(tmp_path):
    rows = [{"text": text, "label": ["joy"]} for text in TEXTS]
    with pytest.raises(UserError, match="multi-label"):
        audited(tmp_path, rows, model_options=MULTI, target="gold")


def test_regression_explains_its_output(tmp_path):
    rows = [{"text": text, "label": 0.5 + number} for number, text in enumerate(TEXTS)]
    result, store = audited(
        tmp_path, rows, model_options={"num_labels": 1, "id2label": {0: "score"}}
    )
    assert (result.computed, result.failed) == (4, 0)
    assert any("regression" in warning for warning in result.warnings)
    run = store.run()
    assert run.model.task == "regression"
    assert run.targets == ["predicted"]
    assert np.allclose(store.run().layers()["completeness"], 1, atol=1e-3)  # of the output itself
    frame = store.run(1).filter().examples()
    assert frame["predicted"].isna().all()
    for position in range(4):
        example = store.run().example(position)
        assert np.array_equal(example["probabilities"], example["logits"])  # no softmax of one
        assert example["label"] == str(rows[position]["label"])
    assert store.run(1).filter("wrong").count() == 0


def test_pairs_paint_both_texts_and_unlabelled_data_run(tmp_path):
    rows = [{"premise": a, "hypothesis": b} for a, b in zip(TEXTS, TEXTS[::-1], strict=True)]
    result, _ = audited(tmp_path, rows, text_column="premise", pair_column="hypothesis")
    assert (result.computed, result.failed) == (4, 0)
    assert any("no labels" in warning for warning in result.warnings)


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2", "t5"])
def test_words_of_a_pair_carry_their_side(tmp_path, name):
    model, lm_head = save_tiny(name, tmp_path)
    classifier = load_classifier(model, lm_head=lm_head)
    example = Example(0, "0", TEXTS[0], pair=TEXTS[1])
    row = Attributor(classifier).audit(
        [example], classifier.encode([example.text], [example.pair]), [None]
    )[0]
    assert {*row.sides.tolist()} == {0, 1}
    assert (np.abs(row.saliency[0].scores.astype(float)).sum(0) > 0).any()
    # Side and span of each word lead back to its text.
    side_of_word = np.zeros(len(row.words), int)
    side_of_word[row.word_of_token] = row.sides
    for (start, end), side, word in zip(row.word_spans, side_of_word, row.words, strict=True):
        assert (example.text, example.pair)[side][start:end].strip() == word


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_model_that_returns_no_number_fails_its_example_alone(tmp_path, number):
    model, lm_head = save_tiny("bert", tmp_path)
    classifier = load_classifier(model, lm_head=lm_head)
    encodings = classifier.encode(TEXTS)
    others = {token for place in (0, 1, 3) for token in encodings[place].input_ids}
    poisoned = next(token for token in encodings[2].input_ids if token not in others)
    classifier.model.get_input_embeddings().weight[poisoned] = number
    examples = [Example(number, str(number), text) for number, text in enumerate(TEXTS)]
    rows = Attributor(classifier).audit(examples, encodings, [None] * 4)
    assert [row.failure is None for row in rows] == [True, True, False, True]
    assert "NaN" in rows[2].failure


def test_an_example_that_the_model_refuses_fails_alone(tmp_path):
    model, _ = save_tiny("t5", tmp_path)
    classifier = load_classifier(model)
    texts = [*TEXTS, "the film </s> was good"]  # a second end token: T5 refuses such a batch
    examples = [Example(number, str(number), text) for number, text in enumerate(texts)]
    rows = Attributor(classifier).audit(examples, classifier.encode(texts), [None] * 5)
    assert [row.failure for row in rows] == [None] * 5  # alone it is read

    forward = classifier.model.forward

    def refusing(input_ids, **options):
        if (input_ids == classifier.tokenizer.eos_token_id).sum(1).max() > 1:
            raise ValueError("too many ends")
        return forward(input_ids=input_ids, **options)

    classifier.model.forward = refusing
    rows = Attributor(classifier).audit(examples, classifier.encode(texts), [None] * 5)
    assert [row.failure is None for row in rows] == [True] * 4 + [False]
    assert rows[4].failure == "The model failed: too many ends"


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "t5"])
def test_empty_texts_fail_and_the_run_goes_on(tmp_path, name):
    rows = [{"text": text, "label": "joy"} for text in ["", "  ", TEXTS[0], "\n", TEXTS[1]]]
    result, store = audited(tmp_path, rows, name=name, trust_labels=True)
    assert result.failed == 3
    assert store.run(1).filter("failed").count() == 3


def test_a_truncated_text_says_how_far_it_was_read(tmp_path):
    model, lm_head = save_tiny("bert", tmp_path)
    classifier = load_classifier(model, lm_head=lm_head, max_length=16)
    text = "the film was good and nice " * 20
    encoding = classifier.encode([text])[0]
    assert len(encoding.input_ids) == 16
    assert (encoding.chars_seen, encoding.chars_total) == (
        len("the film was good and nice " * 2 + "the film"),
        len(text),
    )


@pytest.mark.parametrize("name", ["bert", "roberta", "xlm-roberta", "gpt2", "t5"])
def test_windows_cover_a_long_text_and_each_token_once(tmp_path, name):
    model, lm_head = save_tiny(name, tmp_path)
    classifier = load_classifier(model, lm_head=lm_head, max_length=24)
    text = " ".join(TEXTS) * 3
    encoding = classifier.encode_windows([text])[0]
    whole = classifier.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    assert list(encoding.input_ids) == whole["input_ids"]
    assert encoding.spans.tolist() == [list(span) for span in whole["offset_mapping"]]
    for window, start in zip(encoding.windows, encoding.window_starts, strict=True):
        assert len(window.input_ids) <= 24
        own = np.array(window.input_ids)[~window.special].tolist()
        assert own == whole["input_ids"][start : start + len(own)]
    row = Attributor(classifier).audit([Example(0, "0", text)], [encoding], [None])[0]
    assert row.failure is None
    assert row.chars_seen == row.chars_total == len(text)
    logits = classifier.logits(encoding.windows)
    assert np.allclose(row.logits, logits.mean(0), atol=1e-5)
    assert row.saliency[0].scores.shape[1] == len(whole["input_ids"])
    # A token's score is the sum over the windows that hold it, divided by their number.
    predicted = classifier.info.label_names[row.predicted]
    by_class = Attributor(classifier, target=f"class:{predicted}")
    expected = np.zeros(row.saliency[0].scores.shape)
    change = 0.0
    for start, window in zip(encoding.window_starts, encoding.windows, strict=True):
        maps = by_class.maps([window], [None])
        scores = maps.saliency[0, :, 0][:, maps.own[0]].numpy()
        expected[:, start : start + scores.shape[1]] += scores / len(encoding.windows)
        change += float(maps.change[0, 0]) / len(encoding.windows)
    stored = row.saliency[0].scores.astype(np.float32)
    assert np.allclose(stored, expected, atol=2e-3)
    assert np.allclose(stored.sum(1), change, atol=0.01)
    assert np.allclose(row.saliency[0].completeness, 1, atol=1e-3)


def test_a_short_text_is_the_same_with_and_without_windows(tmp_path):
    model, lm_head = save_tiny("bert", tmp_path)
    classifier = load_classifier(model, lm_head=lm_head)
    windowed, plain = classifier.encode_windows(TEXTS), classifier.encode(TEXTS)
    assert [w.input_ids for w in windowed] == [p.input_ids for p in plain]
    assert not any(w.windows for w in windowed)


def real(shared, path, folder, limit=50, **options):
    """Audit real rows with a real model."""
    result = audit(
        str(shared / "models" / options.pop("model", "minilm-sst2")),
        str(shared / "data" / path),
        db=folder / "real.sqlite",
        lm_head=str(shared / "models/minilm-mlm"),
        limit=limit,
        evaluate=False,
        **options,
    )
    return result, open_store(folder / "real.sqlite")


@pytest.mark.slow
def test_long_reviews_truncated_and_windowed(shared, tmp_path):
    path = "movie_rationales_docs/val.jsonl"
    result, store = real(shared, path, tmp_path, limit=3, max_length=128)
    assert result.failed == 0
    assert store.run(result.run).filter("truncated").count() == 3
    assert store.info()["runs"][0]["windowed"] == 0
    result, store = real(shared, path, tmp_path, limit=3, max_length=128, long_text="window")
    assert result.failed == 0
    assert store.run(result.run).filter("truncated").count() == 0
    assert store.info()["runs"][-1]["windowed"] == 3


@pytest.mark.slow
def test_multilingual_and_right_to_left_texts(shared, tmp_path):
    result, _store = real(
        shared, "umsab_multilingual/val.jsonl", tmp_path, label_column="none", max_length=64
    )
    assert (result.computed + result.reused, result.failed) == (50, 0)


def test_151_classes(shared, tmp_path):
    rows = (shared / "data/clinc150/val.jsonl").read_text(encoding="utf-8").splitlines()
    labels = sorted({json.loads(row)["label"] for row in rows})
    model, lm_head = save_tiny("bert", tmp_path, num_labels=151, id2label=dict(enumerate(labels)))
    result = audit(
        model,
        str(shared / "data/clinc150/val.jsonl"),
        db=tmp_path / "clinc.sqlite",
        lm_head=lm_head,
        limit=60,
        evaluate=False,
    )
    assert len(labels) == 151
    assert (result.computed, result.failed) == (60, 0)
    assert (
        open_store(tmp_path / "clinc.sqlite").run(1).filter("wrong").count() > 40
    )  # random weights


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama"])
def test_decodability_is_the_mean_chance_of_the_own_and_the_next_token(tmp_path, name):
    rows = [{"text": text, "label": "joy"} for text in TEXTS]
    _, store = audited(tmp_path, rows, name=name, trust_labels=True, evaluate=False)
    model, lm_head = str(tmp_path / "model"), str(tmp_path / "lm")
    classifier = load_classifier(model, lm_head=lm_head)
    own: list[list[float]] = [[] for _ in range(3)]
    following: list[list[float]] = [[] for _ in range(3)]
    for encoding in classifier.encode(TEXTS):
        ids = encoding.input_ids
        states, _ = classifier.forward(classifier.collate([encoding]))
        for layer, state in enumerate(states):
            features = classifier.head.features(state, classifier.normed_last and layer == 2)[0]
            logits = features @ classifier.head.embeddings.T
            logits = logits if classifier.head.bias is None else logits + classifier.head.bias
            chances = torch.softmax(logits, -1)
            for place in np.flatnonzero(~encoding.special).tolist():
                own[layer].append(float(chances[place, ids[place]]))
                if place + 1 < len(ids) and not encoding.special[place + 1]:
                    following[layer].append(float(chances[place, ids[place + 1]]))
    layers = store.run().layers()
    assert (layers["decodability_low"] <= layers["decodability"]).all()
    assert (layers["decodability"] <= layers["decodability_high"]).all()
    assert np.allclose(layers["decodability"], [np.mean(found) for found in own], atol=1e-5)
    assert ("next_decodability" in layers) == classifier.info.causal
    if classifier.info.causal:
        expected = [np.mean(found) for found in following]
        assert np.allclose(layers["next_decodability"], expected, atol=1e-5)
