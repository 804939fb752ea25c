"""Tests of the laptop's task: disjoint sets, rationales with correct arithmetic, a tokenizer that knows numbers."""

import random
import re
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from memphis.data import tiny
from memphis.data.tiny import (
    LARGEST,
    Difficulty,
    Split,
    draw,
    few_shot_prompt,
    normalized,
    problems,
    split_of,
    training_rows,
    worked_example,
)
from memphis.data.tiny_corpus import base_corpus, equation
from memphis.data.tiny_templates import TEMPLATES
from memphis.data.tiny_tokenizer import EOS, train_tokenizer
from memphis.errors import MemphisError

DEFAULT = Difficulty()
SPLITS: tuple[Split, ...] = ("base", "train", "dev", "test")
EQUATION = re.compile(r"(\d+) ([-+*/]) (\d+) = (\d+)")
FIRST_TEST_QUESTION = "One ball costs 2 dollars. Nora buys 9 balls. How many dollars does Nora pay?"
SPLIT_EXAMPLES = ("train", "base", "train")  # of ("gift", 3 4), ("gift", 4 3), ("bus", 9 2 3 4)
HEADERS = ("### User:", "### Rationale:", "### Answer:", "### Assistant:", "### System:")
COUNTS = {"base": 2000, "train": 3000, "dev": 1000, "test": 1000}


@pytest.fixture(scope="module")
def sets():
    return {split: problems(split, COUNTS[split], 0, DEFAULT) for split in SPLITS}


@pytest.fixture(scope="module")
def corpus():
    return base_corpus(4000, 0, DEFAULT)


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """Return the directory in which the tokenizer is saved."""
    return tmp_path_factory.mktemp("tokenizer")


@pytest.fixture(scope="module")
def tokenizer(corpus, saved):
    return train_tokenizer(corpus, 768, saved)


def right(left: int, operation: str, other: int) -> float:
    return {"+": left + other, "-": left - other, "*": left * other, "/": left / other}[operation]


def test_the_four_sets_share_no_text(sets):
    texts = [normalized(row["prompt"]) for rows in sets.values() for row in rows]
    assert len(texts) == sum(COUNTS.values())
    assert len(set(texts)) == len(texts)


def test_the_four_sets_share_no_template_with_the_same_numbers():
    rng = random.Random(1)
    keys = {
        split: {(p.template.name, p.givens) for p in (draw(split, rng, DEFAULT) for _ in range(2000))}
        for split in SPLITS
    }
    for split, found in keys.items():
        assert {split_of(*key) for key in found} == {split}
        assert len(found) > 800
    assert sum(map(len, keys.values())) == len(set.union(*keys.values()))


def test_numbers_of_a_question_are_the_key_of_its_set():
    rng = random.Random(2)
    for _ in range(500):
        problem = draw("test", rng, DEFAULT)
        assert tuple(map(int, re.findall(r"\d+", problem.prompt))) == problem.givens


def test_sets_stay_apart_whatever_their_seeds_and_difficulties(sets):
    held_out = {normalized(row["prompt"]) for row in sets["dev"] + sets["test"]}
    for seed, difficulty in (
        (7, Difficulty(max_number=12)),
        (8, Difficulty(max_number=60, max_factor=9)),
        (0, DEFAULT),
    ):
        assert not held_out & {normalized(row["prompt"]) for row in problems("train", 1000, seed, difficulty)}


def test_the_corpus_contains_no_question_of_another_set(sets, corpus):
    everything = " ".join(map(normalized, corpus))
    for split in ("train", "dev", "test"):
        assert not [row for row in sets[split] if normalized(row["prompt"]) in everything]


def test_every_problem_in_the_corpus_belongs_to_the_base_set():
    """Find problems by the wording of their questions, not by the generator's own record."""
    shapes = []
    for name, question, _ in TEMPLATES:
        pattern = re.escape(re.sub(r"\{[a-h]\}", "<number>", re.sub(r"\{[ABCstop]\}", "<word>", question)))
        shapes.append((name, re.compile(pattern.replace("<number>", r"(\d+)").replace("<word>", r"\w+"))))
    found = [
        split_of(name, [int(n) for n in match.groups()])
        for text in base_corpus(300, 5, DEFAULT)
        for name, shape in shapes
        for match in shape.finditer(text)
    ]
    assert len(found) > 150
    assert set(found) == {"base"}


def test_the_same_arguments_give_the_same_rows_and_fewer_are_the_first_of_more(sets, corpus):
    assert problems("dev", 200, 0, DEFAULT) == sets["dev"][:200]
    assert base_corpus(100, 0, DEFAULT) == corpus[:100]
    assert problems("dev", 50, 1, DEFAULT) != sets["dev"][:50]
    assert base_corpus(50, 1, DEFAULT) != corpus[:50]


