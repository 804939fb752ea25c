"""Explanations of our own speed: what each trick of the trainer gives, and how the cost of a step grows."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.question import Contender, Question, Round, Target
from benchmarks.rounds import step_by_step
from benchmarks.training import SMALL, VOCAB

# Name of the form without it -> what is left out, in words.
LEFT_OUT = {
    "logits_kept": "derivative of the head taken in the forward pass: instead logits are kept for the backward pass",
    "every_position": "head at target positions only: instead at all positions, logits kept",
    "trainable_head": "frozen head: instead it is trained, and logits are computed twice",
    "padded": "flat micro-batches: instead random batches of 8 rows, padded",
    "sorted_padded": "flat micro-batches: instead batches of 8 rows of similar length, padded",
    "checkpointing": "all activations kept: instead layers are recomputed in the backward pass",
    "adalite": "(another optimizer: Adalite in place of fused AdamW)",
}
SAME_LOSS = ("logits_kept", "every_position", "padded", "sorted_padded", "checkpointing")
# Name -> (what is different from 64 rows, 4 layers, d 256, vocabulary 8,000, one device; options).
SIZES: dict[str, tuple[str, dict[str, Any]]] = {
    "base": ("64 rows, 4 layers, d 256, vocabulary 8,000", {}),
    "rows_32": ("32 rows", {"rows": 32}),
    "rows_128": ("128 rows", {"rows": 128}),
    "length_4": ("16 rows, 4 times as long", {"join": 4}),
    "length_16": ("4 rows, 16 times as long", {"join": 16}),
    "vocabulary_32k": ("vocabulary 32,000", {"vocab_size": 32_000}),
    "vocabulary_128k": ("vocabulary 128,000", {"vocab_size": 128_000}),
    "layers_8": ("8 layers", {"layers": 8}),
    "width_512": ("d 512", {"hidden": 512, "intermediate": 1376, "heads": 8}),
    "budget_4k": ("micro-batches of 4,096 tokens, not 1,024", {"budget": 4096}),
    "budget_16k": ("micro-batches of 16,384 tokens", {"budget": 16_384}),
    "devices_2": ("2 processes (FSDP2, gloo), a core each", {"devices": 2}),
}


def _same_loss(rounds: Sequence[Round]) -> None:
    """One step of training is behind them all: the loss tells whether it was the same one."""
    found = rounds[0]
    for name in SAME_LOSS:
        loss = found[name]["loss"]
        assert math.isclose(loss, found["ours"]["loss"], rel_tol=2e-6), f"{name}: {loss}, not {found['ours']['loss']}"


def _per_token(contenders: Sequence[Contender], work: Path, rounds: int) -> Iterator[Round]:
    for found in step_by_step(contenders, work, rounds):
        for numbers in found.values():
            numbers["ms_per_token"] = 1000 * numbers["cpu_s"] / numbers["tokens"]
        yield found


def _tricks(title: str, size: dict[str, Any]) -> Question:
    forms = {"ours": "memphis with all of them", **LEFT_OUT}
    products = "the matrix products of our step alone: what no trick can save"
    bf16 = {**size, "dtype": "bfloat16"}
    return Question(
        f"tricks_{size['model']}",
        f"{title}; a step of {size['rows']} rows, one thread",
        (
            *(
                Contender(name, words, "benchmarks.ours:without", {"trick": name, **size})
                for name, words in forms.items()
            ),
            Contender("products", products, "benchmarks.ours:products", size),
            Contender("bf16", "fp32: instead bf16 autocast", "benchmarks.ours:sft", bf16),
        ),
        (
            *(
                Target(what, ("ours", measure), (name, measure))
                for name in (*LEFT_OUT, "bf16")
                for what, measure in (("CPU time", "cpu_s"), ("peak memory", "rss_mib"))
            ),
            Target("CPU time", ("ours", "cpu_s"), ("products", "cpu_s")),
        ),
        step_by_step,
        _same_loss,
    )


def _growth(what: str, measure: str, name: str) -> Target:
    return Target(what, (name, measure), ("base", measure), at_most=True)


QUESTIONS = (
    _tricks("4 layers, d 256, vocabulary 8,000", SMALL),
    _tricks("the same with vocabulary 50,304", VOCAB),
    Question(
        "growth",
        "a step of 64 rows, 4 layers, d 256, vocabulary 8,000, and what another size changes",
        tuple(Contender(name, words, "benchmarks.ours:sized", options) for name, (words, options) in SIZES.items()),
        (
            *(
                _growth(what, measure, name)
                for name in [*SIZES][1:-1]
                for what, measure in (("CPU time per token", "ms_per_token"), ("peak memory", "rss_mib"))
            ),
            _growth("wall time", "wall_s", "devices_2"),
        ),
        _per_token,
    ),
)
