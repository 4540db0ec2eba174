"""`evaluate` on tiny audited runs, and the other methods against their definitions."""

import json
import re

import numpy as np
import pytest
import streamlit as st
import torch
from streamlit.testing.v1 import AppTest
from transformers import AutoModelForSequenceClassification
from typer.testing import CliRunner

from app_components.background_command import Background
from saliency_core.cli import app
from saliency_core.errors import UserError
from saliency_core.evaluation import evaluate as evaluation
from saliency_core.evaluation.evaluate import VARIANTS, EvaluationOptions, evaluate, spans_of
from saliency_core.evaluation.faithfulness import Cost, average_precision, faithfulness
from saliency_core.evaluation.other_methods import (
    OTHER_METHODS,
    _attention_weights,
    _linear_model,
    other_method_maps,
)
from saliency_core.model.loading import load_classifier
from saliency_core.pipeline.run_audit import audit
from saliency_core.saliency.attributor import Attributor
from saliency_core.store import open_store
from tests.support.components import tables_of
from tests.support.paths import DASHBOARD
from tests.support.tiny_models import TEXTS, blanked, save_tiny

LABELS = {"id2label": {0: "joy", 1: "anger", 2: "fear"}}
KEYS = {"method", "layer", "comprehensiveness", "sufficiency", "plausibility"}
KEYS |= {"forwards", "backwards", "seconds"}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return save_tiny("bert", tmp_path_factory.mktemp("models"), **LABELS)


@pytest.fixture(scope="module")
def classifier(models):
    return load_classifier(models[0], lm_head=models[1])


@pytest.fixture
def database(tmp_path, models):
    rows = [{"text": text, "marked": [[0, 8]]} for text in [*TEXTS, "the plot was good"]]
    data = tmp_path / "data.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    audit(
        models[0], str(data), db=tmp_path / "a.sqlite", lm_head=models[1], steps=2, evaluate=False
    )
    return tmp_path / "a.sqlite"


