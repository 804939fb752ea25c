"""Training against TRL: supervised fine-tuning, the rank stage, the start of a process; and a step's bookkeeping."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.question import Contender, Question, Round, Target
from benchmarks.rounds import command, step_by_step, whole_process

SMALL = {"model": "small", "rows": 64}
VOCAB = {"model": "vocab", "rows": 32}  # its vocabulary dominates
PAIRS = {"model": "small", "pairs": 32}
START = {"model": "small", "rows": 5_000, "step": 1}
FP32 = {"bf16": False, "gradient_checkpointing": False}
OURS, TRL = "benchmarks.ours:sft", "benchmarks.peers:sft"


def _packing(size: dict[str, Any], length: int) -> Contender:
    words = f"TRL packing=True, max_length={length}, batch 1, fp32, no checkpointing"
    options = {**size, **FP32, "packing": True, "max_length": length, "batch": 1}
    return Contender(f"packing_{length}", words, TRL, options)


def _sides(size: dict[str, Any]) -> tuple[Contender, ...]:
    return (
        Contender("ours", "memphis, fp32, flat micro-batches of 1,024 tokens", OURS, size),
        Contender("padded", "TRL tuned: fp32, no checkpointing, padded, batch 8", TRL, {**size, **FP32}),
        _packing(size, 1024),
    )


def _same_loss(rounds: Sequence[Round]) -> None:
    """The model before any counted step is the same after one warm-up step: so is its loss, to rounding."""
    first = {name: found["loss"] for name, found in rounds[0].items()}
    for name, loss in first.items():
        tolerance = 2e-3 if name in ("bf16", "defaults") else 2e-6
        assert math.isclose(loss, first["ours"], rel_tol=tolerance), f"{name}: loss {loss}, ours {first['ours']}"


def _same_parts(rounds: Sequence[Round]) -> None:
    """Losses differ by definition, their parts do not: sharing changes nothing, and the cross-entropy of the chosen is
    CPO's, which averages over micro-batches where we take all tokens together."""
    found = rounds[0]
    ours = found["ours"]
    assert math.isclose(found["unshared"]["loss"], ours["loss"], rel_tol=2e-6), "sharing changes the loss"
    assert math.isclose(found["cpo"]["ce"], ours["ce"], rel_tol=2e-3), f"cpo: {found['cpo']['ce']}, ours {ours['ce']}"
    assert 0 < math.log(2) - found["dpo"]["loss"] < 0.3, "DPO begins at log 2 and has made one step"


def _processes(contenders: Sequence[Contender], work: Path, rounds: int) -> Iterator[Round]:
    for _ in range(rounds):
        yield {each.name: whole_process(command(each, work), each.name, work) for each in contenders}


QUESTIONS = (
    Question(
        "sft_small",
        "SFT, 4 layers, d 256, vocabulary 8,000; a step of 64 rows; AdamW fused, frozen embeddings and head, lr 1e-5",
        (
            *_sides(SMALL),
            _packing(SMALL, 512),
            Contender(
                "defaults_fp32", "TRL as it comes, but fp32: checkpointing, batch 8", TRL, {**SMALL, "bf16": False}
            ),
            Contender(
                "defaults", "TRL as it comes: bf16 autocast, checkpointing, batch 8", TRL, {**SMALL, "bf16": True}
            ),
            Contender("bf16", "memphis, bf16 autocast", OURS, {**SMALL, "dtype": "bfloat16"}),
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
        _same_loss,
    ),
    Question(
        "sft_vocab",
        "SFT, the same with vocabulary 50,304; a step of 32 rows",
        _sides(VOCAB),
        (
            Target("CPU time", ("ours", "cpu_s"), ("padded", "cpu_s"), 6.0, 8.0),
            Target("CPU time", ("ours", "cpu_s"), ("packing_1024", "cpu_s"), 4.0, 5.5),
            Target("peak memory", ("ours", "rss_mib"), ("padded", "rss_mib"), 0.30, 0.25, at_most=True),
        ),
        step_by_step,
        _same_loss,
    ),
    Question(
        "rank",
        "rank stage on the small model: cross-entropy + rank loss; a step of 32 pairs, prompt = half of a row",
        (
            Contender("ours", "memphis, fp32, the prompt of a pair computed once", "benchmarks.ours:rank", PAIRS),
            Contender(
                "cpo",
                "TRL CPO: simpo + NLL, fp32, no checkpointing, batch 8",
                "benchmarks.peers:prefer",
                {**PAIRS, **FP32, "trainer": "CPO", "loss_type": "simpo", "cpo_alpha": 1.0},
            ),
            Contender(
                "dpo",
                "TRL DPO: precomputed reference (not counted), fp32, no checkpointing, batch 8",
                "benchmarks.peers:prefer",
                {**PAIRS, **FP32, "trainer": "DPO", "precompute_ref_log_probs": True},
            ),
            Contender(
                "unshared", "memphis, the prompt computed twice", "benchmarks.ours:rank", {**PAIRS, "shared": False}
            ),
        ),
        (
            Target("CPU time", ("ours", "cpu_s"), ("cpo", "cpu_s"), 3.5, 5.0),
            Target("CPU time", ("ours", "cpu_s"), ("dpo", "cpu_s"), 5.5, 7.0),
            Target("CPU time", ("ours", "cpu_s"), ("unshared", "cpu_s"), 1.2, 1.3),
            Target("peak memory", ("ours", "rss_mib"), ("cpo", "rss_mib"), 0.42, 0.35, at_most=True),
            Target("peak memory", ("ours", "rss_mib"), ("dpo", "rss_mib"), 0.42, 0.35, at_most=True),
        ),
        step_by_step,
        _same_parts,
    ),
    Question(
        "start",
        "start to first step: import, load the small model, tokenise 5,000 rows, one step of one row",
        (
            Contender("ours", "memphis", OURS, START),
            Contender("trl", "TRL SFTTrainer, rows from memory, fp32", TRL, {**START, "batch": 1, **FP32}),
        ),
        (Target("CPU time", ("ours", "cpu_s"), ("trl", "cpu_s"), 1.0, 0.7, at_most=True),),
        _processes,
    ),
    Question(
        "overhead",
        "share of an SFT step of 64 rows that is neither forward, backward nor optimizer",
        (Contender("ours", "memphis", "benchmarks.ours:timed", SMALL),),
        (Target("CPU time", ("ours", "other_s"), ("ours", "cpu_s"), 0.03, 0.01, at_most=True),),
        step_by_step,
    ),
)
