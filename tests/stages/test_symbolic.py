"""Tests of the algebra worker: answers that it finds equal, and no input that makes it hang."""

import sys
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

import pytest

from memphis.answers.equal import options_of
from memphis.engine.launch import check_packages
from memphis.engine.plan import make_plan
from memphis.errors import MemphisError
from memphis.jsonl import read_rows
from memphis.recipe import recipe
from memphis.stages.symbolic import Algebra
from memphis.store import Store
from tests.answers.judging import judge
from tests.composing import compose_config
from tests.hub import lines
from tests.stages.test_pairs import KNOBS, run, said, sample

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
EQUAL_IN_THE_SOURCE = {"tal_scq5k_en-575", "aqua-dev-92"}


@pytest.fixture(scope="module")
def algebra() -> Iterator[Algebra]:
    pytest.importorskip("math_verify", reason="optional: see requirements-dev.txt")
    with Algebra() as found:
        yield found


def test_what_only_algebra_finds_equal(algebra: Algebra) -> None:
    golden = lines(GOLDEN / "answers.jsonl")
    wrong = [
        x["id"]
        for x in golden
        if judge(x["prediction"], x["gold"], options=x.get("options"), solve=algebra) != x["equal"]
    ]
    assert not wrong  # s090 and s091 among them
    assert judge(r"\frac{\sqrt{2}}{2}", r"\frac{1}{\sqrt{2}}", solve=algebra)
    assert judge("x^2+2x+1", "(x+1)^2", solve=algebra)
    assert judge("2^2", "4", solve=algebra)
    assert not judge("3.141593", r"\pi", solve=algebra)  # no tolerance here either
    assert not judge("x - 5", "5 - x", solve=algebra)


@pytest.mark.parametrize(
    ("one", "other"),
    [(r"\frac{1}{2^{98}}", r"\frac{1}{2^{99}}"), ("1/52!", "1/50!"), ("1011_2", "1011"), ("2^{-98}", "2^{-98}+2^{-160}"),
     (r"\frac{x}{2^{98}}", r"\frac{x}{2^{99}}"), (r"(\frac{1}{2^{98}},1)", r"(\frac{1}{2^{99}},1)"), ("1/2^{98}", "0")],
)  # fmt: skip
def test_small_values_differ(algebra: Algebra, one: str, other: str) -> None:
    """Check a regression: differences were rounded to so many decimals."""
    assert not judge(one, other, solve=algebra)
    assert not judge(other, one, solve=algebra)
    assert judge(one, one, solve=algebra)


@pytest.mark.slow
def test_nothing_hangs_and_the_next_question_is_answered(algebra: Algebra) -> None:
    """Check timeouts: the first two inputs would never end. The test must end and the timeouts must be counted."""
    before = dict(algebra.counts)
    assert not algebra("9^{9^{9^{9}}}", "3")
    assert not algebra(r"\sum_{n=1}^{10^9} n^n", "3")
    assert not algebra(r"\frac{1}{" * 200 + "x" + "}" * 200, "3")
    assert algebra("2+5x", "5x+2")
    assert algebra.counts["timed_out"] >= before["timed_out"] + 2
    assert not algebra("9^{9^{9^{9}}}", "3")
    assert algebra.counts["asked"] <= before["asked"] + 4  # remembered


@pytest.mark.slow
def test_different_options_of_real_questions(algebra: Algebra, shared: Path) -> None:
    """Compare 10,529 pairs of options, of which a few hundred are formulas: takes half a minute."""
    same = set()
    for name in ("train", "heldout", "extra_aqua_dev"):
        for row in lines(shared / "data" / "tinycot_sample" / f"{name}.jsonl"):
            options = options_of(row["prompt"]) if row["source"] != "tal_scq5k_cn" else None
            same |= {
                (row["id"], frozenset((a, b))) for a, b in permutations(options or [], 2) if judge(a, b, solve=algebra)
            }
    assert {name for name, _ in same} >= EQUAL_IN_THE_SOURCE
    assert len(same) <= 10, same


def test_a_worker_that_does_not_start_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with Algebra() as found:
        assert not found("x+x", "2x")
        assert not found("x+x", "3x")
    assert found.counts == {"asked": 2, "equal": 0, "timed_out": 0, "failed": 0, "unavailable": 2}
    samples = {"q": [sample(said("4")), sample(said("x"))]}
    summary, out = run(tmp_path, samples, answer={**KNOBS["answer"], "symbolic": True})
    assert read_rows(out / "metrics.jsonl")[-1]["pairs/symbolic_unavailable"] == 1
    assert any("pairs.answer.symbolic=true" in warning for warning in summary["warnings"])


def test_pairs_are_judged_with_it(algebra: Algebra, tmp_path: Path) -> None:
    samples = {"q": [sample(said("2^2")), sample(said("x")), sample(said("9^{9^{9^{9}}}"))]}
    summary, out = run(tmp_path, samples, answer={**KNOBS["answer"], "symbolic": True})
    assert summary["pairs"] == 1
    counts = read_rows(out / "metrics.jsonl")[-1]
    assert [counts[f"pairs/symbolic_{what}"] for what in algebra.counts] == [3, 1, 1, 0, 0]
    assert read_rows(out / "pairs.jsonl")[0]["chosen"] == said("2^2")


def test_a_missing_package_is_said_before_anything_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = compose_config("pairs.answer.symbolic=true", "generate=hf")
    steps = make_plan(recipe(cfg, tmp_path / "identities.json"), Store(tmp_path / "store"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MemphisError, match=r"^pairs.answer.symbolic=true: stage pairs-1 needs the package math-verify"):
        check_packages(steps)
