"""How serious is what the checks found? One sentence each, from the facts alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from saliency_core.records import SEVERITIES

TEXTS = {
    "empty": ("is empty", "are empty", 0.01),
    "one_word": ("consists of a single word", "consist of a single word", 0.1),
    "very_long": ("is very long", "are very long", 0.1),
    "replacement": ("has a lost character (U+FFFD)", "have a lost character (U+FFFD)", 0.01),
    "mojibake": (
        "has wrongly decoded characters (“Ã©” for “é”)",
        "have wrongly decoded characters (“Ã©” for “é”)",
        0.01,
    ),
    "html": ("contains leftover HTML", "contain leftover HTML", 0.1),
    "escapes": (
        "contains escapes such as \\u2019 or \\n",
        "contain escapes such as \\u2019 or \\n",
        0.1,
    ),
    "mixed_scripts": ("mixes scripts", "mix scripts", 0.1),
}
"""Problem of a text -> what is said of one and of several, and the share that is medium."""


@dataclass(frozen=True)
class DataFinding:
    """One line of the table of findings."""

    check: str
    severity: str
    """One of `SEVERITIES`."""
    count: int
    """Examples it is about."""
    share: float
    """Of all examples the check looked at."""
    filter: str
    """Names these examples; empty where it is about all of them."""
    message: str


def findings_of(facts: Mapping[str, Any]) -> list[DataFinding]:
    """Return the findings of facts, the worst first; those alike keep the order of the checks."""
    found = [
        *_label_issues(facts["label_issues"]),
        *_duplicates(facts["duplicates"], facts["examples"]),
        *(_train(facts["train"], facts["examples"]) if facts["train"] else ()),
        *_classes(facts["classes"]),
        *_metadata(facts["metadata"], facts["examples"]),
        *_texts(facts["texts"], facts["truncated"], facts["examples"]),
    ]
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))


def worst(findings: Sequence[DataFinding]) -> str:
    """Return the worst severity among findings."""
    return min((finding.severity for finding in findings), key=SEVERITIES.index, default="ok")


def grade(value: float, high: float, medium: float, low: float = 0.0) -> str:
    """Return the severity of a value by its limits; `low` itself is still ok."""
    if value >= high:
        return "high"
    if value >= medium:
        return "medium"
    return "low" if value > low else "ok"


def _label_issues(facts: Mapping[str, Any] | None) -> Iterator[DataFinding]:
    if facts is None:
        message = "Labels were not checked: this check needs exactly one label per example."
        yield DataFinding("label_issue", "ok", 0, 0.0, "", message)
        return
    count, judged = facts["estimated"], facts["judged"]
    share = count / judged
    if count:
        most = facts["noise"][0]
        times = "once" if most["examples"] == 1 else f"{most['examples']:,} times"
        message = (
            f"Confident learning estimates the number of wrong labels at {count:,} of {judged:,} "
            f"({share:.1%}; 95% interval {facts['low']:,.0f} to {facts['high']:,.0f} labels). The "
            f"most common case: labelled “{most['gold']}” where “{most['likely']}” is suggested "
            f"({times})."
        )
        severity = grade(facts["low"] / judged, 0.05, 0.01, -1)
    else:
        message, severity = f"None of the {judged:,} labels looks wrong.", "ok"
    yield DataFinding("label_issue", severity, count, share, "label_issue", message)


def _duplicates(facts: Mapping[str, Any], examples: int) -> Iterator[DataFinding]:
    conflict, surplus = facts["in_conflict"], facts["surplus"]
    if conflict:
        groups = facts["conflicts"]
        message = (
            f"{conflict:,} examples are in {groups:,} {'group' if groups == 1 else 'groups'} of "
            "identical or nearly identical texts with different labels."
        )
    else:
        message = "No two identical or nearly identical texts differ in their label."
    share = conflict / examples
    severity = grade(share, 0.01, 1e-12)
    where = "duplicate_conflict"
    yield DataFinding("duplicate_conflict", severity, conflict, share, where, message)
    share = surplus / examples
    if surplus:
        groups = facts["in_groups"]
        message = (
            f"{facts['examples']:,} examples are in {groups:,} "
            f"{'group' if groups == 1 else 'groups'} of identical or nearly identical texts; "
            f"keeping only one text per group would mean removing {surplus:,} of "
            f"them ({share:.1%} of all)."
        )
        if facts["accuracy"] is not None and facts["accuracy_once"] is not None:
            message += (
                f" Accuracy is {facts['accuracy']:.1%}; counting each group once, it is "
                f"{facts['accuracy_once']:.1%}."
            )
    else:
        message = "No two texts are identical or nearly identical."
    severity, count = grade(share, 0.2, 0.05), facts["examples"]
    yield DataFinding("duplicate", severity, count, count / examples, "duplicate", message)


def _train(facts: Mapping[str, Any], examples: int) -> Iterator[DataFinding]:
    leaked = facts["leaked"]
    share = leaked / examples
    if leaked:
        message = (
            f"{leaked:,} of {examples:,} texts ({share:.1%}) also occur in the training data, "
            f"{facts['exact']:,} of them word for word."
        )
        if facts["accuracy_without"] is not None:
            message += (
                f" Accuracy is {facts['accuracy']:.1%}; without the texts in the training data, it "
                f"is {facts['accuracy_without']:.1%}."
            )
    else:
        message = f"None of the {facts['rows']:,} training texts is in the audited set."
    yield DataFinding("in_train", grade(share, 0.01, 1e-12), leaked, share, "in_train", message)
    yield from _drift(facts, examples)


def _drift(facts: Mapping[str, Any], examples: int) -> Iterator[DataFinding]:
    if facts["domain_auc"] is not None:
        severity = grade(facts["domain_auc_low"], 0.95, 0.75, 0.6)
        message = (
            f"A bag-of-words classifier can {'hardly ' * (severity == 'ok')}tell the audited texts "
            f"from the training texts (AUC {facts['domain_auc']:.2f}; 0.5 is chance)."
        )
        words = [row["word"] for row in facts["words"][:5]]
        if words:
            message += f" Words that differ most: {', '.join(words)}."
        yield DataFinding("drift", severity, examples, 1.0, "", message)
    if facts["labels"]:
        moved = sum(abs(row["audited"] - row["train"]) for row in facts["labels"]) / 2
        most = max(facts["labels"], key=lambda row: abs(row["audited"] - row["train"]))
        severity = grade(moved, 0.5, 0.2, 0.05)
        message = (
            f"The label distribution {'is almost' if severity == 'ok' else 'is not'} the same as "
            f"in the training data: changing {moved:.1%} of the labels would make the two "
            f"identical. The share of “{most['label']}” differs most ({most['audited']:.1%} of the "
            f"audited texts, {most['train']:.1%} of the training texts)."
        )
        yield DataFinding("label_shift", severity, round(moved * examples), moved, "", message)


def _classes(classes: Sequence[Mapping[str, Any]]) -> Iterator[DataFinding]:
    counts = [row["examples"] for row in classes]
    if not sum(counts):
        return
    missing = [row["label"] for row in classes if not row["examples"]]
    most, least = classes[0], [row for row in classes if row["examples"]][-1]
    times = most["examples"] / least["examples"]
    message = (
        f"The most frequent label, {most['label']}, has {most['examples']:,} examples; the "
        f"rarest, {least['label']}, has {least['examples']:,}"
    )
    message += f" (a ratio of {times:.1f} to 1)." if times >= 1.05 else "."
    if missing:
        shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        message += f" No example is labelled {shown}."
    severity = grade(times, 1000, 20, 0 if missing else 5)
    share = least["examples"] / sum(counts)
    yield DataFinding("class_balance", severity, least["examples"], share, "", message)


def _metadata(facts: Sequence[Mapping[str, Any]], examples: int) -> Iterator[DataFinding]:
    for fact in facts:
        strength = fact["strength"]
        if fact["kind"] == "identifier":
            message = (
                f"Sorting by the column {fact['column']} separates the label {fact['label']} from "
                f"the rest (AUC {strength:.2f}): it looks like an identifier, which should not "
                "predict a label."
            )
            severity = "medium"
        else:
            message = (
                f"The column {fact['column']} gives the label away: knowing it avoids "
                f"{strength:.0%} of wrong guesses."
            )
            severity = grade(strength, 0.8, 0.2)
        yield DataFinding("metadata", severity, examples, 1.0, "", message)
    if not facts:
        yield DataFinding("metadata", "ok", 0, 0.0, "", "No metadata column gives the label away.")


def _texts(texts: Mapping[str, int], truncated: int, examples: int) -> Iterator[DataFinding]:
    for name, (one, several, medium) in TEXTS.items():
        count = texts[name]
        if count:
            share = count / examples
            message = f"{count:,} {f'text {one}' if count == 1 else f'texts {several}'}."
            severity = grade(share, 0.5, medium)
            yield DataFinding(name, severity, count, share, f"problem:{name}", message)
    if not any(texts[name] for name in TEXTS):
        message = (
            "No text is empty, none is garbled by a wrong encoding, and none contains markup or "
            "escape sequences."
        )
        yield DataFinding("texts", "ok", 0, 0.0, "", message)
    if truncated:
        share = truncated / examples
        said = "1 text was" if truncated == 1 else f"{truncated:,} texts were"
        message = f"{said} too long for the model, which read only the beginning."
        severity = grade(share, 0.5, 0.05)
        yield DataFinding("truncated", severity, truncated, share, "truncated", message)
