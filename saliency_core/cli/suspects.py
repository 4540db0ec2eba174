"""`suspects`: which features of texts may be shortcuts."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import typer

from saliency_core.cli.progress_bar import progress_bar
from saliency_core.cli.tables import records, say, show
from saliency_core.cli.terminal import (
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
    of_training,
    open_run,
    print_json,
)
from saliency_core.data.labels.label_map import parse_label_map

effect = partial(typer.Option, rich_help_panel="Effect of deleting")
limits = partial(typer.Option, rich_help_panel="Thresholds")
EXAMPLES = (
    "saliency suspects --train training.csv",
    "saliency suspects --effect-examples 0 --limit 10",
)


EVIDENCE = {
    "association": "n k base_rate z pmi lmi p=p_association q=q_association shift",
    "reliance": "mean_share top3_rate mean_score low=share_low high=share_high control_share "
    "p=p_reliance q=q_reliance",
    "effect": "n=effect_n mean_drop flips flip_rate low=flip_low high=flip_high "
    "control_flip_rate control_mean_drop masked_flip_rate p=p_effect q=q_effect",
    "errors": "n=errors_n k=errors_k risk_ratio low=risk_low high=risk_high p=p_errors q=q_errors",
}
"""Part of the evidence in JSON -> its names, each with the column it comes from where that has
another name."""
COMPANION = "feature=leader kind=leader_kind in=leader_of n=leader_n of=leader_k"
"""The same of what a suspect never occurs or errs without."""
Features = Annotated[
    list[str] | None,
    effect(
        "--word",
        metavar="WORD",
        help="A word, or another feature of texts, whose effect is measured.",
    ),
]


def suspects(
    database: Database = None,
    number: RunOption = None,
    layer: LayerOption = None,
    train: Annotated[
        str | None,
        of_training(help="Training data: association is taken there.", metavar="DATASET"),
    ] = None,
    train_text_column: TrainTextColumn = None,
    train_label_column: TrainLabelColumn = None,
    label_map: TrainLabelMap = None,
    word: Features = None,
    effect_examples: Annotated[
        int, effect(min=0, help="Examples a feature is deleted from; 0: only effects kept.")
    ] = 200,
    effect_candidates: Annotated[
        int, effect(min=1, help="Features whose effect is measured, about.")
    ] = 30,
    null: Annotated[int, limits(min=0, help="Shufflings of the control.")] = 20,
    alpha: Annotated[float, limits(min=0, max=1, help="Rate of false discoveries.")] = 0.05,
    minimum: Annotated[int, limits(min=1, help="Examples a feature must be in.")] = 5,
    reliance_ratio: Annotated[
        float, limits(min=0, help="Share over that of frequency-matched words.")
    ] = 1.5,
    flip_excess: Annotated[
        float, limits(min=0, help="Flip rate, or fall of p(class), over the control word's.")
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
    from saliency_core.shortcuts.training_counts import count_features, open_training_data

    run = open_run(database, number)
    thresholds = Thresholds(alpha, minimum, reliance_ratio, flip_excess)
    training = None
    if train is not None:
        rows = open_training_data(train, train_text_column, train_label_column)
        training = count_features(rows, run.label_names, parse_label_map(label_map))
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
    facts = control | {"layer": layer, "effect_examples": effect_examples, "train": train}
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
        **{name: row[name] for name in ("feature", "class", "assessment", "examples", "z")},
        "shift": row.get("shift"),
        "share": beside("mean_share", "control_share", ".1%"),
        "fall of p": row.get("mean_drop"),
        "flips": beside("flip_rate", "control_flip_rate", ".0%"),
        "errors": None if row["risk_ratio"] is None else f"{row['risk_ratio']:.2g} times",
    }


def _nested(row: dict[str, Any]) -> dict[str, Any]:
    """Return one suspect as the JSON contract has it."""
    return {
        "word": row["feature"],
        **{name: row[name] for name in ("kind", "class", "assessment", "examples", "where")},
        **{part: _evidence(row, names) for part, names in EVIDENCE.items()},
        "companion": _evidence(row, COMPANION) if row["leader"] else None,
        "share_by_layer": row["share_by_layer"],
    }


def _evidence(row: dict[str, Any], names: str) -> dict[str, Any]:
    pairs = (name.partition("=") for name in names.split())
    return {name: row.get(column or name) for name, _, column in pairs}
