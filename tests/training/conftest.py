"""Fixtures and helpers for training tests: a small tokenizer, micro-batches and random examples."""

import random
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerBase

from memphis.data.tiny_tokenizer import train_tokenizer
from memphis.data.tokens import Example, Sequence
from memphis.jsonl import RowLog
from memphis.training.batches import FlatBatch, cut, flatten

WORDS = "Ann has 7 pens and buys 12 more. How many pens does she have? 7 + 12 = 19. ### User: ### Answer:"


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Set one thread: bit-equality is promised only for equal numbers of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    return train_tokenizer([WORDS] * 20, 520, tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture
def log(tmp_path: Path) -> RowLog:
    return RowLog(tmp_path / "metrics.jsonl")


def micro_batches(examples: list[Example], budget_tokens: int) -> list[FlatBatch]:
    """Return the micro-batches of one device."""
    return [flatten(examples, members) for members in cut(examples, budget_tokens)]


def make_examples(
    number: int, *, rejected: int = 0, gold: bool = False, seed: int = 0, vocab: int = 97, longest: int = 24
) -> list[Example]:
    """Make examples of random token ids with very unequal lengths; the first completion is a single token."""
    draw = random.Random(seed)

    def ids(low: int, high: int) -> list[int]:
        return [draw.randrange(vocab) for _ in range(draw.randint(low, high))]

    examples = []
    for i in range(number):
        prompt = ids(1, longest // 2)
        completions = [ids(1, longest) for _ in range(1 + rejected + gold)]
        if i == 0:
            completions[0] = completions[0][:1]
        sequences = [Sequence(prompt + c, [-100] * len(prompt) + c) for c in completions]
        examples.append(
            Example(f"q{i}", tuple(sequences[: 1 + rejected]), len(prompt), sequences[-1] if gold else None)
        )
    return examples
