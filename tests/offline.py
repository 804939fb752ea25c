"""train.py as a command, on a machine without network, account or cache."""

import functools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from memphis.runs import REPOSITORY


def train(root: Path, *overrides: str, forked: bool = False, **more: str) -> "subprocess.CompletedProcess[str]":
    """forked: from a warm process, which is quicker for runs that start others; all of these have one empty cache."""
    command = [str(REPOSITORY / "train.py"), *overrides, "tracking=none"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MEMPHIS_", "WANDB_", "SLURM_", "HF_"))}
    home = _home().name if forked else str(root / "hf")
    environment |= {"MEMPHIS_RUNS": str(root), "HF_HUB_OFFLINE": "1", "HF_HOME": home, **more}
    if forked:
        return fork(command, root, {"OMP_NUM_THREADS": "1", **environment})
    command = [sys.executable, *command]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=root, timeout=1000, check=False)


def fork(command: list[str], cwd: Path, environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """`command` is what would be typed after `python`."""
    from tests import warm

    run = warm.Run(command, cwd, environment)
    out, err = run.communicate(timeout=1000)
    return subprocess.CompletedProcess(command, run.wait(), out, err)


@functools.cache
def _home() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="no-cache-")
