"""Made-up rows in the form of the real files: same columns, same oddities, none of their text. All drawn from one seed.

The mirror has few items of each of the 36 tasks; GSM8K and two BBH tasks have enough to try every form of answer.
"""

import json
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from eval.suites import CURRENT

GSM8K_ITEMS, LONG_ITEMS, ITEMS = 120, 70, 12
LONG = {"snarks", "object_counting"}
PASSAGES = {"logiqa-en", "lsat-ar", "lsat-lr", "lsat-rc", "sat-en"}  # sets with a text before the question
FIVE = {"aqua-rat", "lsat-ar", "lsat-lr", "lsat-rc"}  # sets with five options
NAMES = [
    "Ada",
    "Bruno",
    "Chloé",
    "Dmitri",
    "Esra",
    "Farah",
    "Gustav",
    "Hana",
    "Ivo",
    "Jutta",
    "Kofi",
    "Liv",
    "Mara",
    "Nils",
    "Oona",
    "Pavel",
]
NOUNS = [
    "anchor",
    "basket",
    "candle",
    "drum",
    "engine",
    "feather",
    "garden",
    "hammer",
    "island",
    "jacket",
    "kettle",
    "ladder",
    "magnet",
    "needle",
    "orchard",
    "pencil",
    "quilt",
    "rocket",
    "saddle",
    "teapot",
    "umbrella",
    "violin",
    "wagon",
    "xylophone",
    "yoghurt",
    "zipper",
    "bridge",
    "castle",
    "desert",
    "estuary",
    "forest",
    "glacier",
]
KINDS = [
    "amber",
    "brisk",
    "calm",
    "dusty",
    "eager",
    "faded",
    "gentle",
    "hollow",
    "icy",
    "jolly",
    "keen",
    "little",
    "mellow",
    "narrow",
    "odd",
    "plain",
    "quiet",
    "rusty",
    "silent",
    "tender",
    "uneven",
    "vivid",
    "woolly",
    "yellow",
    "zealous",
    "bitter",
    "crooked",
    "distant",
    "elastic",
    "fragile",
    "glossy",
    "humble",
]
VERBS = [
    "carries",
    "paints",
    "borrows",
    "counts",
    "hides",
    "mends",
    "polishes",
    "sells",
    "washes",
    "weighs",
    "wraps",
    "collects",
    "trades",
    "inspects",
]
PLACES = [
    "harbour",
    "market",
    "station",
    "library",
    "meadow",
    "workshop",
    "museum",
    "bakery",
    "lighthouse",
    "valley",
    "theatre",
    "cellar",
]


class _Draw(random.Random):
    """Random words, so that hardly any run of thirteen words occurs twice."""

    def thing(self) -> str:
        return f"{self.choice(KINDS)} {self.choice(NOUNS)}"

    def sentence(self) -> str:
        return (
            f"{self.choice(NAMES)} {self.choice(VERBS)} {self.randint(2, 99)} {self.thing()}s near the {self.choice(KINDS)} "
            f"{self.choice(PLACES)} and {self.choice(VERBS)} a {self.thing()} for {self.choice(NAMES)}."
        )

    def text(self, sentences: int) -> str:
        return " ".join(self.sentence() for _ in range(sentences))


# ------------------------------------------------------------------------------------------------------------- benchmarks


def mirror(folder: Path) -> Path:
    """Write a directory for `eval.data_dir`: GSM8K, AGIEval and BBH."""
    draw = _Draw("mirror")
    rows = [_gsm8k(draw, number) for number in range(GSM8K_ITEMS + 20)]
    files = {"train": "train.jsonl", "test": "test.jsonl"}
    _write(folder / "gsm8k" / "test.jsonl", rows[:GSM8K_ITEMS])
    _write(folder / "gsm8k" / "train.jsonl", rows[GSM8K_ITEMS:])
    _describe(folder / "gsm8k", {"main": files})
    for task in CURRENT.columns[1].tasks:
        name = task.removeprefix("agieval_").replace("_", "-")
        _write(folder / "agieval" / "hub" / name / "test.jsonl", [_agieval(draw, name, k) for k in range(ITEMS)])
    names = [task.removeprefix("bbh_cot_fewshot_") for task in CURRENT.columns[2].tasks]
    for name in names:
        count = LONG_ITEMS if name in LONG else ITEMS
        _write(folder / "bbh" / "test" / f"{name}.jsonl", [_bbh(draw, name) for _ in range(count)])
    _describe(folder / "bbh", {name: {"test": f"test/{name}.jsonl"} for name in names})
    return folder


