"""Limits of what memphis takes by itself, without a peer: CPU time of commands and comparisons, shares of a small run.

Each limit leaves room for a slower machine; the least of a few runs counts. Tests look at no clock, but at what these
rest on: which modules are imported, how often something is composed, how long a text may be.
"""

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, product
from pathlib import Path
from statistics import mean
from typing import NamedTuple

from benchmarks.harness import whole_process
from memphis.answers import clean, quantities
from memphis.answers import equal as comparison
from memphis.jsonl import read_rows
from memphis.runs import REPOSITORY
from tests.answers.adversarial import WORST, texts

RUNS = 3
TRAIN = str(REPOSITORY / "train.py")
GRID = ("-m", "experiments.grid", "+exp=memphis_cot", "--dry-run", "seed=0,1,2")
AXES = ("slerp.t=0,0.01,0.5,0.9,0.99,1", "rank.weight=0,0.1,0.25,1", "iterations=0,1,2,3,4")
MEANT = (*WORST, "5", "B", "1/3")
USUAL = [(f"The total is ${number}.50", "17.5") for number in range(2_000)]


class Limit(NamedTuple):
    """measure: one value, in `unit`; it may write in the folder it is given."""

    what: str
    most: float
    measure: Callable[[Path], float]
    unit: str = "CPU-seconds"


def command(*words: str) -> Callable[[Path], float]:
    """Measures a command that builds nothing, in a process of its own."""
    line = [sys.executable, *words]
    return lambda work: whole_process(line, "limit", work, MEMPHIS_RUNS=str(work / "runs"))["cpu_s"]


def spent(calls: Iterable[tuple[str, str]]) -> list[float]:
    """CPU-seconds of each comparison, the first one of its kind: caches are emptied before."""
    for value in chain(*(vars(module).values() for module in (clean, comparison, quantities))):
        if hasattr(value, "cache_clear"):
            value.cache_clear()
    found = []
    for said, wanted in calls:
        began = time.thread_time()
        comparison.equal(said, wanted)
        found.append(time.thread_time() - began)
    return found


def adversarial() -> Iterator[tuple[str, str]]:
    drawn = list(texts(0, 5_000))
    return ((text, gold) for text, other in zip(drawn, drawn[::-1], strict=True) for gold in (other, text, "12"))


def small_run(work: Path) -> dict[str, float]:
    """Shares of the stages' time, in %, in a run of the whole recipe on vLLM with a model of 0.1 M weights, made once.

    around: generation outside the engine; the others are the clocks of tracking.
    """
    from tests.micro import OVERRIDES  # imports torch; a child's peak of memory is at least what the driver has

    words = [*OVERRIDES, "generate=vllm", "generate.shard_size=16", "tracking.every=1"]
    if not (work / "small_run").exists():
        more = {"MEMPHIS_RUNS": str(work / "small_run"), "WANDB_MODE": "offline"}
        whole_process([sys.executable, TRAIN, *words], "limit", work, **more)
    (run,) = (work / "small_run" / "micro" / "s0").iterdir()
    summary = json.loads((run / "summary.json").read_text())
    seconds = sum(stage["seconds"] for stage in summary["stages"])
    around = next(row["gen/around_frac"] for row in read_rows(run / "metrics.jsonl") if "gen/around_frac" in row)
    return {"around": 100 * around, **{key: 100 * value / seconds for key, value in summary["tracking"].items()}}


LIMITS = (
    Limit("train.py --help", 2.0, command(TRAIN, "--help")),
    Limit("the plan of the card's recipe", 5.0, command(TRAIN, "+exp=memphis_cot", "plan=true")),
    Limit("the plan of 39 runs", 10.0, command(*GRID, "+sweep=slerp_factor,rank_weight,iterations")),
    Limit("the plan of 360 runs", 60.0, command(*GRID, *AXES)),
    Limit("the slowest comparison of 15,000 adversarial ones", 0.05, lambda _: max(spent(adversarial()))),
    Limit("the slowest comparison of the worst texts", 0.05, lambda _: max(spent(product(WORST, MEANT)))),
    Limit("a usual comparison, on average", 1e-3, lambda _: mean(spent(USUAL))),
    Limit("tracking while stages run", 1.0, lambda work: small_run(work)["stages_cpu_s"], "% of their time"),
    Limit("the run's calls of the tracker", 2.0, lambda work: small_run(work)["calls_s"], "% of their time"),
    Limit("generation outside the engine", 3.0, lambda work: small_run(work)["around"], "% of the stage"),
)


def exceeded(work: Path, limits: Iterable[Limit] = LIMITS) -> list[str]:
    """A line for each limit that is not kept; every one is printed as it is measured."""
    lines = []
    for limit in limits:
        least = min(limit.measure(work) for _ in range(RUNS))
        print(f"  {limit.what:52} {least:9.5f} {limit.unit}, at most {limit.most:g}", flush=True)
        if least > limit.most:
            lines.append(f"limits: {limit.what}: {least:.4f} {limit.unit}, must be <= {limit.most:g}")
    return lines
