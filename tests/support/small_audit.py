"""An audit of a few made-up texts: its CSV, its options and what a reader sees of it."""

import csv

from saliency_core.pipeline.options import AuditOptions
from saliency_core.store import open_store

WORDS = "the a film was good bad dull bright plot unhappy nice actor scene".split()


def write_csv(path, rows=60, labels=3):
    """Write texts of 1 to 12 words, every seventh one twice."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label", "source"])
        for row in range(rows):
            number = row - 1 if row % 7 == 6 else row
            text = " ".join(
                WORDS[(number * step) % len(WORDS)] for step in range(1, 2 + number % 12)
            )
            writer.writerow([text, number % labels, f"site {row % 2}"])
    return path


def options(lm_head, **choices):
    return AuditOptions(
        lm_head=lm_head, trust_labels=True, evaluate=False, batch_tokens=64, **choices
    )


def contents(database):
    """Return everything a reader can see of the newest run."""
    store = open_store(database)
    run = store.run()
    frame = store.run().filter().examples()
    examples = [store.run().example(int(position)) for position in frame["example"]]
    scores = [
        {target: values.tolist() for target, values in example["saliency"].items()}
        for example in examples
    ]
    return frame.to_json(), scores, store.run().layers().to_json(), run.recommended
