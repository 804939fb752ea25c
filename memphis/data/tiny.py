"""Tiny task: grade-school word problems, generated from templates, with rationales that show each calculation.

The four sets are disjoint. A hash of template and numbers assigns a problem to a set, so the base model's corpus and
the evaluation questions can be made at different times, in any amount, by programs that know nothing of each other.
"""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from operator import add, floordiv, mul, sub
from typing import Any, Literal

from memphis.data.tiny_templates import NAMES, TEMPLATES, THINGS
from memphis.errors import MemphisError

Split = Literal["base", "train", "dev", "test"]

LARGEST = 99  # limit of every number in a problem: the tokenizer has one token for each of 0..99

# Cumulative partition of the hash, in per cent. Moving a border moves problems between sets: results change.
_SHARES: tuple[tuple[Split, int], ...] = (("base", 45), ("train", 75), ("dev", 87), ("test", 100))
_STEP_WEIGHTS = {1: 0.3, 2: 0.4, 3: 0.3}  # number of calculations -> frequency
_PATIENCE = 20_000  # draws without a new problem before giving up

OPERATIONS: Mapping[str, Callable[[int, int], int]] = {"+": add, "-": sub, "*": mul, "/": floordiv}
_HOLE = re.compile(r"\{(?:(\w)=(\w)([-+*/])(\w)|(\w))\}")
_ALTERNATIVES = re.compile(r"\[([^\[\]]*)\]")


@dataclass(frozen=True)
class Difficulty:
    """Settings that control how hard the problems are."""

    max_number: int = 30  # largest quantity in a question, 5..99; results go up to 99 whatever it is
    max_factor: int = 5  # largest "each", "times" or "among", 2..12
    max_steps: int = 3  # most calculations in one problem, 1..3

    def __post_init__(self) -> None:
        for name, low, high in (("max_number", 5, LARGEST), ("max_factor", 2, 12), ("max_steps", 1, 3)):
            if not low <= (value := getattr(self, name)) <= high:
                raise MemphisError(f"{name}={value} is outside {low}..{high}; choose a value in that range")


@dataclass(frozen=True)
class Template:
    """Wording of a problem. Holes: A, B, C names; s, t things (plural), o, p the same in the singular; a..e quantities;
    f, g, h factors; {x=a+b} writes "a + b = x" and defines x. [one|another] is a free choice of words."""

    name: str
    question: str
    rationale: str

    @cached_property
    def steps(self) -> tuple[tuple[str, str, str, str], ...]:
        """Tuples (result, left, operation, right) of each calculation, in order; the last result is the answer."""
        return tuple((m[1], m[2], m[3], m[4]) for m in _HOLE.finditer(self.rationale) if m[1])

    @cached_property
    def givens(self) -> tuple[str, ...]:
        """Quantities and factors of the question, in the order in which they are read."""
        found = (m[5] for m in _HOLE.finditer(self.question))
        return tuple(dict.fromkeys(hole for hole in found if hole in "abcdefgh"))


@dataclass(frozen=True)
class Problem:
    template: Template
    numbers: dict[str, int]  # every hole with a number, results included
    prompt: str
    rationale: str

    @property
    def answer(self) -> int:
        return self.numbers[self.template.steps[-1][0]]

    @property
    def givens(self) -> tuple[int, ...]:
        return tuple(self.numbers[hole] for hole in self.template.givens)

    @property
    def row(self) -> dict[str, Any]:
        return {"prompt": self.prompt, "rationale": self.rationale, "answer": str(self.answer)}


_TEMPLATES = tuple(Template(*line) for line in TEMPLATES)
_BY_STEPS = {count: [t for t in _TEMPLATES if len(t.steps) == count] for count in (1, 2, 3)}


def split_of(template: str, givens: Sequence[int]) -> Split:
    """Return the set to which all problems with this template and these numbers belong."""
    digest = sha256(f"{template}:{','.join(map(str, givens))}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") % 100
    return next(name for name, border in _SHARES if place < border)


def draw(split: Split, rng: random.Random, difficulty: Difficulty) -> Problem:
    """Draw a random problem of `split`; draws are independent, so problems can repeat."""
    counts = range(1, difficulty.max_steps + 1)
    weights = [_STEP_WEIGHTS[count] for count in counts]
    templates = _BY_STEPS[rng.choices(counts, weights)[0]]
    for _ in range(_PATIENCE):
        template = rng.choice(templates)
        numbers = _numbers(template, rng, difficulty)
        if numbers and split_of(template.name, [numbers[hole] for hole in template.givens]) == split:
            return _write(template, numbers, rng)
    raise MemphisError(f"max_number={difficulty.max_number} leaves no problem for the {split} set; raise it")


