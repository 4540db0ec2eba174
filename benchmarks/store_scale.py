"""Files of 10 000 to 1 000 000 examples through the real writer, and every query on them.

    python -m benchmarks.store_scale --examples 10000 --folder /tmp

prints the file's size a stored score, the writer's memory and time, and p50/p95 of each query
with its budget.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

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

LAYERS = 12
BATCH = 64
BLOCK = 2048
VOCABULARY = 120_000
TOKENS, EMBEDDING = 30_522, 384
"""Of the language model: how many tokens, and how long their directions are."""
DISK_BUDGET = 4.0
FILTER_BUDGET = 0.200
WORDS_BUDGET = 0.500


def spelling(rank: int) -> str:
    """Return a pronounceable word, short for frequent ranks."""
    consonants, vowels = "tnshrdlcmwfgypbvk", "aeiou"
    word, rest = "", rank + 17
    while rest:
        rest, digit = divmod(rest, 85)
        word += consonants[digit % 17] + vowels[digit // 17]
    return word


class Generator:
    """Examples with Zipf words and log-normal lengths, about 32 tokens each."""

    def __init__(self, seed: int) -> None:
        """Draw the vocabulary."""
        self.draw = np.random.default_rng(seed)
        self.words = np.array([spelling(rank) for rank in range(VOCABULARY)], dtype=object)
        weights = 1 / (np.arange(VOCABULARY) + 2.7) ** 1.05
        self.cumulative = np.cumsum(weights / weights.sum())

    def block(self, first: int, n: int) -> list[AuditedExample]:
        """Return n audited examples."""
        lengths = np.clip(self.draw.lognormal(3.05, 0.45, n), 3, 120).astype(int)
        ranks = np.searchsorted(self.cumulative, self.draw.random(lengths.sum()))
        ends = np.cumsum(lengths)
        return [self.example(first + i, ranks[ends[i] - lengths[i] : ends[i]]) for i in range(n)]

    def example(self, position: int, ranks: np.ndarray) -> AuditedExample:
        """Return one audited example; words of rare ranks have several pieces."""
        draw = self.draw
        words = self.words[np.minimum(ranks, VOCABULARY - 1)]
        text = " ".join(words) + "."
        sizes = np.array([len(word) for word in words])
        ends = np.cumsum(sizes + 1) - 1
        starts = ends - sizes
        word_spans = np.stack(
            [np.append(starts, ends[-1]), np.append(ends, ends[-1] + 1)], axis=1
        ).astype(np.int32)
        pieces = np.append(1 + (ranks > 1_000) + (ranks > 20_000), 1)
        owner = np.repeat(np.arange(len(pieces)), pieces)
        within = np.arange(len(owner)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        step = (word_spans[:, 1] - word_spans[:, 0])[owner] / pieces[owner]
        spans = np.stack(
            [word_spans[owner, 0] + within * step, word_spans[owner, 0] + (within + 1) * step],
            axis=1,
        ).astype(np.int32)
        n = len(owner)
        logits = draw.normal(0, 2, 2).astype(np.float32)
        powers = np.exp(logits - logits.max())
        predicted = int(logits.argmax())
        gold = predicted if draw.random() < 0.9 else 1 - predicted
        saliency = [self.saliency(n, "predicted")]
        if gold != predicted:
            saliency.append(self.saliency(n, "contrast"))
        scores = saliency[0].scores
        ids = np.minimum(np.append(ranks, 5)[owner] + 7 * within, 30_521).astype(np.int32)
        top = np.argsort(-scores, axis=1)[:, :3]
        explanation = np.full((LAYERS + 1, 3), -1, np.int32)
        explanation[:, : top.shape[1]] = ids[top]
        return AuditedExample(
            Example(
                position,
                str(position),
                text,
                None,
                str(gold),
                {"region": ("EU", "US", "ASIA")[position % 3], "year": 2000 + position % 25},
            ),
            gold,
            predicted,
            logits,
            powers / powers.sum(),
            ids,
            spans,
            np.zeros(n, np.int8),
            owner,
            (*words, "."),
            word_spans,
            len(text),
            len(text),
            tuple(saliency),
            None,
            explanation,
        )

    def saliency(self, n: int, target: str) -> Saliency:
        """Return heavy-tailed scores."""
        scores = self.draw.standard_t(3, (LAYERS + 1, n)) * 0.3
        completeness = self.draw.normal(1, 0.1, LAYERS + 1).astype(np.float32)
        return Saliency(scores.astype(np.float16), completeness, target)


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def write(path: Path, examples: int, seed: int) -> dict:
    """Write a file through the real writer; return its facts."""
    from saliency_core.store import open_writer

    for old in path.parent.glob(path.name + "*"):
        old.unlink()
    generator = Generator(seed)
    dataset = DatasetInfo(
        "made up",
        "benchmarks/store_scale.py",
        None,
        None,
        {"text": "text"},
        ("region", "year"),
        None,
    )
    model = ModelInfo(
        "made up",
        None,
        "none",
        ("negative", "positive"),
        "single-label",
        LAYERS,
        "none",
        False,
        False,
        "[MASK]",
        "0",
        "0",
        "0",
    )
    scores, writing, begun = 0, 0.0, time.perf_counter()
    memory = []
    with open_writer(path) as writer:
        run = writer.begin_run(dataset, model, RunSettings())
        for first in range(0, examples, BLOCK):
            block = generator.block(first, min(BLOCK, examples - first))
            started = time.perf_counter()
            rows = [audited.example for audited in block]
            writer.add_examples(run, rows, [audited.gold for audited in block])
            todo = {example.position for example in writer.missing(run, rows)}
            block.sort(key=lambda audited: len(audited.token_ids))
            block = [audited for audited in block if audited.example.position in todo]
            for at in range(0, len(block), BATCH):
                writer.write_batch(run, block[at : at + BATCH])
            writing += time.perf_counter() - started
            scores += sum(s.scores.size for audited in block for s in audited.saliency)
            memory.append(peak_megabytes())
        started = time.perf_counter()
        writer.set_coherence(run, coherence(writer, run, generator))
        memory.append(peak_megabytes())
        keep_directions(writer, run, seed)
        writer.finish_run(
            run,
            [
                LayerSummary(n, n / 20, n / 20 - 0.01, n / 20 + 0.01, 0.1, 0.8)
                for n in range(LAYERS + 1)
            ],
            5,
            [4],
            time.perf_counter() - begun,
            [],
        )
        finishing = time.perf_counter() - started
    return {
        "examples": examples,
        "scores": scores,
        "write_ms_per_example": 1000 * writing / examples,
        "finish_ms_per_example": 1000 * finishing / examples,
        "peak_mb": {
            "a tenth written": memory[len(memory) // 10],
            "all written": memory[-2],
            "coherence": memory[-1],
            "finished": peak_megabytes(),
        },
        "file_bytes": path.stat().st_size,
    }


def keep_directions(writer, run: int, seed: int) -> None:
    """Keep a direction for every token, as an audit does for those of its explanations."""
    from saliency_core.store.read.token_directions import set_token_directions

    vectors = np.random.default_rng(seed).normal(size=(TOKENS, EMBEDDING)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    texts = [spelling(token) for token in range(TOKENS)]
    set_token_directions(writer, run, np.arange(TOKENS), texts, vectors)


def coherence(writer, run: int, generator: Generator):
    for positions, _, explanation in writer.explanations(run):
        yield positions, generator.draw.normal(0.1, 0.2, explanation.shape[:2])


def queries(path: Path) -> list[tuple[str, float, object]]:
    """Return name, budget and function of each query; each is asked at several layers or pages."""
    from saliency_core.analysis.word_tables import contrast, word_table
    from saliency_core.store import open_store

    store = open_store(path)
    run = store.run()
    word, rare = spelling(40), spelling(3_000)
    slices = {
        "everything": "",
        "wrong, confident": "wrong confidence>0.9",
        "cell of the confusion matrix": "gold:negative predicted:positive",
        "word": f"word:{word}",
        "rare word": f"word:{rare}",
        "salient word": f"salient:{word}@7",
        "phrase": f'"{spelling(40)} {spelling(50)}"',
        "coherence": "coherence<0 right",
        "metadata": "meta.region:EU wrong",
        "metadata number": "meta.year>=2020 length>=50",
        "alternatives": f"(wrong OR confidence<0.6) -(word:{word} OR region:EU)",
        "pattern": f"/{word}[a-z ]* {spelling(50)}/",
        "pattern, wrong": f"wrong /{word}[a-z ]* {rare}/",
        "four terms": f"wrong -word:{rare} length<30 margin<0.5",
    }

    def page(where: str, sort: str):
        def ask(repeat: int) -> int:
            frame = run.filter(where).examples(
                sort=sort, descending=True, limit=50, offset=50 * (repeat % 5)
            )
            return run.filter(where).count() if len(frame) >= 0 else 0

        return ask

    found = [
        (f"filter, count, page: {name}", FILTER_BUDGET, page(where, "confidence"))
        for name, where in slices.items()
    ]
    found += [
        (f"page sorted by {sort}", FILTER_BUDGET, page("wrong", sort))
        for sort in ("position", "margin", "coherence", "length")
    ]
    some = {}

    def painted(repeat: int) -> int:
        if repeat not in some:
            some[repeat] = run.filter("wrong").positions("confidence")[
                50 * repeat : 50 * repeat + 50
            ]
        return len(run.top_words(some[repeat], repeat % 13))

    found += [
        ("words of a page of 50", FILTER_BUDGET, painted),
        (
            "one example, all layers",
            FILTER_BUDGET,
            lambda repeat: len(
                run.example(int(run.filter("wrong").positions()[repeat * 37]))["words"]
            ),
        ),
        (
            "confusion",
            FILTER_BUDGET,
            lambda repeat: len(run.filter("confidence>0.8").confusion()),
        ),
        ("class metrics", FILTER_BUDGET, lambda repeat: len(run.filter().class_metrics())),
        ("runs", FILTER_BUDGET, lambda repeat: len(store.runs())),
    ]
    found += [
        (
            f"words of a slice: {name}",
            WORDS_BUDGET,
            lambda repeat, where=where: len(word_table(run.filter(where), repeat % 13, most=1000)),
        )
        for name, where in slices.items()
        if name != "four terms"
    ]
    found.append(
        (
            "contrast right, wrong (two slices)",
            2 * WORDS_BUDGET,
            lambda repeat: len(
                contrast(run.filter("right"), run.filter("wrong"), repeat % 13, most=1000)
            ),
        )
    )
    return found


def measure(path: Path, repeats: int) -> list[dict]:
    """Time every query; the first time counts too.

    Processor time tells what a query costs where other programs use the machine; word sums spend
    theirs on all cores at once.
    """
    rows = []
    for name, budget, ask in queries(path):
        times, busy = [], []
        for repeat in range(repeats):
            started, used = time.perf_counter(), time.process_time()
            answer = ask(repeat)
            times.append(time.perf_counter() - started)
            busy.append(time.process_time() - used)
        p50, p95 = np.quantile(times, [0.5, 0.95])
        rows.append(
            {
                "query": name,
                "first_ms": 1000 * times[0],
                "p50_ms": 1000 * p50,
                "p95_ms": 1000 * p95,
                "processor_first_ms": 1000 * busy[0],
                "processor_again_ms": 1000 * np.quantile(busy[1:], 0.95),
                "rows": int(answer),
                "budget_ms": 1000 * budget,
                "ratio": p95 / budget,
            }
        )
    return rows


def tables(path: Path) -> list[tuple[str, int]]:
    """Return the bytes of each table and index, where SQLite can say."""
    import sqlite3

    connection = sqlite3.connect(path)
    try:
        return connection.execute(
            "SELECT name, sum(pgsize) FROM dbstat GROUP BY name ORDER BY 2 DESC LIMIT 14"
        ).fetchall()
    except sqlite3.OperationalError:
        return []
    finally:
        connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/store_scale"))
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", action="store_true", help="use the file if it is there")
    parser.add_argument("--only-write", action="store_true")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    path = options.folder / f"scale-{options.examples}.sqlite"
    facts_path = path.with_suffix(".json")
    if options.only_write:
        facts_path.write_text(json.dumps(write(path, options.examples, options.seed)))
        return
    if not (options.keep and facts_path.exists()):
        # Its own process: its peak of memory is the writer's alone.
        again = [sys.executable, "-m", "benchmarks.store_scale", "--only-write"]
        again += ["--folder", str(options.folder)]
        again += ["--examples", str(options.examples), "--seed", str(options.seed)]
        subprocess.run(again, check=True)
    facts = json.loads(facts_path.read_text())
    a_score = facts["file_bytes"] / facts["scores"]
    print(f"{facts['examples']} examples, {facts['scores']} scores, {LAYERS + 1} layers")
    print(
        f"file {facts['file_bytes'] / 1e6:.1f} MB, {a_score:.2f} bytes a score "
        f"(budget {DISK_BUDGET}, ratio {a_score / DISK_BUDGET:.2f})"
    )
    print(
        f"writer: {facts['write_ms_per_example']:.2f} ms an example, finishing "
        f"{facts['finish_ms_per_example']:.2f}; peak of memory "
        + ", ".join(f"{peak:.0f} MB ({when})" for when, peak in facts["peak_mb"].items())
    )
    for name, size in tables(path):
        print(f"  {name:34} {size / 1e6:10.2f} MB  {size / facts['examples']:8.1f} B an example")
    print("\n| query | first, ms | p50 | p95 | budget | processor, first | again | ratio | rows |")
    print("|---|---|---|---|---|---|---|---|---|")
    for row in measure(path, options.repeats):
        times = ("first_ms", "p50_ms", "p95_ms", "budget_ms")
        busy = ("processor_first_ms", "processor_again_ms")
        numbers = " | ".join(f"{row[name]:.0f}" for name in (*times, *busy))
        print(f"| {row['query']} | {numbers} | {row['ratio']:.2f} | {row['rows']} |", flush=True)


if __name__ == "__main__":
    main()
