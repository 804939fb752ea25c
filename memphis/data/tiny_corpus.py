"""The plain text on which the laptop's base model is pre-trained: arithmetic, finding a number in a text, solved
problems of the `base` set, and a little of every notation that later stages use.

The later stages keep the embeddings frozen, so a token that never occurs here stays meaningless for good: that is why
headers and bare numbers are in it, in uses other than the ones which supervised training teaches.
"""

import random
from collections.abc import Callable

from memphis.data.tiny import LARGEST, Difficulty, Problem, draw, few_shot_prompt, worked_example
from memphis.data.tiny_templates import NAMES, THINGS


def base_corpus(count: int, seed: int, difficulty: Difficulty) -> list[str]:
    """`count` texts, the same for the same arguments; fewer are the first ones of more. No dev or test problem is in
    them, nor one of the training set."""
    rng = random.Random(f"{seed}:corpus")
    makers, weights = zip(*_MIXTURE, strict=True)
    return [rng.choices(makers, weights)[0](rng, difficulty) for _ in range(count)]


def equation(rng: random.Random, difficulty: Difficulty) -> str:
    """A calculation of the kind that problems need: "12 + 7 = 19"."""
    operation = rng.choice("++--*/")
    small = rng.randint(2, min(difficulty.max_number, LARGEST - 1))
    large = rng.randint(2, LARGEST - 1)
    factor = rng.randint(2, difficulty.max_factor)
    if operation == "+":
        x, y = rng.sample([min(large, LARGEST - small), small], 2)
        return f"{x} + {y} = {x + y}"
    if operation == "-":
        x, y = max(large, small), min(large, small)
        y = y if x > y else 1
        return f"{x} - {y} = {x - y}"
    quotient = rng.randint(1, LARGEST // factor)
    if operation == "*":
        return f"{quotient} * {factor} = {quotient * factor}"
    return f"{quotient * factor} / {factor} = {quotient}"


def _drill(rng: random.Random, difficulty: Difficulty) -> str:
    return rng.choice((". ", "\n")).join(equation(rng, difficulty) for _ in range(rng.randint(6, 12)))


def _retrieval(rng: random.Random, difficulty: Difficulty) -> str:
    """Several people own things; then who owns how many is said again in another order."""
    verb = rng.choice(("has", "found", "buys", "saves"))
    facts = [
        f"{name} {verb} {rng.randint(2, difficulty.max_number)} {thing}s"
        for name, thing in zip(rng.sample(NAMES, 4), rng.sample(THINGS, 4), strict=True)
    ][: rng.randint(2, 4)]
    again = rng.sample(facts, len(facts))
    return f"{'. '.join(facts)}. So {'. So '.join(again)}."


def _story(rng: random.Random, difficulty: Difficulty) -> str:
    problem = draw("base", rng, difficulty)
    # A word at the start of a line is another token than the same word after a space: both must be known.
    gap = rng.choice((" ", "\n"))
    return f"{problem.prompt}{gap}{problem.rationale}{gap}The answer is {problem.answer}."


def _few_shot(rng: random.Random, difficulty: Difficulty) -> str:
    *shots, last = [_row(draw("base", rng, difficulty)) for _ in range(rng.randint(1, 5))]
    return few_shot_prompt(last["prompt"], shots) + worked_example(last).removeprefix(
        few_shot_prompt(last["prompt"], [])
    )


def _short_answer(rng: random.Random, difficulty: Difficulty) -> str:
    problem = draw("base", rng, difficulty)
    return f"{problem.prompt} The answer is {problem.answer}"


def _headed(rng: random.Random, difficulty: Difficulty) -> str:
    """The chat headers around small tasks that are no word problems."""
    name, number, thing = rng.choice(NAMES), rng.randint(0, LARGEST), rng.choice(THINGS)
    left, result = equation(rng, difficulty).split(" = ")
    start = rng.randint(1, LARGEST - 4)
    steps = ", ".join(str(n) for n in range(start, start + 5))
    user, header, reply = rng.choice(
        (
            (f"Write the number {number}.", "Answer", str(number)),
            (f"{left}", "Answer", result),
            (f"Count from {start} to {start + 4}.", "Rationale", f"{steps}\n### Answer:\n{start + 4}"),
            (f"Say it again: {name} has {number} {thing}s.", "Assistant", f"{name} has {number} {thing}s."),
            (f"What is {left}?", "Rationale", f"{left} = {result}\n### Answer:\n{result}"),
        )
    )
    system = f"### System:\nBe kind to {name}.\n" if rng.random() < 0.1 else ""
    return f"{system}### User:\n{user}\n### {header}:\n{reply}"


def _numbers(rng: random.Random, difficulty: Difficulty) -> str:
    """Every number token, with and without a space before it."""
    numbers = [str(rng.randint(0, LARGEST)) for _ in range(rng.randint(5, 20))]
    return rng.choice((" ", "\n", ", ")).join(numbers)


def _row(problem: Problem) -> dict[str, str]:
    return {"prompt": problem.prompt, "rationale": problem.rationale, "answer": str(problem.answer)}


_MIXTURE: tuple[tuple[Callable[[random.Random, Difficulty], str], float], ...] = (
    (_drill, 0.2),
    (_retrieval, 0.15),
    (_story, 0.35),
    (_few_shot, 0.12),
    (_short_answer, 0.05),
    (_headed, 0.1),
    (_numbers, 0.03),
)