def problems(split: Split, count: int, seed: int, difficulty: Difficulty) -> list[dict[str, Any]]:
    """Generate `count` different problems of one set; a smaller count with the same seed gives the first rows.

    Columns: id, source (by number of calculations), prompt, rationale, answer; dev and test also have choices (four
    different numbers as text, in random order) and gold (index of the right one).
    Raises MemphisError if the difficulty does not allow so many.
    """
    rng = random.Random(f"{seed}:{split}")
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    tries = 0
    while len(rows) < count:
        problem = draw(split, rng, difficulty)
        source = f"tiny-{len(problem.template.steps)}step"
        row = {"id": f"tiny-{split}-{len(rows):05d}", "source": source, **problem.row}
        if split in ("dev", "test"):
            row |= _choices(problem, rng)
        if (text := normalized(problem.prompt)) not in seen:
            seen.add(text)
            rows.append(row)
            tries = 0
        elif (tries := tries + 1) >= _PATIENCE:
            raise MemphisError(
                f"data.sources.tiny.{split}={count}: only {len(rows)} different problems with"
                f" max_number={difficulty.max_number}; ask for fewer or raise max_number"
            )
    return rows


def training_rows(
    train: int, questions: int, seed: int, difficulty: Difficulty
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return (rows for the supervised stage, rows for self-teaching).

    The first `train` problems have a rationale and are in both; the questions after them have rationale "" and are
    known by question and answer only. With `questions` < `train` the questions are the first of the supervised rows.
    """
    rows = problems("train", max(train, questions), seed, difficulty)
    supervised = [row | {"kind": "cot"} for row in rows[:train]]
    unsolved = [row | {"rationale": ""} for row in rows[train:questions]]
    return supervised, rows[: min(train, questions)] + unsolved


def normalized(text: str) -> str:
    """Return lower-case words and numbers only: problems with the same normalized text are the same problem."""
    return " ".join(re.findall(r"\w+", text.lower()))


def few_shot_prompt(question: str, shots: Sequence[Mapping[str, str]]) -> str:
    """Return a chain-of-thought prompt in plain text: solved problems, then the question up to "step by step."

    shots: rows with prompt, rationale and answer. The base corpus has texts of exactly this form.
    """
    return "".join(f"{worked_example(row)}\n\n" for row in shots) + f"Q: {question}\nA: Let's think step by step."


def worked_example(row: Mapping[str, str]) -> str:
    """Return one solved problem in the form that `few_shot_prompt` uses."""
    return f"Q: {row['prompt']}\nA: Let's think step by step. {row['rationale']} So the answer is {row['answer']}."


def _numbers(template: Template, rng: random.Random, difficulty: Difficulty) -> dict[str, int] | None:
    numbers = {
        hole: rng.randint(2, difficulty.max_number if hole in "abcde" else difficulty.max_factor)
        for hole in template.givens
    }
    for result, left, operation, right in template.steps:
        x, y = numbers[left], numbers[right]
        if operation == "/" and x % y:
            return None
        numbers[result] = OPERATIONS[operation](x, y)
        if not 1 <= numbers[result] <= LARGEST:
            return None
    return numbers


def _write(template: Template, numbers: dict[str, int], rng: random.Random) -> Problem:
    names = rng.sample(NAMES, 3)
    things = rng.sample(THINGS, 2)
    words = dict(zip("ABC", names, strict=True)) | dict(zip("op", things, strict=True))
    words |= {"s": f"{things[0]}s", "t": f"{things[1]}s"} | {hole: str(number) for hole, number in numbers.items()}

    def fill(hole: re.Match[str]) -> str:
        return words[hole[5]] if hole[5] else f"{words[hole[2]]} {hole[3]} {words[hole[4]]} = {words[hole[1]]}"

    def text(pattern: str) -> str:
        return _HOLE.sub(fill, _ALTERNATIVES.sub(lambda choice: rng.choice(choice[1].split("|")), pattern))

    return Problem(template, numbers, text(template.question), text(template.rationale))


def _choices(problem: Problem, rng: random.Random) -> dict[str, Any]:
    """Return four options. Wrong ones are plausible mistakes: another operation, a slip by 1, 2, 5 or 10; no number of
    the question, because a model that cannot calculate yet repeats those and would score below chance."""
    gold = problem.answer
    _, left, _, right = problem.template.steps[-1]
    x, y = problem.numbers[left], problem.numbers[right]
    mistakes = {x + y, abs(x - y), x * y} | {gold + slip for slip in (-10, -5, -2, -1, 1, 2, 5, 10)}
    near = {gold + slip for slip in range(-20, 21)}  # for the few problems whose numbers use up the mistakes
    for candidates in (mistakes, near):
        wrong = sorted(number for number in candidates - {gold, *problem.givens} if 1 <= number <= LARGEST)
        if len(wrong) >= 3:
            break
    options = [gold, *rng.sample(wrong, 3)]
    rng.shuffle(options)
    return {"choices": [str(option) for option in options], "gold": options.index(gold)}
