"""How much the tests of suspects find where there is nothing to find.

    python -m benchmarks.false_alarms [--folder cache/audits] [--repeats 20]

Labels and answers are shuffled together among length-matched examples (`suspects --null`); what
then passes alpha is chance alone. It must be no more than alpha x tests.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.real_audits import audited
from saliency_core.shortcuts.suspects import Thresholds, suspects

AUDITS = {"SST-2 dev": "sst2", "AG News dev": "agnews", "jigsaw": "jigsaw-biased"}


def main() -> None:
    """Print the table; fail where chance passes more often than it may."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("cache/audits"))
    parser.add_argument("--repeats", type=int, default=20)
    chosen = parser.parse_args()
    print(
        "| data | examples | tests | alpha x tests | pass alpha, mean | pass BH, mean | assessed |"
    )
    print("|---|---|---|---|---|---|---|")
    kept = True
    for title, name in AUDITS.items():
        store, number = audited(name, chosen.folder)
        run = store.run(number)
        table, control = suspects(run, null_repeats=chosen.repeats)
        named = int((table["assessment"] != "none").sum())
        print(
            f"| {title} | {run.filter().count()} | {control['tests']} | {control['expected']:.0f} "
            f"| {control['mean_flagged']:.1f} | {control['mean_discovered']:.2f} | {named} |"
        )
        kept &= control["mean_flagged"] <= control["expected"]
    print(f"\nalpha = {Thresholds().alpha}; {chosen.repeats} shufflings each.")
    if not kept:
        raise SystemExit("chance passes more often than alpha allows")


if __name__ == "__main__":
    main()
