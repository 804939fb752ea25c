"""What memphis may take by itself, as CPU time: how quick it is to answer and to compare, without a peer.

Each limit leaves room for a slower machine; the least of a few runs counts. Tests look at no clock, but at what these
rest on: which modules are imported, how often something is composed, how long a text may be.
"""

import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.adversarial import WORST, texts
from benchmarks.rounds import whole_process
from memphis.answers import clean, quantities
from memphis.answers import equal as comparison
from memphis.runs import REPOSITORY

RUNS = 3


@dataclass(frozen=True)
class Limit:
    """measure: CPU-seconds of one run; it may leave files in the folder it is given."""

    what: str
    seconds: float
    measure: Callable[[Path], float]


def command(*words: str) -> Callable[[Path], float]:
    """Measures a command that builds nothing, in a process of its own."""

    def measure(work: Path) -> float:
        line = [sys.executable, *words]
        return whole_process(line, "limit", work, MEMPHIS_RUNS=str(work / "runs"))["cpu_s"]

    return measure


TRAIN = str(REPOSITORY / "train.py")
GRID = ("-m", "experiments.grid", "+exp=memphis_cot", "--dry-run", "seed=0,1,2")
AXES = ("slerp.t=0,0.01,0.5,0.9,0.99,1", "rank.weight=0,0.1,0.25,1", "iterations=0,1,2,3,4")


def spent(calls: Iterable[tuple[str, str]]) -> list[float]:
    """CPU-seconds of each comparison."""
    found = []
    for said, wanted in calls:
        began = time.thread_time()
        comparison.equal(said, wanted)
        found.append(time.thread_time() - began)
    return found


def forget() -> None:
    """Empty the caches of the comparison, so that each run is the first one."""
    for module in (clean, comparison, quantities):
        for value in vars(module).values():
            if hasattr(value, "cache_clear"):
                value.cache_clear()


def slowest_salad(work: Path) -> float:
    drawn = list(texts(0, 5_000))
    return max(
        spent((text, gold) for text, other in zip(drawn, drawn[::-1], strict=True) for gold in (other, text, "12"))
    )


def slowest_worst(work: Path) -> float:
    return max(spent((text, other) for text in WORST for other in (*WORST, "5", "B", "1/3")))


def usual(work: Path) -> float:
    """The mean of answers as models give them."""
    said = [f"The total is ${number}.50" for number in range(2_000)]
    return sum(spent((text, "17.5") for text in said)) / len(said)


LIMITS = (
    Limit("train.py --help", 2.0, command(TRAIN, "--help")),
    Limit("the plan of the card's recipe", 5.0, command(TRAIN, "+exp=memphis_cot", "plan=true")),
    Limit("the plan of 39 runs", 10.0, command(*GRID, "+sweep=slerp_factor,rank_weight,iterations")),
    Limit("the plan of 360 runs", 60.0, command(*GRID, *AXES)),
    Limit("the slowest comparison of 15,000 adversarial ones", 0.05, slowest_salad),
    Limit("the slowest comparison of the worst texts", 0.05, slowest_worst),
    Limit("a usual comparison, on average", 1e-3, usual),
)


def exceeded(work: Path, limits: Iterable[Limit] = LIMITS) -> list[str]:
    """A line for each limit that is not kept; every one is printed as it is measured."""
    lines = []
    for limit in limits:
        least = float("inf")
        for _ in range(RUNS):
            forget()
            least = min(least, limit.measure(work))
        print(f"  {limit.what:52} {least:9.5f} s of CPU time, at most {limit.seconds:g}", flush=True)
        if least > limit.seconds:
            lines.append(f"limits: {limit.what}: {least:.4f} s of CPU time, must be <= {limit.seconds:g} s")
    return lines
