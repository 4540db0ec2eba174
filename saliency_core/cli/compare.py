"""`compare`: two or more runs over the same dataset."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Annotated, Any

import typer

from saliency_core.cli.tables import records, show
from saliency_core.cli.terminal import AsJson, Database, Where, open_database, print_json
from saliency_core.errors import UserError

if TYPE_CHECKING:
    from saliency_core.analysis.run_comparison import Comparison
    from saliency_core.store import Run, Store

SHOWN = 20
"""Groups printed, those with the clearest difference first."""


def compare(
    runs: Annotated[
        list[int] | None,
        typer.Argument(
            metavar="[RUNS]...",
            help="Runs over the same dataset, the earlier one first (default: the two newest).",
        ),
    ] = None,
    database: Database = None,
    where: Where = "",
    as_json: AsJson = False,
) -> None:
    """Show which of two runs is better, by how much, and where."""
    from saliency_core.analysis.run_comparison import by_group, names_of, verdict
    from saliency_core.analysis.run_comparison import compare as compared

    chosen = _chosen(open_database(database), runs or [])
    first, last = chosen[0], chosen[-1]
    found = compared(first, last, where)
    sentence = verdict(found, *names_of(first, last))
    groups = records(by_group(first, last, where))
    if as_json:
        pairs = [
            {"runs": [one.number, other.number], **_facts(compared(one, other, where))}
            for one, other in itertools.combinations(chosen, 2)
        ]
        print_json(
            {
                "runs": [run.number for run in chosen],
                **_facts(found),
                # Each on the examples that it shares with the first.
                "accuracies": [
                    found.difference["before"],
                    *(compared(first, run, where).difference["after"] for run in chosen[1:]),
                ],
                "sentence": sentence,
                "slices": groups,
                "pairs": pairs,
            }
        )
        return
    print(sentence)
    columns = ["part", "name", "n", "before", "after", "difference", "low", "high", "q"]
    show(
        groups[:SHOWN],
        columns,
        nothing="No class, metadata value or saved slice has enough examples.",
    )


def _chosen(store: Store, numbers: list[int]) -> list[Run]:
    """Return the runs that were asked for; by default the two newest over one dataset.

    Raises:
        UserError: there is no second run to compare with.
    """
    runs = [store.run(number) for number in numbers]
    if len(runs) > 1:
        return runs
    newest = runs[0] if runs else store.run()
    others = newest.comparable()
    if not others:
        raise UserError(
            f"Only run {newest.number} is over {newest.dataset.source}. Audit it with a second "
            f"model into {store.path}, then both can be compared."
        )
    return sorted([newest, store.run(max(others))], key=lambda run: run.number)


def _facts(found: Comparison) -> dict[str, Any]:
    test = found.difference
    return {
        "examples": int(test["n"]),
        "accuracies": [test["before"], test["after"]],
        "difference": {
            "value": test["difference"],
            **{name: test[name] for name in ("low", "high", "p")},
        },
        "fixed": int(test["fixed"]),
        "broken": int(test["broken"]),
    }
