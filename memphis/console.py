"""What a person sees while a run goes on: a progress bar per stage on a terminal, plain lines anywhere else.

A closed output stream, or one that cannot show a character, never fails a run.
"""

import os
import re
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, TextIO

from rich.console import Console as RichConsole
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column
from rich.text import Text

from memphis.store import Stage

QUIET_SECONDS = 15.0  # at least this long between two plain lines about the same stage

# Control characters (a line break and a tab excepted), lone surrogates, and what turns the reading direction around.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """`text` without anything that could move a cursor, colour a terminal or reorder what is read.

    Such characters become U+FFFD; line breaks and tabs stay. For model output, file contents and error messages.
    """
    return _UNPRINTABLE.sub("\ufffd", text.replace("\r\n", "\n"))


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 m 05 s`, `2 h 07 m`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} m {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} m"


def rounded(number: float) -> str:
    """Three digits: `950`, `12.3k`, `4.56M`."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= 0.9995 * size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.0f}"


def scores(columns: Mapping[str, Mapping[str, Any]]) -> str:
    """`tiny/word 45.3 ± 2.0 %, …` of an evaluation's columns."""
    return ", ".join(f"{name} {percent(column['score'], column['stderr'])} %" for name, column in columns.items())


def percent(score: float, stderr: float | None) -> str:
    """`45.3 ± 2.0`: a share and its standard error, both from 0 to 1, in percentage points."""
    return f"{100 * score:.1f}" if stderr is None else f"{100 * score:.1f} ± {100 * stderr:.1f}"


def arms(ended: Sequence[tuple[Sequence[str], str]]) -> str:
    """The table at the end of a multirun: what was typed for each run and for no other, and how it ended."""
    common = set.intersection(*(set(overrides) for overrides, _ in ended)) if len(ended) > 1 else set()
    names = [" ".join(item for item in overrides if item not in common) for overrides, _ in ended]
    reasons = [outcome.partition("; log: ")[0] for _, outcome in ended]  # all of it was said when it happened
    lines = [f"  {name:{max(map(len, names))}}  {reason}" for name, reason in zip(names, reasons, strict=True)]
    good = sum(outcome == "finished" for _, outcome in ended)
    return printable("\n".join([f"{good} of {len(ended)} runs finished:", *lines]))