def command(*arguments):
    """Return the JSON object that `evaluate` prints."""
    result = CliRunner().invoke(app, ["evaluate", *map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_every_variant_at_every_layer_equals_the_definition(database, classifier):
    found = command("--db", database, "--rationale-column", "marked")
    assert found["examples"] == 5
    places = [(row["method"], row["layer"]) for row in found["metrics"]]
    assert places == [(name, layer) for name in VARIANTS for layer in range(3)]
    texts = open_store(database).run().filter().examples()["text"].tolist()
    encodings = classifier.encode(texts)
    maps = Attributor(classifier, steps=2, variants=True).layer_maps(encodings, 1024)
    for row in found["metrics"]:
        assert set(row) >= KEYS
        own = maps[row["method"]][row["layer"]]
        expected = faithfulness(classifier, encodings, [own])[0]
        assert row["comprehensiveness"] == pytest.approx(expected.comprehensiveness.mean())
        assert row["sufficiency"] == pytest.approx(expected.sufficiency.mean())
        precisions = [
            average_precision(scores, encoding.spans[~encoding.special][:, 0] < 8)
            for scores, encoding in zip(own, encodings, strict=True)
        ]
        assert row["plausibility"] == pytest.approx(np.mean(precisions))
        # Each text has a layout of its own: a row for it and one for its reference.
        assert (row["forwards"], row["backwards"]) == (2, 2)


def test_it_chooses_the_layer_and_fills_the_layer_table(database):
    found = command("--db", database)
    store = open_store(database)
    layers = store.run().layers()
    own = [row for row in found["metrics"] if row["method"] == "saliency"]
    assert layers["comprehensiveness"].tolist() == [row["comprehensiveness"] for row in own]
    assert layers["comprehensiveness_low"].tolist() == pytest.approx(
        [row["comprehensiveness_low"] for row in own]
    )
    above = layers[layers["coherence"] > layers["uniform_baseline"].fillna(0)]
    among = layers if above.empty else above
    best = among.loc[among["choice"].idxmax(), "layer"]
    assert store.run().recommended == found["recommended"] == best


def test_the_same_choices_are_read_from_the_file(database, monkeypatch):
    first = command("--db", database, "--examples", 3, "--seed", 4)
    loaded = []
    original = evaluation.classifier_of
    monkeypatch.setattr(
        evaluation, "classifier_of", lambda *call: loaded.append(call) or original(*call)
    )
    assert command("--db", database, "--examples", 3, "--seed", 4) == first
    assert not loaded
    assert command("--db", database, "--examples", 3, "--seed", 5)["examples"] == 3
    assert len(loaded) == 1


def test_deleting_leaves_the_layer_table_alone(database):
    masked = command("--db", database)["metrics"]
    before = open_store(database).run().layers()
    deleted = command("--db", database, "--delete")["metrics"]
    assert {row["method"] for row in deleted} == {f"{name}, tokens deleted" for name in VARIANTS}
    assert command("--db", database)["metrics"] == masked, "both are kept"
    assert [row["comprehensiveness"] for row in masked] != [
        row["comprehensiveness"] for row in deleted
    ]
    assert open_store(database).run().layers().equals(before)


def test_other_methods_stand_beside_ours_on_the_same_examples(database):
    found = command("--db", database, "--other-methods")
    assert not found["skipped"]
    others = {row["method"]: row for row in found["metrics"] if row["layer"] is None}
    assert list(others) == list(OTHER_METHODS)
    assert {row["examples"] for row in found["metrics"]} == {5}
    assert (others["LIME"]["forwards"], others["LIME"]["backwards"]) == (100, 0)
    assert others["integrated gradients, mask"]["forwards"] == 20
    assert others["gradient norm"]["backwards"] == 1
    assert others["random"]["forwards"] == 0


def test_without_captum_the_rest_runs_and_the_rest_is_named(database, monkeypatch):
    monkeypatch.setattr("saliency_core.evaluation.other_methods.find_spec", lambda name: None)
    found = command("--db", database, "--other-methods", "--examples", 2)
    assert "LIME" in found["skipped"]
    methods = {row["method"] for row in found["metrics"]} - set(VARIANTS)
    assert methods == set(OTHER_METHODS) - set(found["skipped"])


def test_the_layers_page_shows_what_was_evaluated(database, monkeypatch):
    command("--db", database, "--examples", 2)
    monkeypatch.setenv("SALIENCY_DB", str(database))
    st.cache_data.clear()
    st.cache_resource.clear()
    app = AppTest.from_file(DASHBOARD, default_timeout=30).run()
    app.switch_page("app_pages/layers.py").run()
    assert not app.exception
    shown = next(frame for frame in tables_of(app) if "method" in frame)
    assert set(shown["method"]) == set(VARIANTS)
    assert shown["comprehensiveness"].is_monotonic_decreasing


def test_what_cannot_be_evaluated_is_said_in_one_sentence(database):
    with pytest.raises(UserError, match=r"no column 'rationale'; its metadata columns are marked"):
        evaluate(open_store(database).run(), EvaluationOptions(rationale_column="rationale"))
    with pytest.raises(UserError, match=r"no list of \[start, end\]"):
        spans_of("here", "marked")
    assert spans_of(None, "marked") == []


def test_cost_counts_texts_and_not_batches(classifier):
    cost = Cost()
    encodings = classifier.encode(TEXTS)
    with cost.counting(classifier):
        classifier.logits(encodings)
    classifier.logits(encodings)
    assert (cost.forwards, cost.backwards) == (len(TEXTS), 0)


# Other methods


def of(classifier, method, texts=TEXTS):
    encodings = classifier.encode(texts)
    predicted = classifier.logits(encodings).argmax(1)
    maps = other_method_maps(classifier, encodings, method, predicted=predicted)
    return maps, encodings, predicted


def probability(classifier, encodings, label):
    return classifier.probabilities(classifier.logits(encodings))[:, label]


def test_integrated_gradients_add_up_to_the_change_of_the_logit(classifier, monkeypatch):
    monkeypatch.setattr("saliency_core.evaluation.other_methods.PATH_STEPS", 40)
    maps, encodings, predicted = of(classifier, "integrated gradients, mask")
    for scores, encoding, label in zip(maps, encodings, predicted, strict=True):
        text, blank = classifier.logits([encoding, blanked(classifier, encoding)])[:, label]
        assert scores.sum() == pytest.approx(text - blank, rel=0.02, abs=0.01)


def test_occlusion_is_the_drop_of_the_probability(classifier):
    maps, encodings, predicted = of(classifier, "leave-one-out occlusion", TEXTS[:1])
    ids = np.array(encodings[0].input_ids)
    for place, score in zip(np.flatnonzero(~encodings[0].special), maps[0], strict=True):
        batch = classifier.collate(encodings)
        batch["input_ids"][0, place] = classifier.blank_token_id
        with torch.no_grad():
            after = torch.softmax(classifier.model(**batch).logits, -1)[0, predicted[0]]
        before = probability(classifier, encodings, predicted[0])[0]
        assert score == pytest.approx(before - after.item(), abs=1e-5), ids[place]


def test_kernel_shap_adds_up_to_the_change_of_the_probability(classifier):
    maps, encodings, predicted = of(classifier, "KernelSHAP")
    for scores, encoding, label in zip(maps, encodings, predicted, strict=True):
        both = [encoding, blanked(classifier, encoding)]
        whole, blank = probability(classifier, both, label)
        assert scores.sum() == pytest.approx(whole - blank, abs=1e-3) or len(scores) == 1


def test_the_surrogate_is_weighted_ridge_regression():
    draw = np.random.default_rng(3)
    features, outputs = draw.integers(0, 2, (40, 5)), draw.normal(size=40)
    weights = draw.random(40)
    model = _linear_model(penalty=1.0)
    model.fit([[torch.from_numpy(part) for part in (features, outputs, weights)]])
    # The normal equations, the weights scaled to mean one.
    design = np.column_stack([features, np.ones(40)])
    scaled = design * (weights / weights.mean())[:, None]
    penalty = np.diag([1.0] * 5 + [0])
    expected = np.linalg.solve(design.T @ scaled + penalty, scaled.T @ outputs)[:5]
    assert np.allclose(model.representation()[0], expected, atol=1e-5)


def test_attention_methods_equal_their_formulas(classifier):
    text = TEXTS[:1]
    encodings = classifier.encode(text)
    batch = classifier.collate(encodings)
    with _attention_weights(classifier):
        attentions = classifier.model(**batch, output_attentions=True).attentions
    flow = np.eye(len(encodings[0].input_ids))
    for attention in attentions:
        flow = (0.5 * attention[0].mean(0).numpy() + 0.5 * np.eye(len(flow))) @ flow
    rollout, _, _ = of(classifier, "attention rollout", text)
    assert np.allclose(rollout[0], flow[0][~encodings[0].special], atol=1e-6)
    relevance, _, _ = of(classifier, "gradient-weighted attention", text)
    assert (relevance[0] >= 0).all() and relevance[0].any()


@pytest.mark.parametrize("method", [name for name in OTHER_METHODS if name != "random"])
def test_neighbours_change_no_map(classifier, method):
    together, _, _ = of(classifier, method, TEXTS[:2])
    if method in ("LIME", "KernelSHAP"):
        # The first text draws the same samples in both.
        alone, _, _ = of(classifier, method, TEXTS[:1])
    else:
        alone = [of(classifier, method, [text])[0][0] for text in TEXTS[:2]]
    for one, other in zip(alone, together, strict=False):
        assert np.allclose(one, other, atol=1e-5)


# Mosaics


@pytest.fixture
def any_text_is_sure(monkeypatch):
    """Let mosaics be made of the few unsure texts of a tiny model."""
    for module in ("mosaics", "evaluate"):
        monkeypatch.setattr(f"saliency_core.evaluation.{module}.CONFIDENT", 0.0)
    monkeypatch.setattr("saliency_core.evaluation.mosaics.MINIMUM", 2)


@pytest.fixture
def texts():
    words = "film plot actor scene good bad bright dull nice".split()
    return [f"{a} {b} {c}" for a in words[:4] for b in words[4:] for c in ("was", "not")]


@pytest.fixture
def fair_models(models, classifier, texts, tmp_path):
    """Return a model that predicts its classes about equally often, and its head."""
    folder = str(tmp_path / "fair")
    model = AutoModelForSequenceClassification.from_pretrained(models[0])
    logits = classifier.logits(classifier.encode(texts))
    with torch.no_grad():
        model.classifier.bias -= torch.from_numpy(np.median(logits, axis=0))
    model.save_pretrained(folder)
    classifier.tokenizer.save_pretrained(folder)
    return folder, models[1]


def test_mosaics_are_scored_for_every_method_and_choose_with_masks(
    tmp_path, fair_models, texts, any_text_is_sure
):
    data = tmp_path / "data.jsonl"
    data.write_text("\n".join(json.dumps({"text": text}) for text in texts), encoding="utf-8")
    database = tmp_path / "a.sqlite"
    audit(fair_models[0], str(data), db=database, lm_head=fair_models[1], steps=1)
    audited = json.loads(
        CliRunner().invoke(app, ["layers", "--db", str(database), "--json"]).output
    )
    assert audited["mosaics"]["missing"] is None and audited["mosaics"]["mosaics"] > 2
    for row in audited["layers"]:
        # A layer whose scores are all negative says nothing of a mosaic.
        assert row["mosaic"] is None or 0 <= row["mosaic"] <= 1
        assert row["choice"]["low"] <= row["choice"]["score"] <= row["choice"]["high"]
    assert audited["recommended"] not in audited["tied"]

    monkey = ["evaluate", "--db", str(database), "--examples", "4", "--mosaics", "6", "--json"]
    found = json.loads(CliRunner().invoke(app, [*monkey, "--other-methods"]).output)
    assert found["mosaics"]["mosaics"] == 6
    by_place = {(row["method"], row["layer"]): row for row in found["metrics"]}
    assert all(row["mosaics"] == 6 for row in found["metrics"])
    # A random map scores every token alike on average, and LIME is asked for the whole's class.
    assert {"mosaic", "mosaic_low", "mosaic_auc_high", "mosaic_top"} <= by_place[
        "LIME", None
    ].keys()
    assert by_place["random", None]["mosaic"] == pytest.approx(found["mosaics"]["chance"], abs=0.2)
    layers = open_store(database).run().layers()
    own = [by_place["saliency", layer] for layer in range(3)]
    assert layers["mosaic"].notna().any()
    np.testing.assert_allclose(layers["mosaic"], np.array([row["mosaic"] for row in own], float))
    masked = np.maximum([row["comprehensiveness"] for row in own], 0)
    assert (layers["choice"] <= 1).all() and layers["choice"].max() > 0.5
    assert (layers["choice"] >= masked / max(masked.max(), 1e-12) / 2 - 1e-9).all()
    # Read again from the file, and of deleted tokens none are made.
    assert json.loads(CliRunner().invoke(app, [*monkey, "--other-methods"]).output) == found
    deleted = json.loads(CliRunner().invoke(app, [*monkey, "--delete"]).output)
    assert deleted["mosaics"]["mosaics"] == 0
    assert deleted["metrics"][0]["mosaic"] is None


@pytest.mark.slow
def test_the_layers_page_offers_layers_for_all_pages_and_costs(
    tmp_path, fair_models, texts, any_text_is_sure, monkeypatch
):
    data = tmp_path / "data.jsonl"
    data.write_text("\n".join(json.dumps({"text": text}) for text in texts), encoding="utf-8")
    database = tmp_path / "a.sqlite"
    audit(fair_models[0], str(data), db=database, lm_head=fair_models[1], steps=1)
    command("--db", database, "--examples", 2, "--mosaics", 2, "--other-methods")
    run = open_store(database).run()
    monkeypatch.setenv("SALIENCY_DB", str(database))
    st.cache_data.clear()
    st.cache_resource.clear()
    page = AppTest.from_file(DASHBOARD, default_timeout=30).run()
    assert not page.exception
    page.switch_page("app_pages/layers.py").run()
    assert not page.exception
    assert page.markdown[0].value.startswith(
        f"**Use layer {run.recommended}.** It scores best on the two"
    )
    assert any("further left is cheaper" in caption.value for caption in page.caption)
    ways = [shown for shown in page.caption if re.match("(Higher|Lower) is better: ", shown.value)]
    assert len(ways) == 6
    layers = run.layers()
    for name in ("comprehensiveness", "sufficiency", "mosaic", "decodability"):
        known = layers[layers[name].notna()]
        assert len(known) and (known[f"{name}_low"] <= known[name]).all()
        assert (known[name] <= known[f"{name}_high"]).all()
    started = []
    monkeypatch.setattr(Background, "start", lambda self, *given: started.append(given))
    next(b for b in page.button if b.label == "Compare with other methods").click().run()
    assert started == [("--other-methods", "--examples=100")]
    button = next(b for b in page.button if "most readable layer" in b.label)
    button.click().run()
    assert page.session_state["layer"] == run.most_readable
    page.switch_page("app_pages/words.py").run()
    assert not page.exception
    slider = next(s for s in page.select_slider if s.label == "Layer")
    assert slider.value == run.most_readable
