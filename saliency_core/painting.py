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

STYLE = (
    "<style>.painted{line-height:2.0;overflow-wrap:anywhere;white-space:pre-wrap;margin:.1em 0}"
    ".painted span{border-radius:3px;padding:1px 0}"
    ".painted .cut{opacity:.45;font-style:italic}"
    ".rows>div{display:grid;grid-template-columns:13rem 1fr;gap:0 1rem;padding:.35rem 0;"
    "border-top:1px solid color-mix(in srgb,currentColor 15%,transparent)}"
    ".rows .about{font-size:.85em;line-height:1.5;padding-top:.25rem;overflow-wrap:anywhere}"
    "@media(max-width:640px){.rows>div{grid-template-columns:1fr}}"
    + "".join(
        f".painted .s{step}{{background:{background};color:{foreground}}}"
        for step, (background, foreground) in enumerate(zip(BACKGROUND, FOREGROUND, strict=True))
        if step != NEUTRAL
    )
    + "</style>"
)


def step_of(value: float) -> int:
    """Return the colour step of a value in [-1, 1]; NaN is neutral, beyond the ends is clipped."""
    if value != value:
        return NEUTRAL
    return max(0, min(10, round((value + 1) * 5)))


def paint(text: str, words: Iterable[dict[str, Any]], scale: float, seen: int | None = None) -> str:
    """Return the text as HTML, each word on the background of its score.

    Args:
        text: the original text; gaps between words stay as they are.
        words: dicts with start, end (characters of `text`) and score (logits).
        scale: score that gets the full colour; fixed over layers, so that colours compare.
        seen: characters the model read; what follows is marked as cut off.
    """
    pieces: list[str] = []
    at = 0
    for word in sorted(words, key=lambda word: word["start"]):
        start, end = max(word["start"], at), word["end"]
        if end <= start:
            continue
        pieces.append(html.escape(text[at:start]))
        step = step_of(word["score"] / scale if scale > 0 else 0.0)
        title = f"{word['score']:+.2f} logits"
        pieces.append(
            f"<span class='s{step}' title='{title}'>{html.escape(text[start:end])}</span>"
        )
        at = end
    if seen is not None and seen < len(text):
        pieces.append(html.escape(text[at : max(seen, at)]))
        rest = text[max(seen, at) :]
        pieces.append(f"<span class='cut' title='not read by the model'>{html.escape(rest)}</span>")
    else:
        pieces.append(html.escape(text[at:]))
    return f"<p class='painted' dir='auto'>{''.join(pieces)}</p>"


def paint_rows(rows: Iterable[dict[str, Any]], words: Iterable[list[dict[str, Any]]]) -> str:
    """Return one painted row an example: what it is on the left, its text on the right.

    Args:
        rows: dicts with text, pair, gold, predicted and confidence.
        words: the salient words of each, as `Store.top_words` gives them.
    """
    pieces = [STYLE, "<div class='rows'>"]
    for row, found in zip(rows, words, strict=True):
        scale = scale_of([word["score"] for word in found])
        gold = html.escape(str(row["gold"] or "no label"))
        predicted = html.escape(str(row["predicted"] or "failed"))
        texts = [row["text"], row["pair"] or ""]
        painted = "".join(
            paint(text, [word for word in found if word["side"] == side], scale)
            for side, text in enumerate(texts)
            if text
        )
        pieces.append(
            f"<div><div class='about'>{gold} → <b>{predicted}</b><br>"
            f"confidence {row['confidence']:.3f}</div><div>{painted}</div></div>"
        )
    pieces.append("</div>")
    return "".join(pieces)


def scale_of(scores: Sequence[float]) -> float:
    """Return the largest absolute score, at least a tenth of a logit."""
    return max([0.1, *(abs(float(score)) for score in scores if score == score)])
