"""Intervals beside the evidence, against statsmodels."""

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import Table2x2

from saliency_core.stats import excess_errors


@pytest.mark.parametrize("seed", range(5))
def test_interval_of_the_risk_ratio(seed):
    draw = np.random.default_rng(seed)
    n, other_n = draw.integers(3, 200, 2)
    wrong, other_wrong = draw.integers(0, n + 1), draw.integers(0, other_n + 1)
    found = excess_errors(*(np.array([x]) for x in (wrong, n, wrong + other_wrong, n + other_n)))
    table = np.array([[wrong, n - wrong], [other_wrong, other_n - other_wrong]]) + 0.5
    expected = Table2x2(table, shift_zeros=False)
    assert found["risk_ratio"][0] == pytest.approx(expected.riskratio)
    low, high = expected.riskratio_confint()
    assert (found["risk_low"][0], found["risk_high"][0]) == pytest.approx((low, high))
