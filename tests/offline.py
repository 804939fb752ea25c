"""train.py as a command, on a machine without network, account or cache."""

import os
import subprocess
import sys
from pathlib import Path

from memphis.runs import REPOSITORY


def train(root: Path, *overrides: str, **more: str) -> "subprocess.CompletedProcess[str]":
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MEMPHIS_", "WANDB_", "SLURM_", "HF_"))}
    environment |= {"MEMPHIS_RUNS": str(root), "HF_HUB_OFFLINE": "1", "HF_HOME": str(root / "hf"), **more}
    command = [sys.executable, str(REPOSITORY / "train.py"), *overrides, "tracking=none"]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=root, timeout=1000, check=False)
