"""What fails on the sample of a run is left out and told; the run is finished all the same."""

import json

import pytest

from saliency_core.errors import UserError
from saliency_core.pipeline.run_audit import audit
from saliency_core.pipeline.sample_steps import first_that_works
from saliency_core.store import open_store
from tests.support.tiny_bert import save_tiny_bert


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_bert(tmp_path_factory.mktemp("sample"))[0]


def rows(tmp_path, texts):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def refuse(*given, **more):
    raise ValueError("All examples must have the same number of <eos> tokens.")


@pytest.mark.parametrize("what", ["_summarise", "faithfulness", "class_meanings", "decodability"])
def test_a_failing_sample_step_leaves_a_finished_run(what, model, tmp_path, monkeypatch):
    place = "saliency_core.pipeline.layer_summary"
    if what == "_summarise":
        from saliency_core.pipeline.run_audit import Audit

        real = Audit._summarise

        def only_without_sample(self, run, writer, seconds, readable, evaluates):
            return refuse() if readable else real(self, run, writer, seconds, readable, evaluates)

        monkeypatch.setattr(Audit, what, only_without_sample)
    elif what in ("faithfulness", "class_meanings"):
        monkeypatch.setattr(f"{place}.{what}", refuse)
    else:
        from saliency_core.pipeline import layer_summary

        real = layer_summary.decodability
        monkeypatch.setattr(
            f"{place}.{what}",
            lambda classifier, given, seed: refuse() if given else real(classifier, given, seed),
        )
    done = audit(
        model,
        rows(tmp_path, ["a good film", "a bad plot", "dull", "nice"]),
        db=tmp_path / "x.sqlite",
    )
    store = open_store(tmp_path / "x.sqlite")
    assert store.run().is_complete() and store.run().filter().count() == 4 and not done.failed
    told = [one for one in store.run().warnings if "left out" in one]
    assert told and "same number of <eos> tokens" in told[0]
    assert (
        store.run().layers()["coherence"].notna().any()
        or len(set(store.run().column("predicted"))) == 1
    )


@pytest.mark.parametrize("texts", [["a good film"], ["good", ""], ["good", " \n", "film"]])
def test_few_or_odd_rows_are_a_finished_audit(texts, model, tmp_path):
    done = audit(model, rows(tmp_path, texts), db=tmp_path / "x.sqlite")
    store = open_store(tmp_path / "x.sqlite")
    assert store.run().is_complete() and done.computed == len(texts)
    assert store.run().filter("failed").count() == sum(not text.strip() for text in texts)


def test_what_the_disk_or_the_user_caused_is_an_error_still():
    def full():
        raise UserError("The disk is full.")

    def left_out(*attempts, **more):
        told = []
        first_that_works(attempts, told, **more)
        return told

    fine = ("A", lambda: None)
    with pytest.raises(UserError, match="disk is full"):
        left_out(("B", full), fine)
    with pytest.raises(ValueError, match="eos"):
        left_out(("B", refuse), ("C", refuse))
    assert len(left_out(("B", refuse), fine, ("C", refuse))) == 1
    assert left_out(fine, ("B", refuse)) == []
    assert len(left_out(("B", refuse), needed=False)) == 1
