"""Made-up audited examples: what the store is given, without a model."""

from __future__ import annotations

import itertools
import re
import zlib
from dataclasses import replace

import numpy as np

from saliency_core.records import (
    AuditedExample,
    DatasetInfo,
    Example,
    LayerSummary,
    ModelInfo,
    RunSettings,
    Saliency,
)

LAYERS = 3
LABELS = ("negative", "positive", "not sure")
WORDS = "the people are nice bad Movie good, terribly don't é 東京 x' -- a".split()

DATASET = DatasetInfo(
    "made up", "made_up.csv", None, None, {"text": "text"}, ("region", "year", "score"), None
)
MODEL = ModelInfo(
    "some/model",
    None,
    "Bert",
    LABELS,
    "single-label",
    LAYERS,
    "tied",
    False,
    False,
    "[MASK]",
    "weights",
    "tokenizer",
    "head",
)
SETTINGS = RunSettings()


def example(position: int, text: str | None = None, pair: str | None = None) -> Example:
    """Return an example that depends on its position only."""
    draw = np.random.default_rng(position)
    if text is None:
        text = " ".join(draw.choice(WORDS, draw.integers(1, 9)))
    metadata = {
        "region": ["EU", "US", None, "quo'te"][position % 4],
        "year": 2000 + position % 7,
        "score": float(draw.normal()),
        "odd key": bool(position % 2),
    }
    return Example(position, f"id-{position}", text, pair, LABELS[position % 3], metadata)


def gold_of(row: Example) -> int | None:
    return LABELS.index(row.label) if row.label in LABELS else None


def audit(row: Example, gold: int | None = None, target: str = "predicted") -> AuditedExample:
    """Return results that depend on the texts and the gold label only, as a model's would."""
    seed = zlib.crc32(repr((row.text, row.pair)).encode())
    draw = np.random.default_rng(seed)
    spans, sides, owner, words, word_spans = [], [], [], [], []
    for side, text in enumerate([row.text, row.pair or ""]):
        for found in re.finditer(r"\w+|[^\w\s]", text):
            a, b = found.span()
            cuts = [a, a + 3, b] if b - a > 5 else [a, b]
            spans += itertools.pairwise(cuts)
            sides += [side] * (len(cuts) - 1)
            owner += [len(words)] * (len(cuts) - 1)
            words.append(found.group())
            word_spans.append((a, b))
    n = len(spans)
    logits = draw.normal(0, 2, len(LABELS)).astype(np.float32)
    powers = np.exp(logits - logits.max())
    predicted = int(logits.argmax())
    total = len(row.text) + len(row.pair or "")
    common = {
        "example": row,
        "gold": gold,
        "logits": logits,
        "probabilities": powers / powers.sum(),
        "token_ids": draw.integers(0, 30_000, n).astype(np.int32),
        "spans": np.array(spans, np.int32).reshape(-1, 2),
        "sides": np.array(sides, np.int8),
        "word_of_token": np.array(owner, np.int32),
        "words": tuple(words),
        "word_spans": np.array(word_spans, np.int32).reshape(-1, 2),
        "chars_seen": total - seed % 2 * (total > 20),
        "chars_total": total,
    }
    if n == 0:
        return AuditedExample(**common, predicted=None, saliency=(), failure="The text is empty.")
    saliency = [made_up_saliency(draw, n, target)]
    if gold is not None and gold != predicted:
        saliency.append(made_up_saliency(np.random.default_rng(seed + gold), n, "contrast"))
    return AuditedExample(
        **common,
        predicted=predicted,
        saliency=tuple(saliency),
        decodability=draw.random(LAYERS + 1).astype(np.float32) if seed % 3 == 0 else None,
        explanation=draw.integers(-1, 30_000, (LAYERS + 1, 3)).astype(np.int32),
    )


def made_up_saliency(draw: np.random.Generator, n: int, target: str) -> Saliency:
    scores = draw.normal(0, 1, (LAYERS + 1, n))
    return Saliency(scores.astype(np.float16), draw.normal(1, 0.1, LAYERS + 1).astype("f4"), target)


