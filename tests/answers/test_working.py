"""Tests of the equations in a text: the golden lines, what people wrote, and texts meant to break or to slow it."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from memphis.answers.working import MAX_CHARS, MAX_EQUATIONS, MAX_TOKENS, equations, wrong
from memphis.jsonl import read_rows
from tests.answers.adversarial import GOLDEN, WORST, texts

LINES = [json.loads(line) for line in (GOLDEN / "equations.jsonl").read_text(encoding="utf-8").splitlines()]
# False equations in 2,500 solutions of GSM8K and 1,000 of TAL-SCQ5K: all of them were read, all are false.
FALSE = {
    *("gsm8k-train-5781", "gsm8k-train-6760", "gsm8k-train-6812", "gsm8k-train-7178", "gsm8k-train-6157"),
    *("gsm8k-train-3334", "gsm8k-train-4973", "gsm8k-train-167"),
    *("tal_scq5k_en-697", "tal_scq5k_en-693", "tal_scq5k_en-4929"),
}
SLOW = [
    *("1+1=" * 5_000, "(" * 20_000 + "1=1", "((((1+1))))=2" * 1_000, "2^" * 9_000 + "2=4", "9" * 20_000 + "+1=1"),
    *("1/3+" * 5_000 + "1=1", "\\frac{" * 3_000 + "=1", "a " * 9_000 + "1+1=2", "-" * 20_000 + "1=1", "=" * 20_000),
    *("5 a " * 5_000 + "= 1", "1,1" * 6_000 + "=1", "\\text{" * 3_000 + "1+1=2", "9^64*" * 4_000 + "1=2"),
    *("1+1=2 " + "and " * 5_000, "**" * 9_000 + "1+1=2", "1/" * 9_000 + "3=1", "(1)(" * 5_000 + "1=1"),
]


@pytest.mark.parametrize("line", LINES, ids=[str(k) for k in range(len(LINES))])
def test_golden_lines(line: dict[str, Any]) -> None:
    assert [equation.holds for equation in equations(line["text"])] == line["holds"]


def test_there_are_enough_golden_lines_of_every_verdict() -> None:
    verdicts = [verdict for line in LINES for verdict in line["holds"] or ["none"]]
    assert len(LINES) >= 60
    assert min(verdicts.count(verdict) for verdict in (True, False, None, "none")) >= 15


def test_an_equation_is_given_as_it_is_written() -> None:
    text = "He has 12 + 8 = 21 pens, then 21 * 2 = 42.\n### Answer:\n42"
    assert [(found.text, found.holds) for found in equations(text)] == [("12 + 8 = 21", False), ("21 * 2 = 42", True)]
    assert wrong(text)
    assert wrong("1 + 1 = 2") is False
    assert wrong("so 2 hours = 120 minutes") is None


def test_solutions_that_people_wrote_are_hardly_ever_false(shared: Path) -> None:
    rows = read_rows(shared / "data" / "tinycot_sample" / "train.jsonl")
    found = {row["id"]: [one.holds for one in equations(row["rationale"])] for row in rows}
    assert {name for name, verdicts in found.items() if False in verdicts} == FALSE
    assert sum(verdicts.count(True) for name, verdicts in found.items() if name.startswith("gsm8k")) >= 7_800


@pytest.mark.parametrize("seed", range(2))
def test_no_text_raises(seed: int) -> None:
    for text in texts(seed, 2_000):
        for written in (text, f"{text} = {text}", f"2 + {text} = 5", f"2 + 3 = {text}"):
            equations(written)


@pytest.mark.parametrize("text", [*WORST, *SLOW], ids=range(len(WORST) + len(SLOW)))
def test_the_work_on_a_text_is_bounded(text: str) -> None:
    """Count calls instead of seconds, which depend on the machine."""
    calls = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        equations(text)
        equations(f"{text}=1")
    finally:
        sys.setprofile(None)
    assert calls < 2 * (40 * MAX_CHARS + 40 * MAX_EQUATIONS * MAX_TOKENS)
