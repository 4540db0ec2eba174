"""Predictions made elsewhere: told apart from the model's own, before and after an audit."""

import json

import pandas as pd
import pytest
from typer.testing import CliRunner

from saliency_core.cli import app
from saliency_core.errors import UserError
from saliency_core.pipeline.run_audit import audit
from saliency_core.store import open_store
from tests.support.small_audit import options, write_csv
from tests.support.tiny_bert import save_tiny_bert


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """Return model, head, the data and what the model predicts for it."""
    folder = tmp_path_factory.mktemp("own")
    model, lm_head = save_tiny_bert(folder)
    path = write_csv(folder / "reviews.csv")
    audit(model, path, db=folder / "own.sqlite", options=options(lm_head))
    store = open_store(folder / "own.sqlite")
    return (
        model,
        lm_head,
        pd.read_csv(path),
        store.run().filter().examples()["predicted"],
        store.run(),
    )


def compared(own, folder, predictions, **choices):
    model, lm_head, frame, _, _ = own
    path = folder / "predicted.csv"
    frame.assign(theirs=predictions).to_csv(path, index=False)
    chosen = options(lm_head, predictions_from="theirs", **choices)
    return audit(model, path, db=folder / "a.sqlite", options=chosen)


def test_the_models_own_predictions_agree(own, tmp_path):
    result = compared(own, tmp_path, own[3])
    assert result.predictions == {
        "column": "theirs",
        "compared": 60,
        "differ": 0,
        "unknown": 0,
        "commonest": None,
    }
    assert (
        "The predictions in column 'theirs' are the model's own on all 60 examples."
        in result.warnings
    )


def test_a_disagreement_is_counted_told_and_kept(own, tmp_path):
    names = own[4].label_names
    theirs = own[3].copy()
    kept = theirs.iloc[4:].mode()[0]
    rows = theirs.index[theirs == kept][:5]
    other = next(name for name in names if name != kept)
    theirs[rows] = other
    theirs[theirs.index[theirs == kept][-2:]] = None
    result = compared(own, tmp_path, theirs)
    assert (result.predictions["differ"], result.predictions["unknown"]) == (5, 2)
    assert result.predictions["compared"] == 58
    sentence = (
        "The predictions in column 'theirs' differ from the model's own on 5 of 58 examples "
        f"(8.6%), most often {other} there and {kept} here (5; meta.theirs:{other} "
        f"predicted:{kept}). So many are no rounding: was it another model, label order or text "
        "length? 2 could not be compared."
    )
    assert sentence in result.warnings
    database = str(tmp_path / "a.sqlite")
    printed = CliRunner().invoke(app, ["info", "--db", database, "--json"]).stdout
    assert json.loads(printed)["runs"][0]["warnings"].count(sentence) == 1
    store = open_store(database)
    assert store.run().doubts == [sentence]
    assert store.run().filter(f"meta.theirs:{other} predicted:{kept}").count() == 5
    again = compared(own, tmp_path, theirs)
    assert (again.computed, again.warnings.count(sentence)) == (0, 1)
    printed = CliRunner().invoke(app, ["info", "--db", database, "--json"]).stdout
    assert json.loads(printed)["runs"][0]["warnings"].count(sentence) == 1


def test_ids_and_floats_are_predictions_too(own, tmp_path):
    names = own[4].label_names
    result = compared(own, tmp_path, own[3].map(lambda name: float(names.index(name))))
    assert result.predictions["differ"] == 0


def test_a_column_kept_for_it_alone_is_enough(own, tmp_path):
    result = compared(own, tmp_path, own[3], metadata_columns=["source"])
    assert result.predictions["compared"] == 60


@pytest.mark.parametrize(
    ("column", "sentence"),
    [
        ("label", "is taken for the label already."),
        ("their", "has no column 'their'"),
        (
            "source",
            "The predictions in column 'source' (site 0, site 1) are not those of the model",
        ),
    ],
)
def test_a_column_without_predictions_stops_before_anything_is_computed(
    own, tmp_path, column, sentence
):
    model, lm_head, frame, _, _ = own
    frame.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(UserError) as caught:
        audit(
            model,
            tmp_path / "a.csv",
            db=tmp_path / "a.sqlite",
            options=options(lm_head, predictions_from=column),
        )
    assert sentence in str(caught.value)
    assert "--predictions-from" in str(caught.value)
    assert not (tmp_path / "a.sqlite").exists()
