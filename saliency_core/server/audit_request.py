"""What a form asks of an audit: what is missing, the command it becomes, where it goes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from saliency_core.paths import DEMO
from saliency_core.records import record_of
from saliency_core.server.commands import audit_arguments, safe_name

NO_COLUMN = "none"
"""What stands for a column that there is none of."""
NO_LABEL = ""
"""What a label of the dataset becomes that means "no label"."""
NEW, EXISTING = "a new database", "an existing database, to compare runs"


@dataclass(frozen=True)
class AuditRequest:
    """The fields of the form, as they are kept with the job."""

    source: str = ""
    """Absolute path or hub name."""
    called: str = ""
    """What people call it: an upload lies in a folder with a name of its own."""
    split: str = ""
    header: bool = True
    text: str | None = None
    label: str | None = None
    """Column; `NO_COLUMN` for no labels, None where nobody decided."""
    pair: str | None = None
    id: str | None = None
    model: str = ""
    lm_head: str = ""
    label_map: dict[str, str | None] = field(default_factory=dict)
    """Dataset label -> model label, `NO_LABEL`, or None where nobody decided."""
    trust_labels: bool = False
    limit: int | None = None
    place: str = NEW
    name: str = ""
    """Of the new database."""
    into: str = ""
    """Path of the existing one."""

    @classmethod
    def of(cls, values: dict[str, Any]) -> AuditRequest:
        """Return the request of what a form or a job holds; what is unknown is left out."""
        return record_of(cls, values)

    def as_dict(self) -> dict[str, Any]:
        """Return what `of` reads."""
        return asdict(self)

    def database(self, folder: Path) -> Path:
        """Return the file that the audit goes to."""
        if self.place == EXISTING:
            return Path(self.into)
        return folder / f"{safe_name(self.name or 'audit')}.sqlite"

    def missing(self, folder: Path) -> dict[str, str]:
        """Return field -> what has to be done before the audit can start."""
        found = {}
        if not self.source:
            found["source"] = "Upload a file, or name one."
        if not self.model:
            found["model"] = "Name the classifier."
        if self.source and self.text is None:
            found["text"] = "Choose the column that contains the text."
        if self.source and self.label is None:
            found["label"] = "Choose the label column, or “none” if there is none."
        if open_labels := [label for label, means in self.label_map.items() if means is None]:
            found["label_map"] = f"Say what these labels mean: {', '.join(open_labels)}."
        if self.place == EXISTING and not self.into:
            found["into"] = "Choose the database."
        if self.place == NEW and not self.name.strip():
            found["name"] = "Name the new database."
        elif self.place == NEW and self.database(folder).exists():
            found["name"] = (
                f"There is a database {self.database(folder).name} already. Choose another name, "
                f"or “{EXISTING}”."
            )
        return found

    def arguments(self, folder: Path) -> tuple[str, ...]:
        """Return the arguments of the command."""
        roles = ("text", "label", "pair", "id")
        options = {f"{role}-column": getattr(self, role) for role in roles}
        options |= {"lm-head": self.lm_head, "split": self.split, "no-header": not self.header}
        options |= {"limit": self.limit, "trust-labels": self.trust_labels}
        if self.label_map:
            options["label-map"] = json.dumps(self.label_map, ensure_ascii=False)
        return audit_arguments(self.model, self.source, self.database(folder), options)

    def job_name(self, folder: Path) -> str:
        """Return a name of its own for this request, and the same again for the same request."""
        digest = hashlib.sha256(repr(self.arguments(folder)).encode()).hexdigest()[:6]
        return f"{self.database(folder).stem}-{digest}"


def free_name(folder: Path, wanted: str) -> str:
    """Return the name of a new database: as wanted, else with the first number that is free."""
    stem = safe_name(wanted).partition(".")[0] or "audit"
    number, name = 1, stem
    while (folder / f"{name}.sqlite").exists() or f"{name}.sqlite" == DEMO:
        number += 1
        name = f"{stem}-{number}"
    return name
