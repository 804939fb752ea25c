"""Tests of the filter in front of algebra: single formulas pass, text that algebra would misread does not."""

import pytest

from memphis.answers.clean import clean
from memphis.answers.expressions import formulas, is_formula
from tests.answers.judging import judge


@pytest.mark.parametrize(
    "answer",
    ["5x+2", r"2\sqrt{3}", r"\sqrt[3]{2}", r"$\dfrac{1}{\sqrt2}$", "(x-1)^2", "xy", r"2\pi", "[2, 5)", "-x", "5!",
     r"\{1, \sqrt{4}\}", "|x|", r"\sin x"],
)  # fmt: skip
def test_a_formula(answer: str) -> None:
    assert is_formula(clean(answer))


@pytest.mark.parametrize(
    "answer",
    ["", "2 hours", "5 cm", "a dog", "yes", "1, 2", "1:5", "4:30", "1; 2", "x < 4", r"x \le 4", "a = b = c", "x + 5 = 13", "× 5", "5 ×",
     "3 +", r"\sum_{n=1}^{3} n", r"\text{red} + 1", "50%", "$5", "(1, 2", "2)", "x+" * 100 + "x", "∛8"],
)  # fmt: skip
def test_no_formula(answer: str) -> None:
    assert not is_formula(clean(answer))


def test_what_is_asked() -> None:
    assert formulas("2√3", "x") is None
    assert formulas("5·x", "2π") == (r"5\cdot x", r"2\pi ")
    assert formulas("x=5", "y=5") is None
    assert formulas("x=2^{2}", "4") == ("2^{2}", "4")
    assert formulas("y=2x+1", "y=1+2x") == ("2x+1", "1+2x")
    assert formulas("2^{2}", "4") == ("2^{2}", "4")
    assert formulas("14811850", "14811851") is None  # exact numbers need no algebra, which would round them


def test_it_is_the_last_layer_and_gets_the_gold_answer_first() -> None:
    calls: list[tuple[str, str]] = []

    def solve(gold: str, prediction: str) -> bool:
        calls.append((gold, prediction))
        return True

    assert judge("5x+2", "2+5x", solve=solve)
    assert judge("5x+2", "2+5x", solve=solve)
    assert calls == [("2+5x", "5x+2")]
    assert judge("5x+2", "5x + 2", solve=solve)
    assert not judge("2020/2021", "2021/2022", solve=solve)
    assert not judge("2 hours", "2 minutes", solve=solve)
    assert not judge("B", "A", options=["2^2", "3"], solve=solve)
    for kind in ("number", "choice", "text", "label", "bool"):
        assert not judge("2x", "x+x", kind=kind, solve=solve)
    assert not judge("2x", "x+x", mode="numeric", solve=solve)
    assert len(calls) == 1
    assert judge("2x", "x+x", kind="math", solve=solve)
    assert judge("x+x", "B", options=["3x", "2x"], solve=lambda gold, prediction: {gold, prediction} == {"2x", "x+x"})
