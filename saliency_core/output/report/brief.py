"""Sections a hurried reader reads: the main flaw, what stands out, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from saliency_core.analysis.error_slices import kept_discovered
from saliency_core.analysis.highlights import CONFIDENT, findings
from saliency_core.errors import lower_first
from saliency_core.output.report.blocks import Bullets, Facts, Paragraph, Section
from saliency_core.output.report.scope import View, interval, percent
from saliency_core.quality.findings import kept_data_quality
from saliency_core.quality.highlights import data_findings
from saliency_core.shortcuts.presentation import leading_suspects, name_of, shortcut_doubt
from saliency_core.store.query.wording import in_words


def in_brief_section(view: View) -> Section:
    """Return the few numbers and sentences a reader takes away."""
    blocks: list[Any] = [Facts(list(_tiles(view)))]
    if not view.judged:
        blocks.append(
            Paragraph(
                "These examples have no labels, so right and wrong are unknown; what follows "
                "shows what the model relies on, not how good it is."
            )
        )
    if view.where:
        blocks.append(Paragraph(_against_all(view), lead=True))
    model = [f"{finding.sentence}." for finding in findings(view.run)]
    data = [f"{finding.sentence}." for finding in data_findings(view.run)]
    if model and not view.where:
        blocks.append(Paragraph(f"Main weakness: {lower_first(model[0])}", lead=True))
        if others := [*model[1:], *data]:
            blocks += [Paragraph("What else stands out:"), Bullets(others)]
    elif model or data:
        blocks += [Paragraph("What stands out in the whole audit:"), Bullets([*model, *data])]
    elif view.judged:
        blocks.append(Paragraph("No group, word or confusion of classes stands out."))
    return Section("In brief", blocks)


def _tiles(view: View) -> Iterator[tuple[str, str, str]]:
    right, wrong, judged = view.right, view.wrong, view.judged
    yield "Examples", f"{view.count():,}", "in this slice" if view.where else "audited"
    if judged and view.settled:
        all_judged = sum(view.run.filter(term).count() for term in ("right", "wrong"))
        yield f"{view.settled.capitalize()} predictions", f"{judged:,}", "as the filter asks"
        yield "Of all labelled", percent(judged, all_judged), f"of {all_judged:,} in the audit"
    elif judged:
        yield "Accuracy", percent(right, judged), f"95% interval {interval(right, judged)}"
        yield "Wrong", f"{wrong:,}", f"of {judged:,} with a label"
    for name, term, remark in (
        ("Read in part", "truncated", "texts longer than the model accepts"),
        ("Failed", "failed", "empty, or no finite prediction"),
    ):
        if count := view.filter(term).count():
            yield name, f"{count:,}", remark


def _against_all(view: View) -> str:
    everything = view.run.filter().count()
    right, wrong = (view.run.filter(term).count() for term in ("right", "wrong"))
    total, judged = view.count(), right + wrong
    if view.settled:
        of_all = right if view.settled == "right" else wrong
        which = (
            f"These are all {of_all:,} {view.settled} predictions"
            if view.judged == of_all
            else f"These are the {view.judged:,} predictions where {in_words(view.where)}"
        )
        return (
            f"{which}. The filter selects only {view.settled} predictions, so accuracy does not "
            "apply. "
            f"In the whole audit, {of_all:,} of {judged:,} predictions are {view.settled} "
            f"({percent(of_all, judged)})."
        )
    said = (
        f"The slice contains {total:,} of the {everything:,} audited examples: those where "
        f"{in_words(view.where)}."
    )
    if view.judged and judged:
        said += (
            f" The model is right on {percent(view.right, view.judged)} of them, and on "
            f"{percent(right, judged)} of all examples."
        )
    return said


def next_steps_section(view: View) -> Section | None:
    """Return what the findings ask somebody to do."""
    steps = [
        *_against_slices(view),
        *_against_shortcuts(view),
        *_against_labels(view),
        *_against_data(view),
    ]
    if view.run.table("suspects") is None and view.run.model.task == "single-label":
        steps.append(
            "Look for shortcuts, which nobody has done in this audit yet: open the Suspects page, "
            "or run the suspects command."
        )
    steps = steps or ["Nothing urgent: none of the checks that were run found a flaw."]
    title = "What to do next" + " (for the whole audit)" * bool(view.where)
    return Section(title, [Bullets(steps, numbered=True)])


def _against_shortcuts(view: View) -> Iterator[str]:
    """Say what to do about the words that the model relies on, spurious ones first."""
    spurious = view.run.verdicts().query("verdict == 'spurious'")
    for word, rows in spurious.groupby("word"):
        classes = ", ".join(rows["class"])
        yield (
            f"Retrain the model so that it ignores “{word}”: a reviewer marked it spurious for "
            f"{classes}. The Suspects page creates the cleaned training file and the regression "
            "tests for the next model."
        )
    for row in leading_suspects(view.run)[:1]:
        if row["judgement"]:
            continue
        name = name_of(row["feature"], row["kind"])
        rate = (
            f" ({row['errors_k']:,} of the {row['errors_n']:,} {row['class']} predictions for "
            "texts with it are wrong)"
            if row["errors_k"]
            else ""
        )
        yield (
            f"Decide whether {name} should count as evidence for {row['class']}{rate}. If not, "
            "use the Suspects page of the dashboard to create a training file cleaned of this "
            "shortcut, retrain the model on that file, and run the regression tests from the same "
            "page."
        )


def _against_slices(view: View) -> Iterator[str]:
    """Say what to do about slices with many errors; words are the business of the shortcuts."""
    found, words = kept_discovered(view.run), {row["where"] for row in leading_suspects(view.run)}
    rows = [] if found is None else found[~found["where"].isin(words)].to_dict("records")
    wrong = view.run.filter("wrong").count()
    for row in rows[:2]:
        yield (
            f"Improve the model for texts where {in_words(row['where'])}: {row['errors']:,} of "
            f"{row['examples']:,} predictions are wrong ({row['error_rate']:.0%}, against "
            f"{row['rest_error_rate']:.0%} elsewhere); these {row['errors']:,} are "
            f"{row['errors'] / wrong:.0%} "
            "of all wrong predictions. Add training texts of this kind and "
            "retrain; until then, have a person check the predictions for such texts."
        )


def _against_labels(view: View) -> Iterator[str]:
    notes = view.run.notes()
    corrected = int(notes["proposed_label"].notna().sum())
    if corrected:
        one = corrected == 1
        yield (
            f"Put the corrected label{'' if one else 's'} of {corrected:,} example"
            f"{'' if one else 's'} into the dataset (see “What reviewers decided”; `export "
            "--dataset --corrected` writes it), then audit again."
        )
    of_sure = view.run.filter(f"wrong confidence>{CONFIDENT:g}")
    sure = of_sure.count()
    if sure > corrected:
        both = ""
        if kept_data_quality(view.run) and (listed := view.run.filter("label_issue").count()):
            among = of_sure.filter("label_issue").count()
            both = f"; {among:,} also on the list of {listed:,} labels that look wrong"
        yield (
            f"Check the labels of wrong predictions made with more than {CONFIDENT:.0%} confidence "
            f"({sure:,} in all{both}): where the model is this confident, the label itself may "
            f"be wrong. {shortcut_doubt(of_sure)}"
        ).rstrip()


def _against_data(view: View) -> Iterator[str]:
    """Say what to do about what the checks of the dataset found."""
    found = kept_data_quality(view.run)
    if found is None:
        return
    if conflict := found.facts["duplicates"]["in_conflict"]:
        yield (
            f"Decide which label is right where identical or nearly identical texts are labelled "
            f"differently ({conflict:,} examples); the Data page of the dashboard lists the "
            "groups."
        )
    train = found.facts["train"]
    if train and train["leaked"]:
        yield (
            f"Report the model's accuracy without the {train['leaked']:,} texts that also occur in "
            "its training data, word for word or nearly so; in the dashboard, the filter "
            "“in_train” finds them."
        )
