"""Tests of Student's paired t-test: against numbers worked by hand, and against simulated chance."""

import random

import pytest

from experiments.report.statistics import Difference, Spread, paired, spread


def test_mean_and_deviation():
    assert spread([0.2, 0.4, 0.6]) == Spread(pytest.approx(0.4), pytest.approx(0.2), 3)
    assert spread([0.2, 0.4, 0.6]).error == pytest.approx(0.2 / 3**0.5)
    assert spread([0.3]) == Spread(0.3, None, 1)
    assert spread([0.3]).error is None
    with pytest.raises(ValueError, match="no values"):
        spread([])


def test_paired_t_by_hand():
    """Check differences 1, 2, 3: mean 2, sd 1, error 1/sqrt 3; t = 2 sqrt 3 with 2 degrees of freedom.

    There the distribution is 1/2 + t / (2 sqrt(2 + t^2)): p = 1 - t / sqrt(2 + t^2) = 1 - sqrt(12/14), and the quantile
    at 0.975 is 0.95 sqrt(2 / (1 - 0.95^2)) = 4.3027.
    """
    found = paired({0: 2.0, 1: 4.0, 2: 6.0, 7: 100.0}, {2: 3.0, 1: 2.0, 0: 1.0, 9: -100.0})
    half = 0.95 * (2 / (1 - 0.95**2)) ** 0.5 / 3**0.5
    assert found.n == 3  # seeds 7 and 9 have no partner
    assert found.mean == pytest.approx(2)
    assert found.error == pytest.approx(3**-0.5)
    assert (found.low, found.high) == (pytest.approx(2 - half), pytest.approx(2 + half))
    assert found.p == pytest.approx(1 - (12 / 14) ** 0.5)


def test_two_pairs_have_the_cauchy_distribution():
    """Check one degree of freedom, differences 0 and 2: t = 1, p = 1/2; the interval is 12.706 errors to each side."""
    found = paired({0: 1.0, 1: 3.0}, {0: 1.0, 1: 1.0})
    assert found.p == pytest.approx(0.5)
    assert found.high - found.mean == pytest.approx(12.7062, abs=1e-4)


def test_a_control_against_itself_shows_no_difference():
    scores = {seed: 0.3 + 0.01 * seed for seed in range(5)}
    assert paired(scores, dict(scores)) == Difference(0.0, 0.0, 0.0, 0.0, 1.0, 5)


def test_what_cannot_be_said_is_not_said():
    assert paired({0: 0.3}, {1: 0.3}) is None
    assert paired({0: 0.4}, {0: 0.3}) == Difference(pytest.approx(0.1), None, None, None, None, 1)
    same = paired({0: 0.4, 1: 0.5}, {0: 0.3, 1: 0.4})  # no spread: two runs cannot show the noise
    assert (same.mean, same.p, same.low) == (pytest.approx(0.1), None, None)


@pytest.mark.parametrize("seeds", [3, 5])
def test_equal_arms_differ_as_often_as_chance_allows(seeds):
    """Simulate 4,000 pairs of arms of the same distribution: p < 0.05 in 5 % of them (± 3.3 standard errors)."""
    draw = random.Random(seeds)
    below = 0
    for _ in range(4_000):
        shared = [draw.gauss(0.3, 0.05) for _ in range(seeds)]  # effect of a seed: data, base model
        arms = [{k: value + draw.gauss(0, 0.015) for k, value in enumerate(shared)} for _ in range(2)]
        below += paired(*arms).p < 0.05
    assert 0.0385 < below / 4_000 < 0.0615
