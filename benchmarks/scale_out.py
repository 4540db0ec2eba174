"""One process against the same audit on Ray with one and two workers, one thread each.

    python -m benchmarks.scale_out --folder /tmp/scale_out

adds a round of every case to those the folder holds and prints the tables of docs/benchmarks.md:
medians of the rates, where the seconds and the processors go, and whether every file holds the
same. The last case is this machine's own limit: two unrelated audits side by side, which share
nothing but the processors and memory. `--rounds 0` only prints.
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

from saliency_core.analysis.word_tables import word_table
from saliency_core.pipeline.batching import encode_examples
from saliency_core.pipeline.inputs import open_attributor, open_classifier, read_examples
from saliency_core.pipeline.options import AuditOptions
from saliency_core.pipeline.run_audit import audit
from saliency_core.store import Store, open_store
from saliency_core.store.format.wire import pack_results, pack_work

SHARED = Path(__file__).parents[2] / "shared"
MODEL = str(SHARED / "models" / "minilm-sst2")
LM_HEAD = str(SHARED / "models" / "minilm-mlm")
DATA = SHARED / "data" / "sst2" / "dev.jsonl"
BUDGET = 1.8
TOLERANCE = 1e-6
MAIN, WORKERS, RAY = "this process", "workers", "rest of Ray"
ALONE, BESIDE = "one process", "two audits side by side"
ONE, TWO = "Ray, 1 worker", "Ray, 2 workers"
CASES = {ALONE: 0, ONE: 1, TWO: 2}


class Watch:
    """Notes when results come, and how much processor time whose process has used until then."""

    def __init__(self) -> None:
        """Start the clock."""
        self.started = time.perf_counter()
        self.seconds: list[float] = []
        self.done: list[int] = []
        self.used: list[dict[str, float]] = []
        self.processes: dict[int, tuple[str, float]] = {}

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """Take one step of progress."""
        if stage == "auditing":
            self.seconds.append(time.perf_counter() - self.started)
            self.done.append(done)
            self.used.append(self._used())

    def _used(self) -> dict[str, float]:
        """Return the processor seconds of this process, of the workers and of the rest of Ray."""
        for process in psutil.Process().children(recursive=True):
            try:
                is_worker = "MapWorker" in "".join(process.cmdline())
                part, _ = self.processes.get(process.pid, (RAY, 0.0))
                part = WORKERS if is_worker else part
                self.processes[process.pid] = part, _seconds(process)
            except psutil.Error:
                continue
        used = {MAIN: _seconds(psutil.Process())}
        # A worker without work ends before the other: what it used still counts.
        for part, seconds in self.processes.values():
            used[part] = used.get(part, 0.0) + seconds
        return used

    def found(self) -> dict[str, Any]:
        """Return the phases in seconds, and what holds from the first result to the last."""
        total = time.perf_counter() - self.started
        first = next(i for i, done in enumerate(self.done) if done > 0)
        last = self.done.index(self.done[-1])
        seconds = self.seconds[last] - self.seconds[first]
        examples = self.done[last] - self.done[first]
        before, after = self.used[first], self.used[last]
        used = {part: after[part] - before.get(part, 0.0) for part in after}
        return {
            "phases": [
                self.seconds[0],
                self.seconds[first] - self.seconds[0],
                seconds,
                total - self.seconds[last],
            ],
            "rate": examples / seconds,
            "cores": {part: spent / seconds for part, spent in used.items()},
            "cost": 1e3 * used.get(WORKERS, used[MAIN]) / examples,
        }


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _options(limit: int, **engine: Any) -> AuditOptions:
    return AuditOptions(lm_head=LM_HEAD, evaluate=False, limit=limit, threads=1, **engine)


def child(database: Path, workers: int, limit: int) -> dict[str, Any]:
    """Audit SST-2 in this process, or on Ray; return what was measured."""
    engine = {"engine": "ray", "workers": workers} if workers else {}
    watch = Watch()
    audit(MODEL, DATA, db=database, options=_options(limit, **engine), progress=watch)
    return watch.found()


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
    first, second = one.run().filter().examples(), other.run().filter().examples()
    largest = 0.0
    for position in first["example"]:
        mine, theirs = one.run().example(int(position)), other.run().example(int(position))
        assert mine["saliency"].keys() == theirs["saliency"].keys()
        for target, scores in mine["saliency"].items():
            largest = max(largest, float(np.abs(scores - theirs["saliency"][target]).max()))
    tables = [(first, second), (one.run().layers(), other.run().layers())]
    # Words get their numbers, by which ties stand in a table, as they come.
    tables += [
        [
            word_table(store.run().filter(), layer, minimum=1).sort_values(
                ["word", "class"], ignore_index=True
            )
            for store in (one, other)
        ]
        for layer in range(one.run().model.layers + 1)
    ]
    unequal = sum(not mine.equals(theirs) for mine, theirs in tables)
    return {"scores": largest, "tables that differ": unequal, "tables": len(tables)}


def measure(folder: Path, limit: int) -> dict[str, dict[str, Any]]:
    """Run every case once."""
    found = {
        name: finish(start(folder, f"workers-{workers}", workers, limit))
        for name, workers in CASES.items()
    }
    pair = [start(folder, f"beside-{n}", 0, limit) for n in (1, 2)]
    beside = [finish(process) for process in pair]
    found[BESIDE] = {
        "phases": np.mean([row["phases"] for row in beside], axis=0).tolist(),
        "rate": sum(row["rate"] for row in beside),
        "cores": {MAIN: sum(row["cores"][MAIN] for row in beside)},
        "cost": float(np.mean([row["cost"] for row in beside])),
    }
    return found


def report(rounds: list[dict[str, dict[str, Any]]]) -> str:
    """Return the table of the medians over rounds, and the ratios with their spread."""
    lines = [
        "| how | loading, s | until the first result, s | results, s | closing, s "
        "| examples a second | against one process | cores in use | processor ms an example |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in rounds[0]:
        rows = [found[name] for found in rounds]
        phases = np.median([row["phases"] for row in rows], axis=0)
        rate, cost = (np.median([row[part] for row in rows]) for part in ("rate", "cost"))
        cores = ", ".join(
            f"{part} {np.median([row['cores'][part] for row in rows]):.2f}"
            for part in rows[0]["cores"]
        )
        cells = [
            name,
            *(f"{seconds:.1f}" for seconds in phases),
            f"{rate:.1f}",
            _ratio(rounds, name, ALONE),
            cores,
            f"{cost:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines.append(
        f"\n{len(rounds)} rounds. Two workers: {_ratio(rounds, TWO, ALONE)} of one process (budget "
        f"{BUDGET}x), {_ratio(rounds, TWO, ONE)} of one worker, {_ratio(rounds, TWO, BESIDE)} of "
        "what the machine gives two audits side by side."
    )
    return "\n".join(lines)


def _ratio(rounds: list[dict[str, dict[str, Any]]], name: str, base: str) -> str:
    """Return the median ratio of two rates of one round, and its least and greatest."""
    ratios = [found[name]["rate"] / found[base]["rate"] for found in rounds]
    return f"{np.median(ratios):.2f}x ({min(ratios):.2f} to {max(ratios):.2f})"


def main() -> None:
    """Add rounds and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("/tmp/scale_out"))
    parser.add_argument("--limit", type=int, default=872)
    parser.add_argument("--rounds", type=int, default=1, help="rounds to add")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--workers", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(options.child, options.workers, options.limit)))
        return
    options.folder.mkdir(parents=True, exist_ok=True)
    kept = options.folder / f"rounds-{options.limit}.jsonl"
    for _ in range(options.rounds):
        with kept.open("a") as file:
            file.write(json.dumps(measure(options.folder, options.limit)) + "\n")
    print(report([json.loads(line) for line in kept.read_text().splitlines()]))
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
