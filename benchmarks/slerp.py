"""Merging two checkpoints on disk against mergekit's command, whole processes."""

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.question import Contender, Question, Round, Target
from benchmarks.rounds import whole_process

OURS = """
import sys
from pathlib import Path
from memphis.training.merge_files import merge
merge(*map(Path, sys.argv[1:]), t=0.9)
"""


def _measure(contenders: Sequence[Contender], work: Path, rounds: int) -> Iterator[Round]:
    models = work / "merging"
    checkpoints = [sys.executable, "-m", "benchmarks.checkpoints"]
    whole_process([*checkpoints, "build", str(work / "small"), str(models)], "checkpoints", work)
    previous, updated, ours, theirs = (str(models / name) for name in ("previous", "updated", "ours", "mergekit"))
    recipe = {
        "merge_method": "slerp",
        "base_model": previous,
        "models": [{"model": previous}, {"model": updated}],
        "parameters": {"t": 0.9},
        "dtype": "bfloat16",
    }
    file = models / "recipe.json"  # YAML's subset
    file.write_text(json.dumps(recipe))
    commands = {
        "ours": [sys.executable, "-c", OURS, previous, updated, ours],
        "mergekit": [sys.executable, "-m", "mergekit.scripts.run_yaml", str(file), theirs],
    }
    for number in range(rounds):
        yield {each.name: whole_process(commands[each.name], each.name, work) for each in contenders}
        if number == 0:
            whole_process([*checkpoints, "same", ours, theirs], "same", work)
        for merged in (ours, theirs):
            shutil.rmtree(merged)
    shutil.rmtree(models)


QUESTION = Question(
    "slerp",
    "SLERP of two checkpoints of 1.2 GB (bf16, 4 files), t = 0.9, whole processes",
    (
        Contender("ours", "memphis.training.merge in a process of its own"),
        Contender("mergekit", "mergekit-yaml of mergekit 0.1.5, slerp, its defaults"),
    ),
    (
        Target("CPU time", ("ours", "cpu_s"), ("mergekit", "cpu_s"), 2.5, 3.0),
        Target("peak memory", ("ours", "rss_mib"), ("mergekit", "rss_mib"), 0.25, 0.15, at_most=True),
    ),
    _measure,
)
