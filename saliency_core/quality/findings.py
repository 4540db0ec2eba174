"""All checks of a dataset, made once and kept with the run: one table of findings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from saliency_core.data.dataset import Dataset
from saliency_core.errors import UserError
from saliency_core.progress import Progress, silent
from saliency_core.quality.comparison import compare_with_training
from saliency_core.quality.duplicates import (
    THRESHOLD,
    accuracy_of,
    check_threshold,
    duplicate_groups,
    find_duplicates,
    kept_once,
)
from saliency_core.quality.label_issues import label_issues, trained_on
from saliency_core.quality.plain_facts import metadata_facts, text_problems
from saliency_core.quality.severity import DataFinding, findings_of
from saliency_core.store import Run, Slice, save_quality, save_table
from saliency_core.store.query.terms import TEXT_PROBLEMS

TABLE = "data-quality"
"""Name of the kept table."""
ROWS = 50
"""Label issues and groups of duplicates listed by default."""


@dataclass(frozen=True)
class DataQuality:
    """What the checks found: findings, and the facts behind them as JSON has them."""

    findings: list[DataFinding]
    facts: Mapping[str, Any]
    """label_issues, duplicates, train, texts, metadata and classes."""

    def as_json(self, run: Run, rows: int = ROWS) -> dict[str, Any]:
        """Return the JSON of `data-quality`, with so many label issues and groups at most.

        Args:
            run: the run that was checked.
            rows: label issues and groups listed.
        """
        found: dict[str, Any] = {
            "run": run.number,
            "findings": [asdict(finding) for finding in self.findings],
            **self.facts,
        }
        if found["label_issues"] is not None:
            listed = issue_rows(run.filter("label_issue"), limit=rows)
            found["label_issues"] = {
                **found["label_issues"],
                "rows": listed[["id", "gold", "likely", "quality"]].to_dict("records"),
            }
        groups = duplicate_groups(run, limit=rows)
        named = groups[["ids", "kind", "size", "labels", "conflict"]].to_dict("records")
        found["duplicates"] = {**found["duplicates"], "groups": named}
        return found


def check_data(
    run: Run,
    *,
    train: Dataset | None = None,
    label_map: dict[str, str] | None = None,
    threshold: float = THRESHOLD,
    seed: int = 0,
    progress: Progress = silent,
) -> DataQuality:
    """Make all checks and keep what they find with the run.

    What an earlier call found against training data stays where none are given.

    Args:
        run: a run with results.
        train: training data, of `data.load_examples`.
        label_map: training label -> model label.
        threshold: Jaccard similarity from which two texts are nearly the same.
        seed: of samples and bootstraps.
        progress: called with stage, done, total.

    Raises:
        UserError: the threshold, or the training data, can't be used.
    """
    check_threshold(threshold)
    if not len(run.columns):
        raise UserError(f"Run {run.number} contains no audited examples yet, so there is no data.")
    columns: dict[str, np.ndarray] = {}
    earlier = kept_data_quality(run)
    facts: dict[str, Any] = {"train": earlier.facts["train"] if earlier else None}
    if train is not None:
        columns["in_train"], facts["train"] = compare_with_training(
            run, train, label_map, threshold=threshold, seed=seed, progress=progress
        )
        # What is known by now of training data is told beside the label issues.
        save_quality(run.store.path, run.number, columns)
    columns["text_problems"] = text_problems(run, progress)
    facts["texts"] = {
        name: int(np.count_nonzero(columns["text_problems"] >> place & 1))
        for place, name in enumerate(TEXT_PROBLEMS)
    }
    facts["truncated"] = run.filter("truncated").count()
    facts["examples"] = len(run.columns)
    facts["classes"] = _classes(run)
    facts["metadata"] = [asdict(fact) for fact in metadata_facts(run)]
    facts["label_issues"] = _label_issues(run, columns, seed)
    facts["duplicates"] = _duplicates(run, columns, threshold, progress)
    save_quality(run.store.path, run.number, columns)
    save_table(run.store.path, run.number, TABLE, [{"facts": facts}])
    return DataQuality(findings_of(facts), facts)


def kept_data_quality(run: Run) -> DataQuality | None:
    """Return what was found last; None where nothing was, or the run has other results since."""
    table = run.table(TABLE)
    if table is None:
        return None
    facts = table["facts"].iloc[0]
    return DataQuality(findings_of(facts), facts)


def issue_rows(part: Slice, *, limit: int = ROWS, offset: int = 0) -> pd.DataFrame:
    """Return the examples of a slice, the least plausible label first.

    Columns are those of `Slice.examples`, with `quality` and `likely` (the name of the label that
    is likely right).
    """
    run = part.run
    frame = part.examples(sort="label_quality", limit=limit, offset=offset)
    quality, likely = run.quality("label_quality"), run.quality("likely")
    assert quality is not None and likely is not None
    rows = run.columns.rows_of(frame["example"].to_numpy(np.int64))
    names = np.array([*run.label_names, None], object)
    return frame.assign(
        quality=quality[rows].astype(float), likely=pd.Series(names[likely[rows]], dtype=object)
    )


def _classes(run: Run) -> list[dict[str, Any]]:
    """Return label and examples of every class of the model, the most frequent first."""
    gold = run.column("gold").astype(np.int64)
    counts = np.bincount(gold[gold >= 0], minlength=len(run.label_names))
    order = np.argsort(-counts, kind="stable").tolist()
    return [{"label": run.label_names[place], "examples": int(counts[place])} for place in order]


def _label_issues(run: Run, columns: dict[str, np.ndarray], seed: int) -> dict[str, Any] | None:
    try:
        found = label_issues(run, seed=seed)
    except UserError:
        return None
    columns["label_quality"], columns["likely"] = found.quality, found.likely
    columns["label_issue"] = found.likely >= 0
    return {
        "judged": found.judged,
        "estimated": found.estimated,
        "low": round(found.low, 1),
        "high": round(found.high, 1),
        "noise": found.noise(run.label_names).to_dict("records"),
        "trained_on": trained_on(run),
    }


def _duplicates(
    run: Run, columns: dict[str, np.ndarray], threshold: float, progress: Progress
) -> dict[str, Any]:
    found = find_duplicates(run, threshold=threshold, progress=progress)
    columns["duplicate"], columns["duplicate_exact"] = found.group, found.exact
    columns["duplicate_conflict"] = found.conflict
    in_conflict = np.unique(found.group[found.conflict])
    return {
        "threshold": threshold,
        "examples": found.examples,
        "exact": int(np.count_nonzero(found.exact >= 0)),
        "surplus": found.surplus,
        "in_groups": found.groups,
        "conflicts": len(in_conflict),
        "in_conflict": int(np.count_nonzero(found.conflict)),
        "accuracy": accuracy_of(run, True),
        "accuracy_once": accuracy_of(run, kept_once(found.group)),
    }
