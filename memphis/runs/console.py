"""Console output of a run: the whole plan on a terminal, plain lines anywhere else.

A closed output stream, or one that cannot show a character, never fails a run.
"""

import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, TextIO

from rich.console import Console as RichConsole
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from memphis.engine.plan import Step, jobs
from memphis.formatting import duration, printable, rounded, score_text
from memphis.store import Stage

QUIET_SECONDS = 15.0  # at least this long between two plain lines about the same stage
# End of a metric's name -> its text.
_FACTS: dict[str, Callable[[float], str]] = {
    "/loss": lambda value: f"loss {value:.3f}",
    "/heldout_before": lambda value: f"held-out loss {value:.3f} before",
    "/heldout_after": lambda value: f"{value:.3f} after",
    "/seen_before": lambda value: f"loss of trained rows {value:.3f} before",
    "/seen_after": lambda value: f"{value:.3f} after",
    "/tokens_per_sec": lambda value: f"{rounded(value)} tokens/s",
    "pairs/count": lambda value: f"{rounded(value)} pairs",
    "pairs/questions_with_pair_frac": lambda value: f"{100 * value:.0f} % of questions gave one",
    "pairs/chosen_false_frac": lambda value: f"{100 * value:.0f} % of the chosen have a false equation",
    "gen/pass@1": lambda value: f"{100 * value:.1f} % right",
    "eval/truncated_prompts": lambda value: f"{value:.0f} prompts cut",
    "eval/empty_answers": lambda value: f"{value:.0f} empty answers",
}
_STYLES = {"done": "green", "store": "cyan", "running": "bold", "to do": "dim"}



def scores(columns: Mapping[str, Mapping[str, Any]]) -> str:
    """Format an evaluation's columns: `tiny/word 45.3 ± 2.0 %, …`."""
    return ", ".join(f"{name} {score_text(column)} %" for name, column in columns.items())


def arms(ended: Sequence[tuple[Sequence[str], str]]) -> str:
    """Return the table at the end of a multirun: the overrides that not all runs share, and how each run ended."""
    common = set.intersection(*(set(overrides) for overrides, _ in ended)) if len(ended) > 1 else set()
    names = [" ".join(item for item in overrides if item not in common) for overrides, _ in ended]
    reasons = [outcome.partition("; log: ")[0] for _, outcome in ended]  # the whole text was printed when it happened
    lines = [f"  {name:{max(map(len, names))}}  {reason}" for name, reason in zip(names, reasons, strict=True)]
    good = sum(outcome == "finished" for _, outcome in ended)
    return printable("\n".join([f"{good} of {len(ended)} runs finished:", *lines]))


