"""Progress of a stage that samples, between two rows of its metrics: one small file, written anew every few seconds and
removed at the end. Nothing of it stays in the store."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

from memphis.jsonl import atomic_write

REPORT_S = 5.0  # at least this long between two reports of an engine, unless all is finished
ENOUGH = 0.02  # of what there is to do, before time left is estimated: the first steps read prompts and sample little
Report = Callable[[int, int, int, int], None]


class Meter:
    """Counter that an engine calls after each of its steps; it passes the sums on now and then."""

    def __init__(self) -> None:
        self._report: Report | None = None

    @contextmanager
    def reporting(self, report: Report) -> Iterator[None]:
        """Call `report` as the engine calls this meter, with the sums of what was finished since the last report."""
        self._report, self._since = report, monotonic()
        self._finished = self._tokens = 0
        try:
            yield
        finally:
            self._report = None

    def __call__(self, finished: int, waiting: int, tokens: int, longest: int) -> None:
        """Count a step.

        finished: answers that ended in it, or were scored. waiting: those of the same request that have not.
        tokens: sampled in it, or scored. longest: tokens that an answer may have; 0 if it is scored.
        """
        if self._report is None:
            return
        self._finished += finished
        self._tokens += tokens
        if waiting and monotonic() - self._since < REPORT_S:
            return
        self._report(self._finished, waiting, self._tokens, longest)
        self._finished = self._tokens = 0
        self._since = monotonic()


class Progress:
    """Writer of the file `path`. Any thread may call any method.

    The time left is estimated from what this process has done since `begin`, or the first `step`, and what is left.
    Answers that have not ended count too, by their tokens: many end in the same step.
    A row has answers and `of` how many, the finished share of the stage (0 to 1), tokens_per_sec and seconds_left, None
    as long as too little is done; and the suite, if `share` and `seconds_left` are of this suite and others follow.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self.suite: str | None = None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        self._path.unlink(missing_ok=True)

    def start(self, parts: int, done: int) -> None:
        """Count anew. parts: what there is to do: answers, or what is named to `begin`. done: by earlier processes."""
        with self._lock:
            self._parts, self._before = parts, done
            self._began: float | None = None
            self._closed = self._batch = 0  # parts: of batches before this one, and of this one
            self._answers = self._waiting = self._tokens = self._sampled = self._longest = 0
            self._write()

    def begin(self, parts: int) -> None:
        """Begin a batch of requests, with which so many parts will be finished. The batch before it is."""
        with self._lock:
            self._closed += self._batch
            self._batch, self._answers, self._waiting, self._sampled, self._longest = parts, 0, 0, 0, 0
            self._began = self._began or monotonic()
            self._write()

    def step(self, finished: int, waiting: int, tokens: int, longest: int) -> None:
        """Take a report of a Meter, or of several at the same time if the parts are answers."""
        with self._lock:
            self._answers += finished
            self._waiting, self._longest = waiting, longest
            self._tokens += tokens
            self._sampled += tokens  # by the answers of this batch
            self._began = self._began or monotonic()
            self._write()

    def _write(self) -> None:
        spent = 0.0 if self._began is None else monotonic() - self._began
        asked = self._answers + self._waiting if self._batch else self._parts - self._before
        fraction = self._answers / asked if asked else 0.0
        if asked and self._longest > 1:  # their mean length is unknown; this is the most that is left
            fraction = max(fraction, min(1.0, self._sampled / (asked * self._longest)))
        if self._batch:
            answers, of, done = self._answers, asked, self._closed + self._batch * fraction
        else:
            answers, of, done = self._before + self._answers, self._parts, asked * fraction
        left = max(0.0, self._parts - self._before - done)
        row = {
            "answers": answers,
            "of": of,
            "share": (self._before + done) / self._parts if self._parts else 1.0,
            "tokens_per_sec": self._tokens / spent if spent else None,
            "seconds_left": spent / done * left if spent and done > ENOUGH * left else None,
            "suite": self.suite,
        }
        with atomic_write(self._path) as temporary:
            temporary.write_text(json.dumps(row))
