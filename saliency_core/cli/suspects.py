"""`suspects`, `what-if`, `mend`, `checks`: from suspicion to evidence to remedy."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from saliency_core.cli.terminal import (
    AsJson,
    Bar,
    Database,
    Quiet,
    RunOption,
    Where,
    existing,
    open_database,
    print_json,
    progress_bar,
    records,
    show,
)
from saliency_core.data.labels.label_map import parse_label_map
from saliency_core.errors import UserError

ModelOption = Annotated[
    str | None, typer.Option("--model", help="Where the audited model is now, if it has moved.")
]
Words = Annotated[list[str] | None, typer.Option("--word", help="A word; may be repeated.")]
Features = Annotated[
    list[str] | None,
    typer.Option("--word", help="A word, or another feature of texts, whose effect is measured."),
]


def suspects(
    database: Database = None,
    run: RunOption = None,
    layer: Annotated[int | None, typer.Option(help="Layer (default: recommended).")] = None,
    train: Annotated[
        str | None, typer.Option(help="Training data: association is taken there.")
    ] = None,
    train_text_column: Annotated[str | None, typer.Option(help="Its column of the text.")] = None,
    train_label_column: Annotated[str | None, typer.Option(help="Its column of labels.")] = None,
    label_map: Annotated[
        str | None, typer.Option(help='Its label to model label: "0=negative,1=positive".')
    ] = None,
    word: Features = None,
    effect_examples: Annotated[
        int, typer.Option(min=0, help="Examples a feature is deleted from; 0: only effects kept.")
    ] = 200,
    effect_candidates: Annotated[
        int, typer.Option(min=1, help="Features whose effect is measured, about.")
    ] = 30,
    null: Annotated[int, typer.Option(min=0, help="Shufflings of the control.")] = 20,
    alpha: Annotated[float, typer.Option(min=0, max=1, help="Rate of false discoveries.")] = 0.05,
    minimum: Annotated[int, typer.Option(min=1, help="Examples a feature must be in.")] = 5,
    reliance_ratio: Annotated[
        float, typer.Option(min=0, help="Share over that of words of like frequency.")
    ] = 1.5,
    flip_excess: Annotated[
        float, typer.Option(min=0, help="Flip rate, or fall of p(class), over the control word's.")
    ] = 0.05,
    seed: Annotated[int, typer.Option(help="Seed of every sample.")] = 0,
    model: ModelOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Rows to print.")] = 30,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Rank spurious-feature candidates: association, reliance, effect, excess errors."""
    from saliency_core.shortcuts.suspects import Thresholds, keep_suspects
    from saliency_core.shortcuts.suspects import suspects as find

    path = existing(database)
    store = open_database(database)
    facts = store.run(run)
    thresholds = Thresholds(alpha, minimum, reliance_ratio, flip_excess)
    training = None
    if train is not None:
        training = _training(
            train, train_text_column, train_label_column, label_map, facts["label_names"]
        )
    with progress_bar(quiet or as_json) as bar:
        table, control = find(
            store,
            run=run,
            layer=layer,
            thresholds=thresholds,
            training=training,
            null_repeats=null,
            seed=seed,
        )
        if not effect_examples:
            from saliency_core.shortcuts.ablation_effects import with_kept_effects

            table = with_kept_effects(store, table, run=facts["run"], thresholds=thresholds)
        else:
            from saliency_core.model.audited import classifier_of
            from saliency_core.shortcuts.ablation_effects import keep_effects, with_effects

            table = with_effects(
                store,
                table,
                classifier_of(store, run, model),
                run=run,
                layer=layer,
                words=word or (),
                examples=effect_examples,
                candidates=effect_candidates,
                thresholds=thresholds,
                seed=seed,
                progress=Bar(bar),
            )
            keep_effects(path, facts["run"], table, effect_examples, seed)
    layer = store.layer_to_read(layer, run)
    control |= {"layer": layer, "effect_examples": effect_examples, "train": train}
    keep_suspects(path, facts["run"], table, control)
    _print_suspects(table, control, word or [], limit, quiet, as_json)


def _print_suspects(
    table: Any, control: dict, words: list[str], limit: int, quiet: bool, as_json: bool
) -> None:
    from saliency_core.shortcuts.presentation import HONEST, control_sentence

    wanted = {word.strip().lower() for word in words}
    features = table["feature"].str.lower()
    shown = table[features.isin(wanted) | (table.index < limit)]
    rare = sorted(wanted - set(features))
    if as_json:
        parts = ("repeats", "mean_flagged", "expected", "mean_discovered")
        print_json(
            {
                "tests": control["tests"],
                "layer": control["layer"],
                "suspects": [_nested(row) for row in records(shown)],
                "null": {name: control[name] for name in parts},
                "too_rare": rare,
            }
        )
        return
    if quiet:
        return
    if table.empty:
        print("No feature is in enough examples to be tested (--minimum).")
        return
    rows = [_readable(row) for row in records(shown)]
    show(rows, list(rows[0]) if rows else [], f"Suspects at layer {control['layer']}")
    print("In brackets: share of words of like frequency; flips where a control word is deleted.")
    for verdict, count in table["verdict"].value_counts(sort=False).items():
        print(f"{verdict}: {count}")
    if rare:
        print(f"In too few examples to be tested (--minimum): {', '.join(rare)}.")
    print(control_sentence(control))
    print(HONEST)


