"""One process against the same audit on Ray with one and two workers, one thread each.

    python -m benchmarks.scale_out --folder /tmp/scale_out

prints the tables of docs/benchmarks.md: seconds, examples a second once results come, where the
processors' time goes, and whether every file holds the same. The last row is this machine's own
limit: two unrelated audits side by side, which share nothing but the processors and memory.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from saliency_core.audit import (
    AuditOptions,
    audit,
    encode_examples,
    open_attributor,
    open_classifier,
    read_examples,
)
from saliency_core.distribute import pack_results, pack_work
from saliency_core.store import Store, open_store

SHARED = Path(__file__).parents[2] / "shared"
MODEL = str(SHARED / "models" / "minilm-sst2")
LM_HEAD = str(SHARED / "models" / "minilm-mlm")
DATA = SHARED / "data" / "sst2" / "dev.jsonl"
BUDGET = 1.8
TOLERANCE = 1e-6


class Watch:
    """Notes when results come, and how much processor time whose process has used."""

    def __init__(self) -> None:
        """Start the clock."""
        self.started = time.perf_counter()
        self.events: list[tuple[float, int]] = []
        self.cpu: dict[str, float] = {}

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """Take one step of progress."""
        if stage != "auditing":
            return
        self.events.append((time.perf_counter() - self.started, done))
        used = {"this process": _seconds(psutil.Process())}
        for process in psutil.Process().children(recursive=True):
            try:
                name = "workers" if "MapWorker" in "".join(process.cmdline()) else "rest of Ray"
                used[name] = used.get(name, 0.0) + _seconds(process)
            except psutil.Error:
                continue
        if len(used) >= len(self.cpu):
            self.cpu = used

    def rate(self) -> float:
        """Return examples a second from the first result to the last."""
        counts = [done for _, done in self.events]
        first = next(i for i, done in enumerate(counts) if done > 0)
        last = counts.index(counts[-1])
        (begin, before), (end, after) = self.events[first], self.events[last]
        return (after - before) / (end - begin)


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _options(limit: int, **engine: Any) -> AuditOptions:
    return AuditOptions(lm_head=LM_HEAD, evaluate=False, limit=limit, threads=1, **engine)


def child(database: Path, workers: int, limit: int) -> dict:
    """Audit SST-2 in this process, or on Ray; return its times."""
    engine = {"engine": "ray", "workers": workers} if workers else {}
    watch = Watch()
    result = audit(MODEL, DATA, db=database, options=_options(limit, **engine), progress=watch)
    seconds = time.perf_counter() - watch.started
    return {"seconds": seconds, "rate": watch.rate(), "cpu": watch.cpu, "n": result.computed}


def moved(examples: int = 64) -> tuple[float, float]:
    """Return the bytes an example that go to a worker and come back from it."""
    options = _options(examples)
    classifier = open_classifier(MODEL, options)
    rows = list(read_examples(DATA, options))
    names = classifier.info.label_names
    gold = [names.index(row.label) for row in rows]
    encodings = encode_examples(classifier, rows, options.long_text)
    records = open_attributor(classifier, options).audit(rows, encodings, gold)
    there, back = pack_work(rows, gold).nbytes, pack_results(records).nbytes
    return there / len(rows), back / len(rows)


def start(folder: Path, name: str, workers: int, limit: int) -> subprocess.Popen:
    """Start a fresh process, so that none profits from what another loaded."""
    database = folder / f"{name}.sqlite"
    for old in folder.glob(f"{database.name}*"):
        old.unlink()
    command = [sys.executable, "-m", "benchmarks.scale_out", "--child", str(database)]
    command += ["--workers", str(workers), "--limit", str(limit)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen) -> dict:
    output = process.communicate()[0]
    if process.returncode:
        raise SystemExit(f"{process.args} ended with status {process.returncode}.")
    return json.loads(output.splitlines()[-1])


def differences(one: Store, other: Store) -> dict[str, float]:
    """Return how far two files differ: rows, aggregates, and the largest score difference."""
    first, second = one.examples(), other.examples()
    largest = 0.0
    for position in first["example"]:
        mine, theirs = one.example(int(position)), other.example(int(position))
        assert mine["saliency"].keys() == theirs["saliency"].keys()
        for target, scores in mine["saliency"].items():
            largest = max(largest, float(np.abs(scores - theirs["saliency"][target]).max()))
    tables = [(first, second), (one.layers(), other.layers())]
    tables += [
        (one.words(layer, minimum=1), other.words(layer, minimum=1))
        for layer in range(one.run()["layers"] + 1)
    ]
    unequal = sum(not mine.equals(theirs) for mine, theirs in tables)
    return {"scores": largest, "tables that differ": unequal, "tables": len(tables)}


def main() -> None:
    """Run every case and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/scale_out"))
    parser.add_argument("--limit", type=int, default=872)
    parser.add_argument("--child", type=Path)
    parser.add_argument("--workers", type=int, default=0)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(options.child, options.workers, options.limit)))
        return
    options.folder.mkdir(parents=True, exist_ok=True)
    cases = {"one process": 0, "Ray, 1 worker": 1, "Ray, 2 workers": 2}
    found = {
        name: finish(start(options.folder, f"workers-{workers}", workers, options.limit))
        for name, workers in cases.items()
    }
    pair = [start(options.folder, f"beside-{n}", 0, options.limit) for n in (1, 2)]
    beside = [finish(process) for process in pair]
    found["two audits side by side"] = {
        "seconds": max(row["seconds"] for row in beside),
        "rate": sum(row["rate"] for row in beside),
        "cpu": {"this process": sum(row["cpu"]["this process"] for row in beside)},
    }
    alone = found["one process"]
    print("| how | seconds | examples a second | against one process | processor seconds |")
    print("|---|---|---|---|---|")
    for name, row in found.items():
        cpu = ", ".join(f"{part} {seconds:.0f}" for part, seconds in row["cpu"].items())
        print(
            f"| {name} | {row['seconds']:.1f} | {row['rate']:.2f} "
            f"| {row['rate'] / alone['rate']:.2f}x | {cpu} |"
        )
    two, side = found["Ray, 2 workers"]["rate"], found["two audits side by side"]["rate"]
    print(
        f"\nTwo workers: {two / found['Ray, 1 worker']['rate']:.2f}x of one worker, "
        f"{two / alone['rate']:.2f}x of one process (budget {BUDGET}x), "
        f"{two / side:.2f} of what the machine gives two audits."
    )
    there, back = moved()
    print(f"An example moves {there:.0f} bytes to a worker and {back:.0f} bytes back.")
    one = open_store(options.folder / "workers-0.sqlite")
    for workers in (1, 2):
        other = open_store(options.folder / f"workers-{workers}.sqlite")
        answer = differences(one, other)
        print(
            f"{workers} workers: largest score difference {answer['scores']:.1e} (budget "
            f"{TOLERANCE}), {answer['tables that differ']} of {answer['tables']} tables differ"
        )


if __name__ == "__main__":
    main()
