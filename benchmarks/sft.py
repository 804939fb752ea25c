"""Supervised fine-tuning against TRL's SFTTrainer, on a small model and on one whose vocabulary dominates."""

import math
from collections.abc import Sequence
from typing import Any

from benchmarks.question import Contender, Question, Round, Target
from benchmarks.rounds import step_by_step

SMALL_ROWS, VOCAB_ROWS = 64, 32
FP32 = {"bf16": False, "gradient_checkpointing": False}
COMMON = "AdamW fused, frozen embeddings and head, lr 1e-5"


def _ours(model: str, rows: int) -> Contender:
    words = "memphis, fp32, flat micro-batches of 1,024 tokens"
    return Contender("ours", words, "benchmarks.ours:sft", {"model": model, "rows": rows})


def _trl(name: str, words: str, model: str, rows: int, **settings: Any) -> Contender:
    return Contender(
        name, words, "benchmarks.peers:sft", {"model": model, "rows": rows, **settings}, settings.get("bf16", False)
    )


def _packing(model: str, rows: int, length: int) -> Contender:
    words = f"TRL packing=True, max_length={length}, batch 1, fp32, no checkpointing"
    options: dict[str, Any] = {"packing": True, "max_length": length, "batch": 1, **FP32}
    return _trl(f"packing_{length}", words, model, rows, **options)


def _padded(model: str, rows: int) -> Contender:
    return _trl("padded", "TRL tuned: fp32, no checkpointing, padded, batch 8", model, rows, **FP32)


def same_loss(rounds: Sequence[Round]) -> None:
    """The model before any counted step is the same after one warm-up step: so is its loss, to rounding."""
    first = {name: found["loss"] for name, found in rounds[0].items()}
    for name, loss in first.items():
        tolerance = 2e-3 if name in ("bf16", "defaults") else 2e-6
        assert math.isclose(loss, first["ours"], rel_tol=tolerance), f"{name}: loss {loss}, ours {first['ours']}"


SMALL = Question(
    "sft_small",
    f"SFT, 4 layers, d 256, vocabulary 8,000; a step of {SMALL_ROWS} rows; {COMMON}",
    (
        _ours("small", SMALL_ROWS),
        _padded("small", SMALL_ROWS),
        _packing("small", SMALL_ROWS, 1024),
        _packing("small", SMALL_ROWS, 512),
        _trl("defaults_fp32", "TRL as it comes, but fp32: checkpointing, batch 8", "small", SMALL_ROWS, bf16=False),
        _trl("defaults", "TRL as it comes: bf16 autocast, checkpointing, batch 8", "small", SMALL_ROWS, bf16=True),
        Contender(
            "bf16",
            "memphis, bf16 autocast",
            "benchmarks.ours:sft",
            {"model": "small", "rows": SMALL_ROWS, "dtype": "bfloat16"},
            bf16=True,
        ),
    ),
    (
        Target("CPU time", ("ours", "cpu_s"), ("padded", "cpu_s"), 3.0, 3.8),
        Target("CPU time", ("ours", "cpu_s"), ("packing_1024", "cpu_s"), 1.9, 2.5),
        Target("CPU time", ("ours", "cpu_s"), ("packing_512", "cpu_s"), 1.9, 2.5),
        Target("CPU time", ("ours", "cpu_s"), ("defaults_fp32", "cpu_s")),
        Target("CPU time", ("ours", "cpu_s"), ("defaults", "cpu_s")),
        Target("CPU time, bf16 autocast", ("bf16", "cpu_s"), ("defaults", "cpu_s")),
        Target("peak memory", ("ours", "rss_mib"), ("padded", "rss_mib"), 0.55, 0.45, at_most=True),
    ),
    step_by_step,
    same_loss,
)

VOCAB = Question(
    "sft_vocab",
    f"SFT, the same with vocabulary 50,304; a step of {VOCAB_ROWS} rows",
    (
        _ours("vocab", VOCAB_ROWS),
        _padded("vocab", VOCAB_ROWS),
        _packing("vocab", VOCAB_ROWS, 1024),
    ),
    (
        Target("CPU time", ("ours", "cpu_s"), ("padded", "cpu_s"), 6.0, 8.0),
        Target("CPU time", ("ours", "cpu_s"), ("packing_1024", "cpu_s"), 4.0, 5.5),
        Target("peak memory", ("ours", "rss_mib"), ("padded", "rss_mib"), 0.30, 0.25, at_most=True),
    ),
    step_by_step,
    same_loss,
)
