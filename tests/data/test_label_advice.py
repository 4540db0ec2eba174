"""Every `--label-map` that the program offers works when pasted, and means what is meant."""

import json
import re
import shlex

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saliency_core.data.labels.label_map import label_map_option, parse_label_map
from saliency_core.data.labels.mapping import check_label_order, known_labels, map_labels
from saliency_core.data.labels.matching import label_set, unused_keys
from saliency_core.errors import UserError
from saliency_core.pipeline.options import AuditOptions
from saliency_core.pipeline.run_audit import audit
from saliency_core.store import open_store
from tests.support.tiny_bert import save_tiny_bert

ODD = [
    "0", "1", "2", "3", "-1", "1.0", "2.0", "10", "true", "false", "True", "LABEL_0", "LABEL_1",
    "label_2", "positive", "Positive", "NEGATIVE", "negative", "Bad, truly", "a=b", "a=b,c=d", "=",
    ",", "it's", '"quoted"', "'", "$HOME", "`x`", "!", "\\", "{", "{}", "[0, 1]", "[1, 0]",
    '["positive"]', "é", "e\u0301", "映画", "\u202eb", "a\tb", "a\nb", "a  b", "-", "n/a", "-x",
    "--label-map", "1 star", "2 stars", "10 stars", ".", ";", "x.", "\u00a0y\u00a0z",
]  # fmt: skip
LABEL = st.one_of(
    st.sampled_from(ODD), st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
)
LABELS = st.lists(LABEL.map(str.strip).filter(bool), min_size=1, max_size=6, unique=True)
MODEL = st.lists(LABEL, min_size=2, max_size=5, unique=True)


def offered(error: Exception) -> dict[str, str] | None:
    """Return the map that a sentence offers, as a shell and the command line read it."""
    found = re.search(r"(?:give|with) --label-map (?=[\"'])", str(error))
    if found is None:
        return None
    rest = str(error)[found.end() :]
    value = shlex.split(rest[: closing(rest)])
    assert len(value) == 1
    return parse_label_map(value[0])


def closing(text: str) -> int:
    """Return where the quoted word that begins a text ends."""
    if text[0] == '"':
        return text.index('"', 1) + 1
    return re.match(r"(?:'[^']*'|\"'\")+", text).end()


@given(pairs=st.dictionaries(LABEL.filter(bool), LABEL, min_size=1, max_size=5))
@settings(deadline=None, max_examples=200)
def test_a_written_map_reads_as_itself(pairs):
    word, value = shlex.split(label_map_option(pairs))
    assert (word, parse_label_map(value)) == ("--label-map", pairs)
    assert str(UserError(label_map_option(pairs))) == label_map_option(pairs)
    assert parse_label_map(json.dumps(pairs)) == pairs


@given(labels=LABELS, model=MODEL)
@settings(deadline=None, max_examples=300)
def test_an_offered_map_goes_through_and_leaves_what_fits(labels, model):
    try:
        map_labels(labels, model)
        return
    except UserError as error:
        pasted = offered(error)
    if pasted is None:
        return
    found = map_labels(labels, model, pasted)
    for label in labels:
        if model.count(label) == 1 and label not in ("0", "1", "2", "3", "1.0", "2.0", "10", "-1"):
            assert found[label] == model.index(label), "a name of the model is never another class"
    assert all(found.get(label) is not None or pasted[label] == "" for label in labels)


@given(labels=LABELS, model=MODEL, seed=st.integers(0, 1000), given_map=st.booleans())
@settings(deadline=None, max_examples=60)
def test_a_map_offered_on_a_sample_is_what_the_labels_mean(labels, model, seed, given_map):
    draw = np.random.default_rng(seed)
    meaning = dict(zip(labels, draw.permutation(len(model)).tolist(), strict=False))
    labels = list(meaning)
    gold = [labels[row] for row in draw.integers(0, len(labels), 256)]
    right = draw.random(256) < 0.9
    guesses = np.where(right, [meaning[label] for label in gold], draw.integers(0, len(model), 256))
    label_map = None
    try:
        name = model[meaning[labels[0]]]
        if given_map and model.count(name) == 1:
            label_map = {labels[0]: name}
        index = map_labels(labels, model, label_map, sample=lambda: (gold, guesses))
    except UserError as error:
        pasted = offered(error)
        if pasted is None:
            return
        index = map_labels(labels, model, pasted)
        if "the model is right on" in str(error) and not known_labels(labels, model):
            assert index == {label: meaning[label] for label in labels if pasted[label]}
    in_order(gold, guesses, model, index, meaning, label_map)


