"""Build (chosen, rejected) pairs from the correct and incorrect completions of one question.

Pure strings, deterministic. Does not judge completions: see equal.py.
"""

import random
from itertools import product

from memphis.errors import MemphisError

MODES = ("zip", "one", "group", "product")
DEDUPS = ("text", "none")
ORDERS = ("generation", "shuffle")

Pair = tuple[str, list[str]]


def build(
    question_id: str,
    correct: list[str],
    incorrect: list[str],
    mode: str,
    *,
    dedup: str = "text",
    order: str = "generation",
    seed: int = 0,
    max_per_question: int | None = None,
) -> list[Pair]:
    """Pair the valid completions of one question; [] if either list is empty.

    Outer whitespace of every completion is stripped. Each returned pair is (chosen, [rejected, ...]).

    mode: zip = i-th correct with i-th incorrect, the surplus of the longer list is discarded (the card's reading);
        one = the first correct with the first incorrect; group = the first correct with all incorrect ones;
        product = every correct with every incorrect.
    dedup: text keeps the first of equal texts within each list; none keeps all.
    order: generation = as given; shuffle = both lists shuffled, after dedup, from (`seed`, `question_id`) alone.
    max_per_question: upper bound on the (chosen, rejected) comparisons: pairs, or rejected completions of a group.
    Raises MemphisError for an unknown mode, dedup or order, and for a bound below 1.
    """
    _check("mode", mode, MODES)
    _check("dedup", dedup, DEDUPS)
    _check("order", order, ORDERS)
    if max_per_question is not None and max_per_question < 1:
        raise MemphisError(f"pairs.max_per_question={max_per_question} leaves no pair; use null or at least 1")
    chosen, rejected = [text.strip() for text in correct], [text.strip() for text in incorrect]
    if dedup == "text":
        chosen, rejected = list(dict.fromkeys(chosen)), list(dict.fromkeys(rejected))
    if order == "shuffle":
        generator = random.Random(f"{seed}:{question_id}")
        generator.shuffle(chosen)
        generator.shuffle(rejected)
    if not chosen or not rejected:
        return []
    if mode == "group":
        return [(chosen[0], rejected[:max_per_question])]
    if mode == "one":
        return [(chosen[0], rejected[:1])]
    combined = zip(chosen, rejected, strict=False) if mode == "zip" else product(chosen, rejected)
    return [(right, [wrong]) for right, wrong in combined][:max_per_question]


def _check(knob: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise MemphisError(f"pairs.{knob}={value} is unknown; use one of {', '.join(known)}")
