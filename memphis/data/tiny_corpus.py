"""Plain text for pre-training the base model of the tiny task: arithmetic, finding a number in a text, solved problems
of the `base` set, and a little of every notation that later stages use: they keep the embeddings frozen, so a token
that never occurs here is never learned. Headers and bare numbers have other uses than in supervised training.
"""

import random
from collections.abc import Callable

from memphis.data.tiny import LARGEST, OPERATIONS, Difficulty, draw, worked_example
from memphis.data.tiny_templates import NAMES, THINGS


def base_corpus(count: int, seed: int, difficulty: Difficulty) -> list[str]:
    """Generate `count` texts, the same for the same arguments; fewer are the first ones of more. No problem of the dev,
    test or training set is in them."""
    rng = random.Random(f"{seed}:corpus")
    makers, weights = zip(*_MIXTURE, strict=True)
    return [rng.choices(makers, weights)[0](rng, difficulty) for _ in range(count)]


def equation(rng: random.Random, difficulty: Difficulty, left: int | None = None) -> tuple[str, int]:
    """Return a calculation of the kind that problems need, "12 + 7", and its result. left: the first operand."""
    given = left is not None
    # half of the first operands are small: problems begin with those
    left = left or rng.randint(2, min(rng.choice((difficulty.max_number, LARGEST)), LARGEST - 1))
    divisors = [factor for factor in range(2, difficulty.max_factor + 1) if left % factor == 0]
    possible = {
        "+": min(difficulty.max_number, LARGEST - left),
        "-": min(difficulty.max_number, left - 1),
        "*": min(difficulty.max_factor, LARGEST // left),
        "/": len(divisors) + 1,
    }
    operation = rng.choice([o for o in "++--*/" if possible[o] > 1] or ["-"])
    if operation == "/":
        right = rng.choice(divisors)
    else:
        right = rng.randint(1 if operation in "+-" else 2, max(1, possible[operation]))
    if operation == "+" and not given and rng.random() < 0.5:
        left, right = right, left
    return f"{left} {operation} {right}", OPERATIONS[operation](left, right)


def _drill(rng: random.Random, difficulty: Difficulty) -> str:
    """Write calculations one after the other, either independent or each continuing from the last result."""
    chain, lines, result = rng.random() < 0.5, [], None
    for _ in range(rng.randint(6, 12)):
        left, result = equation(rng, difficulty, result if chain and result != 1 else None)
        lines.append(f"{left} = {result}")
    return rng.choice((". ", "\n")).join(lines)


def _retrieval(rng: random.Random, difficulty: Difficulty) -> str:
    """Write who owns how many of what, then repeat it in another order."""
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
    ending = f"{gap}The answer is {problem.answer}." if rng.random() < 0.6 else f"\n{problem.answer}"
    return f"{problem.prompt}{gap}{problem.rationale}{ending}"


def _few_shot(rng: random.Random, difficulty: Difficulty) -> str:
    return "\n\n".join(worked_example(draw("base", rng, difficulty).row) for _ in range(rng.randint(2, 4)))


def _short_answer(rng: random.Random, difficulty: Difficulty) -> str:
    problem = draw("base", rng, difficulty)
    return f"{problem.prompt} The answer is {problem.answer}"


def _headed(rng: random.Random, difficulty: Difficulty) -> str:
    """Write a small task that is no word problem, with the chat headers around it."""
    name, number, thing = rng.choice(NAMES), rng.randint(0, LARGEST), rng.choice(THINGS)
    left, result = equation(rng, difficulty)
    start = rng.randint(1, LARGEST - 4)
    steps = ", ".join(str(n) for n in range(start, start + 5))
    user, header, reply = rng.choice(
        (
            (f"Write the number {number}.", "Answer", str(number)),
            (left, "Answer", str(result)),
            (f"Count from {start} to {start + 4}.", "Rationale", f"{steps}\n### Answer:\n{start + 4}"),
            (f"Say it again: {name} has {number} {thing}s.", "Assistant", f"{name} has {number} {thing}s."),
            (f"What is {left}?", "Rationale", f"{left} = {result}\n### Answer:\n{result}"),
        )
    )
    system = f"### System:\nBe kind to {name}.\n" if rng.random() < 0.1 else ""
    return f"{system}### User:\n{user}\n### {header}:\n{reply}"


def _numbers(rng: random.Random, difficulty: Difficulty) -> str:
    """Write numbers twice, in two notations: with and without a space before it a number is two tokens."""
    numbers = [str(rng.randint(0, LARGEST)) for _ in range(rng.randint(3, 12))]
    first, second = rng.sample((" ", "\n", ", "), 2)
    return f"{first.join(numbers)}\n{second.join(numbers)}"


_MIXTURE: tuple[tuple[Callable[[random.Random, Difficulty], str], float], ...] = (
    (_drill, 0.15),
    (_retrieval, 0.12),
    (_story, 0.48),
    (_few_shot, 0.08),
    (_short_answer, 0.02),
    (_headed, 0.09),
    (_numbers, 0.06),
)
