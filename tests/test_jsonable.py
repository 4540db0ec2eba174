import json
import math

import numpy as np
import pandas as pd
import pytest

from saliency_core.jsonable import plain


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.float64("nan"), None),
        (math.inf, None),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (True, True),
        (pd.NA, None),
        (pd.NaT, None),
        ((1, np.array([1.0, np.nan])), [1, [1.0, None]]),
        ({1: {"a": (np.int8(1),)}}, {"1": {"a": [1]}}),
        ("text", "text"),
        (None, None),
    ],
)
def test_what_json_has_no_number_for_is_null_and_all_else_survives(value, expected):
    found = plain(value)
    assert json.loads(json.dumps(found, allow_nan=False)) == expected == found
    assert type(found) is type(expected)
