"""What of a checked dataset an analyst should look at first."""

from __future__ import annotations

from collections.abc import Iterator

from saliency_core.quality.findings import DataQuality, kept_data_quality
from saliency_core.records import Finding
from saliency_core.store import Run

PAGE = "data"


def data_findings(run: Run) -> list[Finding]:
    """Return wrong labels, conflicting duplicates and leaked texts; none before the checks."""
    found = kept_data_quality(run)
    return [] if found is None else list(_findings(found))


def _findings(found: DataQuality) -> Iterator[Finding]:
    severity = {finding.check: finding.severity for finding in found.findings}
    labels, duplicates = found.facts["label_issues"], found.facts["duplicates"]
    train, examples = found.facts["train"], found.facts["examples"]
    if labels and labels["estimated"]:
        count = labels["estimated"]
        yield Finding(
            "1 label" if count == 1 else f"{count:,} labels",
            f"{'looks' if count == 1 else 'look'} wrong ({count / labels['judged']:.1%} of "
            f"{labels['judged']:,})",
            severity=severity["label_issue"],
            page=PAGE,
            where="label_issue",
        )
    if duplicates["in_conflict"]:
        yield Finding(
            f"{duplicates['in_conflict']:,} duplicates",
            "have conflicting labels: identical or nearly identical texts are labelled differently",
            severity=severity["duplicate_conflict"],
            page=PAGE,
            where="duplicate_conflict",
        )
    if train and train["leaked"]:
        without = train["accuracy_without"]
        said = "" if without is None else f"; without them, accuracy is {without:.1%}"
        yield Finding(
            "1 text" if train["leaked"] == 1 else f"{train['leaked']:,} texts",
            f"({train['leaked'] / examples:.1%}) also "
            f"{'occurs' if train['leaked'] == 1 else 'occur'} in the training data, word for word "
            f"or nearly so{said}",
            severity=severity["in_train"],
            page=PAGE,
            where="in_train",
        )