def test_rows_stay_as_they_are(sets):
    """Pin the rows. A change moves every published tiny number: bump the versions of `data` and `base`."""
    assert sets["test"][0]["prompt"] == FIRST_TEST_QUESTION
    assert (split_of("gift", (3, 4)), split_of("gift", (4, 3)), split_of("bus", (9, 2, 3, 4))) == SPLIT_EXAMPLES


def test_arithmetic_in_rationales_is_right_and_ends_in_the_answer(sets):
    for rows in sets.values():
        for row in rows:
            steps = EQUATION.findall(row["rationale"])
            assert (
                row["rationale"].count("=")
                == len(steps)
                == int(row["source"].removeprefix("tiny-").removesuffix("step"))
            )
            for left, operation, other, result in steps:
                assert right(int(left), operation, int(other)) == int(result)
            assert steps[-1][-1] == row["answer"]
            assert all(0 < int(number) <= LARGEST for number in re.findall(r"\d+", row["prompt"] + row["rationale"]))


def test_every_operand_comes_from_the_question_or_an_earlier_result(sets):
    for row in sets["train"]:
        known = re.findall(r"\d+", row["prompt"])
        for left, _, other, result in EQUATION.findall(row["rationale"]):
            assert {left, other} <= set(known)
            known.append(result)


def test_arithmetic_in_the_corpus_is_right(corpus):
    found = [match for text in corpus for match in EQUATION.findall(text)]
    assert len(found) > 8000
    assert all(right(int(left), operation, int(other)) == int(result) for left, operation, other, result in found)


def test_calculations_stay_in_range_and_cover_every_operation():
    rng = random.Random(0)
    for difficulty in (Difficulty(5, 2, 1), DEFAULT, Difficulty(99, 12, 3)):
        seen = set()
        for left in [None] * 1000 + list(range(2, LARGEST + 1)):
            text, result = equation(rng, difficulty, left)
            first, operation, other = text.split()
            assert left is None or int(first) == left
            assert right(int(first), operation, int(other)) == result
            assert all(0 < number <= LARGEST for number in (int(first), int(other), result))
            seen.add(operation)
        assert seen == set("+-*/")


def test_texts_hold_no_headers_and_no_open_holes(sets):
    for rows in sets.values():
        for row in rows:
            for text in (row["prompt"], row["rationale"], row["answer"]):
                assert text == text.strip()
                assert text
                assert not set("{}[]|#\n") & set(text)


def test_all_templates_and_all_numbers_of_steps_occur(sets):
    rng = random.Random(3)
    used = {draw("train", rng, DEFAULT).template.name for _ in range(3000)}
    assert used == {name for name, _, _ in TEMPLATES}
    for rows in sets.values():
        shares = [sum(row["source"] == f"tiny-{n}step" for row in rows) / len(rows) for n in (1, 2, 3)]
        assert shares == pytest.approx([0.3, 0.4, 0.3], abs=0.07)


def test_difficulty_limits_numbers_factors_and_steps():
    rows = problems("train", 300, 0, Difficulty(max_number=12, max_factor=3, max_steps=1))
    assert {row["source"] for row in rows} == {"tiny-1step"}
    assert max(int(number) for row in rows for number in re.findall(r"\d+", row["prompt"])) == 12


def test_choices_hold_exactly_one_right_answer(sets):
    for row in sets["dev"] + sets["test"]:
        assert len(set(row["choices"])) == 4
        assert row["choices"][row["gold"]] == row["answer"]
    places = [row["gold"] for row in sets["test"]]
    assert all(200 <= places.count(place) <= 300 for place in range(4))
    assert "choices" not in sets["train"][0]


def test_ids_are_unique(sets):
    ids = [row["id"] for rows in sets.values() for row in rows]
    assert len(set(ids)) == len(ids)


def test_training_rows_take_the_supervised_ones_first():
    supervised, questions = training_rows(20, 50, 0, DEFAULT)
    assert (len(supervised), len(questions)) == (20, 50)
    assert [row["id"] for row in questions[:20]] == [row["id"] for row in supervised]
    assert [row["rationale"] for row in questions[:20]] == [row["rationale"] for row in supervised]
    assert {row["rationale"] for row in questions[20:]} == {""}
    assert all(row["answer"] for row in questions)
    assert {row["kind"] for row in supervised} == {"cot"}
    fewer = training_rows(20, 5, 0, DEFAULT)
    assert (len(fewer[0]), len(fewer[1])) == (20, 5)
    assert fewer[1][0]["rationale"]


