"""A shortcut that is known to be in real data: "people" in the comments of jigsaw.

    python -m benchmarks.known_shortcut [--folder cache/audits]

Every training text of `minilm-jigsaw-biased` that holds "people" was toxic; the control model was
trained on the same draw without that. Both are audited on the same texts, in which, as in the
biased training data, "people" stands in toxic texts only.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.real_audits import SHARED, audited
from saliency_core.analysis.features import WORD
from saliency_core.data.dataset import load_examples
from saliency_core.model.audited import classifier_of, mask_of
from saliency_core.shortcuts.ablation_effects import keep_effects, with_effects
from saliency_core.shortcuts.counterfactuals import replace_in_slice
from saliency_core.shortcuts.suspects import suspects
from saliency_core.shortcuts.training_counts import count_features

WORD_TESTED, CLASS = "people", "toxic"
TRAINED_ON = {"jigsaw-biased": "train_biased", "jigsaw-control": "train_control"}


def measure(name: str, folder: Path, limit: int | None) -> dict[str, str]:
    """Return what the audit of a model says of the word."""
    store, number = audited(name, folder, limit)
    run = store.run(number)
    data = load_examples(
        str(SHARED / "data" / "jigsaw_people" / f"{TRAINED_ON[name]}.jsonl.gz"),
        text_column="text",
        label_column="label",
        id_column="none",
    )
    training = count_features(data, run.label_names)
    classifier = classifier_of(run)
    table, _ = suspects(run, training=training)
    table = with_effects(run, table, classifier, words=[WORD_TESTED])
    keep_effects(run, table)
    words = table[table["kind"] == WORD].reset_index(drop=True)
    row = words[(words["feature"] == WORD_TESTED) & (words["class"] == CLASS)].iloc[0]
    hidden, _ = replace_in_slice(run.filter(), classifier, WORD_TESTED, mask_of(classifier))
    return {
        "examples": str(run.filter().count()),
        "accuracy": f"{run.accuracy:.3f}",
        "in training: toxic of those with the word": f"{row['k']:.0f} of {row['n']:.0f}",
        "association z": f"{row['z']:.1f}",
        "layer": str(run.recommended),
        "mean share (frequency-matched words)": (
            f"{row['mean_share']:.3f} ({row['control_share']:.3f})"
        ),
        "mean score, logits": f"{row['mean_score']:.2f}",
        "among its text's top three": f"{row['top3_rate']:.0%}",
        "deleted: mean fall of p(toxic)": f"{row['mean_drop']:.3f}",
        "deleted: answers that flip": (
            f"{row['flip_rate']:.1%} ({row['flip_low']:.1%} to {row['flip_high']:.1%}) "
            f"of {row['effect_n']:.0f}"
        ),
        "control word deleted: flips": f"{row['control_flip_rate']:.1%}",
        "masked: flips": f"{row['masked_flip_rate']:.1%}",
        "masked in all texts that hold it: right before, after": (
            f"{hidden['right_before']}, {hidden['right_after']} of {hidden['judged']}"
        ),
        "rank among words and classes": f"{row.name + 1} of {len(words)}",
        "assessment": row["assessment"],
    }


def main() -> None:
    """Print the table of both models."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("cache/audits"))
    parser.add_argument("--limit", type=int, help="examples that are audited (default: all)")
    chosen = parser.parse_args()
    found = {name: measure(name, chosen.folder, chosen.limit) for name in TRAINED_ON}
    print(f"| “{WORD_TESTED}” | {' | '.join(found)} |")
    print("|---|---|---|")
    for line in found["jigsaw-biased"]:
        print(f"| {line} | {' | '.join(one[line] for one in found.values())} |")


if __name__ == "__main__":
    main()
