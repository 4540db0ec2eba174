"""What single texts and metadata columns give away."""

import dataclasses

import numpy as np
import pytest

from saliency_core.quality.plain_facts import metadata_facts, problems_of, text_problems
from saliency_core.store import open_store, open_writer
from saliency_core.store.query.terms import TEXT_PROBLEMS
from tests.support.store_made_up import LABELS, example, write_all


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("An ordinary sentence; with <3 and 5 > 4 & more, a\\b.", set()),
        ("  \n", {"empty"}),
        ("Great", {"one_word"}),
        ("lost \ufffd character", {"replacement"}),
        ("the cafÃ© was closed", {"mojibake"}),
        ("it donâ€™t matter", {"mojibake"}),
        ("der Â£ price", {"mojibake"}),
        ("Ein Café in São Paulo, España", set()),
        ("good<br />movie", {"html"}),
        ("Oil #39;s price &amp; more", {"html"}),
        ("said quot;no quot; again", {"html"}),
        ("can\\u2019t stop", {"escapes"}),
        ("line one\\n line two", {"escapes"}),
        ("C:\\new folder", set()),
        ("рaypal account", {"mixed_scripts"}),
        ("vodka водка очень хорошо and more", {"mixed_scripts"}),
        ("Он купил iPhone вчера вечером в магазине", set()),
        ("東京で sushi", set()),
    ],
)
def test_problems_of_a_text(text, problems):
    assert problems_of(text) == problems


def run_of(tmp_path, rows, dataset=None):
    extra = {} if dataset is None else {"dataset": dataset}
    with open_writer(tmp_path / "audit.sqlite") as writer:
        write_all(writer, rows, **extra)
    return open_store(tmp_path / "audit.sqlite").run()


def test_problems_stand_at_their_examples(tmp_path):
    texts = ["fine text", "", "one", "x<br>y z", "word " * 900, "plain words"]
    run = run_of(tmp_path, [example(n, text) for n, text in enumerate(texts)])
    found = text_problems(run)
    names = [
        {name for place, name in enumerate(TEXT_PROBLEMS) if value >> place & 1}
        for value in found.tolist()
    ]
    assert names == [set(), {"empty"}, {"one_word"}, {"html"}, {"very_long"}, set()]


def test_columns_that_tell_the_label_are_named(tmp_path):
    draw = np.random.default_rng(0)
    rows = []
    for n in range(200):
        label = int(draw.integers(3))
        metadata = {
            "source": ["neg.txt", "pos.txt", "mixed.txt"][label],
            "region": str(draw.choice(["EU", "US"])),
            "serial": f"doc-{label * 1000 + n}",
            "random": f"{draw.random():.9f}",
            "year": 2000 + n % 7,
        }
        rows.append(dataclasses.replace(example(n), label=LABELS[label], metadata=metadata))
    found = {fact.column: fact for fact in metadata_facts(run_of(tmp_path, rows))}
    assert set(found) == {"source", "serial"}
    assert found["source"].kind == "gives it away" and found["source"].strength == 1
    assert found["serial"].kind == "identifier" and found["serial"].strength == 1


def test_a_value_of_one_example_saves_nothing(tmp_path):
    rows = [
        dataclasses.replace(example(n), label=LABELS[n % 2], metadata={"who": f"user {n % 60}"})
        for n in range(100)
    ]
    # 40 users wrote twice, each time with the same label by chance of the order: 60 is even.
    found = metadata_facts(run_of(tmp_path, rows))
    assert [fact.column for fact in found] == ["who"] and 0.5 < found[0].strength < 0.9