def _readable(row: dict) -> dict:
    """Return one suspect as a row of the printed table."""

    def beside(value: str, control: str, form: str) -> str | None:
        if row.get(value) is None:
            return None
        other = row.get(control)
        return f"{row[value]:{form}}" + ("" if other is None else f" ({other:{form}})")

    return {
        "feature": row["feature"],
        "class": row["class"],
        "verdict": row["verdict"],
        "examples": row["examples"],
        "z": row["z"],
        "shift": row.get("shift"),
        "share": beside("mean_share", "control_share", ".1%"),
        "fall of p": row.get("mean_drop"),
        "flips": beside("flip_rate", "control_flip_rate", ".0%"),
        "errors": None if row["risk_ratio"] is None else f"{row['risk_ratio']:.2g} times",
    }


def _nested(row: dict) -> dict:
    """Return one suspect as the JSON contract has it."""
    effect = {name: row.get(name) for name in ("mean_drop", "flips", "flip_rate")}
    effect |= {"low": row.get("flip_low"), "high": row.get("flip_high")}
    effect |= {
        name: row.get(name)
        for name in ("control_flip_rate", "control_mean_drop", "masked_flip_rate")
    }
    return {
        "word": row["feature"],
        "kind": row["kind"],
        "class": row["class"],
        "verdict": row["verdict"],
        "examples": row["examples"],
        "where": row["where"],
        "association": {
            **{name: row[name] for name in ("n", "k", "base_rate", "z", "pmi", "lmi")},
            "p": row["p_association"],
            "q": row["q_association"],
            "shift": row.get("shift"),
        },
        "reliance": {
            **{name: row[name] for name in ("mean_share", "top3_rate", "mean_score")},
            "low": row["share_low"],
            "high": row["share_high"],
            "control_share": row["control_share"],
            "p": row["p_reliance"],
            "q": row["q_reliance"],
        },
        "effect": {
            "n": row.get("effect_n"),
            **effect,
            "p": row.get("p_effect"),
            "q": row.get("q_effect"),
        },
        "errors": {
            "n": row["errors_n"],
            "k": row["errors_k"],
            "risk_ratio": row["risk_ratio"],
            "low": row["risk_low"],
            "high": row["risk_high"],
            "p": row["p_errors"],
            "q": row["q_errors"],
        },
        "share_by_layer": row["share_by_layer"],
    }


def _training(
    source: str,
    text_column: str | None,
    label_column: str | None,
    label_map: str | None,
    label_names: list[str],
) -> Any:
    from saliency_core.shortcuts.training_counts import count_features

    dataset = _training_data(source, text_column, label_column)
    return count_features(dataset, label_names, parse_label_map(label_map))


