"""Adversarial input for equal(): none of 20,000 seeded texts may raise, and the time of a comparison is bounded."""

import itertools
import random
import sys
from typing import Any

import pytest

from memphis.answers import equal as equal_module
from memphis.answers.clean import MAX_CHARS, clean
from memphis.answers.equal import equal, options_of
from tests.answers.adversarial import WORST, texts

LIMIT_CALLS = 5_000  # five times the longest comparison


@pytest.mark.timeout(300)  # ends a comparison that would never return
@pytest.mark.parametrize("seed", range(4))
def test_no_text_raises(seed: int) -> None:
    drawn = list(texts(seed, 5_000))
    golds = random.Random(seed + 100).sample(drawn, len(drawn))
    for i, (prediction, gold) in enumerate(zip(drawn, golds, strict=True)):
        options = golds[i : i + 4] if i % 5 == 0 else None
        for left, right in ((prediction, gold), (prediction, prediction), (prediction, "12"), (prediction, "B")):
            assert isinstance(equal(left, right, options), bool)
        options_of(prediction)


@pytest.mark.parametrize("text", WORST, ids=range(len(WORST)))
def test_worst_cases_against_each_other(text: str) -> None:
    verdicts = [equal(text, other) for other in (*WORST, "5", "B", "1/3")]
    assert not any(verdict for verdict, other in zip(verdicts, WORST, strict=False) if other != text)


def test_no_layer_sees_a_long_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check the length limit that bounds the time of a comparison."""
    seen: list[str] = []

    def judge(*arguments: Any) -> equal_module.Verdict:
        seen.extend(arguments[:2])
        return equal_module.Verdict(False, "none")

    monkeypatch.setattr(equal_module, "_judge", judge)
    for text in (*WORST, *texts(0, 1_000)):
        equal(text, "5")
        equal("5", text)
    assert len(seen) > 1_000
    assert max(len(text.strip()) for text in seen) == MAX_CHARS
    assert max(len(clean(text)) for text in (*WORST, *texts(1, 1_000))) <= 2 * MAX_CHARS


def test_a_comparison_is_a_bounded_number_of_calls() -> None:
    """Count calls instead of seconds, which depend on the machine; `python -m benchmarks limits` measures seconds."""
    calls = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    worst = 0
    short = [text for text in WORST if len(text) <= MAX_CHARS]
    for text, other in itertools.product(short, (*short, "5", "B", "1/3")):
        calls = 0
        sys.setprofile(count)
        try:
            equal_module._judge.__wrapped__(text, other, (), "normalized", None, None, True)
        finally:
            sys.setprofile(None)
        worst = max(worst, calls)
    assert worst < LIMIT_CALLS


def test_what_was_compared_is_remembered() -> None:
    texts = [f"The total is ${i}.50" for i in range(2_000)]
    for text in texts:
        equal(text, "17.5")
    before = equal_module._judge.cache_info()
    for text in texts:
        equal(text, "17.5")
    after = equal_module._judge.cache_info()
    assert (after.hits - before.hits, after.misses) == (2_000, before.misses)
