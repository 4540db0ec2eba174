"""The Ray engine writes what one process writes, whatever happens to its workers."""

import csv
import importlib.util
import os
import random
import signal
from dataclasses import fields

import numpy as np
import pytest

from saliency_core.analysis.word_tables import word_table
from saliency_core.errors import UserError
from saliency_core.pipeline.batching import BLOCK, encode_examples
from saliency_core.pipeline.inputs import open_attributor, open_classifier
from saliency_core.pipeline.options import AuditOptions
from saliency_core.pipeline.ray import engine
from saliency_core.pipeline.ray.engine import DONE, SEND, WAIT, Plan, Reader
from saliency_core.pipeline.run_audit import audit
from saliency_core.records import Example
from saliency_core.store import merge, open_store
from saliency_core.store.format import wire
from saliency_core.store.format.block_folder import BlockFolder
from tests.support.tiny_bert import save_tiny_bert

WORDS = "the a film was good bad dull bright plot unhappy nice actor scene".split()
ROWS = BLOCK + 150


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_bert(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    """Two blocks: equal texts within and across, some with another label, some empty."""
    path = tmp_path_factory.mktemp("reviews") / "reviews.csv"
    draw = random.Random(0)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label", "source"])
        for row in range(ROWS):
            # Short texts repeat by chance, under any label.
            text = " ".join(draw.choices(WORDS, k=draw.choice([2, 6, 9, 12])))
            writer.writerow([text if row % 500 else " ", draw.randrange(3), f"site {row % 2}"])
    return path


def options(lm_head, **choices):
    defaults = {"trust_labels": True, "evaluate": False, "batch_tokens": 256, "threads": 1}
    return AuditOptions(lm_head=lm_head, **(defaults | choices))


def ray_options(lm_head, **choices):
    return options(lm_head, engine="ray", **({"workers": 2} | choices))


def example_of(row, text="the film was good", **values):
    return Example(position=row, id=str(row), text=text, **values)


# Without Ray


def test_records_come_back_from_arrow_as_they_were(model):
    chosen = options(model[1])
    classifier = open_classifier(model[0], chosen)
    examples = [
        example_of(0, metadata={"site": "é", "stars": 4, "mean": 0.5, "old": True, "none": None}),
        example_of(1, "bad plot", label="x"),
        example_of(2, "   "),
        example_of(3, "nice actor nice scene", label="y"),
    ]
    encodings = encode_examples(classifier, examples, "truncate")
    records = open_attributor(classifier, chosen).audit(examples, encodings, [None, 0, 1, 2])
    assert len({len(record.saliency) for record in records}) == 3, "no contrast, contrast, failed"
    back = wire.unpack_results(wire.pack_results(records))
    for record, found in zip(records, back, strict=True):
        for field in fields(record):
            assert_same(getattr(record, field.name), getattr(found, field.name), field.name)


def assert_same(one, other, name):
    assert type(one) is type(other), name
    if name == "saliency":
        for first, second in zip(one, other, strict=True):
            assert first.target == second.target
            assert_same(first.scores, second.scores, "scores")
            assert_same(first.completeness, second.completeness, "completeness")
    elif isinstance(one, np.ndarray):
        assert (one.dtype, one.shape) == (other.dtype, other.shape), name
        assert np.array_equal(one, other), name
    else:
        assert one == other, name


def test_work_comes_back_from_arrow_as_it_was():
    examples = [
        example_of(5, "a\0b", pair="b", label="2.0", metadata={"x": [1]}),
        example_of(9, ""),
    ]
    rows = wire.pack_work(examples, [1, None]).to_pylist()
    assert len(rows) == 1
    assert wire.unpack_work(rows[0]) == (examples, [1, None])


def plan_of(rows):
    """Plan rows of (position, text, gold) that all miss a result."""
    plan = Plan()
    blocks = {}
    for position, text, gold in rows:
        blocks.setdefault(position // BLOCK, []).append((example_of(position, text), gold))
    for block in blocks.values():
        examples, gold = zip(*block, strict=True)
        first = {(e.text, g): e.position for e, g in reversed(block)}
        plan.add(list(examples), list(gold), set(first.values()))
    states = plan.states(3 * BLOCK)
    return [states[position] for position, _, _ in rows]


def test_the_plan_sends_what_cannot_depend_on_another_block():
    assert plan_of(
        [
            (0, "good", 0),
            (1, "good", 0),  # copied from row 0
            (2, "good", 1),  # computed in the same block on one machine too
            (BLOCK, "good", 1),  # copied from row 2
            (BLOCK + 1, "good", 2),  # depends on what was predicted for row 0
            (BLOCK + 2, "good", None),
            (BLOCK + 3, "bad", None),
            (2 * BLOCK, "good", 2),  # computed or copied after row BLOCK + 1
            (2 * BLOCK + 1, "bad", None),
            (2 * BLOCK + 2, "nice", 0),
        ]
    ) == [SEND, DONE, SEND, DONE, WAIT, WAIT, SEND, DONE, DONE, SEND]


def test_what_has_a_result_is_not_sent():
    plan = Plan()
    plan.add([example_of(0), example_of(1, "bad")], [0, 0], {1})
    assert plan.states(3).tolist() == [DONE, SEND, DONE]
    assert Plan().states(2).tolist() == [DONE, DONE]


def test_the_reader_holds_back_batches_with_waiting_rows(model, reviews):
    chosen = options(model[1])
    classifier = open_classifier(model[0], chosen)
    reader = Reader(reviews, chosen, classifier, {"0": 0, "1": 1, "2": 2}, 256)
    states = np.full(ROWS, SEND, np.uint8)
    batches = [table["position"].to_pylist()[0] for table in reader.batches(states)]
    assert len(batches) > 50
    held = batches[3]
    states[held[0]] = WAIT
    states[batches[5][0]] = DONE
    batches[5] = batches[5][1:]
    again = [table["position"].to_pylist()[0] for table in reader.batches(states)]
    assert again == [batch for batch in batches if batch and batch != held]


def test_without_ray_one_sentence_says_what_to_install(model, reviews, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "ray" else find(name, *a)
    )
    with pytest.raises(UserError, match=r"pip install -r requirements-ray\.txt"):
        audit(model[0], reviews, db=tmp_path / "a.sqlite", options=ray_options(model[1]))
    assert not (tmp_path / "a.sqlite").exists()


def test_engines_and_their_options_are_checked(model, reviews, tmp_path):
    for choices, sentence in [
        ({"engine": "spark"}, "choose local or ray"),
        ({"workers": 2}, "--workers is for --engine ray"),
        ({"output": str(tmp_path)}, "--output is for --engine ray"),
        ({"engine": "ray", "output": str(tmp_path)}, "not both"),
    ]:
        with pytest.raises(UserError, match=sentence):
            audit(model[0], reviews, db=tmp_path / "a.sqlite", options=options(model[1], **choices))


# With Ray


@pytest.fixture(scope="module")
def local_ray():
    """One Ray for the tests: two workers and the reader."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("requirements-ray.txt is not installed")
    import ray

    engine.start_ray(2, 1)
    yield ray
    ray.shutdown()


@pytest.fixture(scope="module")
def alone(model, reviews, tmp_path_factory):
    """What one process writes."""
    path = tmp_path_factory.mktemp("alone") / "a.sqlite"
    result = audit(model[0], reviews, db=path, options=options(model[1]))
    return path, result


def contents(database):
    """Return everything a reader can see of the newest run but scores, and the scores."""
    store = open_store(database)
    run = store.run()
    frame = store.run().filter().examples()
    examples = [store.run().example(int(position)) for position in frame["example"]]
    scores = [
        {target: values.tolist() for target, values in example.pop("saliency").items()}
        for example in examples
    ]
    shown = [
        {name: np.asarray(value).tolist() if hasattr(value, "tolist") else value}
        for example in examples
        for name, value in sorted(example.items())
    ]
    # Sums depend on the order of the batches in their last digits.
    words = (
        word_table(store.run().filter(), minimum=1)
        .sort_values(["word", "class"], ignore_index=True)
        .round(5)
    )
    words = words.to_json()
    return {
        "rows": frame.to_json(),
        "examples": repr(shown),
        "scores": scores,
        "layers": store.run().layers().to_json(),
        "words": words,
        "recommended": run.recommended,
        "failed": store.run().filter("failed").count(),
    }


def assert_same_file(one, other):
    first, second = contents(one), contents(other)
    for part in first:
        assert first[part] == second[part], f"{part} differ"


class Stopper:
    """Progress that stops an audit once enough examples are done."""

    def __init__(self, at):
        self.at, self.seen = at, []

    def __call__(self, stage, done, total):
        if stage == "auditing":
            self.seen.append(done)
        if done > self.at:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_two_workers_write_what_one_process_writes(local_ray, model, reviews, alone, tmp_path):
    database, seen = tmp_path / "ray.sqlite", []
    stopper = Stopper(700)
    with pytest.raises(KeyboardInterrupt):
        audit(model[0], reviews, db=database, options=ray_options(model[1]), progress=stopper)
    second = audit(
        model[0],
        reviews,
        db=database,
        options=ray_options(model[1]),
        progress=lambda stage, done, total: seen.append((stage, done, total)),
    )
    planned = stopper.seen[2]  # two blocks: what needs no computing is known after them
    assert stopper.seen[-1] - planned + second.computed == alone[1].computed
    assert (second.examples, second.failed) == (alone[1].examples, alone[1].failed)
    audited = [done for stage, done, _ in seen if stage == "auditing"]
    assert audited == sorted(audited) and seen[-1] == ("auditing", ROWS, ROWS)
    assert_same_file(alone[0], database)
    third = audit(model[0], reviews, db=database, options=ray_options(model[1]))
    assert third.computed == 0


@pytest.mark.slow
def test_blocks_of_a_folder_become_what_one_process_writes(
    local_ray, model, reviews, alone, tmp_path
):
    folder, database = tmp_path / "blocks", tmp_path / "merged.sqlite"
    chosen = ray_options(model[1], output=str(folder))
    with pytest.raises(KeyboardInterrupt):
        audit(model[0], reviews, options=chosen, progress=Stopper(700))
    kept = sum(len(BlockFolder.open(folder).read(file)) for file in folder.glob("*.parquet"))
    assert 0 < kept < alone[1].computed
    second = audit(model[0], reviews, options=chosen)
    assert second.reused == kept and second.run is None
    third = audit(model[0], reviews, options=chosen)
    assert (third.computed, third.reused) == (0, kept + second.computed)
    report = merge(database, [folder])
    assert report["runs"][0]["examples"] == third.reused
    last = audit(model[0], reviews, db=database, options=options(model[1]))
    # Some batches wait for what was answered to an equal text; no other is computed here.
    assert last.computed + third.reused == alone[1].computed
    assert 10 * last.computed < alone[1].computed
    assert (last.examples, last.failed) == (alone[1].examples, alone[1].failed)
    assert_same_file(alone[0], database)


@pytest.mark.slow
def test_a_killed_worker_changes_nothing(local_ray, model, reviews, alone, tmp_path, monkeypatch):
    died = tmp_path / "died"

    # Ray sends a class of a function by value, so the workers get this one.
    class Mortal(engine.Worker):
        def __call__(self, work):
            if not died.exists():
                died.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return super().__call__(work)

    monkeypatch.setattr(engine, "Worker", Mortal)
    database = tmp_path / "ray.sqlite"
    result = audit(model[0], reviews, db=database, options=ray_options(model[1]))
    assert died.exists(), "a worker was killed with a batch in its hands"
    assert result.computed == alone[1].computed
    assert_same_file(alone[0], database)


@pytest.mark.slow
def test_another_model_on_a_worker_is_refused(local_ray, model, reviews, tmp_path, monkeypatch):
    tables = engine.stream

    def with_other_model(reader, states, worker, pool):
        other = save_tiny_bert(tmp_path / "other", seed=1)
        return tables(reader, states, (other[0], *worker[1:]), pool)

    monkeypatch.setattr(engine, "stream", with_other_model)
    (tmp_path / "other").mkdir()
    with pytest.raises(UserError, match="is another model than here: model_digest"):
        audit(model[0], reviews, db=tmp_path / "a.sqlite", options=ray_options(model[1], workers=1))


@pytest.mark.slow
def test_sst2_on_ray_is_sst2_on_one_machine(local_ray, shared, tmp_path):
    source = shared / "data" / "sst2" / "dev.jsonl"
    name = str(shared / "models" / "minilm-sst2")
    lm_head = str(shared / "models" / "minilm-mlm")
    chosen = {"limit": 40, "steps": 1, "batch_tokens": None}
    audit(name, source, db=tmp_path / "a.sqlite", options=options(lm_head, **chosen))
    audit(name, source, db=tmp_path / "b.sqlite", options=ray_options(lm_head, **chosen))
    first, second = contents(tmp_path / "a.sqlite"), contents(tmp_path / "b.sqlite")
    for one, other in zip(first.pop("scores"), second.pop("scores"), strict=True):
        assert one.keys() == other.keys()
        for target in one:
            assert np.allclose(one[target], other[target], rtol=0, atol=1e-6)
    assert first == second
