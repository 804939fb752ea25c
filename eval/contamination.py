"""Test items inside training rows: `python -m eval.contamination DATA` (a data stage, a file of rows, or a directory).

Finds runs of N words that a row shares with GSM8K's, AGIEval's or BBH's test set, after normalisation. Reports how much
of the item the row has, and judges nothing. Reads local files only.
"""

import argparse
import json
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cache
from pathlib import Path
from typing import Any

from pyarrow import ArrowException
from pyarrow.parquet import read_table

from eval.suites import CURRENT
from memphis.config.sections import ROW_FILES
from memphis.data.files import records
from memphis.errors import MemphisError, run_command
from memphis.formatting import aligned, printable
from memphis.jsonl import write_rows

# As in the checks of GPT-3 and many after it. On 6,351 rows of training data 8 words give 151 pairs and 10 give 51,
# nearly all turns of phrase ("multiply by 100 to express the answer as a percentage"); 13 give 4, two of them real.
NUM_WORDS = 13
MIN_LETTERED = 6  # words of a run that must have two letters or more, which excludes bare choices: "A 5 B 10 C 15"
SHORTEST = 6  # a part of fewer than N words is searched for in full, down to this length
COMMON = 10  # a run that more items than this have is the wording of a task, not an item
COPY_RATIO = 0.5  # a row that has this share of a part of an item counts as a copy of it
NOT_TEXT = {"id", "source", "kind", "role", "licence", "license", "url"}  # keys of a row
_WORD = re.compile(r"[^\W_]+")
_MARKS = re.compile(r"<<[^>]*>>|####")  # GSM8K's calculator annotations and answer mark

Run = tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """Piece of a test item that would be found on its own: question, passage, solution, choices."""

    task: str
    item: int
    name: str
    text: str

    @property
    def benchmark(self) -> str:
        return self.task if self.task in ("gsm8k", "agieval_aqua_rat") else self.task.split("_")[0]

    def __str__(self) -> str:
        return f"{self.task}/{self.item} {self.name}"


@dataclass(frozen=True)
class TrainingRow:
    name: str
    source: str
    texts: Sequence[str]


@dataclass(frozen=True)
class Match:
    """Pair of a row and a part of a test item. overlap: the share of the part's runs of words that the row has."""

    row: TrainingRow
    part: Part
    overlap: float

    def stretch(self) -> str:
        """Return the longest sequence of words that they have in common."""
        theirs, best = words_of(self.part.text), list[str]()
        for text in self.row.texts:
            mine = words_of(text)
            start, _, size = SequenceMatcher(None, mine, theirs, autojunk=False).find_longest_match()
            best = mine[start : start + size] if size > len(best) else best
        return " ".join(best)


def words_of(text: str) -> list[str]:
    """Return lower-case words and numbers without punctuation, thousands separators or calculator annotations."""
    text = _MARKS.sub(" ", unicodedata.normalize("NFKC", text).casefold())
    return _WORD.findall(re.sub(r"(?<=\d),(?=\d{3})", "", text))


@cache
def _lettered(word: str) -> bool:
    return sum(map(str.isalpha, word)) >= 2


class Index:
    """Index of the test parts by their runs of `num_words` words; a shorter part is one run. sizes: runs per part."""

    def __init__(self, parts: Sequence[Part], num_words: int = NUM_WORDS) -> None:
        self.parts, self.num_words = parts, num_words
        owners: defaultdict[Run, list[int]] = defaultdict(list)
        for number, part in enumerate(parts):
            words = words_of(part.text)
            length = min(len(words), num_words)
            for run in set(zip(*(words[start:] for start in range(length)), strict=False)):
                if length >= SHORTEST and sum(map(_lettered, run)) >= MIN_LETTERED:
                    owners[run].append(number)
        self._owners = {run: numbers for run, numbers in owners.items() if len(numbers) <= COMMON}
        self._beginnings = {run[:SHORTEST] for run in self._owners}
        self._lengths = sorted({len(run) for run in self._owners})
        counts = Counter(number for numbers in self._owners.values() for number in numbers)
        self.sizes = [counts[number] for number in range(len(parts))]

    def unchecked(self) -> dict[str, tuple[int, int]]:
        """Return per benchmark: items, and those with nothing to look for (too short, or only common wording)."""
        items: defaultdict[str, Counter[tuple[str, int]]] = defaultdict(Counter)
        for part, size in zip(self.parts, self.sizes, strict=True):
            items[part.benchmark][part.task, part.item] += size
        return {name: (len(sizes), list(sizes.values()).count(0)) for name, sizes in items.items()}

    def matches(self, rows: Sequence[TrainingRow]) -> list[Match]:
        """Return every row with every part that it shares a run of words with, the largest overlap first."""
        found = []
        for row in rows:
            shared = {run for text in row.texts for run in self._runs(words_of(text))}
            counts = Counter(owner for run in shared for owner in self._owners[run])
            found += [Match(row, self.parts[owner], count / self.sizes[owner]) for owner, count in counts.items()]
        return sorted(found, key=lambda match: (-match.overlap, match.row.name, str(match.part)))

    def _runs(self, words: Sequence[str]) -> Iterator[Run]:
        for start in range(len(words) - SHORTEST + 1):
            if tuple(words[start : start + SHORTEST]) in self._beginnings:
                for length in self._lengths:
                    if (run := tuple(words[start : start + length])) in self._owners:
                        yield run


