"""Fine-tune a pretrained model on a dataset and hold a part of it out; minutes on a CPU.

    python -m examples.fine_tune BASE DATASET --output my-model

BASE is a folder or hub name of a pretrained language model. `my-model` then holds the classifier,
`train.csv` (what it learnt from) and `held-out.csv` (what to audit it on).
"""

from __future__ import annotations

import argparse
import csv
import random
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging

from saliency_core.data.dataset import load_examples
from saliency_core.records import Example


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("base")
    parser.add_argument("dataset")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--text-column")
    parser.add_argument("--label-column")
    parser.add_argument("--split")
    parser.add_argument("--held-out", type=float, default=0.25, help="part that is held out")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=1e-4, help="learning rate at its highest")
    parser.add_argument("--max-length", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def write(path: Path, examples: list[Example]) -> None:
    """Write examples as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        columns = ["id", "text", "label"]
        if any(example.pair is not None for example in examples):
            columns.insert(2, "pair")
        writer.writerow(columns)
        writer.writerows([getattr(example, name) for name in columns] for example in examples)


def main() -> None:
    """Fine-tune, save, and tell the accuracy on what was held out."""
    chosen = arguments()
    random.seed(chosen.seed)
    torch.manual_seed(chosen.seed)
    examples = list(
        load_examples(
            chosen.dataset,
            text_column=chosen.text_column,
            label_column=chosen.label_column,
            split=chosen.split,
        )
    )
    random.shuffle(examples)
    cut = round(len(examples) * chosen.held_out)
    held_out, train = examples[:cut], examples[cut:]
    names = sorted({example.label for example in examples})
    logging.set_verbosity_error()  # the head is new, as it should be
    logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(chosen.base)
    model = AutoModelForSequenceClassification.from_pretrained(
        chosen.base,
        num_labels=len(names),
        id2label=dict(enumerate(names)),
        label2id={name: place for place, name in enumerate(names)},
        dtype=torch.float32,
    )
    # Word vectors stay as the pretrained language model has them: its head decodes the layers.
    model.get_input_embeddings().requires_grad_(False)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device)

    def batch(part: list[Example]) -> dict[str, torch.Tensor]:
        pairs = [example.pair for example in part]
        encoded = tokenizer(
            [example.text for example in part],
            None if None in pairs else pairs,
            truncation=True,
            max_length=chosen.max_length,
            padding=True,
            return_tensors="pt",
        )
        labels = [model.config.label2id[example.label] for example in part]
        return {**encoded.to(device), "labels": torch.tensor(labels, device=device)}

    steps = chosen.epochs * -(-len(train) // chosen.batch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=chosen.rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, chosen.rate, steps, pct_start=0.1)
    model.train()
    for epoch in range(chosen.epochs):
        random.shuffle(train)
        total = 0.0
        for start in range(0, len(train), chosen.batch):
            loss = model(**batch(train[start : start + chosen.batch])).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            total += float(loss.detach())
        mean = total * chosen.epochs / steps
        print(f"epoch {epoch + 1} of {chosen.epochs}: loss {mean:.3f}", flush=True)

    model.eval()
    right = 0
    with torch.no_grad():
        for start in range(0, len(held_out), chosen.batch):
            inputs = batch(held_out[start : start + chosen.batch])
            labels = inputs.pop("labels")
            right += int((model(**inputs).logits.argmax(-1) == labels).sum())
    model.save_pretrained(chosen.output)
    tokenizer.save_pretrained(chosen.output)
    write(chosen.output / "train.csv", train)
    write(chosen.output / "held-out.csv", held_out)
    print(f"{right} of {len(held_out)} held-out examples are right. Saved in {chosen.output}.")


if __name__ == "__main__":
    main()
