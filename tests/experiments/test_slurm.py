"""Tests on a real Slurm with two emulated nodes: after interruptions, tables are those of an undisturbed multirun."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from memphis.runs import REPOSITORY
from tests import micro
from tests.test_faults import copy

# One multirun of four arms, the same four as 20 jobs, and three interrupted runs. Nearly all the time goes to starting
# Python (every job imports torch), and up to two minutes to Slurm's check of a time limit.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

# Hydra's sweeper rewrites numbers (3e-3 becomes 0.003), and run directories are named after what it wrote.
MICRO = [*(item.replace("3e-3", "0.003") for item in micro.OVERRIDES), "eval.at=final"]
ARMS = ["slerp.t=0.5,0.9", "seed=0,1"]
WAIT_S = 1500  # enough on a busy machine


@pytest.fixture(scope="module")
def cluster(shared: Path) -> Iterator[dict[str, str]]:
    """Start a local cluster; yield the environment variables under which Slurm's commands talk to it."""
    tool = shared / "cluster" / "local-slurm"
    if shutil.which("sbatch") is None or not tool.exists():
        pytest.skip("Slurm is not installed: apt-get install -y --no-install-recommends slurm-wlm")
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # its sockets need a short path
    environment = {**os.environ, "LOCAL_SLURM_DIR": str(folder)}
    up = subprocess.run([str(tool), "up"], capture_output=True, text=True, env=environment, check=False)
    try:
        assert up.returncode == 0, up.stderr
        yield dict(re.findall(r"export (\w+)=(.*)", up.stdout))
    finally:
        subprocess.run([str(tool), "down"], capture_output=True, env=environment, check=False)