# ------------------------------------------------------------ test sets


def read_parts(benchmarks: Path) -> list[Part]:
    """Read all items of the three test sets from a local mirror (gsm8k/, agieval/hub/, bbh/test/).

    Raises MemphisError naming the file that is missing or damaged.
    """
    parts = []
    for task in [task for column in CURRENT.columns for task in column.tasks]:
        if task == "gsm8k":
            file = benchmarks / "gsm8k" / "test.jsonl"
        elif task.startswith("agieval_"):
            file = benchmarks / "agieval" / "hub" / task.removeprefix("agieval_").replace("_", "-") / "test.jsonl"
        else:
            file = benchmarks / "bbh" / "test" / f"{task.removeprefix('bbh_cot_fewshot_')}.jsonl"
        if not file.is_file():
            raise MemphisError(f"{file}: not found; --benchmarks needs the mirror with gsm8k, agieval/hub and bbh/test")
        for number, row in enumerate(read_file(file)):
            try:
                fields = _fields(task, row)
            except (KeyError, TypeError, AttributeError) as error:
                raise MemphisError(f"{file}: an item without {error}; copy the file again") from error
            parts += [Part(task, number, name, text) for name, text in fields.items() if text.strip()]
    return parts


def _fields(task: str, row: dict[str, Any]) -> dict[str, str]:
    if task == "gsm8k":
        return {"question": row["question"], "solution": row["answer"]}
    if task.startswith("agieval_"):
        # Passage if any, "Q: ", question, " Answer Choices: ", choices, and a line "A: Among A through E, …".
        stem, _, choices = row["query"].rpartition("\nA: ")[0].rpartition(" Answer Choices: ")
        passage, _, question = stem.rpartition("Q: ")
        return {"passage": passage, "question": question, "choices": choices}
    question, _, options = row["input"].partition("\nOptions:")
    return {"question": question, "choices": options}


# ------------------------------------------------------------ training rows


def read_training(data: Path) -> list[TrainingRow]:
    """Read rows of a data stage (sft.jsonl, and the questions that are not among them), of a file (ROW_FILES), or of
    all such files below a directory, .json ones left out. Every text of a row counts, in any column.

    Raises MemphisError when there are none, or a file cannot be read.
    """
    stage = (data / "sft.jsonl").is_file()
    if stage:
        files = [file for file in (data / "sft.jsonl", data / "questions.jsonl") if file.is_file()]
    elif data.is_dir():
        read = tuple(suffix for suffix in ROW_FILES if not suffix.startswith(".json") or suffix.startswith(".jsonl"))
        files = sorted(file for file in data.rglob("*") if file.name.endswith(read))
    else:
        files = [data]
    rows: list[TrainingRow] = []
    known: set[Any] = set()
    for file in files:
        for number, row in enumerate(read_file(file), start=1):
            identity, source = (row.get(key) if isinstance(row, dict) else None for key in ("id", "source"))
            texts = list(_texts(row))
            if not texts or (stage and identity is not None and identity in known):
                continue
            known.add(identity)
            name = f"{file.name}:{number}" if identity is None else str(identity)
            rows.append(TrainingRow(name, str(source or f"{file.absolute().parent.name}/{file.stem}"), texts))
    if not rows:
        raise MemphisError(f"{data}: no rows with text; give a data stage, a .jsonl or .parquet file, or a directory")
    return rows