def in_order(gold, guesses, model, index, meaning, label_map):
    """Check that the guard's map, if it offers one, makes the labels mean what they mean."""
    own = np.array([label in index for label in gold])
    if len(set(index.values())) < 2 or len(set(index.values())) < len(index):
        return
    codes = np.array([index[label] for label in gold if label in index])
    try:
        check_label_order(codes, guesses[own], model, index, label_map)
    except UserError as error:
        pasted = offered(error)
        assert pasted is None or map_labels(list(index), model, pasted) == {
            label: meaning[label] for label in index
        }


@pytest.mark.parametrize(
    ("labels", "model", "label_map"),
    [
        (["-1", "1"], ["negative", "positive"], {"-1": "negative", "1": "positive"}),
        (["positive", "-", "negative"], ["negative", "positive"], {"-": ""}),
        (["0", "1", "2", "-1"], ["e", "n", "c"], {"-1": ""}),
        (["3", "1", "2"], ["e", "n", "c"], {"1": "e", "2": "n", "3": "c"}),
        (["10 stars", "2 stars"], ["low", "high"], {"2 stars": "low", "10 stars": "high"}),
        (["Bad, truly", "a=b"], ["x", "y"], {"a=b": "x", "Bad, truly": "y"}),
        (["x", "y", "z"], ["negative", "positive"], None),
        (["0", "1", "2"], ["negative", "positive"], None),
        ([str(n) for n in range(1, 78)], [f"c{n}" for n in range(77)],
         {str(n): f"c{n - 1}" for n in range(1, 78)}),
        (["US", "x"], ["us", "US"], {"x": "us"}),
        (["same", "a"], ["same", "same", "a"], {"same": "0"}),
    ],
)  # fmt: skip
def test_what_is_offered(labels, model, label_map):
    with pytest.raises(UserError) as error:
        map_labels(labels, model)
    assert offered(error.value) == label_map


@pytest.mark.parametrize(
    ("labels", "model", "label_map", "index"),
    [
        (["US", "us"], ["us", "US"], None, {"US": 1, "us": 0}),
        (["Us", "x"], ["US", "x"], None, {"Us": 0, "x": 1}),
        (["cafe\u0301"], ["x", "Café"], None, {"cafe\u0301": 1}),
        (["0.0", "1.0"], ["n", "p"], {"0": "p", "1": "n"}, {"0.0": 1, "1.0": 0}),
        (["NO", "yes"], ["a", "b"], {"no": "b", "Yes": "a"}, {"NO": 1, "yes": 0}),
        (["no", "No"], ["a", "b"], {"no": "b", "No": "a"}, {"no": 1, "No": 0}),
        (["n/a", "n", "p"], ["n", "p"], {"n/a": ""}, {"n": 0, "p": 1}),
        (["n/a", "0", "1"], ["n", "p"], {"n/a": None}, {"0": 0, "1": 1}),
        (["1", "2"], ["1", "2", "3"], None, {"1": 0, "2": 1}),
        (["1.0", "2.0"], ["1", "2", "3"], None, {"1.0": 0, "2.0": 1}),
        (["LABEL_0", "LABEL_1"], ["LABEL_1", "LABEL_0"], None, {"LABEL_0": 1, "LABEL_1": 0}),
        (["[0, 1]", "[1, 0]"], ["n", "p"], None, {"[0, 1]": 1, "[1, 0]": 0}),
        (['["p"]', '["n"]'], ["n", "p"], None, {'["p"]': 1, '["n"]': 0}),
    ],
)
def test_what_labels_mean(labels, model, label_map, index):
    assert map_labels(labels, model, label_map) == index


def test_a_label_that_is_none_is_told_beside_an_order():
    with pytest.raises(UserError) as error:
        map_labels(["n/a", "bad", "good"], ["x", "y"])
    assert "in this order and n/a is no label, give" in str(error.value)
    assert offered(error.value) == {"bad": "x", "good": "y", "n/a": ""}


def test_more_labels_than_classes_are_told_by_what_the_model_predicts():
    draw = np.random.default_rng(0)
    stars = draw.integers(1, 6, 256)
    predicted = np.where(stars == 3, draw.integers(0, 2, 256), stars > 3)
    with pytest.raises(UserError, match="the model is right on 100% with") as error:
        map_labels(
            list("12345"),
            ["negative", "positive"],
            sample=lambda: (stars.astype(str).tolist(), predicted),
        )
    assert offered(error.value) == {
        "1": "negative", "2": "negative", "3": "", "4": "positive", "5": "positive"
    }  # fmt: skip


def test_a_sample_that_tells_nothing_offers_no_map_of_its_own():
    draw = np.random.default_rng(0)
    labels = draw.choice(["x", "y", "z"], 256).tolist()
    with pytest.raises(UserError) as error:
        map_labels(["x", "y", "z"], ["n", "p"], sample=lambda: (labels, draw.integers(0, 2, 256)))
    assert offered(error.value) is None


