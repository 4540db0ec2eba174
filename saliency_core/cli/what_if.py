"""`what-if`: the model on an edited text, or on a slice with a word edited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from saliency_core.cli.tables import records, show
from saliency_core.cli.terminal import (
    AsJson,
    Database,
    ModelOption,
    RunOption,
    Where,
    filtered,
    open_run,
    print_json,
)
from saliency_core.errors import UserError

if TYPE_CHECKING:
    from saliency_core.model.audited import Texts
    from saliency_core.store import Run, Slice

HARDLY = 0.01
"""A change of the probability that is none."""
EXAMPLES = (
    'saliency what-if "the film was good" --edited "the film was bad"',
    "saliency what-if --drop kindly --where predicted:billing",
)


def what_if(
    text: Annotated[str | None, typer.Argument(help="A text as it is.")] = None,
    edited: Annotated[str | None, typer.Option(help="The text as it might be.")] = None,
    pair: Annotated[str | None, typer.Option(help="Second text of a pair.")] = None,
    example: Annotated[
        str | None, typer.Option(help="Id of an example, instead of a text.")
    ] = None,
    drop: Annotated[str | None, typer.Option(help="Delete this word.")] = None,
    replace: Annotated[str | None, typer.Option(help="Replace a word: OLD=NEW.")] = None,
    mask: Annotated[str | None, typer.Option(help="Hide this word from the model.")] = None,
    where: Where = "",
    database: Database = None,
    number: RunOption = None,
    layer: Annotated[
        int | None, typer.Option(help="Layer to print (default: recommended).")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Examples at most.")] = None,
    model: ModelOption = None,
    as_json: AsJson = False,
) -> None:
    """Show what the model predicts for an edited text, or for a slice with a word edited."""
    from saliency_core.model.audited import classifier_of, mask_of

    run = open_run(database, number)
    chosen = [name for name in (drop, replace, mask) if name is not None]
    if len(chosen) > 1:
        raise UserError("Choose one of --drop, --replace and --mask.")
    word, new = _edit(drop, replace, mask)
    if text is None and example is None:
        if not chosen:
            raise UserError(
                "Give a text and --edited, or a word to edit in a slice with --drop, --replace or "
                "--mask."
            )
        classifier = classifier_of(run, model)
        replacement = mask_of(classifier) if mask is not None else new
        _what_if_slice(filtered(run, where), classifier, word, replacement, limit, as_json)
        return
    before = _text(run, text, pair, example)
    classifier = classifier_of(run, model)
    if edited is not None:
        after = (edited, before[1])
    elif chosen:
        after = _with_word(before, word, mask_of(classifier) if mask is not None else new)
    else:
        raise UserError("Say how the text changes: --edited TEXT, --drop, --replace or --mask.")
    _what_if_text(run, classifier, before, after, layer, as_json)


def _edit(drop: str | None, replace: str | None, mask: str | None) -> tuple[str, str]:
    """Return the word and what takes its place."""
    if replace is not None:
        old, found, new = replace.partition("=")
        if not found or not old.strip():
            raise UserError(f"--replace {replace!r} is not of the form OLD=NEW.")
        return old.strip(), new
    return drop or mask or "", ""


def _text(run: Run, text: str | None, pair: str | None, example: str | None) -> Texts:
    if text is not None:
        return text, pair
    assert example is not None
    position = run.position_of(example)
    if position is None:
        raise UserError(f"The run has no example {example!r}.")
    found = run.example(position)
    return found["text"], found["pair"]


def _with_word(texts: Texts, word: str, replacement: str) -> Texts:
    from saliency_core.model.audited import replace_word

    first = replace_word(texts[0], word, replacement)
    second = None if texts[1] is None else replace_word(texts[1], word, replacement)
    if (first, second) == texts:
        raise UserError(f"The text does not contain the word {word!r}.")
    return first, second


def _what_if_slice(
    part: Slice, classifier: Any, word: str, new: str, limit: int | None, as_json: bool
) -> None:
    from saliency_core.shortcuts.counterfactuals import replace_in_slice

    summary, frame = replace_in_slice(part, classifier, word, new, limit=limit)
    if as_json:
        print_json(summary)
        return
    print(
        f"{summary['flips']:,} of {summary['n']:,} predictions changed "
        f"({summary['flip_rate']:.1%}, 95% interval {summary['low']:.1%} to "
        f"{summary['high']:.1%}); right before {summary['right_before']:,}, after "
        f"{summary['right_after']:,} of {summary['judged']:,} with a gold label."
    )
    flipped = frame[frame["before"] != frame["after"]]
    show(records(flipped.head(20)), ["id", "gold", "before", "after", "drop"])


def _what_if_text(
    run: Run, classifier: Any, before: Texts, after: Texts, layer: int | None, as_json: bool
) -> None:
    from saliency_core.shortcuts.counterfactuals import aligned_words, edit_text

    found = edit_text(classifier, before, after, rule=run.settings.rule, steps=run.settings.steps)
    if as_json:
        print_json(found)
        return
    print(_outcome(found["before"], found["after"], run.model.task))
    layer = run.layer_to_read(layer)
    rows = records(aligned_words(found, layer))
    columns = ["before", "score_before", "after", "score_after", "difference"]
    show(rows, columns, f"Layer {layer}: what each word adds to the prediction, in logits")


def _outcome(before: dict[str, Any], after: dict[str, Any], task: str) -> str:
    """Say whether the prediction changes, and what became of its probability."""
    old, new = before["prediction"], after["prediction"]
    if task == "regression" or old is None or new is None:
        values = [_leading(side["probabilities"]) for side in (before, after)]
        return f"The prediction was {values[0]} and is {values[1]}."
    was, now = before["probabilities"][old], after["probabilities"][old]
    if old != new:
        own = after["probabilities"][new]
        return (
            f"The prediction changes from {old} ({was:.1%}) to {new} ({own:.1%}); "
            f"{old} falls to {now:.1%}."
        )
    sentence = f"The prediction stays {old} ({was:.1%} before, {now:.1%} after)."
    if abs(now - was) < HARDLY:
        sentence += (
            " A word may score high and still not be needed, where others carry the same evidence."
        )
    return sentence


def _leading(probabilities: dict[str, float]) -> str:
    best = sorted(probabilities.items(), key=lambda item: -item[1])[:3]
    return ", ".join(f"{name} {value:.3f}" for name, value in best)
