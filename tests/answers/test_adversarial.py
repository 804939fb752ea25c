"""A model may write anything: 20,000 seeded texts through equal(), none may raise or take long."""

import gc
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from memphis.answers.equal import equal, options_of

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
LIMIT_SECONDS = 0.05
FRAGMENTS = (
    [*"0123456789+-*/=^_{}()[]<>|\\$%.,:;!?'\"`~#& \t\n\r", "\x00", "\x1b", "\x85", "\u2028"]
    + [
        "\u200b",
        "\u202e",
        "\u2067",
        "\ufeff",
        "\ud800",
        "\U0010ffff",
        "٣",
        "½",
        "²",
        "⁻",
        "①",
        "Ⅷ",
        "ﷺ",
        "İ",
        "ß",
        "π",
        "－",
        "＄",
    ]
    + [
        rf"\{name}"
        for name in ("frac", "dfrac", "sqrt", "sqrt[3]", "text", "boxed", "left(", "right)", "times", "textbackslash")
    ]
    + [
        r"\frac{1}{2}",
        r"\text{",
        "{,}",
        "<<",
        ">>",
        "####",
        "### ",
        "### Answer:",
        "**",
        "__",
        "$$",
        r"\$",
        r"\(",
        r"\]",
    ]
    + [
        "The answer is ",
        "final answer: ",
        "A) ",
        "(B)",
        "Option C",
        "选D",
        "yes",
        "No, ",
        "true",
        "maybe",
        "Entails",
        "or ",
        "not ",
    ]
    + [
        "twenty-",
        "one ",
        "hundred ",
        "million ",
        "e9",
        "E-12",
        "10^6",
        "1,234",
        "12 000",
        "3.14159265",
        "1 1/2",
        "/0",
        "x = ",
    ]
    + [
        "km/h",
        " per hour",
        " apples",
        "Rs. ",
        "cents",
        "percent",
        "4:30",
        " p.m.",
        "nan",
        "inf",
        "-0",
        "th",
        "°C",
        "square m",
    ]
)
REPEATED = ["(", "{", "\\", "$", "*", "_", "9", "1,", ",000", "1/", "0.", "^", "^{", "\\frac{", "\\sqrt", "x=", "=", " ", "a ",
            "one ", "hundred ", "A)", "yes,", "1:", "-", "`", "<<", "\\left", "\\text{", "½", "ﷺ", "²", "\u0301",
            "a", "5", "5 ", "a'", "a-", "a/", "aaa ", "total ", "=a", "*a", "_a_", "$5", "-5", "{a}", "x_1", "2:", "twenty-one "]  # fmt: skip
WORST = [
    "9" * 10_000,
    "0." + "3" * 10_000,
    "1" * 510 + "/3",
    "0." + "6" * 510,
    "9^{9^{9^{9}}}",
    "10^{10^{10}}",
    "1e999",
    "1e-999",
    r"\frac{1}{" * 200 + "2" + "}" * 200,
    r"\frac" * 200 + "12",
    r"\frac12" * 60,
    "{" * 250 + "}" * 250,
    "(" * 250 + ")" * 250,
    "$" * 511,
    "*a" * 250,
    "one hundred and " * 30,
    "1 " * 250 + "=" + " 1" * 5,
    "x=" * 250 + "5",
    "a" * 480 + "# = 5",
    "a b " * 120 + "5",
    "\x00" * 500,
    "5 mıllıon",
    "ınr 5",
    "\u202e\u202d5\u202c" * 100,
]


def texts(seed: int, count: int) -> Iterator[str]:
    """Random salads of fragments, runs of one fragment, edited golden answers, and the worst cases by hand."""
    draw = random.Random(seed)
    with (GOLDEN / "answers.jsonl").open(encoding="utf-8") as file:
        known = [text for line in map(json.loads, file) for text in (line["prediction"], line["gold"]) if text]
    for i in range(count):
        family = i % 4
        if family == 0:
            yield "".join(draw.choices(FRAGMENTS, k=draw.randint(1, 40)))
        elif family == 1:
            run = draw.choice(REPEATED) * draw.choice((5, 60, 170, 500))
            yield (draw.choice(FRAGMENTS) + run + draw.choice(FRAGMENTS))[: draw.choice((200, 512, 512, 10_000))]
        elif family == 2:
            text, at = draw.choice(known), draw.randint(0, 8)
            yield text[:at] + draw.choice(FRAGMENTS) + text[at + draw.randint(0, 1) :]
        else:
            yield draw.choice(WORST) if draw.random() < 0.2 else chr(draw.randrange(0x110000)) + draw.choice(known)


@pytest.fixture(autouse=True)
def no_garbage_collection() -> Iterator[None]:
    """A collection that happens to fall into a call is not the time of that call."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("seed", range(4))
def test_no_text_raises_or_takes_long(seed: int) -> None:
    drawn = list(texts(seed, 5_000))
    golds = random.Random(seed + 100).sample(drawn, len(drawn))
    slow = []
    for i, (prediction, gold) in enumerate(zip(drawn, golds, strict=True)):
        options = golds[i : i + 4] if i % 5 == 0 else None
        for said, wanted in ((prediction, gold), (prediction, prediction), (prediction, "12"), (prediction, "B")):
            start = time.thread_time()
            verdict = equal(said, wanted, options)
            seconds = time.thread_time() - start
            assert isinstance(verdict, bool)
            if seconds > LIMIT_SECONDS:
                slow.append((seconds, said, wanted))
        options_of(prediction)
    assert not slow


@pytest.mark.parametrize("text", WORST, ids=range(len(WORST)))
def test_worst_cases_against_each_other(text: str) -> None:
    start = time.thread_time()
    verdicts = [equal(text, other) for other in (*WORST, "5", "B", "1/3")]
    assert (time.thread_time() - start) / len(verdicts) < LIMIT_SECONDS
    assert not any(verdict for verdict, other in zip(verdicts, WORST, strict=False) if other != text)


def test_usual_comparisons_are_quick() -> None:
    said = [f"The total is ${i}.50" for i in range(2_000)]
    start = time.thread_time()
    for text in said:
        equal(text, "17.5")
    first = time.thread_time() - start
    assert first / len(said) < 1e-3  # about 0.1 ms; the bound leaves room for a busy machine
    start = time.thread_time()
    for text in said:
        equal(text, "17.5")
    assert time.thread_time() - start < first / 3  # cached
