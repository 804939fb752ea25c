"""Texts a model might write that are meant to be slow to compare, or to break the comparison."""

import json
import random
from collections.abc import Iterator

from memphis.runs import REPOSITORY

GOLDEN = REPOSITORY / "tests" / "golden"
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
REPEATED = [
    "(",
    "{",
    "\\",
    "$",
    "*",
    "_",
    "9",
    "1,",
    ",000",
    "1/",
    "0.",
    "^",
    "^{",
    "\\frac{",
    "\\sqrt",
    "x=",
    "=",
    " ",
    "a ",
    "one ",
    "hundred ",
    "A)",
    "yes,",
    "1:",
    "-",
    "`",
    "<<",
    "\\left",
    "\\text{",
    "½",
    "ﷺ",
    "²",
    "́",
    "a",
    "5",
    "5 ",
    "a'",
    "a-",
    "a/",
    "aaa ",
    "total ",
    "=a",
    "*a",
    "_a_",
    "$5",
    "-5",
    "{a}",
    "x_1",
    "2:",
    "twenty-one ",
]
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
    """Yield random mixtures of fragments, runs of one fragment, edited golden answers, and hand-written worst cases."""
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