def test_predictions_never_get_a_map_that_turns_the_labels():
    labels = {"0": 0, "1": 1}
    with pytest.raises(UserError) as error:
        map_labels(["1", "2"], ["n", "p"], keep=labels)
    assert offered(error.value) is None
    with pytest.raises(UserError) as error:
        map_labels(["bad", "good"], ["n", "p"], {"n/a": ""}, keep=labels)
    assert offered(error.value) == {"n/a": "", "bad": "n", "good": "p"}


def test_known_labels_leave_out_the_others():
    assert known_labels(["n", "P", "?", "1"], ["n", "p"], {"?": ""}) == {"n": 0, "P": 1}
    assert known_labels(["n", "huh"], ["n", "p"]) == {"n": 0}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("Bad, truly=negative", "Write labels that hold a comma"),
        ("a=b=c", "Write labels that hold a comma"),
        ("=x", "not of the form"),
        ("a=b,a=c", "'a' is given 2 times"),
        ('{"a": ["b"]}', "not of the form"),
    ],
)
def test_a_map_that_cannot_be_read(text, sentence):
    with pytest.raises(UserError, match=sentence):
        parse_label_map(text)


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("0=no, 1 = yes ,n/a=", {"0": "no", "1": "yes", "n/a": ""}),
        ('"0=no"', {"0": "no"}),
        ('{"a, b": "c", "n/a": null, "d": 1}', {"a, b": "c", "n/a": "", "d": "1"}),
        (None, {}),
        (" ", {}),
    ],
)
def test_a_map_as_people_write_it(text, pairs):
    assert parse_label_map(text) == pairs


@pytest.mark.parametrize(
    ("text", "known", "labels"),
    [
        ("a|b", (), ["a", "b"]),
        ("a, b", (), ["a", "b"]),
        ("a; b", (), ["a", "b"]),
        ('["a, b", "c"]', (), ["a, b", "c"]),
        ("['a', \"it's\"]", (), ["a", "it's"]),
        ("['a' 'b']", (), ["a", "b"]),
        ("[1 0 1]", (), ["1", "0", "1"]),
        ("('a',)", (), ["a"]),
        ("[]", (), []),
        ("Bad, truly|Good", ["bad, truly", "good"], ["Bad, truly", "Good"]),
        ("Bad, truly", ["bad, truly"], ["Bad, truly"]),
        ("[true, false]", (), ["true", "false"]),
    ],
)
def test_several_labels_in_one_cell(text, known, labels):
    assert label_set(text, known) == labels


def test_a_map_to_a_word_for_no_label_says_how_to_write_that():
    with pytest.raises(UserError, match="Nothing behind the sign means no label"):
        map_labels(["-", "n"], ["n", "p"], {"-": "none"})


def test_keys_that_no_label_has_are_told():
    assert unused_keys(["a", "1.0"], {"A": "x", "1": "y", "b": "z"}) == ["b"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_bert(tmp_path_factory.mktemp("labels"))


def test_an_audit_with_what_was_offered_is_right(model, tmp_path):
    """Labels with a comma, in another order than the model's, and one that is none."""
    from saliency_core.model.loading import load_classifier

    texts = [f"the film {'was ' * (n % 5)}{w} {v}" for n, (w, v) in enumerate(zip(
        "good bad plot actor dull".split() * 12, "a scene very nice the unhappy".split() * 10,
        strict=True))]  # fmt: skip
    classifier = load_classifier(model[0], lm_head=model[1])
    predicted = classifier.logits(classifier.encode(texts)).argmax(1)
    said = np.array(["Good, really", "it's = meh", "Bad, truly"])
    labels = said[predicted].tolist()
    labels[0] = "-"
    pd.DataFrame({"text": texts, "label": labels}).to_csv(tmp_path / "a.csv", index=False)
    options = AuditOptions(lm_head=model[1], steps=1, evaluate=False)
    with pytest.raises(UserError) as error:
        audit(model[0], tmp_path / "a.csv", db=tmp_path / "a.sqlite", options=options)
    pasted = offered(error.value)
    held = set(predicted[1:].tolist())
    assert len(held) > 1
    names = ["LABEL_0", "LABEL_1", "LABEL_2"]
    assert pasted == {"-": ""} | {str(said[n]): names[n] for n in held}
    audit(
        model[0],
        tmp_path / "a.csv",
        db=tmp_path / "a.sqlite",
        options=AuditOptions(lm_head=model[1], steps=1, evaluate=False, label_map=pasted),
    )
    store = open_store(tmp_path / "a.sqlite")
    assert (
        store.run().filter("right").count(),
        store.run().filter("wrong").count(),
        store.run().filter().count(),
    ) == (59, 0, 60)
