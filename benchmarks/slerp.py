"""Merging two checkpoints on disk against mergekit's command, whole processes."""

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.question import Contender, Question, Round, Target
from benchmarks.rounds import whole_process

T = 0.9
OURS = """
import sys
from pathlib import Path
from memphis.training.merge_files import merge
merge(*map(Path, sys.argv[1:]), t={})
"""


def _measure(contenders: Sequence[Contender], work: Path, rounds: int) -> Iterator[Round]:
    models = work / "merging"
    build = [sys.executable, "-m", "benchmarks.checkpoints", "build", str(work / "small"), str(models)]
    whole_process(build, "checkpoints", work)
    previous, updated, ours, theirs = (str(models / name) for name in ("previous", "updated", "ours", "mergekit"))
    recipe = models / "recipe.json"  # YAML's subset
    recipe.write_text(
        json.dumps(
            {
                "merge_method": "slerp",
                "base_model": previous,
                "models": [{"model": previous}, {"model": updated}],
                "parameters": {"t": T},
                "dtype": "bfloat16",
            }
        )
    )
    commands = {
        "ours": [sys.executable, "-c", OURS.format(T), previous, updated, ours],
        "mergekit": [sys.executable, "-m", "mergekit.scripts.run_yaml", str(recipe), theirs],
    }
    for number in range(rounds):
        yield {each.name: whole_process(commands[each.name], each.name, work) for each in contenders}
        if number == 0:
            whole_process([sys.executable, "-m", "benchmarks.checkpoints", "same", ours, theirs], "same", work)
        for merged in (ours, theirs):
            shutil.rmtree(merged)
    shutil.rmtree(models)


QUESTION = Question(
    "slerp",
    f"SLERP of two checkpoints of 1.2 GB (bf16, 4 files), t = {T}, whole processes",
    (
        Contender("ours", "memphis.training.merge_files in a process of its own"),
        Contender("mergekit", "mergekit-yaml of mergekit 0.1.5, slerp, its defaults"),
    ),
    (
        Target("CPU time", ("ours", "cpu_s"), ("mergekit", "cpu_s"), 2.5, 3.0),
        Target("peak memory", ("ours", "rss_mib"), ("mergekit", "rss_mib"), 0.25, 0.15, at_most=True),
    ),
    _measure,
)
