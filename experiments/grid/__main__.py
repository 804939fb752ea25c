"""Merge many runs into one graph of unique stages, and send that graph as Slurm jobs.

    python -m experiments.grid +exp=memphis_cot +sweep=slerp_factor seed=0,1,2 [--dry-run|--submit|--status|--cancel]

Overrides are those of `train.py -m`; beside that `+sweep=a,b` takes the runs of several files. Without a flag the runs
are frozen and nothing is submitted. The same command again finds the same grid: what is sent is decided by the store
and the queue alone, so a submission can be interrupted anywhere.
"""

import argparse
import fcntl
import json
import shlex
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from experiments.grid import frozen, slurm
from experiments.grid.frozen import SweepRun
from experiments.grid.graph import Graph, Job
from memphis.config import for_stages
from memphis.engine.launch import last_words
from memphis.errors import MemphisError, run_command
from memphis.hooks import kill_point
from memphis.pipeline import spreads
from memphis.privacy import masked
from memphis.store import digest, read_json


class Grid:
    """Runs of one command. Once they are frozen on the disk, they are read from there."""

    def __init__(self, overrides: list[str]) -> None:
        self.runs, self.notes = frozen.enumerate_runs(overrides)
        self.path = frozen.grid_directory(self.runs)
        self.store = self.runs[0].store
        self.store_id = digest(str(self.store.root.resolve()))[:8]
        self.frozen = self.path.is_dir()
        if self.frozen:
            fresh, self.runs = self.runs, frozen.thaw(self.path)
            keys = ([[stage.key for stage in run.stages] for run in runs] for runs in (fresh, self.runs))
            if changed := sum(new != old for new, old in zip(*keys, strict=True)):
                self.notes.append(
                    f"conf/ has changed: {changed} of {len(fresh)} arms would be others today; they stay as they were "
                    "frozen, name=<another name> makes new ones"
                )

    def freeze(self) -> None:
        self.store.create()
        try:
            if not self.frozen:
                frozen.freeze(self.runs, self.path)
                self.runs, self.frozen = frozen.thaw(self.path), True
            else:
                frozen.write_stages(self.path, self.runs)  # another version of memphis has other keys
        except OSError as error:
            raise MemphisError(f"{self.path}: {error.strerror}; free some space, or set runtime.root") from error

    def log(self, name: str) -> Path:
        """Return the log file of a stage's or a run's job."""
        return self.path / "logs" / f"{name.removeprefix(f'{self.path.name}/')}.log"

    def job_name(self, number: int) -> str:
        """Return the word for a run in the comment of its job."""
        return f"{self.path.name}/arm-{number:03d}"

    def finished(self, run: SweepRun, graph: Graph) -> bool:
        try:
            ended = read_json(run.directory / "summary.json")["status"] == "finished"
        except (OSError, ValueError):
            return False
        return ended and not graph.missing_of(run)


# -------------------------------------------------------------------------------------------------------------- submit


def submit_missing(grid: Grid) -> str:
    """Submit what is neither built nor queued: a Slurm job for each job of stages and for each unfinished run."""
    resources = slurm.resources()
    slurm.queue(grid.store_id)  # fails before anything is written if there is no Slurm
    grid.freeze()
    with _locked(grid.path.parent):
        already = slurm.queue(grid.store_id)  # read before the store: a job that ends in between has built its stage
        queued = {name: job.id for job in already for name in job.builds}
        graph = Graph(grid.runs)
        text, fits = graph.disk()
        if not fits:
            raise MemphisError(text)
        jobs = graph.jobs(without=set(queued))
        numbers = [
            number
            for number, run in enumerate(grid.runs)
            if not grid.finished(run, graph) and grid.job_name(number) not in queued
        ]
        total, sent = len(jobs) + len(numbers), 0
        try:
            for job in jobs:
                job_id = _send_job(job, graph, grid, queued, resources)
                queued |= dict.fromkeys((stage.directory for stage in job.stages), job_id)
                sent += 1
            for number in numbers:
                _send_run(number, graph, grid, queued, resources)
                sent += 1
        except MemphisError as error:
            raise MemphisError(f"{error}; {sent} of {total} jobs were sent, the same command sends the rest") from None
    return f"{sent} jobs submitted, {len(already)} were queued or running; logs: {grid.path / 'logs'}"


def _send_job(job: Job, graph: Graph, grid: Grid, queued: dict[str, str], resources: dict[str, list[str]]) -> str:
    for stage in job.stages:
        path = graph.store.path(stage)
        if (path / "DONE").exists() and graph.store.fault(path) is not None:  # its files are not what was written
            graph.store.set_aside(path)
        graph.store.publish(stage)
    runtime = for_stages(job.run.cfg)
    options = [*resources[job.needs]]
    if not any(spreads(stage.kind, stage.config) for stage in job.stages):
        runtime["num_devices"] = 1
    if job.needs == "cpu":
        runtime["device"] = "cpu"
    elif runtime["device"] == "cuda":
        options += [option.replace("{devices}", str(runtime["num_devices"])) for option in resources["gpu"]]
    options += slurm.depends("afterok", [queued[name] for name in job.inputs & graph.missing.keys()])
    command = [sys.executable, "-m", "memphis.stages", "--runtime", json.dumps(runtime)]
    command += [str(graph.store.path(stage).resolve()) for stage in job.stages]
    first = job.stages[0]
    return _send(grid, command, f"{first.name}-{first.key[:6]}", [stage.directory for stage in job.stages], options)


