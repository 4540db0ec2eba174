"""What the checks of a dataset say of each example, as the file keeps it."""

import numpy as np
import pytest

from saliency_core.errors import UserError
from saliency_core.store import open_store, open_writer, save_quality
from saliency_core.store.query.terms import TEXT_PROBLEMS
from tests.support.store_made_up import LABELS, audit, example, gold_of, write_all

N = 12


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "audit.sqlite"
    with open_writer(path) as writer:
        write_all(writer, [example(n) for n in range(N)])
    return path


def test_columns_come_back_and_name_their_slices(path):
    quality = np.linspace(0, 1, N).astype(np.float32)
    save_quality(path, 1, {"label_quality": quality, "duplicate": np.arange(N) % 4 - 1})
    run = open_store(path).run(1)
    assert np.array_equal(run.quality("label_quality"), quality)
    assert run.filter("label_quality<0.2").column("position").tolist() == [0, 1, 2]
    assert run.filter("-duplicate").column("position").tolist() == [0, 4, 8]
    found = run.filter().examples(sort="label_quality", descending=True, limit=2)
    assert found["id"].tolist() == ["id-11", "id-10"]


def test_problems_of_texts_are_bits_of_one_column(path):
    bit = {name: 1 << place for place, name in enumerate(TEXT_PROBLEMS)}
    column = np.zeros(N, np.uint8)
    column[[1, 2]], column[[2, 3]] = bit["html"], bit["html"] | bit["mixed_scripts"]
    save_quality(path, 1, {"text_problems": column})
    run = open_store(path).run(1)
    assert run.filter("problem:html").column("position").tolist() == [1, 2, 3]
    assert run.filter("problem:mixed_scripts").column("position").tolist() == [2, 3]
    assert run.filter("problem:empty,html -problem:mixed_scripts").count() == 1
    with pytest.raises(UserError, match="is not a problem of texts; they are"):
        run.filter("problem:htm").count()


@pytest.mark.parametrize(
    "where", ["label_issue", "-label_issue", "label_quality<0.5", "in_train", "problem:html"]
)
def test_a_term_of_a_check_that_was_never_made_says_how_to_make_it(path, where):
    with pytest.raises(UserError, match=r"data-quality.* --run 1` finds it"):
        open_store(path).run(1).filter(where).count()


def test_sorting_by_what_is_not_known_says_how_to_know_it(path):
    with pytest.raises(UserError, match="`data-quality --run 1` finds it"):
        open_store(path).run(1).filter().positions(sort="label_quality")


def test_columns_are_forgotten_when_the_run_gets_results(path):
    save_quality(path, 1, {"label_issue": np.ones(N, bool)})
    with open_writer(path) as writer:
        write_all(writer, [example(n) for n in range(N + 1)], finish=False)
    assert open_store(path).run(1).quality("label_issue") is None


def test_logits_are_those_of_the_examples(path):
    found = open_store(path).run(1).logits()
    assert found.shape == (N, len(LABELS))
    for position in range(N):
        audited = audit(example(position), gold_of(example(position)))
        assert np.array_equal(found[position], audited.logits)
