"""Files of odd runs: what a command meets when an audit was short, empty, broken off or strange."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from saliency_core.records import AuditedExample, Example, LayerSummary
from saliency_core.store import open_writer
from tests.support.store_made_up import DATASET, LABELS, MODEL, SETTINGS, audit, example, summaries

Rows = list[Example]
ODD: dict[str, Callable[[Path], None]] = {}


def odd(maker: Callable[[Path], None]) -> Callable[[Path], None]:
    """Take a maker of a file into the list."""
    ODD[maker.__name__.strip("_").replace("_", " ")] = maker
    return maker


def rows(count: int, text: Callable[[int], str | None] = lambda n: None) -> Rows:
    return [example(n, text(n)) for n in range(count)]


def labelled(given: Rows, label: Callable[[int], str | None]) -> Rows:
    return [replace(row, label=label(row.position)) for row in given]


def write(
    path: Path,
    given: Rows,
    *,
    change: Callable[[AuditedExample], AuditedExample] = lambda done: done,
    only: int | None = None,
    layers: list[LayerSummary] | None = None,
    recommended: int | None = 2,
    finish: bool = True,
    model=MODEL,
    settings=SETTINGS,
    dataset=DATASET,
) -> None:
    """Write one run: `change` its results, keep `only` some of them, leave it unfinished."""
    names = model.label_names
    with open_writer(path) as writer:
        run = writer.begin_run(dataset, model, settings)
        gold = [names.index(row.label) if row.label in names else None for row in given]
        if model.task != "single-label":
            gold = [None] * len(given)
        if given:
            writer.add_examples(run, given, gold)
        done = [change(audit(row, of)) for row, of in zip(given, gold, strict=True)][:only]
        if done:
            writer.write_batch(run, done)
        if finish:
            layers = summaries() if layers is None else layers
            writer.set_coherence(
                run,
                [(p, np.zeros((len(summaries()), len(p)))) for p, _, _ in writer.explanations(run)],
            )
            writer.finish_run(run, layers, recommended, [], 1.0, ["a warning"], {})


def failed(done: AuditedExample) -> AuditedExample:
    return replace(
        done, predicted=None, saliency=(), explanation=None, decodability=None, failure="It failed."
    )


def answered(label: int) -> Callable[[AuditedExample], AuditedExample]:
    """Return what lets the model answer one class."""

    def change(done: AuditedExample) -> AuditedExample:
        if done.failure:
            return done
        logits = np.full(len(done.logits), -1, np.float32)
        logits[label] = 2
        powers = np.exp(logits)
        return replace(done, logits=logits, probabilities=powers / powers.sum(), predicted=label)

    return change


def classes(count: int) -> Callable[[AuditedExample], AuditedExample]:
    """Return what gives an answer of three classes as many as the model has."""

    def change(done: AuditedExample) -> AuditedExample:
        logits = np.resize(done.logits, count).astype(np.float32)
        powers = np.exp(logits - logits.max())
        predicted = None if done.failure else int(logits.argmax())
        return replace(
            done, logits=logits, probabilities=powers / powers.sum(), predicted=predicted
        )

    return change


NOTHING = [LayerSummary(n, None, None, None, None, None) for n in range(len(summaries()))]


@odd
def one_row(path):
    write(path, rows(1))


@odd
def two_rows(path):
    write(path, rows(2))


@odd
def no_row_yet(path):
    write(path, [], finish=False)


@odd
def no_row_at_all(path):
    write(path, [], layers=NOTHING, recommended=None)


@odd
def rows_without_results(path):
    write(path, rows(6), only=0, finish=False)


@odd
def unfinished(path):
    write(path, rows(12), only=5, finish=False)


@odd
def all_computed_but_unfinished(path):
    write(path, rows(12), finish=False)


@odd
def finished_without_some_results(path):
    write(path, rows(12), only=5)


@odd
def all_empty(path):
    write(path, rows(5, lambda n: ""), layers=NOTHING, recommended=None)


@odd
def white_space_only(path):
    write(path, rows(5, lambda n: " \n\u200b"), change=failed, layers=NOTHING, recommended=None)


@odd
def one_empty_row(path):
    write(path, rows(1, lambda n: ""), layers=NOTHING, recommended=None)


@odd
def one_failing_among_good(path):
    write(path, rows(30), change=lambda done: failed(done) if done.example.position == 7 else done)


@odd
def all_failed(path):
    write(path, rows(8), change=failed, layers=NOTHING, recommended=None)


@odd
def one_good_among_failing(path):
    write(path, rows(8), change=lambda done: failed(done) if done.example.position else done)


@odd
def unlabelled(path):
    write(path, labelled(rows(30), lambda n: None))


@odd
def partly_labelled(path):
    write(path, labelled(rows(30), lambda n: LABELS[0] if n == 3 else None))


@odd
def labels_of_another_dataset(path):
    write(path, labelled(rows(30), lambda n: "who knows"))


@odd
def one_gold_class(path):
    write(path, labelled(rows(30), lambda n: LABELS[1]))


@odd
def one_predicted_class(path):
    write(path, rows(30), change=answered(1))


@odd
def one_predicted_class_without_coherence(path):
    write(path, rows(30), change=answered(1), layers=NOTHING, recommended=None)


@odd
def all_right(path):
    write(path, labelled(rows(30), lambda n: LABELS[1]), change=answered(1))


@odd
def all_wrong(path):
    write(path, labelled(rows(30), lambda n: LABELS[0]), change=answered(1))


@odd
def regression(path):
    model = replace(MODEL, task="regression", label_names=("score",))
    write(path, labelled(rows(30), lambda n: str(n / 7)), change=classes(1), model=model)


@odd
def multi_label(path):
    model = replace(MODEL, task="multi-label")
    write(path, labelled(rows(30), lambda n: "positive,negative"), model=model)


@odd
def one_class(path):
    model = replace(MODEL, label_names=("only",))
    write(path, labelled(rows(30), lambda n: "only"), change=classes(1), model=model)


@odd
def two_hundred_classes(path):
    model = replace(MODEL, label_names=tuple(f"class {n}" for n in range(200)))
    write(path, labelled(rows(30), lambda n: f"class {n}"), change=classes(200), model=model)


@odd
def one_word_texts(path):
    write(path, rows(30, lambda n: "good"))


@odd
def texts_of_no_word(path):
    write(path, rows(30, lambda n: "... !?"))


@odd
def odd_characters(path):
    write(path, rows(30, lambda n: "\x1b[31mred\x00 \u202eabc 👩‍👩‍👧 " + "é" * n))


@odd
def a_long_text(path):
    write(path, rows(3, lambda n: "the plot is bad " * 2000))


@odd
def pairs(path):
    write(path, [replace(row, pair="" if row.position % 2 else "a pair") for row in rows(12)])


@odd
def no_metadata(path):
    given = [replace(row, metadata={}) for row in rows(30)]
    write(path, given, dataset=replace(DATASET, metadata_columns=()))


@odd
def odd_ids(path):
    names = ['"', "", " ", "a b", "-1", "\n", "id:1", "*"]
    write(path, [replace(row, id=names[row.position]) for row in rows(8)])


@odd
def contrast(path):
    write(path, rows(12), settings=replace(SETTINGS, target="contrast"))


@odd
def a_finished_and_an_unfinished_run(path):
    write(path, rows(12))
    write(path, rows(12), only=3, finish=False, settings=replace(SETTINGS, steps=9))
