"""train.py as a command, on a machine without network, account or cache."""

import os
import subprocess
import sys
from pathlib import Path

from memphis.runs import REPOSITORY
from tests import commands


def environment(root: Path, **more: str) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MEMPHIS_", "WANDB_", "SLURM_", "HF_"))}
    return {**clean, "MEMPHIS_RUNS": str(root), "HF_HUB_OFFLINE": "1", "HF_HOME": str(root / "hf"), **more}


def train(root: Path, *overrides: str, **more: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(REPOSITORY / "train.py"), *overrides, "tracking=none"]
    env = environment(root, **more)
    return subprocess.run(command, capture_output=True, text=True, env=env, cwd=root, timeout=1000, check=False)


def planned(root: Path, *overrides: str) -> "subprocess.CompletedProcess[str]":
    """`train`, for what builds nothing: started in a twentieth of the time."""
    return commands.run(str(REPOSITORY / "train.py"), *overrides, "tracking=none", cwd=root, env=environment(root))
