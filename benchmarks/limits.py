"""Limits of time that the pages promise: `python -m benchmarks.limits`, on a quiet machine.

Tests look at causes (what is imported, started, composed), because a clock says on a busy machine that all is slow.
"""

import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from memphis.runs import REPOSITORY
from tests.micro import OVERRIDES, environment, rows_of

SWEEPS = {  # of the card: arms -> what is typed
    39: ["+sweep=slerp_factor,rank_weight,iterations"],
    360: ["slerp.t=0,0.01,0.5,0.9,0.99,1", "rank.weight=0,0.1,0.25,1", "iterations=0,1,2,3,4"],
}


def cpu_seconds(root: Path, *line: str) -> float:
    """Processor time of a command and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, *line]
    subprocess.run(command, check=True, capture_output=True, cwd=REPOSITORY, env=environment(root))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def limits(root: Path) -> Iterator[tuple[str, float, float]]:
    """What is limited, what was found, what is allowed."""
    yield "CPU seconds of train.py --help", cpu_seconds(root, "train.py", "--help"), 2.0
    for arms, words in SWEEPS.items():
        spent = cpu_seconds(root, "-m", "experiments.grid", "+exp=memphis_cot", *words, "seed=0,1,2", "--dry-run")
        yield f"CPU seconds of a dry run of {arms} arms", spent, 10.0 if arms == 39 else 60.0
    command = ["train.py", *OVERRIDES, "generate=vllm", "generate.shard_size=16", "tracking.every=1"]
    cpu_seconds(root, *command)
    (run,) = (root / "micro" / "s0").iterdir()
    summary = json.loads((run / "summary.json").read_text())
    seconds = sum(stage["seconds"] for stage in summary["stages"])
    yield "tracking's CPU seconds in the stages, % of theirs", 100 * summary["tracking"]["stages_cpu_s"] / seconds, 1.0
    yield "the run's calls of the tracker, % of the stages", 100 * summary["tracking"]["calls_s"] / seconds, 2.0
    (done,) = (root / "store").glob("generate-*/DONE")
    around = next(row["gen/around_frac"] for row in rows_of(done.parent) if "gen/around_frac" in row)
    yield "generation outside the engine, %", 100 * around, 3.0
    yield "CPU seconds of the same command again", cpu_seconds(root, *command), 5.0


def main() -> int:
    broken = 0
    with tempfile.TemporaryDirectory(prefix="limits-") as folder:
        for what, found, allowed in limits(Path(folder)):
            broken += found >= allowed
            print(f"{what}: {found:.2f} of {allowed:g}{'  TOO MUCH' if found >= allowed else ''}", flush=True)
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
