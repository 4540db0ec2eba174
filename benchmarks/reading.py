"""Memory and time of an audit that reads a large JSON Lines file.

    python -m benchmarks.reading [--gigabytes 0.2 2] [--folder /tmp]

Each row is a short text with its label and a long document beside it, as exports of databases have
them; the model is a tiny one, so that reading is most of the work. Every file is read alone (a
pass over `load_examples`) and audited, each in a process of its own, whose peak memory is printed.
Fails where the peak of the largest file is more than a tenth above that of the smallest.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

DOCUMENT = 40_000
"""Characters of the column that is not audited."""
ALLOWED = 1.1


def write_rows(path: Path, size: int) -> int:
    """Write rows until the file has `size` bytes; return their number."""
    draw = random.Random(0)
    words = "the film was good plot actor bad bright dull nice and not scene a".split()
    document = " ".join(draw.choices(words, k=DOCUMENT // 5))
    rows = 0
    with path.open("w", encoding="utf-8") as file:
        while file.tell() < size:
            for _ in range(100):
                text = " ".join(draw.choices(words, k=12))
                row = {"id": f"row {rows}", "text": text, "label": rows % 3, "page": document}
                file.write(json.dumps(row) + "\n")
                rows += 1
    return rows


def peak() -> float:
    """Return the most memory this process held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def read(path: Path) -> tuple[float, float]:
    """Go through a file once; return seconds and peak memory in MB."""
    from saliency_core.data.dataset import load_examples

    started = time.perf_counter()
    for _ in load_examples(path, metadata_columns=[]):
        pass
    return time.perf_counter() - started, peak()


def run_audit(path: Path, folder: Path) -> tuple[float, float]:
    """Audit a file with a tiny model; return seconds and peak memory in MB."""
    from saliency_core import audit

    started = time.perf_counter()
    audit(
        str(folder / "model"),
        path,
        db=path.with_suffix(".sqlite"),
        metadata_columns=[],
        lm_head=str(folder / "lm"),
        max_length=16,
        evaluate=False,
        trust_labels=True,
    )
    return time.perf_counter() - started, peak()


def alone(function, *arguments):
    """Return what a function returns in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def save_model(folder: Path) -> None:
    """Save a tiny classifier and its language model."""
    from tests.support.tiny_bert import save_tiny_bert

    save_tiny_bert(folder)


def main() -> None:
    """Print the table; fail where memory grows with the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, nargs="+", default=[0.2, 2.0])
    parser.add_argument("--folder", type=Path)
    chosen = parser.parse_args()
    print(
        "| file | rows | read alone, s | MB/s | peak, MB | audit, s | peak, MB | database, MB |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    peaks = []
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        folder = Path(name)
        alone(save_model, folder)
        for gigabytes in chosen.gigabytes:
            path = folder / "rows.jsonl"
            rows = write_rows(path, int(gigabytes * 1e9))
            seconds, held = alone(read, path)
            took, most = alone(run_audit, path, folder)
            database = path.with_suffix(".sqlite")
            peaks.append((held, most))
            print(
                f"| {gigabytes:g} GB | {rows:,} | {seconds:.1f} | {gigabytes * 1e3 / seconds:.0f} "
                f"| {held:.0f} | {took:.1f} | {most:.0f} | {database.stat().st_size / 1e6:.1f} |",
                flush=True,
            )
            path.unlink()
            database.unlink()
    ratios = [last / first for first, last in zip(peaks[0], peaks[-1], strict=True)]
    print(
        f"\nPeak of the largest file over that of the smallest: {ratios[0]:.2f}, {ratios[1]:.2f}."
    )
    if max(ratios) > ALLOWED:
        raise SystemExit(f"memory grows with the file: more than {ALLOWED} times")


if __name__ == "__main__":
    main()
