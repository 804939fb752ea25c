"""The rank stage against TRL's preference trainers, and pairs that share their prompt against pairs that do not."""

import math
from collections.abc import Sequence

from benchmarks.question import Contender, Question, Round, Target
from benchmarks.rounds import step_by_step

PAIRS = 32
OPTIONS = {"model": "small", "pairs": PAIRS}


def _agree(rounds: Sequence[Round]) -> None:
    """Losses differ by definition, their parts do not: sharing changes nothing, and the cross-entropy of the chosen is
    CPO's, which averages over micro-batches where we take all tokens together."""
    found = rounds[0]
    ours = found["ours"]
    assert math.isclose(found["unshared"]["loss"], ours["loss"], rel_tol=2e-6), "sharing changes the loss"
    assert math.isclose(found["cpo"]["ce"], ours["ce"], rel_tol=2e-3), f"cpo: {found['cpo']['ce']}, ours {ours['ce']}"
    assert 0 < math.log(2) - found["dpo"]["loss"] < 0.3, "DPO begins at log 2 and has made one step"


QUESTION = Question(
    "rank",
    f"rank stage on the small model: cross-entropy + rank loss; a step of {PAIRS} pairs, prompt = half of a row",
    (
        Contender("ours", "memphis, fp32, the prompt of a pair computed once", "benchmarks.ours:rank", OPTIONS),
        Contender("cpo", "TRL CPO: simpo + NLL, fp32, no checkpointing, batch 8", "benchmarks.peers:cpo", OPTIONS),
        Contender(
            "dpo",
            "TRL DPO: precomputed reference (not counted), fp32, no checkpointing, batch 8",
            "benchmarks.peers:dpo",
            OPTIONS,
        ),
        Contender(
            "unshared", "memphis, the prompt computed twice", "benchmarks.ours:rank", {**OPTIONS, "shared": False}
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
    _agree,
)