def _write(file: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def _describe(folder: Path, configs: dict[str, dict[str, str]]) -> None:
    """Write the README.md from which `datasets` reads configurations and splits."""
    front = [
        {"config_name": name, "data_files": [{"split": split, "path": path} for split, path in files.items()]}
        for name, files in configs.items()
    ]
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': front})}---\n# Made up\n")


def _gsm8k(draw: _Draw, number: int) -> dict[str, str]:
    """Make rows: calculator annotations, typographic apostrophes, double spaces; thousands' commas in some answers."""
    name, thing, other = draw.choice(NAMES), draw.thing(), draw.thing()
    many, price = draw.randint(3, 99), draw.choice([2, 3, 15, 45, 120])
    total = many * price
    shown = f"{total:,}" if number % 2 else str(total)
    question = (
        f"{draw.sentence()} {name}’s {draw.choice(PLACES)} has {many} {thing}s  and sells each {thing} for ${price} to a "
        f"{draw.choice(KINDS)} stranger who came for a {other}. How much in dollars does {name} get for all of them?"
    )
    answer = (
        f"There are {many} {thing}s that {name} sells at the {draw.choice(KINDS)} {draw.choice(PLACES)}.\n"
        f"They bring {many} * {price} = $<<{many}*{price}={total}>>{shown} for {name}, and not one {other} more.\n#### {shown}"
    )
    return {"question": question, "answer": answer}


def _agieval(draw: _Draw, name: str, number: int) -> dict[str, Any]:
    """Make rows; now and then with a short question, an option in TeX, and an option that lacks its parenthesis."""
    letters = "ABCDE" if name in FIVE else "ABCD"
    if number % 3 == 1:
        question = f"How many {draw.thing()}s fit into the {draw.thing()}?"
    else:
        question = f"{draw.text(2)} Which {draw.choice(NOUNS)} is left?"
    numbers = draw.sample(range(2, 99), len(letters))
    options = [f"({letter}){value}" for letter, value in zip(letters, numbers, strict=True)]
    if number % 4 == 2:
        options = [f"({letter})$\\frac{{{value}}}{{7}}$" for letter, value in zip(letters, numbers, strict=True)]
    if name in PASSAGES:
        options = [f"({letter}){draw.sentence()}" for letter in letters]
    if name == "logiqa-en" and number == 5:
        options[1] = options[1].removeprefix("(")
    passage = draw.text(6) if name in PASSAGES else ""
    asked = f"Among A through {letters[-1]}, the answer is"
    query = f"{passage}Q: {question} Answer Choices: {' '.join(options)}\nA: {asked}"
    return {"query": query, "choices": options, "gold": [draw.randrange(len(letters))]}


def _bbh(draw: _Draw, name: str) -> dict[str, str]:
    if name == "boolean_expressions":
        left, right = draw.choice([True, False]), draw.choice([True, False])
        return {"input": f"not ( {left} ) and ( {right} ) is", "target": str(not left and right)}
    if name == "multistep_arithmetic_two":
        a, b, c, d = (draw.randint(-9, 9) for _ in range(4))
        return {"input": f"(({a} + {b} * {c}) - ({d} - {a})) =", "target": str(a + b * c - (d - a))}
    if name == "dyck_languages":
        opened = draw.choices("([{<", k=draw.randint(2, 5))
        closed = [dict(zip("([{<", ")]}>", strict=True))[one] for one in reversed(opened)]
        return {"input": f"Close what is open. Input: {' '.join(opened)}", "target": " ".join(closed)}
    if name == "word_sorting":
        words = draw.sample(NOUNS, 6)
        return {"input": f"Put these in order: List: {' '.join(words)}", "target": " ".join(sorted(words))}
    if name == "object_counting":
        counts = [draw.randint(2, 9) for _ in range(4)]
        listed = ", ".join(f"{count} {draw.thing()}s" for count in counts)
        return {"input": f"I own {listed}. How many things do I own?", "target": str(sum(counts))}
    choices = {
        "causal_judgement": ("Yes", "No"),
        "navigate": ("Yes", "No"),
        "web_of_lies": ("Yes", "No"),
        "sports_understanding": ("yes", "no"),
        "formal_fallacies": ("valid", "invalid"),
    }.get(name)
    if choices:
        listed = "" if name in ("web_of_lies", "sports_understanding") else "".join(f"\n- {word}" for word in choices)
        return {"input": draw.text(4) + (f"\nOptions:{listed}" if listed else ""), "target": draw.choice(choices)}
    opening = ""
    if name.startswith("logical_deduction"):  # more than ten items share these words
        opening = "Each of these paragraphs tells in which fixed order some things stand on the very same shelf. "
    options = "\n".join(f"({letter}) {draw.sentence()}" for letter in "ABC")
    return {"input": f"{opening}{draw.text(2)}\nOptions:\n{options}", "target": f"({draw.choice('ABC')})"}


# ---------------------------------------------------------------------------------------------------------- training rows


def tinycot(count: int = 360) -> list[dict[str, str]]:
    """Make rows of six origins in turn: word problems, yes or no, choices in English and Chinese, entailment."""
    draw = _Draw("tinycot")
    kinds = (_problem, _yes_or_no, _choice, _entails, _problem, _chinese)
    return [{**kinds[number % len(kinds)](draw), "id": f"made-up-{number}"} for number in range(count)]


def _problem(draw: _Draw) -> dict[str, str]:
    many, price = draw.randint(3, 99), draw.choice([2, 15, 45, 120])
    total = many * price
    shown = f"{total:,}" if draw.random() < 0.3 else str(total)
    rationale = f"They are {many}.\n{many} * {price} = ${total}\n\n#### is what it ends in, with {draw.thing()}s"
    prompt = f"{draw.sentence()}  {many} of them cost ${price} each. How much is that? "
    return {"prompt": prompt, "rationale": rationale, "target": shown, "source": "gsm8k"}


def _yes_or_no(draw: _Draw) -> dict[str, str]:
    prompt = f"Could a {draw.thing()} float in the {draw.choice(PLACES)}?"
    return {"prompt": prompt, "rationale": draw.text(2), "target": draw.choice(["yes", "no"]), "source": "strategyqa"}


def _choice(draw: _Draw) -> dict[str, str]:
    """Make a row with raw TeX; its rationale may be just "NA"."""
    letters = "ABCDE"[: draw.choice([4, 5])]
    forms = ("$${}$$", "{}", r"$$\dfrac{{{}}}{{7}}$$", r"$\${}$", "{} cm", r"\textquotesingle {}~", "{}%")
    form = draw.choice(forms)
    numbers = [str(number) for number in draw.sample(range(2, 99), len(letters))]
    listed = "\n".join(f"{letter}) {form.format(number)}" for letter, number in zip(letters, numbers, strict=True))
    rationale = draw.choice(["NA", f"$$2+{numbers[0]}$$ fits.", draw.text(1)])
    prompt = f"{draw.sentence()} What is $$x$$ ．\n{listed}"
    return {"prompt": prompt, "rationale": rationale, "target": draw.choice(letters), "source": "tal_scq5k_en"}


def _chinese(draw: _Draw) -> dict[str, str]:
    numbers = draw.sample(range(2, 99), 4)
    listed = "\n".join(f"{letter}) $${number}$$" for letter, number in zip("ABCD", numbers, strict=True))
    place = draw.randrange(4)
    return {
        "prompt": f"小明有$${numbers[0]}$$个苹果，共有~\\uline{{~~~~}}~个．\n{listed}",
        "rationale": f"由题可知，一共有$${numbers[place]}$$个．  故选：$$\\text{{{'ABCD'[place]}}}$$．",
        "target": "ABCD"[place],
        "source": "tal_scq5k_cn",
    }


def _entails(draw: _Draw) -> dict[str, str]:
    return {
        "prompt": f'Does the sentence "{draw.sentence()}" entail or contradict the sentence "{draw.sentence()}"?',
        "rationale": f" {draw.text(1)}",
        "target": draw.choice(["Entails", "Contradicts"]),
        "source": "flute",
    }


def scicot(count: int = 40) -> list[dict[str, str]]:
    """Make rows with long prompts of several paragraphs, and a verdict."""
    draw = _Draw("scicot")
    return [
        {
            "prompt": "\n".join(draw.text(5) for _ in range(3)) + f"\n\nDoes the {draw.thing()} help?",
            "rationale": draw.text(3),
            "target": draw.choice(["yes", "no", "maybe"]),
            "source": "pubmed_qa",
            "id": f"made-up-{number}",
        }
        for number in range(count)
    ]


def oasst(count: int = 20) -> list[dict[str, Any]]:
    """Make conversations of one and two exchanges in turn, with lists and blank lines inside."""
    draw = _Draw("oasst")
    return [
        {
            "messages": [
                {"role": role, "content": f"{draw.text(1)}\n\n1. {draw.thing()}\n2. {draw.thing()}\n"}
                for _ in range(1 + number % 2)
                for role in ("user", "assistant")
            ],
            "id": f"made-up-{number}",
        }
        for number in range(count)
    ]
