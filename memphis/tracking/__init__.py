"""Send results to W&B: the parent process hands over the rows of its stages; memphis itself computes nothing from W&B.

All calls return at once: a separate thread imports wandb, calls it and keeps `wandb/sent.json`, so a slow or absent
server neither delays nor fails a run. Child processes never import this; without tracking nothing imports wandb.
"""

import os
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from memphis.config import Config
from memphis.errors import Stopped
from memphis.runs import Run
from memphis.store import Stage, read_json
from memphis.tracking import session
from memphis.tracking.sender import Sender, remember

GRACE_SECONDS = 10.0  # beyond the timeout of finish()


class Tracker:
    """W&B run of one run directory; all its attempts share an id, so they continue one another.

    WANDB_MODE=offline and WANDB_MODE=disabled are obeyed. Everything of W&B goes to `<run>/wandb`. The state (online
    where, offline why, given up why) is reported in one line on standard error.
    """

    def __init__(self, cfg: Config, run: Run) -> None:
        self._cfg, self._run = cfg, run
        self._dir = run.path / "wandb"
        self._began = time.monotonic()
        self._exit_code = 0
        self._preempted = False
        # Seconds by part: "start", "stages", "end"; wall-clock seconds for "calls" too.
        self._clock: defaultdict[str, float] = defaultdict(float)
        self._processor: defaultdict[str, float] = defaultdict(float)
        self._jobs: queue.SimpleQueue[tuple[str, Callable[[Sender], None]] | None] = queue.SimpleQueue()
        self._off = cfg.tracking.mode == "none" or os.environ.get("WANDB_MODE") == "disabled"
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        if not self._off:
            self._thread.start()

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._preempted = isinstance(error, Stopped)
        self.close(0 if error is None else 1)

    def started(self, stage: Stage) -> None:
        """Do nothing: W&B has nothing to show for a stage without rows."""

    def message(self, text: str) -> None:
        """Do nothing: console messages are kept out of W&B."""

    def progress(self, stage: Stage, row: Mapping[str, Any]) -> None:
        """Do nothing: W&B gets what stays."""

    def rows(self, stage: Stage, first: int, rows: list[dict[str, Any]]) -> None:
        """Hand over rows of a stage's metrics.jsonl; those sent before, also by an earlier attempt, are left out.

        first: index of rows[0] in that file, from 0.
        """
        self._do("stages", lambda sender: sender.rows(stage, first, rows))

    def finished(self, stage: Stage, record: Mapping[str, Any], reused: bool) -> None:
        """Hand over what a stage leaves, once: artifacts, and the table `samples` of an iteration."""
        self._do("stages", lambda sender: sender.finished(stage, record))

    def summary(self, summary: Mapping[str, Any]) -> None:
        self._do("end", lambda sender: sender.summary(summary))

    def close(self, exit_code: int) -> None:
        """Send what is left and end the W&B run; returns after FINISH_SECONDS + GRACE_SECONDS at the latest."""
        if self._off and not self._thread.is_alive():
            return
        self._exit_code = exit_code
        self._jobs.put(None)
        self._thread.join(session.FINISH_SECONDS + GRACE_SECONDS)
        if self._thread.is_alive():
            self._report_gaps()

    def _report_gaps(self) -> None:
        cure = f"`python -m memphis.tracking push {self._run.path} --new-id` makes a whole one from the files"
        session.report(f"W&B did not answer in time, its run may have gaps; {cure}")

    def cost(self) -> dict[str, float]:
        """Return wall-clock seconds spent so far, and processor seconds for what a thread does while children work.

        start_s: importing wandb and opening the run; stages_s: rows, tables, artifacts; end_s: summary and finish, for
        which the run waits; calls_s: what callers of `rows` and the like waited. share: fraction of the time since the
        tracker was made that was waited for or used on the processor, without wandb's own service.
        """
        parts = {f"{part}_s": self._clock[part] for part in ("start", "end", "calls", "stages")}
        parts |= {f"{part}_cpu_s": self._processor[part] for part in ("start", "stages")}
        spent = sum(parts[name] for name in ("start_cpu_s", "stages_cpu_s", "end_s", "calls_s"))
        parts["share"] = spent / (time.monotonic() - self._began)
        return {name: round(value, 5) for name, value in parts.items()}

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        clock, processor = time.monotonic(), time.thread_time()
        try:
            yield
        finally:
            self._clock[part] += time.monotonic() - clock
            self._processor[part] += time.thread_time() - processor

    def _do(self, part: str, job: Callable[[Sender], None]) -> None:
        if not self._off:
            began = time.monotonic()
            self._jobs.put((part, job))
            self._clock["calls"] += time.monotonic() - began

    def _work(self) -> None:
        try:
            with session.surroundings(self._dir):
                with self._timed("start"):
                    sender = self._open()
                while (item := self._jobs.get()) is not None:
                    part, job = item
                    with self._timed(part):
                        job(sender)
                with self._timed("end"):
                    if self._preempted:
                        sender.run.mark_preempting()
                    began = time.monotonic()
                    sender.run.finish(exit_code=self._exit_code)
                    if time.monotonic() - began >= session.FINISH_SECONDS:  # it gives up silently
                        self._report_gaps()
        except Exception as error:  # tracking must never end the run
            self._off = True
            session.report(f"off, the run goes on: {session.line(error)}")

    def _open(self) -> Sender:
        import wandb

        memory = self._dir / "sent.json"
        self._dir.mkdir(parents=True, exist_ok=True)
        sent = read_json(memory) if memory.exists() else {}
        remember(memory, sent)  # fails in a read-only directory, where wandb would silently move to /tmp
        cfg, info = self._cfg, self._run.info
        run = session.open_run(cfg, info, self._run.path, info["run_id"])
        sender = Sender(run, cfg, info, self._run.store, sent, memory)
        sender.config(self._run.path)
        wandb.Table(columns=["a"], data=[[1]])  # the first one imports pandas: do it now, not while a stage is built
        return sender