def read_file(file: Path) -> Iterator[Any]:
    """Yield the rows of a file of ROW_FILES, or of JSON lines. Raises MemphisError."""
    try:
        if file.suffix == ".parquet":
            yield from read_table(file).to_pylist()
            return
        if file.suffix in (".gz", ".csv", ".tsv"):
            yield from records(file)
            return
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".json" and text.lstrip().startswith("["):
            yield from json.loads(text)
            return
    except (OSError, ValueError, ArrowException) as error:
        raise MemphisError(f"{file}: cannot be read ({str(error).splitlines()[0]})") from error
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield json.loads(line)
            except ValueError as error:
                raise MemphisError(f"{file}, line {number}: not JSON ({error})") from error


def _texts(value: Any) -> Iterator[str]:
    """Yield all strings inside a row, ids and the like left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            if key not in NOT_TEXT:
                yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


# ------------------------------------------------------------ report


def report(rows: Sequence[TrainingRow], index: Index, found: Sequence[Match], show: int) -> str:
    """Format counts per source and benchmark, then the pairs with the largest overlap."""
    checked = index.unchecked()
    sources = Counter(row.source for row in rows)
    table = [["source", "rows", *checked]]
    for source, count in [*sources.most_common(), ("all", len(rows))]:
        here = [match for match in found if source in (match.row.source, "all")]
        table.append([source, str(count), *(_count([m for m in here if m.part.benchmark == name]) for name in checked)])
    lines = [
        "Training rows that share a run of words with a test item, and in brackets those that have at least "
        f"{COPY_RATIO:.0%} of a part of it.",
        f"A run is {index.num_words} words; runs that more than {COMMON} items have do not count.",
        "",
        *aligned(table),
    ]
    items = ", ".join(f"{name} {count - missed} of {count}" for name, (count, missed) in checked.items())
    lines += ["", f"Test items long enough to be looked for: {items}."]
    for match in found[:show]:
        words = match.stretch()
        words = words if len(words) <= 160 else f"{words[:160]} …"
        lines.append(f"{match.overlap:7.1%}  {match.row.source}: {match.row.name} ~ {match.part}: {words}")
    if len(found) > show:
        lines.append(f"and {len(found) - show} more pairs; --show N lists N, --out FILE writes all")
    return "\n".join(printable(line, one_line=True) for line in lines)


def _count(found: Sequence[Match]) -> str:
    rows = {id(match.row) for match in found}
    copies = {id(match.row) for match in found if match.overlap >= COPY_RATIO}
    return f"{len(rows)} ({len(copies)})" if rows else "0"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m eval.contamination", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data", type=Path, help="data stage, file with rows, or a directory of such files")
    benchmarks = Path(os.environ.get("MEMPHIS_SHARED", Path(__file__).resolve().parents[2] / "shared")) / "benchmarks"
    parser.add_argument("--benchmarks", type=Path, default=benchmarks, metavar="DIR", help="the test sets")
    words = "words in a run; default: %(default)s"
    parser.add_argument("--n", type=int, default=NUM_WORDS, metavar="WORDS", help=words)
    parser.add_argument("--show", type=int, default=20, metavar="N", help="pairs to list; default: %(default)s")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write all pairs as JSON lines")
    arguments = parser.parse_args(argv)
    if arguments.n < MIN_LETTERED:
        raise MemphisError(f"--n={arguments.n}: such short runs are in every text; use {MIN_LETTERED} or more")
    rows = read_training(arguments.data)
    index = Index(read_parts(arguments.benchmarks), arguments.n)
    found = index.matches(rows)
    if arguments.out:
        pairs = [
            {"overlap": round(m.overlap, 4), "source": m.row.source, "row": m.row.name, "task": m.part.task}
            | {"item": m.part.item, "part": m.part.name, "words": m.stretch()}
            for m in found
        ]
        try:
            write_rows(arguments.out, pairs)
        except OSError as error:
            raise MemphisError(f"{arguments.out}: cannot be written ({error.strerror})") from error
    print(report(rows, index, found, max(0, arguments.show)))
    return 0


if __name__ == "__main__":
    run_command(main)