def _send_run(number: int, graph: Graph, grid: Grid, queued: dict[str, str], resources: dict[str, list[str]]) -> None:
    run = grid.runs[number]
    options = [*resources["arm"], *slurm.depends("afterany", [queued[name] for name in graph.missing_of(run)])]
    command = [sys.executable, "train.py", f"--config-path={(grid.path / 'arms').resolve()}"]
    command += [f"--config-name={number:03d}"]
    _send(grid, command, f"{run.cfg.name}-s{run.cfg.seed}-{number:03d}", [grid.job_name(number)], options)


def _send(grid: Grid, command: list[str], name: str, builds: list[str], options: list[str]) -> str:
    log = grid.log(builds[0])
    log.unlink(missing_ok=True)  # of an earlier submission, which failed
    job_id = slurm.submit(
        command, name=name, store=grid.store_id, grid=grid.path.name, builds=builds, options=options, log=log
    )
    kill_point("grid", "sbatch")
    return job_id


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Allow one submission at a time: two would send the same stages."""
    with (directory / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise MemphisError(f"{directory}: another submission is going on; wait for it to end") from None
        except OSError:  # a file system without locks: the claims of the stages still hold
            pass
        yield


# --------------------------------------------------------------------------------------------------- status and cancel


def status(grid: Grid) -> tuple[str, bool]:
    """Return a summary, then a line for everything that failed and its log; False when something failed."""
    queue = slurm.queue(grid.store_id)
    jobs = {name: job for job in queue for name in job.builds}
    graph = Graph(grid.runs)
    failed: list[str] = []

    def state(name: str, built: bool, title: str) -> str:
        """Return the state of a stage or a run, from the store, the queue and whether there is a log alone."""
        if built:
            return "built"
        if name in jobs:
            return "running" if jobs[name].state in ("RUNNING", "COMPLETING") else "waiting"
        log = grid.log(name)
        if not log.exists():
            return "not submitted"
        failed.append(f"failed  {title}: {last_words(log) or 'its job ended without a word'}; log: {log}")
        return "failed"

    def count(states: Counter[str]) -> str:
        order = ("built", "running", "waiting", "failed", "not submitted")
        return ", ".join(f"{states[state]:,} {state}" for state in order if states[state])

    stages = Counter(
        state(name, name not in graph.missing, f"{stage.name}  {name}") for name, stage in graph.stages.items()
    )
    runs = Counter(
        state(grid.job_name(number), grid.finished(run, graph), f"arm {number:03d}  {run}")
        for number, run in enumerate(grid.runs)
    )
    lines = [f"{grid.path.name}: {stages.total():,} stages: {count(stages)}"]
    lines += [f"{runs.total():,} arms: {count(runs).replace('built', 'finished')}"]
    held = Counter(f"{job.state.lower()} ({job.reason})" for job in queue if job.builds)
    lines += [f"jobs in the queue: {', '.join(f'{number} {what}' for what, number in held.items())}"] if held else []
    return "\n".join([*lines, *failed]), not failed


def cancel(grid: Grid) -> str:
    """Cancel this grid's jobs. What they have built stays; stages that run write a checkpoint first."""
    ids = sorted({job.id for job in slurm.queue(grid.store_id) if job.grid == grid.path.name})
    slurm.cancel(ids)
    return f"{grid.path.name}: {len(ids)} jobs cancelled"


# ---------------------------------------------------------------------------------------------------------------- main


def main(argv: list[str] | None = None) -> int:
    about = (__doc__ or "").split("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m experiments.grid", description=about[0], epilog=about[2], allow_abbrev=False
    )
    parser.add_argument(
        "overrides", nargs="*", help="as for train.py -m: +exp=memphis_cot +sweep=slerp_factor seed=0,1,2"
    )
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument("--dry-run", action="store_true", help="show what would be done and write nothing")
    modes.add_argument("--submit", action="store_true", help="send what is neither built nor queued; returns at once")
    modes.add_argument("--status", action="store_true", help="built, running, waiting, failed; asks no accounting")
    modes.add_argument("--cancel", action="store_true", help="take this grid's jobs out of the queue")
    options = parser.parse_intermixed_args(argv)
    grid = Grid(options.overrides)
    for note in grid.notes:
        print(note)
    if options.status or options.cancel:
        if not grid.frozen:
            raise MemphisError(f"{grid.path.name}: no such grid in {grid.path.parent}; --submit makes it")
        text, good = (cancel(grid), True) if options.cancel else status(grid)
        print(text)
        return 0 if good else 1
    graph = Graph(grid.runs)
    print(graph.describe())
    print(graph.disk()[0])
    if options.submit:
        print(submit_missing(grid))
        return 0
    if not options.dry_run:
        grid.freeze()
    typed = shlex.join(map(str, masked(options.overrides)))
    print(f"{len(graph.jobs(set()))} jobs for stages, {len(grid.runs)} for runs; to send them:")
    print(f"  python -m experiments.grid {typed} --submit")
    return 0


if __name__ == "__main__":
    run_command(main)
