"""What a sweep builds against what its runs would build one by one, counted by the graph that submits sweeps."""

import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.question import Contender, Numbers, Question, Round, Target

FACTORS = {"slerp.t": "0,0.01,0.5,0.9,0.99,1", "rank.weight": "0,0.1,0.25,1", "iterations": "0,1,2,3,4"}
COMMON = ["+exp=memphis_cot", "seed=0,1,2"]
KINDS = ("sft", "generate", "rank", "merge", "evaluate")


def count(grids: Sequence[Sequence[str]], root: Path) -> Round:
    """Stages by kind and GPU-hours, estimated: of every run alone (`alone`), and each stage once (`ours`).

    grids: overrides of sweeps, taken together; a run that several of them have is one run. root: where no run is.
    """
    from experiments.frozen import enumerate_arms  # Hydra
    from experiments.graph import Graph
    from memphis import pipeline

    os.environ["MEMPHIS_RUNS"] = str(root)
    arms = {arm.identity: arm for grid in grids for arm in enumerate_arms([*COMMON, *grid])[0]}
    alone = Counter(stage.kind for arm in arms.values() for stage in arm.stages)
    shared = Counter(stage.kind for stage in Graph(list(arms.values())).stages.values())

    def numbers(kinds: Counter[str]) -> Numbers:
        hours = sum(row.hours * kinds[kind] for kind, row in pipeline.KINDS.items())
        return {"gpu_h": hours, **{kind: kinds[kind] for kind in KINDS}, "runs": len(arms)}

    return {"ours": numbers(shared), "alone": numbers(alone)}


def full() -> list[list[str]]:
    return [[f"{key}={values}" for key, values in FACTORS.items()]]


def one_factor() -> list[list[str]]:
    return [[f"{key}={values}"] for key, values in FACTORS.items()]


def _counted(grids: Callable[[], list[list[str]]]) -> Callable[[Sequence[Contender], Path, int], Iterator[Round]]:
    def measure(_: Sequence[Contender], work: Path, rounds: int) -> Iterator[Round]:
        found = count(grids(), work / "runs")  # counting has no spread: once is enough
        return itertools.repeat(found, min(rounds, 1))

    return measure


def _question(name: str, title: str, grids: Callable[[], list[list[str]]], must: float, ambitious: float) -> Question:
    return Question(
        name,
        title,
        (Contender("ours", "memphis: every stage once"), Contender("alone", "every run by itself")),
        (Target("GPU-hours", ("ours", "gpu_h"), ("alone", "gpu_h"), must, ambitious),),
        _counted(grids),
    )


FULL = _question("sweep_full", "sweep of the 3B recipe: 6 x t, 4 x weight, 0-4 iterations, 3 seeds", full, 3.0, 3.65)
ONE = _question("sweep_one", "the same, one factor at a time: 39 runs", one_factor, 1.65, 1.9)
