"""Words and scores -> escaped HTML on the original characters; nothing from the data is live."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from saliency_core.output.rendering import direction_of, render

# Eleven steps of Vega's blueorange, blue against and orange for the target; the text colour of
# each step has a contrast of at least 4.5 to 1.
BACKGROUND = (
    "#134b85 #2f6ea8 #5b93c4 #8fb6d9 #c3d8ec #f2f2f2 #fbdcb6 #f5b871 #de8d33 #bb6812 #994a07"
).split()
FOREGROUND = "#fff #fff #111 #111 #111 #111 #111 #111 #111 #111 #fff".split()
# On a dark page strength grows brighter, from the colour of the page on.
DARK_BACKGROUND = (
    "#7db8f2 #3f8fd6 #2a66a6 #1f4a78 #16304d #171614 #4a2c0b #6e420f #985c14 #d9882a #ffb04d"
).split()
DARK_FOREGROUND = "#111 #111 #fff #fff #fff #fff #fff #fff #fff #111 #111".split()
NEUTRAL = 5
ROOM = 480
"""Characters of a text that a list shows: about three lines."""
WINDOWS = 3
"""Words around which a long text is shown."""
EMPTY = ("(empty text)", "cut empty", "this example has no text")
"""Stands for a text of nothing but white space."""
GAP = 40
"""Characters between two stretches of a text that are shown rather than left out."""


def _rule(step: int) -> str:
    """Return the colours of a step; words that speak against are underlined too."""
    light, dark = BACKGROUND[step], DARK_BACKGROUND[step]
    text, dark_text = FOREGROUND[step], DARK_FOREGROUND[step]
    underlined = "text-decoration:underline dashed 1px;text-underline-offset:3px;"
    line = underlined if step < NEUTRAL else ""
    # What knows no light-dark() keeps the colours of a light page.
    return (
        f".painted .s{step}{{{line}background:{light};color:{text};"
        f"background:light-dark({light},{dark});color:light-dark({text},{dark_text})}}\n"
    )


COLOURS = "".join(_rule(step) for step in range(len(BACKGROUND)) if step != NEUTRAL)


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
        words: dicts with start, end (characters of `text`), score (logits), and `changed` where
            an edit changed them.
        scale: score that gets the full colour; fixed over layers, so that colours compare.
        seen: characters the model read; what follows is marked as cut off.
    """
    pieces: list[Piece] = []
    at = 0
    for word in sorted(words, key=lambda word: word["start"]):
        start, end = max(word["start"], at), word["end"]
        if end <= start:
            continue
        style = f"s{step_of(word['score'] / scale if scale > 0 else 0.0)}"
        style += " changed" * bool(word.get("changed"))
        pieces += [
            (text[at:start], "", ""),
            (text[start:end], style, f"{word['score']:+.2f} logits"),
        ]
        at = end
    read = len(text) if seen is None else max(min(seen, len(text)), at)
    pieces += [(text[at:read], "", ""), (text[read:], "cut", "not read by the model")]
    return [piece for piece in pieces if piece[0]]


def folded(pieces: list[Piece], room: int | None = ROOM) -> list[Piece]:
    """Return what fits into about `room` characters of a text: around its strongest words.

    What the model did not read goes first, and is all that goes where `room` is None. A gap says
    how many characters it leaves out.
    """
    read = [piece for piece in pieces if piece[1] != "cut"]
    unread = sum(len(part) for part, style, _ in pieces if style == "cut")
    text = "".join(part for part, _, _ in read)
    if room is not None and len(text) + unread <= room:
        return pieces
    kept = [(0, len(text))]
    if room is not None and len(text) > room:
        kept = _windows(_strongest(read), room, text)
    shown, at = [], 0
    for low, high in [*kept, (len(text), len(text))]:
        if low > at:
            shown.append(_gap(f"{low - at:,} more characters"))
        end = 0
        for part, style, title in read:
            start, end = end, end + len(part)
            if start < high and end > low:
                shown.append((part[max(low - start, 0) : high - start], style, title))
        at = high
    return [*shown, _gap(f"{unread:,} characters not read by the model")] if unread else shown


def _gap(said: str) -> Piece:
    return f" … ({said}) … ", "cut", "not shown here"


def _strongest(pieces: list[Piece]) -> list[int]:
    """Return where the strongest words of a text begin."""
    starts = itertools.accumulate((len(part) for part, _, _ in pieces), initial=0)
    painted = [
        (-abs(int(style.split()[0][1:]) - NEUTRAL), start)
        for start, (_, style, _) in zip(starts, pieces, strict=False)
        if style
    ]
    return [start for _, start in sorted(painted)[:WINDOWS]] or [0]


def _windows(centres: list[int], room: int, text: str) -> list[tuple[int, int]]:
    """Return stretches of a text around some places, of whole words, those that touch joined."""
    width = room // len(centres)
    joined: list[tuple[int, int]] = []
    for centre in sorted(centres):
        low = max(0, min(centre - width // 2, len(text) - width))
        high = min(len(text), low + width)
        # The nearest space inwards, where there is one on this side of the word.
        low = 0 if low == 0 else text.find(" ", low, centre) + 1 or low
        high = len(text) if high == len(text) else max(text.rfind(" ", centre, high), centre + 1)
        if joined and low <= joined[-1][1] + GAP:
            joined[-1] = (joined[-1][0], max(high, joined[-1][1]))
        else:
            joined.append((low, high))
    return joined


def painted(texts: Sequence[Sequence[Piece]], heading: str = "", sides: Sequence[str] = ()) -> str:
    """Return texts in pieces as HTML with its style.

    Args:
        texts: of `pieces_of_example` or `folded`.
        heading: a small line above them.
        sides: what each text is called, where there are two.
    """
    return render("painted.html", style=COLOURS, heading=heading, texts=texts, sides=sides).strip()


def pieces_of_example(
    example: dict[str, Any], words: Sequence[dict[str, Any]], scale: float
) -> list[list[Piece]]:
    """Return the text of an example, and its pair if there is one, in pieces; `EMPTY` for neither.

    Args:
        example: text, pair, chars_seen and chars_total, as `Store.examples` gives them.
        words: as `Store.top_words` gives them.
        scale: as `pieces_of`.
    """
    whole = example["chars_seen"] >= example["chars_total"]
    found = []
    for side, text in enumerate((example["text"], example["pair"])):
        if not isinstance(text, str) or not text:
            continue
        own = [word for word in words if word["side"] == side]
        seen = None if whole else max((word["end"] for word in own), default=0)
        found.append(pieces_of(text, own, scale, seen))
    return found if any(part.strip() for pieces in found for part, _, _ in pieces) else [[EMPTY]]


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
        columns.append([folded(pieces) for pieces in pieces_of_example(example, words, scale)])
    gold, predicted = example["gold"], example["predicted"]
    confidence = example["confidence"]
    return {
        "id": example["id"],
        "gold": gold or "no label",
        "predicted": predicted or "no prediction",
        "wrong": gold is not None and predicted is not None and gold != predicted,
        "confidence": "" if confidence is None or confidence != confidence else f"{confidence:.3f}",
        "about": about,
        "columns": columns,
        "isBlank": [[EMPTY]] in columns,
        "direction": direction_of(itertools.chain.from_iterable(itertools.chain(*columns))),
    }


def scale_of(scores: Sequence[float]) -> float:
    """Return the largest absolute score, at least a tenth of a logit."""
    return max([0.1, *(abs(float(score)) for score in scores if score == score)])
