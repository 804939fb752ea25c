"""benchmarks/results/<question>.json: every number of every round, and on which machine. The blocks in README.md and
docs/performance.md are made from these files, and a new measurement is compared with them."""

import json
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import Question, Round, Target
from experiments.report.tables import markdown_table
from memphis.errors import MemphisError
from memphis.runs import REPOSITORY

FOLDER = REPOSITORY / "benchmarks" / "results"
BEGIN, END = "<!-- speed:begin -->", "<!-- speed:end -->"
SLACK = 0.25  # how much worse than the committed median is a failure
# Measure -> in words, and as it is shown.
WORDS = {"cpu_s": "CPU time", "rss_mib": "peak memory", "ms_per_token": "CPU time per token"}
SHOWN = {"cpu_s": "{:.3g} s", "rss_mib": "{:,.0f} MiB", "ms_per_token": "{:.3g} ms"}


@dataclass(frozen=True)
class Measured:
    """machine: processor and memory in words. date: YYYY-MM-DD."""

    date: str
    machine: str
    versions: dict[str, str]
    rounds: list[Round]


def save(question: Question, measured: Measured, folder: Path = FOLDER) -> None:
    (folder / f"{question.name}.json").write_text(json.dumps(vars(measured), indent=1) + "\n", encoding="utf-8")


def load(question: Question, folder: Path = FOLDER) -> Measured:
    return Measured(**json.loads((folder / f"{question.name}.json").read_text(encoding="utf-8")))


def misses(question: Question, measured: Measured, committed: Measured | None) -> list[str]:
    """A line for every ratio beyond its `must`, or more than SLACK worse than the committed median."""
    found = []
    for target in question.targets:
        value = target.value(measured.rounds)
        before = target.value(committed.rounds) if committed else None
        name = f"{question.name}: {WORDS[target.measure]}, {target.ours} against {target.peer}: {value:.2f}"
        if target.worse(value, target.must):
            found.append(f"{name}, must be {_bound(target, target.must)}")
        elif target.worse(value, before, SLACK):
            found.append(f"{name}, more than {SLACK:.0%} worse than the committed {before:.2f}")
    return found


def page_text(page: Path, questions: Sequence[Question], folder: Path = FOLDER) -> str:
    """The page with its block as the results say. Raises MemphisError when it has no place for it."""
    made = f"{BEGIN}\n{_block(questions, [load(question, folder) for question in questions])}\n{END}"
    text, places = re.subn(f"{BEGIN}.*{END}", lambda _: made, page.read_text(encoding="utf-8"), flags=re.DOTALL)
    if not places:
        raise MemphisError(f"{page}: no lines {BEGIN} and {END}; add them where the table belongs")
    return text


def _block(questions: Sequence[Question], results: Sequence[Measured]) -> str:
    """A row per target, met or missed, with the setting of the peer beside it; notes."""
    bounded = any(target.must is not None for question in questions for target in question.targets)
    sides = ("ours", "theirs", "ratio", "must", "hoped for") if bounded else ("this", "that", "ratio")
    head = ("what", "against", *sides)
    rows: list[Sequence[str]] = [head]
    for question, measured in zip(questions, results, strict=True):
        rows.append([f"**{question.title}**", *[""] * (len(head) - 1)])
        rows += [_cells(question, target, measured)[: len(head)] for target in question.targets]
    numbers = sorted({len(measured.rounds) for measured in results})
    machines = sorted({measured.machine for measured in results})
    dates = sorted({measured.date for measured in results})
    versions = sorted({pair for measured in results for pair in measured.versions.items()})
    notes = [
        f"One thread, contenders in turn, medians of {' or '.join(map(str, numbers))} rounds; a ratio is the median of "
        "the rounds' ratios. Times are CPU-seconds, memory is the peak of a process; "
        "n x is theirs / ours, a number without x is ours / theirs.",
        f"{'; '.join(machines)}; {' and '.join(dict.fromkeys((dates[0], dates[-1])))}; "
        + ", ".join(f"{name} {version}" for name, version in versions),
    ]
    return "\n".join([markdown_table(rows, left=2), "", *(f"- {note}" for note in notes)])


def _cells(question: Question, target: Target, measured: Measured) -> list[str]:
    words = {each.name: each.words for each in question.contenders}
    what = WORDS[target.measure] + ("" if target.ours == "ours" else f" ({words[target.ours]})")
    value = target.value(measured.rounds)
    ratio = f"{value:.3g}" if target.at_most else f"{value:.2f}x"
    if target.worse(value, target.must):
        ratio += " (missed)"
    sides = [[found[side][target.measure] for found in measured.rounds] for side in (target.ours, target.peer)]
    medians = [SHOWN[target.measure].format(statistics.median(numbers)) for numbers in sides]
    return [what, words[target.peer], *medians, ratio, _bound(target, target.must), _bound(target, target.ambitious)]


def _bound(target: Target, bound: float | None) -> str:
    if bound is None:
        return ""
    return f"<= {bound:g}" if target.at_most else f">= {bound:g}x"
