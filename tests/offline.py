"""Runner for train.py as a command, on a machine without network, account or cache."""

import functools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from memphis.runs import REPOSITORY
from tests import commands


def environment(root: Path, **more: str) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MEMPHIS_", "WANDB_", "SLURM_", "HF_"))}
    return {**clean, "MEMPHIS_RUNS": str(root), "HF_HUB_OFFLINE": "1", "HF_HOME": str(root / "hf"), **more}


def train(root: Path, *overrides: str, forked: bool = False, **more: str) -> "subprocess.CompletedProcess[str]":
    """Run train.py. forked: from a warm process, quicker for runs that start others; they share one empty cache."""
    command = [str(REPOSITORY / "train.py"), *overrides, "tracking=none"]
    env = environment(root, **more)
    if forked:
        return fork(command, root, {"OMP_NUM_THREADS": "1", **env, "HF_HOME": _home().name})
    command = [sys.executable, *command]
    return subprocess.run(command, capture_output=True, text=True, env=env, cwd=root, timeout=1000, check=False)


def planned(root: Path, *overrides: str) -> "subprocess.CompletedProcess[str]":
    """Run train.py like `train`, for commands that build nothing: it starts in a twentieth of the time."""
    return commands.run(str(REPOSITORY / "train.py"), *overrides, "tracking=none", cwd=root, env=environment(root))


def fork(command: list[str], cwd: Path, environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """Run a command from a warm process. command: the words that a user would type after `python`."""
    from tests import warm

    run = warm.Run(command, cwd, environment)
    out, err = run.communicate(timeout=1000)
    return subprocess.CompletedProcess(command, run.wait(), out, err)


@functools.cache
def _home() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="no-cache-")
