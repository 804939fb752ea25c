"""Many runs as one graph of unique stages, and that graph as Slurm jobs.

    python -m experiments.grid +exp=memphis_cot +sweep=slerp_factor seed=0,1,2 [--dry-run|--submit|--status|--cancel]

Overrides are those of `train.py -m`; beside that `+sweep=a,b` takes the arms of several files. Without a flag the arms
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

from experiments.grid import frozen as sweeps
from experiments.grid import slurm
from experiments.grid.frozen import Arm
from experiments.grid.graph import Graph, Job, damaged
from memphis.config import FOR_STAGES
from memphis.engine.launch import last_words
from memphis.errors import MemphisError
from memphis.hooks import kill_point
from memphis.pipeline import spreads
from memphis.privacy import masked
from memphis.store import Store, digest, read_json


class Grid:
    """Arms of one command. Once they are frozen on the disk, they are read from there."""

    def __init__(self, overrides: list[str]) -> None:
        self.typed = overrides
        self.arms, self.notes = sweeps.enumerate_arms(overrides)
        self.path = sweeps.grid_directory(self.arms)
        self.store: Store = self.arms[0].store
        self.store_id = digest(str(self.store.root.resolve()))[:8]
        self.frozen = self.path.is_dir()
        if self.frozen:
            fresh = self.arms
            self.arms = sweeps.thaw(self.path)
            changed = sum(not _same(*pair) for pair in zip(fresh, self.arms, strict=True))
            if changed:
                self.notes.append(
                    f"conf/ has changed: {changed} of {len(fresh)} arms would be others today; they stay as they were "
                    "frozen, name=<another name> makes new ones"
                )

    def freeze(self) -> None:
        self.store.create()
        try:
            if not self.frozen:
                sweeps.freeze(self.arms, self.path)
                self.arms, self.frozen = sweeps.thaw(self.path), True
            else:
                sweeps.write_stages(self.path, self.arms)  # another version of memphis has other keys
        except OSError as error:
            raise MemphisError(f"{self.path}: {error.strerror}; free some space, or set runtime.root") from error

    def log(self, name: str) -> Path:
        """Return the log file of a stage's or an arm's job."""
        return self.path / "logs" / f"{name}.log"

    def finished(self, arm: Arm, graph: Graph) -> bool:
        try:
            ended = read_json(arm.directory / "summary.json")["status"] == "finished"
        except (OSError, ValueError):
            return False
        return ended and not graph.missing_of(arm)


def _same(fresh: Arm, frozen: Arm) -> bool:
    return [stage.key for stage in fresh.stages] == [stage.key for stage in frozen.stages]


# -------------------------------------------------------------------------------------------------------------- submit


def submit(grid: Grid) -> str:
    """Submit what is neither built nor queued: a Slurm job for each job of stages and for each unfinished arm."""
    resources = slurm.resources()
    slurm.queue(grid.store_id)  # fails before anything is written if there is no Slurm
    grid.freeze()
    with _alone(grid.path.parent):
        there = slurm.queue(grid.store_id)  # read before the store: a job that ends in between has built its stage
        queued = {name: one.id for one in there for name in one.builds}
        graph = Graph(grid.arms)
        words, fits = graph.disk()
        if not fits:
            raise MemphisError(words)
        jobs = graph.jobs(without=set(queued))
        waiting = [number for number, arm in enumerate(grid.arms) if not grid.finished(arm, graph)]
        waiting = [number for number in waiting if _arm_name(grid, number) not in queued]
        already = len(there)
        sent = 0
        try:
            for job in jobs:
                _prepare(job, graph, grid)
                job_id = _send_job(job, graph, grid, queued, resources)
                queued |= dict.fromkeys((stage.directory for stage in job.stages), job_id)
                sent += 1
                kill_point("grid", "sbatch")
            for number in waiting:
                _send_arm(number, graph, grid, queued, resources)
                sent += 1
                kill_point("grid", "sbatch")
        except MemphisError as error:
            total = len(jobs) + len(waiting)
            raise MemphisError(f"{error}; {sent} of {total} jobs were sent, the same command sends the rest") from None
    return f"{sent} jobs submitted, {already} were queued or running; logs: {grid.path / 'logs'}"


def _prepare(job: Job, graph: Graph, grid: Grid) -> None:
    for stage in job.stages:
        if (path := damaged(graph.store, stage)) is not None:
            graph.store.set_aside(path)
        graph.store.publish(stage)
    grid.log(job.stages[0].directory).unlink(missing_ok=True)  # of an earlier submission, which failed


def _send_job(job: Job, graph: Graph, grid: Grid, queued: dict[str, str], resources: dict[str, list[str]]) -> str:
    runtime = {key: getattr(job.arm.cfg.runtime, key) for key in FOR_STAGES}
    options = [*resources[job.needs]]
    if not any(spreads(stage.kind, stage.config) for stage in job.stages):
        runtime["num_devices"] = 1
    if job.needs == "cpu":
        runtime["device"] = "cpu"
    elif runtime["device"] == "cuda":
        options += [option.replace("{devices}", str(runtime["num_devices"])) for option in resources["gpu"]]
    ids = [queued[name] for name in job.inputs & graph.missing.keys()]
    first = job.stages[0]
    return slurm.submit(
        [sys.executable, "-m", "memphis.stages", "--runtime", json.dumps(runtime)]
        + [str(graph.store.path(stage).resolve()) for stage in job.stages],
        name=f"{first.name}-{first.key[:6]}",
        store=grid.store_id,
        grid=grid.path.name,
        builds=[stage.directory for stage in job.stages],
        options=[*options, *slurm.depends("afterok", ids)],
        log=grid.log(first.directory),
    )


def _send_arm(number: int, graph: Graph, grid: Grid, queued: dict[str, str], resources: dict[str, list[str]]) -> None:
    name = _arm_name(grid, number)
    grid.log(name.partition("/")[2]).unlink(missing_ok=True)
    arm = grid.arms[number]
    slurm.submit(
        [sys.executable, "train.py", f"--config-path={(grid.path / 'arms').resolve()}", f"--config-name={number:03d}"],
        name=f"{arm.cfg.name}-s{arm.cfg.seed}-{number:03d}",
        store=grid.store_id,
        grid=grid.path.name,
        builds=[name],
        options=[*resources["arm"], *slurm.depends("afterany", [queued[name] for name in graph.missing_of(arm)])],
        log=grid.log(name.partition("/")[2]),
    )


def _arm_name(grid: Grid, number: int) -> str:
    return f"{grid.path.name}/arm-{number:03d}"


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
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
    jobs = {name: job for job in slurm.queue(grid.store_id) for name in job.builds}
    graph = Graph(grid.arms)
    states: Counter[str] = Counter()
    failed = []
    for directory, stage in graph.stages.items():
        state, why = _state(grid, directory, directory not in graph.missing, jobs.get(directory))
        states[state] += 1
        failed += [f"failed  {stage.name}  {directory}: {why}"] if state == "failed" else []
    ends: Counter[str] = Counter()
    for number, arm in enumerate(grid.arms):
        name = _arm_name(grid, number)
        state, why = _state(grid, name.partition("/")[2], grid.finished(arm, graph), jobs.get(name))
        ends[state] += 1
        failed += [f"failed  arm {number:03d}  {arm}: {why}"] if state == "failed" else []
    lines = [f"{grid.path.name}: {len(graph.stages):,} stages: {_counted(states)}"]
    lines += [f"{len(grid.arms):,} arms: {_counted(ends).replace('built', 'finished')}"]
    held = Counter(f"{job.state.lower()} ({job.reason})" for job in {job.id: job for job in jobs.values()}.values())
    lines += [f"jobs in the queue: {', '.join(f'{count} {what}' for what, count in held.items())}"] if held else []
    return "\n".join([*lines, *failed]), not failed


def _state(grid: Grid, name: str, built: bool, job: slurm.QueuedJob | None) -> tuple[str, str]:
    """Return the state of a stage or an arm, and why, from the store, the queue and whether there is a log alone."""
    if built:
        return "built", ""
    if job is not None:
        return ("running" if job.state in ("RUNNING", "COMPLETING") else "waiting"), ""
    log = grid.log(name)
    if not log.exists():
        return "not submitted", ""
    return "failed", f"{last_words(log) or 'its job ended without a word'}; log: {log}"


def _counted(states: Counter[str]) -> str:
    order = ("built", "running", "waiting", "failed", "not submitted")
    return ", ".join(f"{states[state]:,} {state}" for state in order if states[state])


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
        if options.cancel:
            print(cancel(grid))
            return 0
        text, good = status(grid)
        print(text)
        return 0 if good else 1
    graph = Graph(grid.arms)
    print(graph.describe())
    print(graph.disk()[0])
    if options.submit:
        print(submit(grid))
    elif not options.dry_run:
        grid.freeze()
    if not options.submit:
        typed = shlex.join(map(str, masked(options.overrides)))
        print(f"{len(graph.jobs(set()))} jobs for stages, {len(grid.arms)} for runs; to send them:")
        print(f"  python -m experiments.grid {typed} --submit")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except MemphisError as fault:
        sys.exit(f"error: {fault}")
