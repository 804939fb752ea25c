"""Micro run of the whole recipe in well under a minute, which the fault tests break and continue.

Its model has 0.1 M weights and learns sums up to 5; it uses the transformers engine, which starts fast.
"""

import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from memphis.runs import REPOSITORY
from memphis.training.model import fingerprint
from tests import warm

OVERRIDES = [
    "name=micro",
    *(
        f"model.base.{key}={value}"
        for key, value in {"hidden": 64, "layers": 2, "heads": 2, "intermediate": 128}.items()
    ),
    *("model.base.max_positions=384", "model.base.vocab_size=560", "model.base.texts=4000", "model.base.steps=250"),
    *("model.base.max_number=5", "model.base.max_factor=2", "model.base.max_steps=1"),
    *("data.sources.tiny.train=300", "data.sources.tiny.questions=40", "data.sources.tiny.dev=8"),
    *("data.sources.tiny.test=12", "data.sources.tiny.max_number=5", "data.sources.tiny.max_factor=2"),
    *("data.sources.tiny.max_steps=1", "sft.max_length=256", "rank.max_length=256", "rank.global_batch_size=4"),
    *("sft.optim.name=adamw", "sft.optim.lr=3e-3", "sft.epochs=6"),
    *("generate=hf", "generate.shard_size=16", "generate.temperature=0.7", "iterations=1"),
]

UNTRACKED = {"WANDB_MODE": "disabled"}  # for start and run: saves 2 s in tests that are not about W&B


def environment(root: Path, **more: str) -> dict[str, str]:
    """Return the environment of a run below `root`: one thread (for bit-equality), no hooks of other tests."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("MEMPHIS_", "WANDB_", "SLURM_"))}
    return {**clean, "MEMPHIS_RUNS": str(root), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", **more}


def start(
    root: Path,
    *overrides: str,
    words: Sequence[str] = OVERRIDES,
    prefix: Sequence[str] = (),
    cold: bool = False,
    **more: str,
) -> "subprocess.Popen[str] | warm.Run":
    """Start a run. cold: like a user, each process with its own imports. prefix: a command that starts it, cold."""
    typed = [str(REPOSITORY / "train.py"), *words, *overrides]
    pipe = subprocess.PIPE
    env = environment(root, **more)
    if not (cold or prefix):
        return warm.Run(typed, root, env)
    return subprocess.Popen([*prefix, sys.executable, *typed], stdout=pipe, stderr=pipe, text=True, env=env, cwd=root)


def run(root: Path, *overrides: str, **how: Any) -> "subprocess.CompletedProcess[str]":
    process = start(root, *overrides, **how)
    try:
        out, err = process.communicate(timeout=900)
    except BaseException:
        process.send_signal(signal.SIGKILL)
        raise
    assert process.returncode is not None
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def children_seconds() -> float:
    """Return the CPU seconds of all ended child processes: unlike wall time, they do not grow on a busy machine."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def outcome(root: Path) -> dict[str, Any]:
    """Return what must not depend on interruptions of a run: weights, samples, pairs and scores by stage.

    Times, speeds and host names are left out: only they may differ.
    """
    found: dict[str, Any] = {}
    for path in sorted((root / "store").glob("*-*")):
        if not (path / "DONE").exists() or ".damaged-" in path.name:
            continue
        if (path / "model").is_dir():
            found[path.name] = fingerprint(path / "model")
        for name in ("samples.jsonl", "pairs.jsonl", "sft.jsonl"):
            if (path / name).exists():
                found[f"{path.name}/{name}"] = hashlib.sha256((path / name).read_bytes()).hexdigest()
        if path.name.startswith("evaluate-"):
            found[path.name] = json.loads((path / "stage.json").read_text())["summary"]["columns"]
        found[f"{path.name}/rows"] = [curve(row) for row in rows_of(path)]
    return found


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def curve(row: dict[str, Any]) -> dict[str, Any]:
    timed = ("wall_s", "seconds", "tokens_per_sec", "around_frac")
    return {key: value for key, value in row.items() if not key.startswith(("_t", "perf/")) and not key.endswith(timed)}
