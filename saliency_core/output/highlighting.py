"""Words and scores -> escaped HTML on the original characters; nothing from the data is live."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

# Eleven steps of Vega's blueorange, blue against and orange for the target; the text colour of
# each step has a contrast of at least 4.5 to 1.
BACKGROUND = (
    "#134b85 #2f6ea8 #5b93c4 #8fb6d9 #c3d8ec #f2f2f2 #fbdcb6 #f5b871 #de8d33 #bb6812 #994a07"
).split()
FOREGROUND = "#fff #fff #111 #111 #111 #111 #111 #111 #111 #111 #fff".split()
NEUTRAL = 5

COLOURS = "".join(
    f".painted .s{step}{{background:{background};color:{foreground}}}\n"
    for step, (background, foreground) in enumerate(zip(BACKGROUND, FOREGROUND, strict=True))
    if step != NEUTRAL
)
STYLE = (
    "<style>.painted{line-height:2.0;overflow-wrap:anywhere;white-space:pre-wrap;margin:.1em 0}"
    ".painted span{border-radius:3px;padding:1px 0}"
    ".painted .cut{opacity:.55;font-style:italic}"
    ".side{font-size:.85em;opacity:.75;margin-top:.5em}"
    f"{COLOURS}</style>"
)


def step_of(value: float) -> int:
    """Return the colour step of a value in [-1, 1]; NaN is neutral, beyond the ends is clipped."""
    if value != value:
        return NEUTRAL
    return max(0, min(10, round((value + 1) * 5)))


Piece = tuple[str, str, str]
"""Some characters, their class (`s0` to `s10`, `cut` or none) and a title for the pointer."""


def pieces_of(
    text: str, words: Iterable[dict[str, Any]], scale: float, seen: int | None = None
) -> list[Piece]:
    """Cut a text into pieces of one colour each; joined they are the text.

    Args:
        text: the original text; gaps between words stay as they are.
        words: dicts with start, end (characters of `text`) and score (logits).
        scale: score that gets the full colour; fixed over layers, so that colours compare.
        seen: characters the model read; what follows is marked as cut off.
    """
    pieces: list[Piece] = []
    at = 0
    for word in sorted(words, key=lambda word: word["start"]):
        start, end = max(word["start"], at), word["end"]
        if end <= start:
            continue
        step = step_of(word["score"] / scale if scale > 0 else 0.0)
        pieces += [
            (text[at:start], "", ""),
            (text[start:end], f"s{step}", f"{word['score']:+.2f} logits"),
        ]
        at = end
    read = len(text) if seen is None else max(min(seen, len(text)), at)
    pieces += [(text[at:read], "", ""), (text[read:], "cut", "not read by the model")]
    return [piece for piece in pieces if piece[0]]


def paint(text: str, words: Iterable[dict[str, Any]], scale: float, seen: int | None = None) -> str:
    """Return the text as HTML, each word on the background of its score; see `pieces_of`."""
    painted = "".join(
        f"<span class='{name}' title='{title}'>{html.escape(part)}</span>"
        if name
        else html.escape(part)
        for part, name, title in pieces_of(text, words, scale, seen)
    )
    return f"<p class='painted' dir='auto'>{painted}</p>"


def painted_row(
    example: dict[str, Any], *layers: list[dict[str, Any]], about: str = ""
) -> dict[str, Any]:
    """Return one example as plain data for the list of painted rows.

    Args:
        example: id, text, pair, gold, predicted, confidence, as `Store.examples` gives them.
        layers: the words of each column, as `Store.top_words` gives them; colours compare within
            a column only, because layers and runs need not agree on the size of scores.
        about: one more line beside the text.
    """
    columns = []
    for words in layers:
        scale = scale_of([word["score"] for word in words])
        columns.append(
            [
                pieces_of(text, [word for word in words if word["side"] == side], scale)
                for side, text in enumerate((example["text"], example["pair"] or ""))
                if text
            ]
        )
    gold, predicted = example["gold"], example["predicted"]
    confidence = example["confidence"]
    return {
        "id": example["id"],
        "gold": gold or "no label",
        "predicted": predicted or "no answer",
        "wrong": gold is not None and predicted is not None and gold != predicted,
        "confidence": "" if confidence is None or confidence != confidence else f"{confidence:.3f}",
        "about": about,
        "columns": columns,
    }


def scale_of(scores: Sequence[float]) -> float:
    """Return the largest absolute score, at least a tenth of a logit."""
    return max([0.1, *(abs(float(score)) for score in scores if score == score)])
