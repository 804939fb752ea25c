"""benchmarks/results/<question>.json: every number of every round, and on which machine. The blocks in README.md and
docs/performance.md are made from these files, and a new measurement is compared with them."""

import json
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.question import Question, Round, Target
from experiments.report.tables import markdown_table
from memphis.errors import MemphisError
from memphis.runs import REPOSITORY

FOLDER = REPOSITORY / "benchmarks" / "results"
BEGIN, END = "<!-- speed:begin -->", "<!-- speed:end -->"
SLACK = 0.25  # how much worse than the committed median is a failure
UNITS = {"cpu_s": "s", "other_s": "s", "wall_s": "s", "gpu_h": "h", "ms_per_token": "ms"}


@dataclass(frozen=True)
class Measured:
    """machine: processor and memory in words. skipped: contenders that this machine cannot run."""

    rounds: list[Round]
    machine: str
    versions: dict[str, str]
    date: str
    skipped: list[str]

    def medians(self) -> Round:
        return {
            name: {measure: statistics.median(found[name][measure] for found in self.rounds) for measure in numbers}
            for name, numbers in self.rounds[0].items()
        }


def dumps(question: Question, measured: Measured) -> str:
    """Settings, medians and ratios are written too, for the reader; `load` needs the rounds alone."""
    rounded = load(json.dumps(vars(measured)))  # all that follows must follow from what is written
    targets = [
        {"what": t.what, "ours": t.ours, "peer": t.peer, "value": t.value(rounded.rounds), "must": t.must}
        | {"ambitious": t.ambitious, "better": "smaller" if t.at_most else "larger"}
        for t in question.targets
    ]
    head = {
        "schema": 1,
        "question": question.name,
        "title": question.title,
        "date": measured.date,
        "machine": measured.machine,
        "versions": measured.versions,
        "settings": {each.name: each.words for each in question.contenders},
        "skipped": measured.skipped,
        "targets": targets,
        "medians": rounded.medians(),
        "rounds": rounded.rounds,
    }
    lines = [f" {json.dumps(key)}: {_lines(value)}" for key, value in _rounded(json.dumps(head)).items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def load(text: str) -> Measured:
    """The rounds of what `dumps` wrote, and where they are from."""
    value = _rounded(text)
    return Measured(**{name: value[name] for name in Measured.__dataclass_fields__})


def misses(question: Question, measured: Measured, committed: Measured | None) -> list[str]:
    """A line for every ratio beyond its `must`, or more than SLACK worse than the committed median."""
    found = []
    for target in question.targets:
        value = target.value(measured.rounds)
        if value is None:
            continue
        before = target.value(committed.rounds) if committed else None
        name = f"{question.name}: {target.what}, {target.ours[0]} against {target.peer[0]}: {value:.2f}"
        if target.must is not None and target.worse(value, target.must):
            found.append(f"{name}, must be {_bound(target, target.must)}")
        elif before is not None and target.worse(value, before, SLACK):
            found.append(f"{name}, more than {SLACK:.0%} worse than the committed {before:.2f}")
    return found


def block(questions: Sequence[Question], results: Mapping[str, Measured]) -> str:
    """The table of a page: a row per target, met or missed, with the setting of the peer beside it."""
    bounded = any(target.must is not None for question in questions for target in question.targets)
    sides = ("ours", "theirs", "ratio", "must", "hoped for") if bounded else ("this", "that", "ratio")
    head = ("what", "against", *sides)
    rows: list[Sequence[str]] = [head]
    for question in questions:
        rows.append([f"**{question.title}**", *[""] * (len(head) - 1)])
        rows += [_cells(question, target, results[question.name])[: len(head)] for target in question.targets]
    return "\n".join([markdown_table(rows, left=2), "", *(f"- {note}" for note in _notes(results))])


def _cells(question: Question, target: Target, measured: Measured) -> list[str]:
    words = {each.name: each.words for each in question.contenders}
    ours, peer = target.ours[0], target.peer[0]
    against = "all of the step" if ours == peer else words[peer]
    what = target.what if ours == "ours" else f"{target.what} ({words[ours]})"
    bounds = [_bound(target, bound) for bound in (target.must, target.ambitious)]
    if (value := target.value(measured.rounds)) is None:
        return [what, against, "–", "–", "not measured", *bounds]
    ratio = f"{value:.3g}" if target.at_most else f"{value:.2f}x"
    if target.must is not None and target.worse(value, target.must):
        ratio += " (missed)"
    medians = measured.medians()
    sides = [(medians[contender][measure], measure) for contender, measure in (target.ours, target.peer)]
    shown = [f"{number:,.0f} MiB" if name == "rss_mib" else f"{number:.3g} {UNITS[name]}" for number, name in sides]
    return [what, against, *shown, ratio, *bounds]


def _notes(results: Mapping[str, Measured]) -> list[str]:
    rounds = sorted({len(measured.rounds) for name, measured in results.items() if not name.startswith("sweep")})
    machines = sorted({measured.machine for measured in results.values()})
    dates = sorted({measured.date for measured in results.values()})
    versions = {name: version for measured in results.values() for name, version in measured.versions.items()}
    notes = [
        f"One thread, contenders in turn, medians of {' or '.join(map(str, rounds))} rounds; a ratio is the median of "
        "the rounds' ratios. Times are CPU-seconds unless it says otherwise, memory is the peak of a process; "
        "n x is theirs / ours, a number without x is ours / theirs.",
        f"{'; '.join(machines)}; {' and '.join(dict.fromkeys((dates[0], dates[-1])))}; "
        + ", ".join(f"{name} {version}" for name, version in sorted(versions.items())),
    ]
    if any(measured.skipped for measured in results.values()):
        notes.append("Not measured: this processor has no bfloat16 instructions, and emulating them says nothing.")
    return notes


def page_text(questions: Sequence[Question], page: Path, folder: Path = FOLDER) -> str:
    """The page with its block as the results say. Raises MemphisError when it has no place for it."""
    results = {question.name: load((folder / f"{question.name}.json").read_text()) for question in questions}
    made = f"{BEGIN}\n{block(questions, results)}\n{END}"
    text, places = re.subn(f"{BEGIN}.*{END}", lambda _: made, page.read_text(encoding="utf-8"), flags=re.DOTALL)
    if not places:
        raise MemphisError(f"{page}: no lines {BEGIN} and {END}; add them where the table belongs")
    return text


def drift(questions: Sequence[Question], page: Path, folder: Path = FOLDER) -> list[str]:
    """A line for each file that is not what the rounds say: results whose ratios or settings are others, the page."""
    lines = []
    for question in questions:
        file = folder / f"{question.name}.json"
        text = file.read_text(encoding="utf-8")
        if text != dumps(question, load(text)):
            lines.append(f"{file.name}: its ratios or settings are not what its rounds and benchmarks/ say")
    if page_text(questions, page, folder) != page.read_text(encoding="utf-8"):
        lines.append(
            f"{page.name}: the block of speeds is not what benchmarks/results says; python -m benchmarks --write"
        )
    return lines


def _bound(target: Target, bound: float | None) -> str:
    if bound is None:
        return ""
    return f"<= {bound:g}" if target.at_most else f">= {bound:g}x"


def _rounded(text: str) -> Any:
    return json.loads(text, parse_float=lambda digits: float(f"{float(digits):.6g}"))


def _lines(value: Any) -> str:
    """A list takes a line per item, so that a change is seen where it is."""
    if isinstance(value, list) and value:
        return "[\n  " + ",\n  ".join(json.dumps(item, ensure_ascii=False) for item in value) + "\n ]"
    return json.dumps(value, ensure_ascii=False)