@pytest.fixture(scope="module")
def undisturbed(unbroken: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the four arms one after the other, without Slurm; data and base model are those of `unbroken`."""
    root = tmp_path_factory.mktemp("undisturbed")
    copy(unbroken, root, "data", "base")
    done = micro.run(root, "slerp.t=0.2,0.5,0.9,1", "seed=0,1", "until=sft", "-m", words=MICRO, **micro.UNTRACKED)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall(r"\] sft: done in", done.stdout)) == 2  # of eight runs: one for each seed
    assert len(re.findall(r"\] sft: taken from the store", done.stdout)) == 6
    done = micro.run(root, *ARMS, "-m", words=MICRO, **micro.UNTRACKED)
    assert done.returncode == 0, done.stdout + done.stderr
    return root


class Cluster:
    """Slurm's commands and the grid's, for runs below `root`."""

    def __init__(self, root: Path, variables: dict[str, str]) -> None:
        self.root = root
        self.environment = micro.environment(root, **variables, PYTHON=sys.executable)

    def ask(self, *line: str, **more: str) -> "subprocess.CompletedProcess[str]":
        environment = {**self.environment, **more}
        return subprocess.run(line, capture_output=True, text=True, cwd=REPOSITORY, env=environment, check=False)

    def grid(self, *words: str, **more: str) -> "subprocess.CompletedProcess[str]":
        return self.ask(sys.executable, "-m", "experiments.grid", *MICRO, *ARMS, *words, **more)

    def submit(self, *line: str) -> str:
        done = self.ask("sbatch", "--parsable", f"--output={self.root}/%x-%j-%a.log", *line)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def jobs(self, field: str, *which: str) -> list[tuple[str, ...]]:
        """Return (id, state, field) of jobs."""
        listed = self.ask("squeue", "--noheader", f"--format=%i|%T|{field}", *which).stdout
        return [tuple(line.split("|", 2)) for line in listed.splitlines()]

    def running(self, what: str) -> str | None:
        """Return the id of a running job whose comment has a word that begins with `what`."""
        found = [number for number, state, comment in self.jobs("%k") if state == "RUNNING" and f" {what}" in comment]
        return found[0] if found else None

    def builder(self, kind: str, rows: int) -> dict[str, Any] | None:
        """Return the claim of a stage of this kind that has written at least `rows` rows."""
        for file in (self.root / "store").glob(f"{kind}-*.part-*/metrics.jsonl"):
            try:
                if file.read_text().count("\n") >= rows:
                    claim = file.parents[1] / f"{file.parent.name.partition('.')[0]}.claim"
                    return {**json.loads(claim.read_text()), "name": claim.stem}
            except (OSError, ValueError):  # finished at this moment
                continue
        return None

    def drained(self) -> bool:
        return not self.jobs("%k")


def wait_for(what: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + WAIT_S
    while not (found := what()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)
    return found


def tables(root: Path) -> dict[str, Any]:
    """Return scores by run directory."""
    found = {}
    for file in sorted(root.glob("micro/s*/*/summary.json")):
        summary = json.loads(file.read_text())
        if summary["scores"]:
            assert summary["status"] == "finished", file
            found[str(file.relative_to(root))] = summary["scores"]
    return found


def test_killed_submitter_killed_stage_and_cancelled_job(
    cluster: dict[str, str], undisturbed: Path, tmp_path: Path
) -> None:
    here = Cluster(tmp_path, cluster)
    copy(undisturbed, tmp_path, "data", "base")  # which the other tests build
    killed = here.grid("--submit", MEMPHIS_TEST_KILL="grid:sbatch:5")
    assert killed.returncode == -signal.SIGKILL
    done = here.grid("--submit")
    assert re.search(r"^15 jobs submitted, ", done.stdout, re.M), done.stdout + done.stderr
    comments = [comment for _, _, comment in here.jobs("%k", "--states=all")]
    assert len(comments) == len(set(comments)) == 16 + 4  # no job was submitted twice

    claim = wait_for(lambda: here.builder("sft", rows=5))
    os.kill(claim["pid"], signal.SIGKILL)
    cancelled = wait_for(lambda: here.running("rank-") or here.running("merge-"))
    assert here.ask("scancel", cancelled).returncode == 0
    wait_for(here.drained)  # jobs that depended on these are gone, all others are done
    status = here.grid("--status")
    assert status.returncode == 1
    assert re.search(rf"^failed  sft  {claim['name']}: .*log: .*/logs/{claim['name']}\.log$", status.stdout, re.M)
    assert re.search(r"^4 arms: .*[34] failed", status.stdout, re.M)
    assert "not built" in status.stdout

    assert here.grid("--submit").returncode == 0
    wait_for(here.drained)
    status = here.grid("--status")
    assert status.returncode == 0, status.stdout
    assert status.stdout.splitlines()[1:] == ["4 arms: 4 finished"]
    assert re.search(r"^0 jobs submitted, 0 were", here.grid("--submit").stdout, re.M)
    assert micro.outcome(tmp_path) == micro.outcome(undisturbed)
    assert tables(tmp_path) == tables(undisturbed)
    completed = [comment for _, state, comment in here.jobs("%k", "--states=all") if state == "COMPLETED"]
    built = Counter(word for comment in completed for word in comment.split()[3:] if "/" not in word)
    assert set(built.values()) == {1}  # each unique stage was built by one job
    assert len(built) == 16


def test_array_tasks_requeued_and_preempted(cluster: dict[str, str], undisturbed: Path, tmp_path: Path) -> None:
    here = Cluster(tmp_path, cluster)
    lines = tmp_path / "lines.txt"
    lines.write_text("".join(f"{' '.join(MICRO)} slerp.t={t} seed=0\n" for t in (0.5, 0.9)))
    array = here.submit("--array=1-2", "slurm/array.sbatch", str(lines))

    wait_for(lambda: here.builder("base", rows=10))  # by one of them; the other waits for it
    assert here.ask("scontrol", "requeue", f"{array}_1").returncode == 0
    wait_for(lambda: restarts(here, f"{array}_1") == 1)
    assert restarts(here, f"{array}_2") == 0

    wait_for(lambda: here.builder("sft", rows=5))
    urgent = here.submit("--partition=urgent", "--nodes=2", "--exclusive", "--wrap=sleep 1")
    wait_for(lambda: any(state == "COMPLETED" for _, state, _ in here.jobs("%k", f"--jobs={urgent}", "--states=all")))
    wait_for(here.drained)
    assert restarts(here, f"{array}_1") + restarts(here, f"{array}_2") >= 2
    logs = "".join(file.read_text() for file in tmp_path.glob("micro/s*/*/logs/*/*.log"))
    assert "is being built by" in logs
    same_as(undisturbed, tmp_path, runs=2)


def test_time_limit_with_usr1_goes_on_in_the_same_job(
    cluster: dict[str, str], undisturbed: Path, tmp_path: Path
) -> None:
    here = Cluster(tmp_path, cluster)
    job = here.submit("--signal=B:USR1@100", "slurm/train.sbatch", *MICRO, "slerp.t=0.5", "seed=0")
    wait_for(lambda: here.builder("base", rows=10))
    passed = int(here.ask("squeue", "--noheader", "--format=%M", f"--jobs={job}").stdout.split(":")[-2])
    # One to two minutes from now. Slurm checks limits every half minute: the warning must come before the end.
    assert here.ask("scontrol", "update", f"JobId={job}", f"TimeLimit={passed + 2}").returncode == 0
    wait_for(lambda: restarts(here, job) == 1)
    assert here.ask("scontrol", "update", f"JobId={job}", "TimeLimit=60").returncode == 0
    assert "goes on when it is started again" in next(tmp_path.glob("*.log")).read_text()
    wait_for(here.drained)
    same_as(undisturbed, tmp_path, runs=1)
    (run,) = tmp_path.glob("micro/s0/*")
    info = json.loads((run / "run.json").read_text())
    assert info["attempts"] == 2
    assert info["slurm"] == {"SLURM_JOB_ID": job, "SLURM_RESTART_COUNT": "1"}
    segments = [path.name for path in run.glob("wandb/offline-run-*")]
    assert {name.split("-", 3)[3] for name in segments} == {info["run_id"]}  # the same run to W&B


def test_a_cancelled_grid_leaves_the_queue_and_a_refused_partition_is_told(
    cluster: dict[str, str], tmp_path: Path
) -> None:
    here = Cluster(tmp_path, cluster)
    refused = here.grid("--submit", SBATCH_PARTITION="nowhere")
    assert refused.stderr.startswith("error: sbatch refused: sbatch: error: invalid partition specified: nowhere")
    assert "0 of 22 jobs were sent" in refused.stderr
    assert "22 jobs submitted" in here.grid("--submit", SBATCH_HOLD="1", SBATCH_BEGIN="now+1hour").stdout
    assert "22 jobs cancelled" in here.grid("--cancel").stdout
    wait_for(here.drained)


def restarts(here: Cluster, job: str) -> int:
    shown = here.ask("scontrol", "show", "job", "--oneliner", job).stdout
    return int(re.search(r"Restarts=(\d+)", shown)[1])  # type: ignore[index]


def same_as(undisturbed: Path, root: Path, runs: int) -> None:
    mine, theirs = micro.outcome(root), micro.outcome(undisturbed)
    assert mine == {key: theirs[key] for key in mine}
    assert any(key.startswith("evaluate-") for key in mine)
    mine, theirs = tables(root), tables(undisturbed)
    assert len(mine) == runs
    assert mine == {key: theirs[key] for key in mine}
