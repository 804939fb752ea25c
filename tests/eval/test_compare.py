"""Tests of the paired comparison: numbers worked out by hand, identities, and refusals."""

import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from eval.compare import bootstrap, compare, main, mcnemar, report
from eval.records import find
from eval.suites import SUITES
from memphis.errors import MemphisError
from tests.eval.test_records import ITEMS, full_record, make_record, tiny_record, write_stage

# 20 items. A has 0-11 right, B has 2-11 and 14-19: A alone 2 (0, 1), B alone 6 (14-19), difference (16 - 12) / 20.
A = [1] * 12 + [0] * 8
B = [0] * 2 + [1] * 10 + [0] * 2 + [1] * 6
OTHER = {"tiny_mc": [0, 1, 0, 0], "tiny_cot": [0, 0, 1, 0]}


def stages(tmp_path: Path, a: list[int] = A, b: list[int] = B) -> list[Path]:
    return [
        write_stage(tmp_path / name, {"tiny": tiny_record({"tiny_gen": right, **OTHER})}, {"tiny_gen": right, **OTHER})
        for name, right in (("a", a), ("b", b))
    ]


def test_by_hand(tmp_path: Path) -> None:
    (gen,), (choices,), _ = compare(*map(find, stages(tmp_path)))
    assert (gen.name, gen.n, gen.a, gen.b) == ("tiny_gen", 20, 0.6, 0.8)
    assert gen.difference == pytest.approx(0.2)
    assert gen.only_a == ["tiny_gen/0", "tiny_gen/1"]
    assert gen.only_b == [f"tiny_gen/{item}" for item in range(14, 20)]
    # 8 discordant, 2 on the smaller side: 2 (1 + 8 + 28) / 256.
    assert gen.p == pytest.approx(74 / 256)
    # The standard deviation of a difference is sqrt(8/20 - 0.2²) = 0.6, of the mean 0.134.
    assert (gen.low, gen.high) == pytest.approx((0.2 - 1.96 * 0.134, 0.2 + 1.96 * 0.134), abs=0.03)
    assert (choices.difference, choices.p, choices.low, choices.high) == (0, 1, 0, 0)


def test_exchanging_the_sides_turns_the_sign(tmp_path: Path) -> None:
    first, second = map(find, stages(tmp_path))
    (forth,), *_ = compare(first, second)
    (back,), *_ = compare(second, first)
    assert back.difference == pytest.approx(-forth.difference)
    assert (back.p, back.only_a, back.only_b) == (forth.p, forth.only_b, forth.only_a)
    assert (back.low, back.high) == pytest.approx((-forth.high, -forth.low), abs=0.051)  # one item


def test_a_model_against_itself(tmp_path: Path) -> None:
    counts = {task: (3, 8) for column in SUITES["card"].columns for task in column.tasks}
    right = {task: [1, 0, 0, 1, 0, 1, 0, 0] for task in counts}
    one = find(write_stage(tmp_path / "a", {"card": make_record("card", counts, limit=8)}, right))
    found = compare(one, one)
    assert [len(column) for column in found] == [1, 9, 28]
    assert "Some tasks have fewer than 30 items" in report(found, per_task=False, flips=0)
    for comparison in [comparison for column in found for comparison in column]:
        assert (comparison.difference, comparison.low, comparison.high, comparison.p) == (0, 0, 0, 1)
        assert not comparison.only_a
        assert not comparison.only_b


def test_mcnemar_is_the_exact_binomial_test() -> None:
    for only_a, only_b in [(0, 0), (0, 1), (0, 6), (2, 6), (5, 5), (10, 31), (240, 20), (700, 610)]:
        expected = binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
        assert mcnemar(only_a, only_b) == pytest.approx(expected, rel=1e-9)
        assert mcnemar(only_a, only_b) == mcnemar(only_b, only_a)


def test_the_bootstrap_draws_within_each_task() -> None:
    # One task all better, another all worse: no resample can differ, as each task keeps its number of items.
    assert np.ptp(bootstrap([[1.0] * 30, [-1.0] * 10], 1000, seed=0)) == 0
    strata = [[1.0] * 3 + [0.0] * 15 + [-1.0] * 2, [1.0] * 20 + [-0.5] * 20 + [0.0] * 60]
    drawn = bootstrap(strata, 20_000, seed=1)
    variance = sum(len(stratum) * np.var(stratum, ddof=1) for stratum in strata) / sum(map(len, strata)) ** 2
    assert drawn.mean() == pytest.approx(sum(map(sum, strata)) / 120, abs=0.002)
    assert drawn.std() == pytest.approx(math.sqrt(variance), rel=0.03)
    small = [[-1.0, 0.0]] * 3 + [[0.0, 0.0]] * 5  # tasks of two items: still the textbook standard error
    assert bootstrap(small, 20_000, seed=1).std() == pytest.approx(math.sqrt(3 * 2 * 0.5) / 16, rel=0.03)
    assert np.array_equal(drawn, bootstrap(strata, 20_000, seed=1))
    assert not np.array_equal(drawn, bootstrap(strata, 20_000, seed=2))