def test_too_many_problems_are_refused_with_the_cure(monkeypatch):
    monkeypatch.setattr(tiny, "NAMES", ("Tom", "Mia", "Sam"))
    monkeypatch.setattr(tiny, "THINGS", ("pen", "book"))
    monkeypatch.setattr(tiny, "_PATIENCE", 1000)
    with pytest.raises(MemphisError, match=r"test=5000: only .* max_number=5"):
        problems("test", 5000, 0, Difficulty(max_number=5, max_factor=2, max_steps=1))


@pytest.mark.parametrize("wrong", [{"max_number": 4}, {"max_number": 100}, {"max_factor": 1}, {"max_steps": 4}])
def test_difficulty_out_of_range_is_refused(wrong):
    with pytest.raises(MemphisError, match=next(iter(wrong))):
        Difficulty(**wrong)


def test_few_shot_prompts_have_the_form_of_the_corpus(sets, corpus):
    shots, row = sets["base"][:2], sets["dev"][0]
    prompt = few_shot_prompt(row["prompt"], shots)
    assert prompt.count("Q: ") == prompt.count("Let's think step by step.") == 3
    assert prompt.endswith(f"\n\nQ: {row['prompt']}\nA: Let's think step by step.")
    assert (
        few_shot_prompt(row["prompt"], []) + f" {row['rationale']} So the answer is {row['answer']}."
    ) == worked_example(row)
    for text in (text for text in corpus if text.startswith("Q: ")):
        assert all(
            re.fullmatch(r"Q: .+\nA: Let's think step by step\. .+ So the answer is \d+\.", t)
            for t in text.split("\n\n")
        )


def test_numbers_are_single_tokens(tokenizer):
    for number in range(100):
        for text in (f"{number}", f" {number}"):
            assert tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"]) == [text.replace(" ", "Ġ")]
    assert tokenizer.convert_ids_to_tokens(tokenizer("7 + 15 = 22.")["input_ids"]) == [
        "7",
        "Ġ+",
        "Ġ15",
        "Ġ=",
        "Ġ22",
        ".",
    ]


def test_tokenizer_round_trip(tokenizer, sets, corpus):
    odd = ["", " ", "\n\n", "123456", "a  b", "schön 漢字 🎈", "don't , stop . now ?", "x=1;y=20", f"{'#' * 7} User:\n"]
    for text in corpus[:500] + [row["rationale"] for row in sets["test"][:200]] + odd:
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.decode(ids) == text
        assert tokenizer.eos_token_id not in ids


def test_tokenizer_as_saved(tokenizer, saved: Path, corpus, tmp_path: Path):
    again = train_tokenizer(corpus, 768, tmp_path)
    assert len(again) == 768
    assert (again.eos_token, again.eos_token_id, again.pad_token_id) == (EOS, 0, 0)
    assert again(EOS)["input_ids"] == [0]
    assert again.get_vocab() == tokenizer.get_vocab()
    loaded = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    assert loaded.is_fast
    for text in corpus[:50]:
        assert loaded(text)["input_ids"] == tokenizer(text)["input_ids"]
    first = {path.name: path.read_bytes() for path in saved.iterdir()}
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first


def test_a_vocabulary_without_room_for_words_is_refused(tmp_path):
    with pytest.raises(MemphisError, match="vocab_size=400"):
        train_tokenizer(["a"], 400, tmp_path)


def test_the_corpus_has_every_token_that_later_stages_use(tokenizer, corpus, sets):
    """Check coverage: with frozen embeddings, a token unseen in pre-training keeps its random vector."""
    known = {token for text in corpus for token in tokenizer(text)["input_ids"]}
    for row in sets["train"][:1000]:
        text = f"### User:\n{row['prompt']}\n### Rationale:\n{row['rationale']}\n### Answer:\n{row['answer']}"
        assert set(tokenizer(text)["input_ids"]) <= known
    for number in range(100):
        assert set(tokenizer(f"{number} {number}\n{number}")["input_ids"]) <= known
    everything = "\n".join(corpus)
    assert all(header in everything for header in HEADERS)


def test_the_corpus_never_shows_the_supervised_format(corpus):
    for text in (text for text in corpus if "###" in text):
        assert "How many" not in text


@pytest.mark.parametrize("seed", [1, 1403, 521824405])
@pytest.mark.parametrize("difficulty", [Difficulty(), Difficulty(5, 2, 1), Difficulty(99, 12, 3)])
def test_every_problem_has_three_wrong_choices(seed: int, difficulty: Difficulty) -> None:
    """Check a regression: small numbers can use up the plausible mistakes; one seed had no fourth choice."""
    for row in problems("test", 60 if difficulty.max_number == 5 else 1500, seed, difficulty):
        assert len(set(row["choices"])) == 4
        assert row["choices"][row["gold"]] == row["answer"]
        assert all(1 <= int(choice) <= 99 for choice in row["choices"])
