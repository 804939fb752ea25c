"""Call Slurm's own commands: list the queue, submit, cancel. Uses squeue only: many clusters have no accounting."""

import os
import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

from memphis.errors import MemphisError
from memphis.runs import REPOSITORY

SCRIPT = REPOSITORY / "slurm" / "stage.sbatch"


@dataclass(frozen=True)
class QueuedJob:
    """Job in the queue whose comment says what it builds: `memphis <store> <grid> <directory> …`."""

    id: str
    state: str  # PENDING, RUNNING, …
    reason: str  # why it is pending
    grid: str
    builds: list[str]


def resources() -> dict[str, list[str]]:
    """Return the `#GRID <class> <options>` lines of slurm/stage.sbatch. Raises MemphisError when one is missing."""
    lines = re.findall(r"^#GRID +(\w+)(.*)$", SCRIPT.read_text(encoding="utf-8"), re.M)
    found = {name: shlex.split(options) for name, options in lines}
    if missing := {"train", "engine", "cpu", "arm", "gpu"} - found.keys():
        raise MemphisError(f"{SCRIPT}: there is no line `#GRID {min(missing)} <options of sbatch>`")
    return found


def queue(store: str) -> list[QueuedJob]:
    """Return my jobs for this store that are queued or running."""
    jobs = []
    for line in _call(["squeue", "--me", "--noheader", "--format=%i|%T|%r|%k"]).splitlines():
        number, state, reason, comment = line.split("|", 3)
        words = comment.split()
        if words[:2] == ["memphis", store]:
            jobs.append(QueuedJob(number, state, reason, words[2], words[3:]))
    return jobs


def submit(
    command: list[str], *, name: str, store: str, grid: str, builds: list[str], options: list[str], log: Path
) -> str:
    """Submit one job with slurm/stage.sbatch; returns its id."""
    line = ["sbatch", "--parsable", f"--job-name={name}", f"--comment=memphis {store} {grid} {' '.join(builds)}"]
    line += [f"--chdir={REPOSITORY}", f"--output={log}", *options, str(SCRIPT), *command]
    return _call(line).strip().split(";")[0]


def depends(when: str, ids: list[str]) -> list[str]:
    """Return options for a job that waits for others. when: `afterok` or `afterany`."""
    return [f"--dependency={when}:{':'.join(sorted(set(ids)))}", "--kill-on-invalid-dep=yes"] if ids else []


def cancel(ids: list[str]) -> None:
    if ids:
        _call(["scancel", *ids])


def _call(line: list[str]) -> str:
    # A job that submits must not pass its own limits on.
    env = {key: value for key, value in os.environ.items() if not re.match(r"SLURM_(?!CONF$)", key)}
    try:
        done = subprocess.run(line, capture_output=True, text=True, env=env, check=False)
    except FileNotFoundError:
        raise MemphisError(
            f"{line[0]}: no such command; this needs a machine of a Slurm cluster. Without one: python train.py -m …"
        ) from None
    if done.returncode != 0:
        raise MemphisError(f"{line[0]} refused: {' '.join(done.stderr.split()) or f'status {done.returncode}'}")
    return done.stdout
