"""On a dark page strength grows brighter, and every word stays readable."""

from saliency_core.output.charts.theme import for_dark
from saliency_core.output.highlighting import (
    BACKGROUND,
    DARK_BACKGROUND,
    DARK_FOREGROUND,
    FOREGROUND,
    NEUTRAL,
)


def luminance(colour: str) -> float:
    """Return the relative luminance of WCAG 2."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_words_can_be_read_on_every_step_and_the_strongest_stand_out_of_either_page():
    for grounds, texts in ((BACKGROUND, FOREGROUND), (DARK_BACKGROUND, DARK_FOREGROUND)):
        for ground, text in zip(grounds, texts, strict=True):
            dark, light = sorted(map(luminance, (ground, text)))
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (ground, text)
    found = [luminance(colour) for colour in DARK_BACKGROUND]
    assert found[: NEUTRAL + 1] == sorted(found[: NEUTRAL + 1], reverse=True)
    assert found[NEUTRAL:] == sorted(found[NEUTRAL:])


def test_a_chart_on_a_dark_page_has_the_colour_of_the_page_at_zero():
    chart = {"layer": [{"scale": {"scheme": "blueorange", "domainMid": 0}}, {"color": "#111"}]}
    cells, numbers = for_dark(chart)["layer"]
    assert cells["scale"]["range"][1] == DARK_BACKGROUND[NEUTRAL] and "scheme" not in cells["scale"]
    assert numbers == {"color": "#fff"}
