"""Which layer to read and why, in plain words: for pages, report and shell alike."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from saliency_core.program import program
from saliency_core.store import Run


@dataclass(frozen=True)
class LayerAdvice:
    """One sentence or more for each question; empty where there is nothing to say."""

    use: str
    """Which layer."""
    why: str
    tied: str
    readable: str
    """Which layer reads most easily."""
    notes: tuple[str, ...]
    """What narrowed the choice, or did not."""

    def text(self) -> str:
        """Return everything as one paragraph."""
        return " ".join(filter(None, [self.use, self.why, self.tied, self.readable, *self.notes]))


def layer_advice(run: Run, layers: pd.DataFrame) -> LayerAdvice:
    """Return the advice for a run.

    Args:
        run: a run.
        layers: as `Run.layers`.
    """
    recommended = run.recommended
    if recommended is None or layers.empty:
        return LayerAdvice("No layer is recommended before the audit has finished.", "", "", "", ())
    rows = layers.set_index("layer")
    tied = run.tied
    verb = "is" if len(tied) == 1 else "are"
    return LayerAdvice(
        use=f"Use layer {recommended}.",
        why=_why(run, rows, rows.loc[recommended]),
        tied=f"{named(tied)} {verb} about as good." if tied else "",
        readable=_readable(run, rows),
        notes=tuple(_notes(run, rows)),
    )


def named(layers: Iterable[int]) -> str:
    """Return `Layer 1`, `Layers 1 and 3`, `Layers 1, 2 and 3`."""
    names = [str(layer) for layer in layers]
    if len(names) == 1:
        return f"Layer {names[0]}"
    return f"Layers {', '.join(names[:-1])} and {names[-1]}"


def chosen_by(layers: pd.DataFrame) -> str:
    """Return what chose the layer: `two tests`, `one test`, `an older version` or `coherence`."""
    if layers["choice"].notna().any():
        return "two tests" if layers["mosaic"].notna().any() else "one test"
    evaluated = layers["comprehensiveness"].notna().any()
    return "an older version" if evaluated else "coherence"


def _why(run: Run, rows: pd.DataFrame, own: pd.Series) -> str:
    how = chosen_by(rows)
    mosaics = run.extra.get("mosaics") or {}
    hiding = (
        "hiding its top words lowers the probability of the predicted class by "
        f"{own['comprehensiveness']:.2f} on average"
    )
    if how == "two tests":
        return (
            f"It scores best on the two tests combined: {hiding}; when two texts are joined, "
            f"{own['mosaic']:.0%} of its positive score falls on the text whose class was "
            f"predicted ({mosaics['chance']:.0%} would be chance)."
        )
    if how == "one test":
        missing = mosaics.get("missing")
        second = f" A second test with two joined texts was not possible: {missing}"
        return f"It scores best on one test: {hiding}." + (second if missing else "")
    if how == "an older version":
        return (
            f"An older version of the program chose it by one test: {hiding}. To add the second "
            f"test, run `{program()} evaluate`."
        )
    if rows["coherence"].isna().all():
        return (
            "Only one class was predicted, so coherence is undefined. Nothing else was measured: "
            f"run `{program()} evaluate`."
        )
    return (
        "Among texts with the same prediction, the words it points to are closer in meaning to one "
        f"another than those that the other layers point to (coherence {own['coherence']:.2f}). "
        f"Nothing else was measured: to test the layers, run `{program()} evaluate`."
    )


def _readable(run: Run, rows: pd.DataFrame) -> str:
    layer = run.most_readable
    if layer is None:
        return ""
    also = "also " if layer == run.recommended else ""
    sentence = (
        f"Of the layers that do well in the tests, layer {layer} is {also}the most readable: among "
        "texts with the same prediction, the words it points to are closer in meaning to one "
        "another than those that the other layers point to (coherence "
        f"{rows.loc[layer, 'coherence']:.2f})"
    )
    best = rows["choice"].max()
    if also or not best > 0:
        return f"{sentence}."
    return f"{sentence}, and its test score is {rows.loc[layer, 'choice'] / best:.0%} of the best."


def _notes(run: Run, rows: pd.DataFrame) -> Iterable[str]:
    bypassed = [int(layer) for layer in run.extra.get("bypassed", {})]
    if bypassed:
        verb = "is" if len(bypassed) == 1 else "are"
        around = "it" if len(bypassed) == 1 else "them"
        yield f"{named(bypassed)} {verb} left out: information flows around {around}."
    if chosen_by(rows) not in ("two tests", "one test"):
        return
    above = rows["coherence"] > rows["uniform_baseline"].fillna(0)
    if not above.any() and rows["coherence"].notna().any():
        yield (
            "No layer's words are more coherent than the whole text, so coherence rules out no "
            "layer."
        )
        return
    better = rows.index[rows["choice"] > rows.loc[run.recommended, "choice"]]
    ruled_out = [layer for layer in better if layer not in bypassed]
    if ruled_out:
        verb, their = ("scores", "its") if len(ruled_out) == 1 else ("score", "their")
        yield (
            f"{named(ruled_out)} {verb} higher in the tests, but {their} words are no more "
            "coherent than the whole text."
        )