def summaries() -> list[LayerSummary]:
    return [LayerSummary(n, n / 10, n / 10 - 0.1, n / 10 + 0.1, 0.0, 0.5) for n in range(4)]


def coherence_of(positions: np.ndarray) -> np.ndarray:
    """Return (layer, example) coherence that depends on the positions only."""
    return np.stack([np.sin(positions * 1.7 + layer) for layer in range(LAYERS + 1)])


def write_all(
    writer,
    rows: list[Example],
    *,
    batch: int = 5,
    block: int = 20,
    settings=SETTINGS,
    model=MODEL,
    dataset=DATASET,
    finish: bool = True,
) -> tuple[int, int]:
    """Audit rows as the conductor does; return the run and the number computed."""
    run = writer.begin_run(dataset, model, settings)
    computed = 0
    for start in range(0, len(rows), block):
        part = rows[start : start + block]
        writer.add_examples(run, part, [gold_of(row) for row in part])
        todo = sorted(writer.missing(run, part), key=lambda row: (len(row.text), row.position))
        for at in range(0, len(todo), batch):
            audited = [audit(row, gold_of(row), settings.target) for row in todo[at : at + batch]]
            writer.write_batch(run, audited)
            computed += len(audited)
    if finish:
        writer.set_coherence(
            run,
            [(p, coherence_of(p)) for p, _, _ in writer.explanations(run)],
        )
        writer.finish_run(run, summaries(), 2, [1], 1.0, ["a warning"], {"k": 1})
    return run, computed


def content(path) -> dict[str, list[tuple]]:
    """Return what a file holds, all tables, without its clocks and counters."""
    import sqlite3

    connection = sqlite3.connect(path)
    skip = {"meta", "_sqlite_migrations", "sqlite_sequence", "texts_fts_data", "texts_fts_idx"}
    tables = [
        row[0]
        for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        if row[0] not in skip
    ]
    found = {}
    for name in tables:
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({name})")]
        columns = ", ".join(
            column for column in columns if column not in ("created", "updated", "done", "undone")
        )
        rows = connection.execute(f"SELECT {columns} FROM {name}")
        found[name] = sorted(map(repr, rows))
    found["runs"] = sorted(
        map(repr, connection.execute("SELECT run, key, content, status, targets FROM runs"))
    )
    connection.close()
    return found


def conduct(
    path, rows: list[Example], *, dataset=DATASET, limit: int | None = None, batch: int = 3,
    block: int = 4,
) -> tuple[int, int, object]:  # fmt: skip
    """Audit rows of a dataset as `audit` does; return the run, the number computed, the changes."""
    from saliency_core.store import open_writer

    read = rows if limit is None else rows[:limit]
    digest = repr([(row.id, row.text, row.pair, row.label, row.metadata) for row in rows])
    dataset = replace(dataset, digest=digest, identity="/made/up.csv")
    whole = limit is None or len(read) < limit
    blocks = [read[start : start + block] for start in range(0, len(read), block)]

    def register(part):
        writer.add_examples(run, part, [gold_of(row) for row in part])
        return writer.missing(run, part)

    computed = 0
    with open_writer(path) as writer:
        run = writer.begin_run(dataset, MODEL, SETTINGS)
        if writer.is_changed(run):
            for part in blocks:
                register(part)
            writer.settle(run, dataset, len(read), whole=whole)
        for part in blocks:
            todo = sorted(register(part), key=lambda row: (len(row.text), row.position))
            for at in range(0, len(todo), batch):
                writer.write_batch(run, [audit(row, gold_of(row)) for row in todo[at : at + batch]])
            computed += len(todo)
            assert not register(part)
        changes = writer.settle(run, dataset, len(read), whole=whole)
        if not writer.is_complete(run):
            values = [(p, coherence_of(p)) for p, _, _ in writer.explanations(run)]
            writer.set_coherence(run, values)
            writer.finish_run(run, summaries(), 2, [1], 1.0, ["a warning"], {"k": 1})
    return run, computed, changes
