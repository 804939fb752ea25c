"""From the start of a process to the end of its first step, and what a step does beside training."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.question import Contender, Question, Round, Target
from benchmarks.rounds import command, step_by_step, whole_process
from benchmarks.sft import FP32, SMALL_ROWS

ROWS = 5_000


def _processes(contenders: Sequence[Contender], work: Path, rounds: int) -> Iterator[Round]:
    for _ in range(rounds):
        yield {each.name: whole_process(command(each, work), each.name, work) for each in contenders}


START = Question(
    "start",
    f"start to first step: import, load the small model, tokenise {ROWS:,} rows, one step of one row",
    (
        Contender("ours", "memphis", "benchmarks.ours:sft", {"model": "small", "rows": ROWS, "step": 1}),
        Contender(
            "trl",
            "TRL SFTTrainer, rows from memory, fp32",
            "benchmarks.peers:sft",
            {"model": "small", "rows": ROWS, "step": 1, "batch": 1, **FP32},
        ),
    ),
    (Target("CPU time", ("ours", "cpu_s"), ("trl", "cpu_s"), 1.0, 0.7, at_most=True),),
    _processes,
)

OVERHEAD = Question(
    "overhead",
    f"share of an SFT step of {SMALL_ROWS} rows that is neither forward, backward nor optimizer",
    (
        Contender(
            "ours",
            "memphis",
            "benchmarks.ours:timed",
            {"model": "small", "rows": SMALL_ROWS},
        ),
    ),
    (Target("CPU time", ("ours", "other_s"), ("ours", "cpu_s"), 0.03, 0.01, at_most=True),),
    step_by_step,
)
