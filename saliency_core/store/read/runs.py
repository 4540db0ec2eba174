"""What a file says of its runs: models, settings, counts, layer summaries."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import numpy as np
import pandas as pd

from saliency_core.errors import UserError
from saliency_core.records import LayerSummary, model_facts
from saliency_core.store import schema
from saliency_core.store.read.handle import Handle, consistent

FACTS = (
    "run model dataset examples failed accuracy layers target rule seconds bytes incomplete status"
).split()
"""What `info` tells of a run."""
LAYER_COLUMNS = [field.name for field in fields(LayerSummary)]
"""Columns of the table `layers` besides its run."""
INSERT_LAYER = (
    f"INSERT INTO layers (run, {', '.join(LAYER_COLUMNS)})"
    f" VALUES ({', '.join('?' * (len(LAYER_COLUMNS) + 1))})"
)


class Runs(Handle):
    """The part of `Store` that reads runs."""

    @consistent
    def runs(self) -> pd.DataFrame:
        """Return a row a run: number, model, dataset, examples, failed, accuracy and so on."""
        rows = []
        for (run,) in self._rows("SELECT run FROM runs ORDER BY run"):
            facts, counts = self.run(run), self._counts(run)
            rows.append(
                {
                    "run": run,
                    "model": facts["model"]["name"],
                    "dataset": facts["dataset"]["name"],
                    **counts,
                    "layers": facts["layers"],
                    "target": facts["settings"]["target"],
                    "rule": facts["settings"]["rule"],
                    "seconds": facts["seconds"],
                    "bytes": self._bytes(run),
                    "incomplete": facts["extra"].get("incomplete", 0),
                    "status": facts["status"],
                    "created": facts["created"],
                    "recommended": facts["recommended"],
                }
            )
        return pd.DataFrame(rows, columns=[*FACTS, "created", "recommended"])

    def _counts(self, run: int) -> dict[str, Any]:
        index = self._index(run)
        gold, predicted = index.column("gold"), index.column("predicted")
        judged = (gold >= 0) & (predicted >= 0)
        n = int(judged.sum())
        return {
            "examples": len(index),
            "failed": int(np.count_nonzero(index.column("failed") == 1)),
            "accuracy": float(np.mean(gold[judged] == predicted[judged])) if n else None,
        }

    def _bytes(self, run: int) -> int:
        """Return the bytes of a run's blobs and of its examples' texts."""
        scores = self._rows(
            "SELECT coalesce(sum(length(data) + coalesce(length(top3), 0)), 0) FROM scores"
            " WHERE run = ?",
            (run,),
        )[0][0]
        layout = self._rows(
            "SELECT coalesce(sum(length(token_ids) + length(token_starts) + length(token_lengths)"
            " + length(first) + length(completeness) + coalesce(length(explanation), 0)), 0)"
            " FROM chunks WHERE run = ?",
            (run,),
        )[0][0]
        words = self._rows(
            "SELECT coalesce(sum(length(occurrences)), 0) FROM postings WHERE run = ?", (run,)
        )[0][0]
        return scores + layout + words

    @consistent
    def run(self, run: int | None = None) -> dict[str, Any]:
        """Return everything known of a run but its examples."""
        run = self._run(run)
        cursor = self.connection.execute("SELECT * FROM runs WHERE run = ?", (run,))
        row = dict(zip([c[0] for c in cursor.description], cursor.fetchone(), strict=True))
        model = model_facts(json.loads(row["model_info"]))
        return {
            "run": run,
            "model": model,
            "dataset": json.loads(row["dataset_info"]),
            "settings": json.loads(row["settings"]),
            "label_names": json.loads(row["label_names"]),
            "layers": model["layers"],
            "targets": json.loads(row["targets"]),
            "recommended": row["recommended"],
            "most_readable": row["most_readable"],
            "tied": json.loads(row["tied"]),
            "warnings": json.loads(row["warnings"]),
            "extra": json.loads(row["extra"]),
            "created": row["created"],
            "seconds": row["seconds"],
            "status": row["status"],
            "versions": json.loads(row["versions"]),
        }

    @consistent
    def info(self) -> dict[str, Any]:
        """Return what the file holds, as `info --json` prints it."""
        frame = self.runs()
        rows = [
            {
                **{key: plain(value) for key, value in row.items()},
                "warnings": self.run(row["run"])["warnings"],
                "orphans": self._rows(
                    "SELECT count(*) FROM orphaned_notes WHERE run = ?", (row["run"],)
                )[0][0],
            }
            for row in frame[FACTS].astype(object).to_dict("records")
        ]
        return {"database": str(self.path), "version": schema.FORMAT, "runs": rows}

    @consistent
    def layers(self, run: int | None = None) -> pd.DataFrame:
        """Return the layer summaries; those of a causal model say `next_decodability` too."""
        rows = self._rows(
            f"SELECT {', '.join(LAYER_COLUMNS)} FROM layers WHERE run = ? ORDER BY layer",
            (self._run(run),),
        )
        frame = pd.DataFrame(rows, columns=LAYER_COLUMNS)
        following = self.run(run)["extra"].get("next_decodability")
        if len(frame) and following is not None:
            frame["next_decodability"] = following
        return frame.astype({name: float for name in frame.columns[1:]})

    def layer_to_read(self, layer: int | None = None, run: int | None = None) -> int:
        """Return the layer that was asked for, else the recommended one, else the last.

        A run that has not finished, or in which there was nothing to compare, recommends none.

        Raises:
            UserError: the run has no such layer.
        """
        run = self._run(run)
        return self._default_layer(run) if layer is None else self._layer(run, layer)

    def _default_layer(self, run: int) -> int:
        facts = self.run(run)
        return facts["layers"] if facts["recommended"] is None else facts["recommended"]

    def _layer(self, run: int, layer: int) -> int:
        top = self.run(run)["layers"]
        if not 0 <= int(layer) <= top:
            raise UserError(f"Run {run} has no layer {layer}; it has 0 to {top}.")
        return int(layer)

    @consistent
    def metadata_columns(self, run: int | None = None) -> list[str]:
        """Return the names of the metadata columns."""
        facts = self.run(run)
        named = list(facts["dataset"]["metadata_columns"])
        found = self._rows(
            "SELECT name FROM meta_columns WHERE run = ? ORDER BY name", (facts["run"],)
        )
        return named + [name for (name,) in found if name not in named]


def plain(value: Any) -> Any:
    """Return a plain Python value; NaN becomes None."""
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and value != value else value
