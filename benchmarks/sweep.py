"""The stages of a sweep against what its runs would build one by one, counted by the graph that submits sweeps."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.question import Contender, Numbers, Question, Round, Target

FACTORS = ("slerp.t=0,0.01,0.5,0.9,0.99,1", "rank.weight=0,0.1,0.25,1", "iterations=0,1,2,3,4")
FULL = [FACTORS]  # sweeps, taken together
ONE = [(factor,) for factor in FACTORS]  # one factor at a time


def count(sweeps: Sequence[Sequence[str]], root: Path) -> Round:
    """Stages by kind and GPU-hours, estimated: of every run alone (`alone`), and each stage once (`ours`).

    sweeps: overrides; a run that several of them have is one run. root: where no run is.
    """
    from experiments.grid.frozen import enumerate_runs  # Hydra
    from experiments.grid.graph import Graph
    from memphis.pipeline import KINDS

    os.environ["MEMPHIS_RUNS"] = str(root)
    typed = [["+exp=memphis_cot", "seed=0,1,2", *sweep] for sweep in sweeps]
    sweep = {run.identity: run for words in typed for run in enumerate_runs(words)[0]}
    stages = {
        "ours": Graph(list(sweep.values())).stages.values(),
        "alone": [stage for run in sweep.values() for stage in run.stages],
    }

    def numbers(kinds: Counter[str]) -> Numbers:
        hours = sum(row.hours * kinds[kind] for kind, row in KINDS.items())
        return {"gpu_h": hours, **{kind: kinds[kind] for kind, row in KINDS.items() if row.hours}, "runs": len(sweep)}

    return {name: numbers(Counter(stage.kind for stage in found)) for name, found in stages.items()}


def _question(name: str, title: str, sweeps: Sequence[Sequence[str]], must: float, ambitious: float) -> Question:
    def measure(_: Sequence[Contender], work: Path, rounds: int) -> Iterator[Round]:
        yield count(sweeps, work / "runs")  # counting has no spread: once is enough

    return Question(
        name,
        title,
        (Contender("ours", "memphis: every stage once"), Contender("alone", "every run by itself")),
        (Target("GPU-hours", ("ours", "gpu_h"), ("alone", "gpu_h"), must, ambitious),),
        measure,
    )


QUESTIONS = (
    _question("sweep_full", "sweep of the 3B recipe: 6 x t, 4 x weight, 0-4 iterations, 3 seeds", FULL, 3.0, 3.65),
    _question("sweep_one", "the same, one factor at a time: 39 runs", ONE, 1.65, 1.9),
)
