"""`suspects`: which features of texts may be shortcuts."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from saliency_core.cli.progress_bar import progress_bar
from saliency_core.cli.tables import records, say, show
from saliency_core.cli.terminal import (
    TRAINING,
    AsJson,
    Database,
    LayerOption,
    ModelOption,
    Quiet,
    RunOption,
    Seed,
    TrainLabelColumn,
    TrainLabelMap,
    TrainTextColumn,
    open_run,
    print_json,
)
from saliency_core.data.labels.label_map import parse_label_map

EFFECT, THRESHOLDS = "Effect of deleting", "Thresholds"
EXAMPLES = (
    "saliency suspects --train training.csv",
    "saliency suspects --effect-examples 0 --limit 10",
)

Features = Annotated[
    list[str] | None,
    typer.Option(
        "--word",
        metavar="WORD",
        rich_help_panel=EFFECT,
        help="A word, or another feature of texts, whose effect is measured.",
    ),
]


def suspects(
    database: Database = None,
    number: RunOption = None,
    layer: LayerOption = None,
    train: Annotated[
        str | None,
        typer.Option(
            help="Training data: association is taken there.",
            rich_help_panel=TRAINING,
            metavar="DATASET",
        ),
    ] = None,
    train_text_column: TrainTextColumn = None,
    train_label_column: TrainLabelColumn = None,
    label_map: TrainLabelMap = None,
    word: Features = None,
    effect_examples: Annotated[
        int,
        typer.Option(
            min=0,
            help="Examples a feature is deleted from; 0: only effects kept.",
            rich_help_panel=EFFECT,
        ),
    ] = 200,
    effect_candidates: Annotated[
        int,
        typer.Option(
            min=1, help="Features whose effect is measured, about.", rich_help_panel=EFFECT
        ),
    ] = 30,
    null: Annotated[
        int, typer.Option(min=0, help="Shufflings of the control.", rich_help_panel=THRESHOLDS)
    ] = 20,
    alpha: Annotated[
        float,
        typer.Option(min=0, max=1, help="Rate of false discoveries.", rich_help_panel=THRESHOLDS),
    ] = 0.05,
    minimum: Annotated[
        int, typer.Option(min=1, help="Examples a feature must be in.", rich_help_panel=THRESHOLDS)
    ] = 5,
    reliance_ratio: Annotated[
        float,
        typer.Option(
            min=0, help="Share over that of frequency-matched words.", rich_help_panel=THRESHOLDS
        ),
    ] = 1.5,
    flip_excess: Annotated[
        float,
        typer.Option(
            min=0,
            help="Flip rate, or fall of p(class), over the control word's.",
            rich_help_panel=THRESHOLDS,
        ),
    ] = 0.05,
    seed: Seed = 0,
    model: ModelOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Rows to print.")] = 30,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Rank spurious-feature candidates: association, reliance, effect, excess errors."""
    from saliency_core.analysis.kept_suspects import keep_suspects
    from saliency_core.shortcuts.suspects import Thresholds
    from saliency_core.shortcuts.suspects import suspects as find

    run = open_run(database, number)
    thresholds = Thresholds(alpha, minimum, reliance_ratio, flip_excess)
    training = None
    if train is not None:
        training = _training(
            train, train_text_column, train_label_column, label_map, run.label_names
        )
    with progress_bar(quiet or as_json) as bar:
        table, control = find(
            run, layer=layer, thresholds=thresholds, training=training, null_repeats=null, seed=seed
        )
        if not effect_examples:
            from saliency_core.shortcuts.ablation_effects import with_kept_effects

            table = with_kept_effects(run, table, thresholds=thresholds)
        else:
            from saliency_core.model.audited import classifier_of
            from saliency_core.shortcuts.ablation_effects import keep_effects, with_effects

            table = with_effects(
                run,
                table,
                classifier_of(run, model),
                layer=layer,
                words=word or (),
                examples=effect_examples,
                candidates=effect_candidates,
                thresholds=thresholds,
                seed=seed,
                progress=bar,
            )
            keep_effects(run, table, effect_examples, seed)
    layer = run.layer_to_read(layer)
    facts: dict[str, Any] = {**control}
    facts |= {"layer": layer, "effect_examples": effect_examples, "train": train}
    keep_suspects(run, table, facts)
    _print_suspects(table, facts, word or [], limit, quiet, as_json)


def _print_suspects(
    table: Any, control: dict[str, Any], words: list[str], limit: int, quiet: bool, as_json: bool
) -> None:
    from saliency_core.analysis.kept_suspects import ASSESSMENTS
    from saliency_core.shortcuts.presentation import HONEST, companion, sanity_check

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
        say("No feature is in enough examples to be tested (--minimum).")
        return
    rows = [_readable(row) for row in records(shown)]
    show(rows, list(rows[0]) if rows else [], f"Suspects at layer {control['layer']}")
    say("In brackets: share of frequency-matched words; flips where a control word is deleted.")
    for assessment, count in table["assessment"].value_counts(sort=False).items():
        say(f"{assessment}: {count}")
    if rare:
        say(f"In too few examples to be tested (--minimum): {', '.join(rare)}.")
    for row in records(shown.drop_duplicates("feature")):
        if row["assessment"] in ASSESSMENTS[:2] and companion(row):
            say(f"“{row['feature']}”, {row['class']}: {companion(row)}")
    say(" ".join(sanity_check(control)).strip())
    say(HONEST)


def _readable(row: dict[str, Any]) -> dict[str, Any]:
    """Return one suspect as a row of the printed table."""

    def beside(value: str, control: str, form: str) -> str | None:
        if row.get(value) is None:
            return None
        other = row.get(control)
        return f"{row[value]:{form}}" + ("" if other is None else f" ({other:{form}})")

    return {
        "feature": row["feature"],
        "class": row["class"],
        "assessment": row["assessment"],
        "examples": row["examples"],
        "z": row["z"],
        "shift": row.get("shift"),
        "share": beside("mean_share", "control_share", ".1%"),
        "fall of p": row.get("mean_drop"),
        "flips": beside("flip_rate", "control_flip_rate", ".0%"),
        "errors": None if row["risk_ratio"] is None else f"{row['risk_ratio']:.2g} times",
    }


def _nested(row: dict[str, Any]) -> dict[str, Any]:
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
        "assessment": row["assessment"],
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
        "companion": _companion(row),
        "share_by_layer": row["share_by_layer"],
    }


def _companion(row: dict[str, Any]) -> dict[str, Any] | None:
    """Return what a suspect never occurs or errs without, None where nothing is."""
    if not row["leader"]:
        return None
    named = {"feature": row["leader"], "kind": row["leader_kind"], "in": row["leader_of"]}
    return {**named, "n": row["leader_n"], "of": row["leader_k"]}


def _training(
    source: str,
    text_column: str | None,
    label_column: str | None,
    label_map: str | None,
    label_names: list[str],
) -> Any:
    from saliency_core.shortcuts.training_counts import count_features, open_training_data

    dataset = open_training_data(source, text_column, label_column)
    return count_features(dataset, label_names, parse_label_map(label_map))