def test_a_group_counts_items_and_not_tasks(tmp_path: Path) -> None:
    before = {task: [0] * n for task, n in ITEMS.items()}
    after = {task: [1] * 6 + [0] * (n - 6) for task, n in ITEMS.items()}
    counts = [{task: (sum(values), len(values)) for task, values in one.items()} for one in (before, after)]
    folders = [
        write_stage(tmp_path / name, {"current": make_record("current", c)}, right)
        for name, c, right in zip("ab", counts, (before, after), strict=True)
    ]
    _, (agieval, *tasks), (bbh, *_) = compare(*map(find, folders))
    assert (agieval.n, agieval.difference) == (2546, pytest.approx(6 * 8 / 2546))
    assert (bbh.n, bbh.difference, len(bbh.only_b)) == (6511, pytest.approx(6 * 27 / 6511), 6 * 27)
    assert agieval.low < 6 * 8 / 2546 < agieval.high
    assert agieval.p == pytest.approx(2 / 10_001)  # the smallest p-value that this many resamples can show
    assert tasks[0].p == pytest.approx(2 / 2**6)


def test_the_p_value_of_a_group_agrees_with_the_normal_approximation(tmp_path: Path) -> None:
    generator = np.random.default_rng(5)
    rights = [{task: generator.integers(0, 2, n).tolist() for task, n in ITEMS.items()} for _ in range(2)]
    for task in SUITES["current"].columns[2].tasks:
        rights[1][task][:3] = [1, 1, 1]
    counts = [{task: (sum(values), len(values)) for task, values in one.items()} for one in rights]
    folders = [
        write_stage(tmp_path / name, {"current": make_record("current", c)}, right)
        for name, c, right in zip("ab", counts, rights, strict=True)
    ]
    *_, (bbh, *_) = compare(*map(find, folders))
    error = math.sqrt((len(bbh.only_a) + len(bbh.only_b)) / 6511**2)
    assert bbh.high - bbh.low == pytest.approx(2 * 1.96 * error, rel=0.06)
    assert bbh.p == pytest.approx(math.erfc(abs(bbh.difference) / error / math.sqrt(2)), abs=0.05)


def test_other_items_prompts_or_suites_are_refused(tmp_path: Path) -> None:
    folder, _ = stages(tmp_path)
    one = find(folder)
    right = {"tiny_gen": A, **OTHER}
    prompts = find(write_stage(tmp_path / "c", {"tiny": tiny_record(right)}, right, prompts="another"))
    with pytest.raises(MemphisError, match="tiny/tiny_gen: .* ask item 0 with different prompts"):
        compare(one, prompts)
    fewer = {task: values[:3] for task, values in right.items()}
    limited = find(write_stage(tmp_path / "d", {"tiny": tiny_record(fewer, limit=3)}, fewer))
    with pytest.raises(MemphisError, match="have 20 and 3 items; compare evaluations with the same eval.limit"):
        compare(one, limited)
    with pytest.raises(MemphisError, match="no suite in common: tiny .* and card"):
        compare(one, find(write_stage(tmp_path / "e", {"card": full_record("card", 1, 1, 1)})))
    with pytest.raises(MemphisError, match="gsm8k.jsonl.gz: no samples"):
        compare(*[find(tmp_path / "e")] * 2)
    failed = find(write_stage(tmp_path / "f", {"tiny": {"suite": "tiny", "not_loadable": "no such architecture"}}))
    with pytest.raises(MemphisError, match="could not be loaded"):
        compare(one, failed)


def test_what_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = stages(tmp_path)
    assert main([str(a), str(b), "--flips", "4"]) == 0
    shown = capsys.readouterr().out
    assert f"A: {a}\nB: {b}\n" in shown
    line = next(line for line in shown.splitlines() if line.startswith("tiny/tiny_gen "))
    assert line.split()[:5] == ["tiny/tiny_gen", "20", "60.00", "80.00", "+20.00"]
    assert line.split()[-3:] == ["2", "6", "0.2891"]
    assert "tiny/tiny_gen, right in A alone (2): tiny_gen/0 tiny_gen/1\n" in shown
    assert "right in B alone (6): tiny_gen/14 tiny_gen/15 tiny_gen/16 tiny_gen/17 and 2 more\n" in shown
    main([str(a), str(b)])
    assert "alone (" not in capsys.readouterr().out
    with pytest.raises(MemphisError, match="--resamples=3"):
        main([str(a), str(b), "--resamples", "3"])
