"""What a user may choose of an audit, and what one audit did."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import Any

from saliency_core.program import program

CHECKING, COMPUTING, EVALUATING = STAGES = ("checking", "auditing", "evaluating layers")
"""Stages of an audit, as progress names them."""


@dataclass(frozen=True)
class AuditOptions:
    """What a user may choose; the names are those of the command line."""

    text_column: str | None = None
    pair_column: str | None = None
    label_column: str | None = None
    id_column: str | None = None
    metadata_columns: list[str] | None = None
    predictions_from: str | None = None
    """Column of predictions made elsewhere, compared with the model's own."""
    split: str | None = None
    config: str | None = None
    revision: str | None = None
    header: bool = True
    sheet: str | None = None
    """Sheet of a workbook; None: the first that holds something."""
    label_map: dict[str, str] = field(default_factory=dict)
    trust_labels: bool = False
    lm_head: str | None = None
    model_revision: str | None = None
    """Revision of the model on the hub; `revision` is the dataset's."""
    target: str = "predicted"
    rule: str = "secant"
    """`secant`, exact at every layer in one pass, or `path`."""
    steps: int = 4
    """Nodes of the path rule."""
    dtype: str = "float32"
    device: str = "auto"
    batch_tokens: int | None = None
    max_length: int | None = None
    long_text: str = "truncate"
    limit: int | None = None
    name: str | None = None
    """What the dataset is called and known by, in place of its path or of its rows."""
    seed: int = 0
    evaluate: bool = True
    trust_remote_code: bool = False
    dry_run: bool = False
    engine: str = "local"
    """`local` or `ray` (see ray/engine.py); changes no stored number."""
    workers: int | None = None
    """Processes of the ray engine that hold a model; None: one per GPU, else one per core."""
    threads: int | None = None
    """Threads a model computes with; None: torch's own choice, on ray 1."""
    output: str | None = None
    """Folder of Parquet blocks that the ray engine writes instead of a file."""


@dataclass(frozen=True)
class AuditResult:
    """What one audit did."""

    run: int | None
    database: str
    examples: int
    computed: int
    reused: int
    failed: int
    seconds: float
    warnings: tuple[str, ...]
    guessed: dict[str, str]
    estimate: dict[str, float] | None = None
    predictions: dict[str, Any] | None = None
    """How predictions made elsewhere agree with the model's own."""
    changes: dict[str, Any] | None = None
    """What a changed dataset did to its run: `gone`, `evaluations`, `edited` (see the store)."""
    orphans: int = 0
    """Notes whose row the dataset no longer has."""

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON object of `audit --json`."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def sentence(self) -> str:
        """Say in words what was done."""
        lines = [f"Note: {warning}" for warning in self.warnings]
        if self.guessed:
            roles = ", ".join(f"{role} = {name}" for role, name in self.guessed.items())
            lines.insert(0, f"Columns taken: {roles}.")
        if self.estimate is not None:
            lines.append(
                f"Dry run: {self.examples} examples, about {self.estimate['seconds']:.0f} seconds "
                f"and {self.estimate['megabytes']:.1f} MB in {self.database}. Nothing was stored."
            )
        elif self.run is None:
            lines.append(
                f"{self.computed} of {self.examples} examples computed into {self.database} in "
                f"{self.seconds:.1f} s, {self.reused} were already there, {self.failed} failed.\n"
                f"Make a file of it: {program()} merge "
                f"{shlex.quote(self.database)} --output FILE; then the same audit with --db FILE "
                "instead of --output."
            )
        elif self.computed == 0:
            lines.append(
                f"Nothing to compute: all {self.examples} examples are already in {self.database} "
                f"(run {self.run})."
            )
        else:
            kept = f", {self.reused} were already there" if self.reused else ""
            lines.append(
                f"Audited {self.examples} examples into {self.database} (run {self.run}): "
                f"{self.computed} computed in {self.seconds:.1f} s{kept}, {self.failed} failed."
            )
        return "\n".join([*lines, *self._changes()])

    def _changes(self) -> list[str]:
        """Say what a changed dataset did to its run and to the notes at its rows."""
        lines = []
        if self.changes is not None:
            sentence = "The dataset changed since it was last audited"
            if gone := self.changes["gone"]:
                sentence += f": {gone:,} earlier row{' is' if gone == 1 else 's are'} gone"
            if self.changes["evaluations"]:
                sentence += ". Evaluations of the earlier rows were dropped; run `evaluate` again"
            lines.append(f"{sentence}.")
            if edited := self.changes["edited"]:
                lines.append(
                    "These rows have another text than when their note was written, look again: "
                    f"{', '.join(edited)}."
                )
        if self.orphans:
            subject = "1 note belongs" if self.orphans == 1 else f"{self.orphans} notes belong"
            lines.append(
                f"{subject} to rows that are gone; kept, and listed by `annotations export` "
                "as orphans."
            )
        return lines
