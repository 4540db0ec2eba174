"""The statistics of suspects agree with scipy, statsmodels and plain counting."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import Table2x2
from statsmodels.stats.contingency_tables import mcnemar as mcnemar_of_statsmodels
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from saliency_core.stats import (
    association,
    benjamini_hochberg,
    excess_errors,
    mcnemar,
    paired_difference,
    wilson,
)

FEATURES, CLASSES, EXAMPLES = 30, 3, 400


@pytest.fixture(scope="module")
def tables():
    """Return labels, answers, and which example has which feature, all random."""
    draw = np.random.default_rng(0)
    gold = draw.choice(CLASSES, EXAMPLES, p=[0.6, 0.3, 0.1])
    predicted = np.where(draw.random(EXAMPLES) < 0.8, gold, draw.choice(CLASSES, EXAMPLES))
    has = draw.random((FEATURES, EXAMPLES)) < draw.uniform(0.002, 0.5, (FEATURES, 1))
    has[0], has[1] = False, True
    return gold, predicted, has


def counted(tables):
    gold, _, has = tables
    n = has.sum(1, keepdims=True)
    k = np.stack([(has & (gold == label)).sum(1) for label in range(CLASSES)], 1)
    return n, k, np.bincount(gold, minlength=CLASSES) / EXAMPLES


def test_association_is_the_binomial_tail_and_the_textbook_z_pmi_and_lmi(tables):
    n, k, base = counted(tables)
    found = association(n, k, base, EXAMPLES)
    for row in range(FEATURES):
        for label in range(CLASSES):
            total, both, rate = int(n[row, 0]), int(k[row, label]), float(base[label])
            if not total:
                assert all(np.isnan(found[name][row, label]) for name in ("z", "p", "pmi"))
                continue
            p = stats.binomtest(both, total, rate, alternative="greater").pvalue
            assert found["p"][row, label] == pytest.approx(p, rel=1e-9)
            z = (both / total - rate) / math.sqrt(rate * (1 - rate) / total)
            assert found["z"][row, label] == pytest.approx(z)
            if both:
                pmi = math.log2((both / EXAMPLES) / ((total / EXAMPLES) * rate))
                assert found["pmi"][row, label] == pytest.approx(pmi)
                assert found["lmi"][row, label] == pytest.approx(both / EXAMPLES * pmi)
            else:
                assert np.isnan(found["pmi"][row, label]) and found["lmi"][row, label] == 0


def test_a_class_that_is_everything_has_no_z():
    found = association(np.array([[4]]), np.array([[4, 0]]), np.array([1.0, 0.0]), 9)
    assert np.isnan(found["z"]).all()
    assert found["p"].tolist() == [[1.0, 1.0]]


def test_excess_errors_are_fishers_exact_test_and_the_risk_ratio(tables):
    gold, predicted, has = tables
    is_wrong = gold != predicted
    answered = [predicted == label for label in range(CLASSES)]
    n = np.stack([(has & own).sum(1) for own in answered], 1)
    wrong = np.stack([(has & own & is_wrong).sum(1) for own in answered], 1)
    all_n = np.array([own.sum() for own in answered])
    all_wrong = np.array([(own & is_wrong).sum() for own in answered])
    found = excess_errors(wrong, n, all_wrong, all_n)
    for row in range(FEATURES):
        for label in range(CLASSES):
            if not n[row, label]:
                assert all(np.isnan(values[row, label]) for values in found.values())
                continue
            bearing = [wrong[row, label], n[row, label] - wrong[row, label]]
            others = [all_wrong[label] - bearing[0], all_n[label] - n[row, label] - 0]
            others[1] -= others[0]
            p = stats.fisher_exact([bearing, others], alternative="greater").pvalue
            assert found["p"][row, label] == pytest.approx(p, rel=1e-9)
            # statsmodels with the same half counts: each cell plus one half.
            table = Table2x2(np.array([bearing, others], float) + 0.5)
            low, high = table.riskratio_confint()
            assert found["risk_ratio"][row, label] == pytest.approx(table.riskratio)
            assert found["risk_low"][row, label] == pytest.approx(low)
            assert found["risk_high"][row, label] == pytest.approx(high)


def test_false_discoveries_agree_with_statsmodels_and_leave_out_what_was_not_tested():
    draw = np.random.default_rng(1)
    for size in (1, 2, 50, 999):
        p = draw.random(size) ** 3
        q = multipletests(p, method="fdr_bh")[1]
        assert benjamini_hochberg(p) == pytest.approx(q)
        holes = np.full(2 * size, np.nan)
        holes[::2] = p
        assert benjamini_hochberg(holes)[::2] == pytest.approx(q)
        assert np.isnan(benjamini_hochberg(holes)[1::2]).all()
    assert np.isnan(benjamini_hochberg(np.full(3, np.nan))).all()


@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (0, 20), (3, 20), (20, 20), (77, 1000)])
def test_the_interval_of_a_rate_is_wilsons(k, n):
    assert wilson(k, n) == pytest.approx(proportion_confint(k, n, method="wilson"), abs=1e-12)


def test_a_rate_of_nothing_may_be_anything():
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("one", "other"), [(0, 0), (1, 2), (5, 0), (12, 2), (30, 31)])
def test_mcnemar_is_the_exact_test_of_statsmodels(one, other):
    expected = mcnemar_of_statsmodels([[50, one], [other, 9]], exact=True).pvalue
    assert mcnemar(np.array([one]), np.array([other]))[0] == pytest.approx(expected)


def test_without_correlation_a_paired_interval_is_that_of_two_samples():
    # Of 100 pairs .8 and .6 are right, independently: phi is 0.
    found = paired_difference(*(np.array([n]) for n in (12, 32, 48, 8)))
    low, high = confint_proportions_2indep(60, 100, 80, 100, method="newcomb")
    assert (found["low"][0], found["high"][0]) == (pytest.approx(low), pytest.approx(high))
    assert (found["before"][0], found["after"][0]) == (pytest.approx(0.8), pytest.approx(0.6))


def test_paired_intervals_cover_the_difference_and_turn_with_the_runs():
    draw = np.random.default_rng(0)
    rates = [0.08, 0.03, 0.8, 0.09]
    counts = draw.multinomial(120, rates, 2000).T
    found = paired_difference(*counts)
    covered = (found["low"] <= 0.05) & (found["high"] >= 0.05)
    assert 0.935 < covered.mean() < 0.985
    turned = paired_difference(counts[1], counts[0], counts[2], counts[3])
    np.testing.assert_allclose(turned["low"], -found["high"], atol=1e-12)


def test_no_examples_have_no_difference():
    empty = np.zeros(1, int)
    assert np.isnan(paired_difference(empty, empty, empty, empty)["difference"][0])
    assert mcnemar(empty, empty)[0] == 1