class Console:
    """Progress of one run on `stream` (default: standard output). Any thread may call any method.

    steps: the plan of the run. expected: key -> seconds that building the stage took before.
    A terminal that can move its cursor is shown the whole plan while the run goes on, and keeps a line per stage; where
    there is none, only lines are printed and no escape sequence is ever written. NO_COLOR is obeyed.
    """

    def __init__(
        self, steps: Sequence[Step], expected: Mapping[str, float] | None = None, stream: TextIO | None = None
    ) -> None:
        self._rows = [_Row(step.stage, "to do" if step.needed else "store") for step in steps]
        self._by_key = {row.stage.key: row for row in self._rows}
        for key, seconds in (expected or {}).items():
            self._by_key[key].expected = seconds
        self._starts = {job[0].key for job in jobs(list(steps))}  # stages before which a process is started
        self._waits: list[float] = []  # seconds that starting one took in this run
        self._began = self._idle_since = monotonic()
        self._stream = stream or sys.stdout
        self._gone = False
        self._lock = threading.RLock()
        self._running: _Row | None = None
        self._live: Live | None = None
        self._closed = threading.Event()
        self._kept: list[str] = []  # lines of finished stages, printed when the view is removed
        unicode = (getattr(self._stream, "encoding", None) or "utf-8").lower().startswith("utf")
        if unicode and self._stream.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown"):
            console = RichConsole(file=self._stream, highlight=False)
            self._live = Live(
                console=console,
                transient=True,
                auto_refresh=False,  # our own thread draws, under one lock, and notices a closed terminal
                vertical_overflow="crop",
                redirect_stderr=sys.stderr.isatty(),
            )
            self._quietly(self._live.start)
            self._draw()
            threading.Thread(target=self._tick, name="console", daemon=True).start()

    def __enter__(self) -> "Console":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def message(self, text: str) -> None:
        """Print `text` on a line of its own."""
        with self._lock:
            self._print(text)

    def started(self, stage: Stage) -> None:
        """Show the stage as running, from its beginning or from a checkpoint."""
        with self._lock:
            row = self._running = self._by_key[stage.key]
            row.state = "running"
            row.began = row.printed = monotonic()
            if stage.key in self._starts:
                self._waits.append(monotonic() - self._idle_since)
            if self._live is None:
                self._print(f"{self._title(stage)}: started")
            self._draw()

    def rows(self, stage: Stage, first: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take new rows of the stage's metrics.jsonl; `step` of `steps` moves the bar. first: not needed here."""
        with self._lock:
            row = self._by_key[stage.key]
            row.take(rows)
            self._tell(row)

    def progress(self, stage: Stage, row: Mapping[str, Any]) -> None:
        """Take the newest row of a stage that samples (`memphis.sampling.progress.Progress`)."""
        with self._lock:
            mine = self._by_key[stage.key]
            mine.sampling, mine.heard = row, monotonic()
            self._tell(mine)

    def finished(self, stage: Stage, record: Mapping[str, Any], reused: bool) -> None:
        """Show the stage as finished. record: its stage.json. reused: it was taken from the store."""
        with self._lock:
            row = self._by_key[stage.key]
            outcome = "taken from the store" if reused else f"done in {duration(record['seconds'])}"
            row.results = scores(record["summary"].get("columns", {}))
            line = f"{self._title(stage)}: {' · '.join(filter(None, [outcome, row.facts(going=False), row.results]))}"
            if self._live is None:
                self._print(line)
            else:
                self._kept.append(line)
            row.state, row.seconds = "store" if reused else "done", record["seconds"]
            if not reused:
                for other in self._rows:
                    if other.stage.cost == row.stage.cost:
                        other.expected = row.seconds
            self._running, self._idle_since = None, monotonic()
            self._draw()

    def close(self) -> None:
        """Remove the view and print the lines of finished stages; later messages are plain lines."""
        with self._lock:
            self._closed.set()
            if self._live is not None:
                self._quietly(self._live.stop)
            self._live = None
            for line in self._kept:
                self._print(line)
            self._kept, self._running = [], None

    def _tell(self, row: "_Row") -> None:
        """Print a plain line about a stage that goes on, unless the last one was just now."""
        if row is self._running and self._live is None and monotonic() - row.printed >= QUIET_SECONDS:
            if facts := row.facts(going=True):
                row.printed = monotonic()
                self._print(f"{self._title(row.stage)}: {facts}")

    def _title(self, stage: Stage) -> str:
        number = self._rows.index(self._by_key[stage.key]) + 1
        return f"[{number:>{len(str(len(self._rows)))}}/{len(self._rows)}] {printable(stage.name)}"

    def _tick(self) -> None:
        while not self._closed.wait(0.5):
            with self._lock:
                self._draw()

    def _draw(self) -> None:
        if (live := self._live) is not None:
            self._quietly(lambda: live.update(self._view(live.console.width, live.console.height), refresh=True))

    def _view(self, width: int, height: int) -> Table:
        """Draw the plan: a line on the whole run, then a window of rows around the stage that runs, or runs next."""
        places = [place for place, row in enumerate(self._rows) if row.state in ("running", "to do")]
        centre = places[0] if places else len(self._rows) - 1
        room = max(1, height - 3)  # the first line, the bar, and the line in which the cursor waits
        first = max(0, min(centre - room // 2, len(self._rows) - room))
        view = Table.grid(padding=(0, 1))
        view.width = max(1, width - 3)  # leaves space for the ^C that the terminal writes at the cursor
        view.add_column(no_wrap=True, overflow="ellipsis")
        view.add_row(self._headline())
        narrow = width < 60
        if narrow and self._running is not None:  # its row has space for a name only
            view.add_row(Text(printable(self._running.facts(going=True))))
        plan = Table.grid(padding=(0, 1), expand=True)
        plan.add_column(justify="right", no_wrap=True)
        plan.add_column(no_wrap=True, min_width=7)  # fits `running`: columns do not move
        plan.add_column(no_wrap=True, overflow="ellipsis", max_width=max(8, width // 4))
        plan.add_column(no_wrap=True, justify="right", min_width=8)
        plan.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        for place in range(first, min(first + room, len(self._rows))):
            row = self._rows[place]
            cells = [str(place + 1), row.state, printable(row.stage.name), row.time(), row.line()]
            plan.add_row(*(Text(cell, style=_STYLES[row.state]) for cell in cells))
            done, of = row.bar()
            if row.state == "running" and of and height > 4 and not narrow:
                left = Text(f"{duration(s)} left" if (s := row.seconds_left()) is not None else "")
                plan.add_row("", "", "", left, ProgressBar(of, done, width=min(40, width - 40)))
        view.add_row(plan)
        return view

    def _headline(self) -> Text:
        ready = sum(row.state in ("done", "store") for row in self._rows)
        parts = [f"{ready}/{len(self._rows)} stages", self._left(), f"{duration(monotonic() - self._began)} so far"]
        return Text(" · ".join(filter(None, parts)), style="bold")

    def _left(self) -> str | None:
        """Format the time left: `about 3 m 05 s left`; `at least …` if some stages were never built here, None if all.

        Once this run has started a process, the time that this takes is added for each process to come.
        """
        coming = [row for row in self._rows if row.state in ("running", "to do")]
        known = [seconds for row in coming if (seconds := row.left()) is not None]
        if not known:
            return None
        starts = sum(row.state == "to do" and row.stage.key in self._starts for row in coming)
        total = sum(known) + (starts * sum(self._waits) / len(self._waits) if self._waits else 0.0)
        return f"{'about' if len(known) == len(coming) else 'at least'} {duration(total)} left"

    def _print(self, text: str) -> None:
        text = printable(text)
        live = self._live
        if live is not None:
            self._quietly(lambda: live.console.print(Text(text), soft_wrap=True))
            return
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        line = text.encode(encoding, "replace").decode(encoding)
        self._quietly(lambda: print(line, file=self._stream, flush=True))

    def _quietly(self, write: Callable[[], None]) -> None:
        try:
            if not self._gone:
                write()
        except (OSError, ValueError):  # the reader is gone (`| head`) or the terminal was closed
            self._live = None
            self._gone = True


@dataclass
class _Row:
    """A stage of the plan and what is known of it."""

    stage: Stage
    state: str  # to do, store, running, done
    expected: float | None = None  # seconds that building it will take
    began: float = 0.0
    seconds: float = 0.0  # that it took
    results: str = ""
    step: int = 0
    steps: int | None = None
    printed: float = 0.0  # when its last plain line was
    values: dict[str, float] = field(default_factory=dict)
    sampling: Mapping[str, Any] | None = None  # its newest row of progress
    heard: float = 0.0  # when that came
    # time and number of the first step seen: a resumed stage begins with old rows
    _first: tuple[float, int] | None = None

    def take(self, rows: Sequence[Mapping[str, Any]]) -> None:
        for row in rows:
            self.step, self.steps = row.get("step", self.step), row.get("steps", self.steps)
            self.values |= {key: value for key, value in row.items() if "/" in key and isinstance(value, int | float)}
        if self.step and self._first is None:
            self._first = (monotonic(), self.step)

    def facts(self, *, going: bool) -> str:
        """Format what is known of `120/347 · loss 0.412 · 9.1k tokens/s · 1 m 12 s left`. going: not finished yet."""
        parts = []
        if self.steps and going:
            parts.append(f"{self.step}/{self.steps}")
        if going:
            parts += self._answers()
        # Pairs come before what is said of them, though their row comes later.
        for key, value in sorted(self.values.items(), key=lambda item: item[0].endswith("_false_frac")):
            shown = next((show for end, show in _FACTS.items() if key.endswith(end)), None)
            if shown is not None and (value or not key.startswith("eval/")):
                parts.append(shown(value))
        if going and (left := self.seconds_left()) is not None:
            parts.append(f"{duration(left)} left")
        elif going and self.sampling and (seconds := self.sampling["seconds_left"]) is not None:
            parts.append(f"{duration(seconds)} left in suite {self.sampling['suite']}")
        return " · ".join(parts)

    def _answers(self) -> list[str]:
        """Format what a stage that samples has done: `37 of 1,280 answers`, `104 tokens/s`."""
        if not self.sampling or not self.sampling["of"]:
            return []
        speed = self.sampling["tokens_per_sec"]
        said = f"{self.sampling['answers']:,} of {self.sampling['of']:,} answers"
        return [said, f"{rounded(speed)} tokens/s"] if speed else [said]

    def time(self) -> str:
        if self.state == "running":
            return duration(monotonic() - self.began)
        if self.state == "done":
            return duration(self.seconds)
        return f"~ {duration(self.expected)}" if self.state == "to do" and self.expected is not None else ""

    def line(self) -> str:
        """Format the row of the plan; the time left is shown below it."""
        running = self.state == "running"
        steps = f"{self.step}/{self.steps}" if running and self.steps else ""
        answers = self._answers() if running else []
        return printable(" · ".join(filter(None, [steps, *answers, self.facts(going=False), self.results])))

    def bar(self) -> tuple[float, float]:
        """Return how much is done of how much; 0 of 0 if that is unknown."""
        return (self.sampling["share"], 1.0) if self.sampling else (self.step, self.steps or 0)

    def left(self) -> float | None:
        """Estimate the seconds until the stage is finished; None if unknown."""
        if self.state == "running":
            measured = self.seconds_left()
            if measured is not None or self.expected is None:
                return measured
            return max(0.0, self.expected - (monotonic() - self.began))
        return self.expected

    def seconds_left(self) -> float | None:
        """Estimate the seconds left from the steps seen so far; None if there are too few. A stage that samples says it
        itself, for it knows what of the steps another process has done."""
        if self.sampling:
            left, suite = self.sampling["seconds_left"], self.sampling["suite"]
            return None if left is None or suite else max(0.0, left - (monotonic() - self.heard))
        if self._first is None or not self.steps or self.step <= self._first[1]:
            return None
        return (monotonic() - self._first[0]) / (self.step - self._first[1]) * max(0, self.steps - self.step)
