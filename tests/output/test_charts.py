"""A chart is JSON that a browser reads, whatever is not known."""

import json

import numpy as np
import pandas as pd
import pytest

from saliency_core.output.charts.suspects import suspect_points
from saliency_core.output.charts.words import heatmap


@pytest.mark.parametrize("effect", [np.nan, 0.0, 0.4])
@pytest.mark.parametrize("count", [0, 3])
def test_suspects_are_drawn_whether_their_effect_was_measured_or_not(effect, count):
    table = pd.DataFrame(
        {
            "feature": ["kindly", "check", "uh"],
            "class": "billing",
            "assessment": "salient, effect not measured",
            "examples": [40, 12, 9],
            "z": [9.0, 2.0, -1.0],
            "mean_share": [0.3, 0.2, 0.1],
            "flip_rate": effect,
        }
    ).head(count)
    drawn = suspect_points(table, ("kindly", "billing")).to_dict()
    colour = drawn["layer"][1]["encoding"]["color"]["scale"]
    assert colour["domain"] == [0, effect if count and effect > 0 else 1]
    assert json.loads(json.dumps(drawn, allow_nan=False)) == drawn


@pytest.mark.parametrize(
    ("text", "is_leftward"),
    [
        ("the film is good", False),
        ("הסרט הזה good", True),
        ("RT هذا الفيلم رائع", True),
        ("", False),
    ],
)
def test_words_of_a_heat_map_run_as_the_text_is_read(text, is_leftward):
    words = text.split()
    drawn = heatmap(words, np.ones((2, len(words)))).to_dict()
    assert drawn["encoding"]["x"]["scale"]["reverse"] == is_leftward
    (rows,) = drawn["datasets"].values()
    assert [row["word"] for row in rows] == words * 2
