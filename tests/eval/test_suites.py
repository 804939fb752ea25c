"""Tests of the suites' definitions, and of the arithmetic of their columns."""

import math

import pytest
from lm_eval.api.metrics import mean_stderr, pooled_sample_stderr

from eval.suites import CARD, CURRENT, SUITES, find_suite, pooled_stderr
from memphis.errors import MemphisError


def test_the_benchmark_suites_have_the_tasks_of_the_card() -> None:
    for suite in (CARD, CURRENT):
        assert [(column.name, len(column.tasks), column.shots) for column in suite.columns] == [
            ("gsm8k", 1, 5),
            ("agieval", 8, 0),
            ("bbh", 27, 3),
        ]
        assert all(column.items is None for column in suite.columns)


def test_units_are_shared_where_the_requests_are_equal_and_nowhere_else() -> None:
    units = {suite.name: {c.unit(task, 1) for c in suite.columns for task in c.tasks} for suite in (CARD, CURRENT)}
    assert units["card"] & units["current"] == set(CURRENT.columns[1].tasks)  # AGIEval
    assert "gsm8k-card-s1" in units["card"]
    assert "gsm8k" in units["current"]
    assert "bbh_cot_fewshot_snarks-card" in units["card"]


def test_every_name_is_found_and_an_unknown_one_is_named() -> None:
    assert [find_suite(name).name for name in SUITES] == ["tiny", "dev", "heldout", "current", "card", "tasks", "none"]
    assert find_suite("none").columns == ()
    with pytest.raises(MemphisError, match=r"eval\.suites: mmlu is unknown; use some of tiny"):
        find_suite("mmlu")


def test_pooled_stderr_by_hand() -> None:
    # 3 items with 1 right: variance 1/3, se 1/3. 5 items with 2 right: variance 0.3, se sqrt(0.06).
    # Pooled variance (2 * 1/3 + 4 * 0.3) / 6 = 14/45; of the mean of 8 items 14/360.
    assert pooled_stderr([1 / 3, math.sqrt(0.06)], [3, 5]) == pytest.approx(math.sqrt(14 / 360))
    assert pooled_stderr([0.02], [100]) == pytest.approx(0.02)
    assert pooled_stderr([0.02, None], [100, 1]) is None
    assert pooled_stderr([], []) is None


def test_pooled_stderr_is_lm_evals_and_ignores_the_spread_between_tasks() -> None:
    rights = [(250, 10), (187, 180), (146, 70), (250, 240)]
    stderrs = [mean_stderr([1] * right + [0] * (n - right)) for n, right in rights]
    sizes = [n for n, _ in rights]
    assert pooled_stderr(stderrs, sizes) == pytest.approx(pooled_sample_stderr(stderrs, sizes), rel=1e-12)
    assert pooled_stderr(stderrs, sizes) < 0.02
