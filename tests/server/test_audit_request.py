"""What a form asks becomes a command; what a command says becomes words of the page."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saliency_core.data.labels.counts import count_labels
from saliency_core.model.declared_labels import declared_labels
from saliency_core.server.audit_request import EXISTING, NO_COLUMN, AuditRequest, free_name
from saliency_core.server.page_words import in_page_words, offered_label_map

WHOLE = AuditRequest(
    source="a.csv", called="a.csv", text="t", label=NO_COLUMN, model="m", name="results"
)


def test_a_request_is_what_it_was_after_it_was_kept():
    request = AuditRequest.of({**WHOLE.as_dict(), "label_map": {"1": "good"}, "unknown": 3})
    assert AuditRequest.of(json.loads(json.dumps(request.as_dict()))) == request


@pytest.mark.parametrize("field", ["source", "model", "text", "label", "name"])
def test_what_is_missing_is_told_by_field(field, tmp_path):
    without = {**WHOLE.as_dict(), field: None if field in ("text", "label") else ""}
    assert list(AuditRequest.of(without).missing(tmp_path)) == [field]
    assert WHOLE.missing(tmp_path) == {}


def test_a_new_database_never_takes_the_place_of_one_that_is_there(tmp_path):
    (tmp_path / "results.sqlite").touch()
    assert "results.sqlite already" in WHOLE.missing(tmp_path)["name"]
    assert free_name(tmp_path, "results.csv") == "results-2"
    into = AuditRequest.of({**WHOLE.as_dict(), "place": EXISTING, "into": "/x/results.sqlite"})
    assert into.missing(tmp_path) == {} and str(into.database(tmp_path)) == "/x/results.sqlite"


def test_two_uploads_of_one_name_are_two_jobs(tmp_path):
    other = AuditRequest.of({**WHOLE.as_dict(), "source": "/uploads/2/a.csv"})
    assert WHOLE.job_name(tmp_path) == WHOLE.job_name(tmp_path) != other.job_name(tmp_path)


@given(st.dictionaries(st.text(min_size=1), st.sampled_from(["good", "bad", ""]), min_size=1))
def test_any_label_map_reaches_the_command_as_it_is(label_map):
    from pathlib import Path

    from saliency_core.data.labels.label_map import parse_label_map

    request = AuditRequest.of({**WHOLE.as_dict(), "label_map": label_map})
    options = [one for one in request.arguments(Path("x")) if one.startswith("--label-map=")]
    assert parse_label_map(options[0].partition("=")[2]) == label_map


SENTENCES = {
    "a.csv: column 'y' holds a list in row 3, not a text; choose another with --text-column.": (
        "a.csv: column 'y' holds a list in row 3, not a text. Choose another column for the text."
    ),
    'The labels (dvd) are not those of the model (bad, good). Give --label-map "dvd=good".': (
        "The labels (dvd) are not those of the model (bad, good). "
        "Say under “Columns and labels” what the labels mean."
    ),
    "There is no folder './x'; give a model folder or a hub name.": (
        "There is no folder './x'; give a model folder or a hub name."
    ),
    "a.csv: column 'x' can't be both --text-column and --label-column.": (
        "Choose another column for the text. Choose another column for the label."
    ),
    "Features are decoded through the embeddings. Give the pretrained model with --lm-head.": (
        "Features are decoded through the embeddings. For a more accurate decoding, name the "
        "pretrained language model it was fine-tuned from under “New audit”."
    ),
    "The well-read text -- a dash -- stays.": "The well-read text -- a dash -- stays.",
}


@pytest.mark.parametrize("sentence", SENTENCES)
def test_options_become_what_one_does_on_the_page(sentence):
    assert in_page_words(sentence) == SENTENCES[sentence]


def test_the_label_map_that_a_sentence_offers_is_read():
    plain = 'Repair it with --label-map "0=good,1=bad", or say --trust-labels.'
    assert offered_label_map(plain) == {"0": "good", "1": "bad"}
    quoted = """give --label-map '{"Bad, truly": "bad"}'."""
    assert offered_label_map(quoted) == {"Bad, truly": "bad"}
    assert offered_label_map("Say what they mean with --label-map and pairs A=B.") is None


@pytest.mark.parametrize(
    ("config", "labels"),
    [
        ({"id2label": {"1": "b", "0": "a"}}, ("a", "b")),
        ({"id2label": {"0": "a", "1": "b"}, "problem_type": "multi_label_classification"}, ()),
        ({"id2label": {"0": "a"}}, ()),
        ({"id2label": {"0": "a", "2": "b"}}, ()),
        ({"id2label": {"0": "a", "1": "a"}}, ()),
        ({"id2label": ["a"]}, ()),
        ({}, ()),
        ([], ()),
    ],
)
def test_labels_are_read_from_a_configuration_or_not_at_all(config, labels, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert declared_labels(str(tmp_path)) == labels
    assert declared_labels(str(tmp_path / "no such folder")) == ()
    assert declared_labels("no such/model/anywhere") == ()


def test_labels_of_a_column_are_counted(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("t,y\na,good\nb,bad\nc,good\nd,\n")
    assert count_labels(str(path), "t", "y") == {"good": 2, "bad": 1}
