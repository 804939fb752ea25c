"""What each trick of the trainer gives: a step without it against a step with all of them."""

import math
from collections.abc import Sequence

from benchmarks.question import Contender, Question, Round, Target
from benchmarks.rounds import step_by_step
from benchmarks.sft import SMALL_ROWS, VOCAB_ROWS

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
SAME_LOSS = ("logits_kept", "every_position", "padded", "sorted_padded", "checkpointing", "adalite")


def _contender(name: str, words: str, model: str, rows: int) -> Contender:
    trick = "" if name == "ours" else name
    return Contender(name, words, "benchmarks.forms:without", {"trick": trick, "model": model, "rows": rows})


def _agree(rounds: Sequence[Round]) -> None:
    """One step of training is behind them all: the loss tells whether it was the same one."""
    found = rounds[0]
    for name in SAME_LOSS[:-1]:
        loss = found[name]["loss"]
        assert math.isclose(loss, found["ours"]["loss"], rel_tol=2e-6), f"{name}: {loss}, not {found['ours']['loss']}"


def _question(model: str, rows: int, title: str) -> Question:
    forms = {"ours": "memphis with all of them", **LEFT_OUT}
    return Question(
        f"tricks_{model}",
        f"{title}; a step of {rows} rows, one thread",
        (
            *(_contender(name, words, model, rows) for name, words in forms.items()),
            Contender(
                "products",
                "the matrix products of our step alone: what no trick can save",
                "benchmarks.forms:products",
                {"model": model, "rows": rows},
            ),
            Contender(
                "bf16",
                "fp32: instead bf16 autocast",
                "benchmarks.ours:sft",
                {"model": model, "rows": rows, "dtype": "bfloat16"},
                bf16=True,
            ),
        ),
        tuple(
            Target(what, ("ours", measure), (name, measure))
            for name in (*LEFT_OUT, "bf16", "products")
            for what, measure in (("CPU time", "cpu_s"), ("peak memory", "rss_mib"))
            if (name, measure) != ("products", "rss_mib")
        ),
        step_by_step,
        _agree,
    )


SMALL = _question("small", SMALL_ROWS, "4 layers, d 256, vocabulary 8,000")
VOCAB = _question("vocab", VOCAB_ROWS, "the same with vocabulary 50,304")