def _training_data(source: str, text_column: str | None, label_column: str | None) -> Any:
    from saliency_core.data.dataset import load_examples

    return load_examples(
        source, text_column=text_column, label_column=label_column, id_column="none"
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
    run: RunOption = None,
    layer: Annotated[
        int | None, typer.Option(help="Layer to print (default: recommended).")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Examples at most.")] = None,
    model: ModelOption = None,
    as_json: AsJson = False,
) -> None:
    """Show what the model answers to an edited text, or to a slice with a word edited."""
    from saliency_core.model.audited import classifier_of, mask_of

    store = open_database(database)
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
        classifier = classifier_of(store, run, model)
        replacement = mask_of(classifier) if mask is not None else new
        _what_if_slice(store, classifier, word, replacement, where, run, limit, as_json)
        return
    before = _text(store, text, pair, example, run)
    classifier = classifier_of(store, run, model)
    if edited is not None:
        after = (edited, before[1])
    elif chosen:
        after = _with_word(before, word, mask_of(classifier) if mask is not None else new)
    else:
        raise UserError("Say how the text changes: --edited TEXT, --drop, --replace or --mask.")
    _what_if_text(store, classifier, before, after, run, layer, as_json)


def _edit(drop: str | None, replace: str | None, mask: str | None) -> tuple[str, str]:
    """Return the word and what takes its place."""
    if replace is not None:
        old, found, new = replace.partition("=")
        if not found or not old.strip():
            raise UserError(f"--replace {replace!r} is not of the form OLD=NEW.")
        return old.strip(), new
    return drop or mask or "", ""


def _text(store: Any, text: str | None, pair: str | None, example: str | None, run: int | None):
    if text is not None:
        return text, pair
    position = store.position_of(example, run=run)
    if position is None:
        raise UserError(f"The run has no example {example!r}.")
    found = store.example(position, run=run)
    return found["text"], found["pair"]


def _with_word(texts: tuple, word: str, replacement: str) -> tuple:
    from saliency_core.model.audited import replace_word

    first = replace_word(texts[0], word, replacement)
    second = None if texts[1] is None else replace_word(texts[1], word, replacement)
    if (first, second) == texts:
        raise UserError(f"The text does not hold the word {word!r}.")
    return first, second


def _what_if_slice(
    store: Any, classifier: Any, word: str, new: str, where: str, run, limit, as_json: bool
) -> None:
    from saliency_core.shortcuts.counterfactuals import replace_in_slice

    summary, frame = replace_in_slice(store, classifier, word, new, where, run=run, limit=limit)
    if as_json:
        print_json(summary)
        return
    flipped = frame[frame["before"] != frame["after"]]
    show(records(flipped.head(20)), ["id", "gold", "before", "after", "drop"])
    print(
        f"{summary['flips']} of {summary['n']} answers change "
        f"({summary['flip_rate']:.1%}, 95 % interval {summary['low']:.1%} to "
        f"{summary['high']:.1%}); right before {summary['right_before']}, after "
        f"{summary['right_after']} of {summary['judged']} with a gold label."
    )


def _what_if_text(
    store: Any, classifier: Any, before: tuple, after: tuple, run, layer, as_json: bool
) -> None:
    from saliency_core.shortcuts.counterfactuals import aligned_words, edit_text

    facts = store.run(run)
    found = edit_text(
        classifier, before, after, rule=facts["settings"]["rule"], steps=facts["settings"]["steps"]
    )
    if as_json:
        print_json(found)
        return
    layer = store.layer_to_read(layer, run)
    rows = records(aligned_words(found, layer))
    show(rows, ["before", "score_before", "after", "score_after", "difference"], f"Layer {layer}")
    for side in ("before", "after"):
        probabilities = found[side]["probabilities"]
        best = sorted(probabilities.items(), key=lambda item: -item[1])[:3]
        print(f"{side}: " + ", ".join(f"{name} {value:.3f}" for name, value in best))


class Way(StrEnum):
    """How training data are mended."""

    mask = "mask"
    drop = "drop"
    weight = "weight"


def mend(
    train: Annotated[str, typer.Argument(help="Training data: file, folder or hub name.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="A .jsonl or .csv file.")],
    how: Annotated[Way, typer.Option(help="Mask the words, drop their rows, weight rows.")] = (
        Way.mask
    ),
    word: Words = None,
    train_text_column: Annotated[str | None, typer.Option(help="Column of the text.")] = None,
    train_label_column: Annotated[str | None, typer.Option(help="Column of labels.")] = None,
    mask: Annotated[str, typer.Option(help="What hides a word.")] = "[MASK]",
    database: Database = None,
    run: RunOption = None,
    as_json: AsJson = False,
) -> None:
    """Write training data in which words judged spurious give no class away."""
    from saliency_core.shortcuts.invariance_checks import spurious_words
    from saliency_core.shortcuts.training_counts import mend as write

    words = word or []
    if not words:
        store = open_database(database)
        words = spurious_words(store, store.run(run)["run"])
    dataset = _training_data(train, train_text_column, train_label_column)
    done = write(dataset, words, how.value, output, mask)
    if as_json:
        print_json({**asdict(done), "words": words})
    else:
        print(
            f"Wrote {done.written} of {done.read} rows to {done.output}; {done.changed} held "
            f"{', '.join(words)}."
        )
        if done.one_label:
            print(
                "No weight can even out words that stand beside one label only; use --how mask or "
                f"--how drop for {', '.join(done.one_label)}."
            )


checks = typer.Typer(no_args_is_help=True, help="Write and run invariance checks.")


@checks.command("write")
def write_checks(
    output: Annotated[Path, typer.Option("--output", "-o", help="A JSON Lines file.")],
    word: Words = None,
    where: Where = "",
    per_word: Annotated[int, typer.Option(min=1, help="Pairs a word.")] = 50,
    database: Database = None,
    run: RunOption = None,
    as_json: AsJson = False,
) -> None:
    """Write pairs of texts, with and without a spurious word, that must get one answer."""
    from saliency_core.shortcuts.invariance_checks import write_checks as write

    pairs = write(open_database(database), output, word or (), where, run=run, per_word=per_word)
    if as_json:
        print_json({"output": str(output), "pairs": pairs})
    else:
        print(f"Wrote {pairs} pairs to {output}.")


@checks.command("run")
def run_checks(
    model: Annotated[str, typer.Argument(help="Folder or hub name of a classifier.")],
    file: Annotated[Path, typer.Argument(help="File of `checks write`.")],
    allowed: Annotated[
        float, typer.Option(min=0, max=1, help="Part of the pairs that may fail.")
    ] = 0.0,
    as_json: AsJson = False,
) -> None:
    """Run the checks on a model; exit status 1 where a word fails more than is allowed."""
    from saliency_core.model.loading import load_classifier
    from saliency_core.shortcuts.invariance_checks import run_checks as check

    found = check(load_classifier(model), file)
    if as_json:
        print_json({"checks": [asdict(one) for one in found]})
    else:
        rows = [{**asdict(one), "rate": one.failed / one.pairs} for one in found]
        show(rows, ["word", "pairs", "failed", "rate", "low", "high"])
    if any(one.failed > allowed * one.pairs for one in found):
        raise typer.Exit(1)