class Console:
    """Progress of one run of `total` stages on `stream` (default: standard output). Any thread may call any method.

    Bars need a terminal that can move its cursor; without one no escape sequence is ever written. NO_COLOR is obeyed.
    """

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self._total = total
        self._finished = 0
        self._stream = stream or sys.stdout
        self._gone = False
        self._lock = threading.RLock()
        self._known: dict[str, _Stage] = {}  # by key: seen, not finished
        self._shown: _Stage | None = None  # the one being worked on
        self._bar: TaskID | None = None
        self._progress: Progress | None = None
        if self._stream.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown"):
            self._progress = Progress(
                TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
                BarColumn(bar_width=20),
                TextColumn(
                    "{task.fields[facts]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")
                ),
                TimeElapsedColumn(),
                console=RichConsole(file=self._stream, highlight=False),
                transient=True,
                refresh_per_second=4,
            )

    def __enter__(self) -> "Console":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def said(self, text: str) -> None:
        """Something worth a line of its own."""
        with self._lock:
            self._print(text)

    def started(self, stage: Stage) -> None:
        """The stage is being worked on, from its beginning or from a checkpoint."""
        with self._lock:
            self._leave()
            self._shown = self._of(stage)
            if self._progress is None:
                self._print(f"{self._title(stage)}: started")
                return
            self._bar = self._progress.add_task(self._title(stage), total=None, facts="")
            self._quietly(self._progress.start)

    def rows(self, stage: Stage, first: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """New rows of the stage's metrics.jsonl; `step` of `steps` moves the bar. first: not needed here."""
        with self._lock:
            known = self._of(stage)
            known.take(rows)
            if known is not self._shown:  # it comes from the store
                return
            if self._progress is not None and self._bar is not None:
                facts = known.facts(going=True)
                self._progress.update(self._bar, completed=known.step, total=known.steps, facts=facts)
            elif monotonic() - known.printed >= QUIET_SECONDS:
                known.printed = monotonic()
                self._print(f"{self._title(stage)}: {known.facts(going=True)}")

    def finished(self, stage: Stage, record: Mapping[str, Any], reused: bool) -> None:
        """The stage is there. record: its stage.json. reused: it was taken from the store."""
        with self._lock:
            self._leave()
            outcome = "taken from the store" if reused else f"done in {duration(record['seconds'])}"
            parts = [outcome, self._of(stage).facts(going=False), scores(record["summary"].get("columns", {}))]
            self._print(f"{self._title(stage)}: {' · '.join(filter(None, parts))}")
            del self._known[stage.key]
            self._finished += 1

    def close(self) -> None:
        """Take the bar away; what is said later are plain lines."""
        with self._lock:
            self._leave()

    def _of(self, stage: Stage) -> "_Stage":
        return self._known.setdefault(stage.key, _Stage())

    def _title(self, stage: Stage) -> str:
        number = f"{self._finished + 1:>{len(str(self._total))}}"
        return f"[{number}/{self._total}] {printable(stage.name)}"

    def _leave(self) -> None:
        if self._progress is not None and self._bar is not None:
            self._quietly(self._progress.stop)
            self._progress.remove_task(self._bar)
        self._shown = self._bar = None

    def _print(self, text: str) -> None:
        text = printable(text)
        progress = self._progress
        if progress is not None:
            self._quietly(lambda: progress.console.print(Text(text), soft_wrap=True))
            return
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        line = text.encode(encoding, "replace").decode(encoding)
        self._quietly(lambda: print(line, file=self._stream, flush=True))

    def _quietly(self, write: Callable[[], None]) -> None:
        try:
            if not self._gone:
                write()
        except (OSError, ValueError):  # the reader has gone (`| head`), the terminal was closed: nobody is looking
            self._progress = self._bar = None
            self._gone = True


@dataclass
class _Stage:
    step: int = 0
    steps: int | None = None
    printed: float = field(default_factory=lambda: monotonic())
    values: dict[str, float] = field(default_factory=dict)
    _first: tuple[float, int] | None = (
        None  # when which step was seen first: a resumed stage comes with rows of long ago
    )

    def take(self, rows: Sequence[Mapping[str, Any]]) -> None:
        for row in rows:
            self.step, self.steps = row.get("step", self.step), row.get("steps", self.steps)
            self.values |= {key: value for key, value in row.items() if "/" in key and isinstance(value, int | float)}
        if self.step and self._first is None:
            self._first = (monotonic(), self.step)

    def facts(self, *, going: bool) -> str:
        """`120/347 · loss 0.412 · 9.1k tokens/s · 1 m 12 s left`, of these what is known; going: not finished yet."""
        parts = []
        if self.steps and going:
            parts.append(f"{self.step}/{self.steps}")
        for key, value in self.values.items():
            if key.endswith("/loss"):
                parts.append(f"loss {value:.3f}")
            elif key.endswith("/tokens_per_sec"):
                parts.append(f"{rounded(value)} tokens/s")
            elif key == "pairs/count":
                parts.append(f"{rounded(value)} pairs")
            elif key == "pairs/questions_with_pair_frac":
                parts.append(f"{100 * value:.0f} % of questions gave one")
            elif key == "gen/pass@1":
                parts.append(f"{100 * value:.1f} % right")
            elif key == "eval/truncated_prompts" and value:
                parts.append(f"{value:.0f} prompts cut")
            elif key == "eval/empty_answers" and value:
                parts.append(f"{value:.0f} empty answers")
        if going and (left := self._seconds_left()) is not None:
            parts.append(f"{duration(left)} left")
        return " · ".join(parts)

    def _seconds_left(self) -> float | None:
        if self._first is None or not self.steps or self.step <= self._first[1]:
            return None
        return (monotonic() - self._first[0]) / (self.step - self._first[1]) * max(0, self.steps - self.step)
