"""Test items inside training rows: `python -m eval.contamination DATA` (a data stage, a file of rows, or a directory).

Finds runs of N words that a row shares with GSM8K's, AGIEval's or BBH's test set, after normalisation. Reports how much
of the item the row has, and judges nothing. Reads local files only.
"""

import argparse
import json
import os
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.suites import CURRENT
from memphis.errors import MemphisError
from memphis.jsonl import write_rows

# As in the checks of GPT-3 and many after it. On the 6,351 rows of shared/data 8 words give 151 pairs and 10 give 51,
# nearly all turns of phrase ("multiply by 100 to express the answer as a percentage"); 13 give 4, two of them real.
NUM_WORDS = 13
MIN_LETTERED = 6  # words of a run that must have two letters or more, which excludes bare choices: "A 5 B 10 C 15"
SHORTEST = 6  # a part of fewer than N words is searched for in full, down to this length
COMMON = 10  # a run that more items than this have is the wording of a task, not an item
COPY_RATIO = 0.5  # a row that has this share of a part of an item counts as a copy of it
NOT_TEXT = {"id", "source", "kind", "role", "licence", "license", "url"}  # keys of a row
_WORD = re.compile(r"[^\W_]+")
_MARKS = re.compile(r"<<[^>]*>>|####")  # GSM8K's calculator annotations and answer mark
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)

Hashes = NDArray[np.uint64]
Numbers = NDArray[np.int64]


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


class Index:
    """Index of the test parts by the hashes of their runs of words."""

    def __init__(self, parts: Sequence[Part], num_words: int = NUM_WORDS) -> None:
        self.parts, self.num_words = parts, num_words
        self._words: dict[str, int] = {}
        stream = self._stream([[part.text] for part in parts])
        self._tables: dict[int, tuple[Hashes, Numbers]] = {}  # length of run -> sorted hashes, and their owners
        sizes = np.zeros(len(parts), dtype=np.int64)
        lengths = np.bincount(stream.owners[stream.words > 0], minlength=len(parts))
        for length in range(min(SHORTEST, num_words), num_words + 1):
            hashes, owners = stream.runs(length)
            if length < num_words:
                hashes, owners = hashes[lengths[owners] == length], owners[lengths[owners] == length]
            hashes, owners = _pairs(hashes, owners)
            _, where, counts = np.unique(hashes, return_inverse=True, return_counts=True)
            rare = counts[where] <= COMMON
            self._tables[length] = hashes[rare], owners[rare]
            sizes += np.bincount(owners[rare], minlength=len(parts))
        self.sizes = sizes

    def unchecked(self) -> dict[str, tuple[int, int]]:
        """Return per benchmark: items, and those with nothing to look for (too short, or only common wording)."""
        items: dict[str, dict[tuple[str, int], bool]] = {}
        for part, size in zip(self.parts, self.sizes, strict=True):
            known = items.setdefault(part.benchmark, {})
            known[part.task, part.item] = known.get((part.task, part.item), False) or bool(size)
        return {name: (len(known), sum(not found for found in known.values())) for name, known in items.items()}

    def matches(self, rows: Sequence[TrainingRow]) -> list[Match]:
        """Return every row with every part that it shares a run of words with, the largest overlap first."""
        stream = self._stream([row.texts for row in rows])
        found: dict[tuple[int, int], int] = {}
        for length, (hashes, owners) in self._tables.items():
            if not len(hashes):
                continue
            seen, places = stream.runs(length)
            nearest = np.minimum(np.searchsorted(hashes, seen), len(hashes) - 1)
            known = hashes[nearest] == seen
            seen, places = _pairs(seen[known], places[known])
            starts, ends = np.searchsorted(hashes, seen, "left"), np.searchsorted(hashes, seen, "right")
            for place, start, end in zip(places.tolist(), starts.tolist(), ends.tolist(), strict=True):
                for owner in owners[start:end].tolist():
                    found[place, owner] = found.get((place, owner), 0) + 1
        result = [
            Match(rows[place], self.parts[owner], count / int(self.sizes[owner]))
            for (place, owner), count in found.items()
        ]
        return sorted(result, key=lambda match: (-match.overlap, match.row.name, str(match.part)))

    def _stream(self, texts: Sequence[Sequence[str]]) -> "_Stream":
        numbers: list[int] = []
        lengths: list[int] = []
        for pieces in texts:
            before = len(numbers)
            for piece in pieces:
                numbers += [self._words.setdefault(word, len(self._words) + 1) for word in words_of(piece)]
                numbers.append(0)
            lengths.append(len(numbers) - before)
        lettered = np.array([0, *(sum(map(str.isalpha, word)) >= 2 for word in self._words)], dtype=np.int64)
        words = np.array(numbers, dtype=np.int64)
        return _Stream(words, np.repeat(np.arange(len(texts)), lengths), lettered[words])


@dataclass(frozen=True)
class _Stream:
    """Texts in one array of word numbers, each followed by 0. owners: the index of the text that a word belongs to."""

    words: Numbers
    owners: Numbers
    lettered: Numbers

    def runs(self, length: int) -> tuple[Hashes, Numbers]:
        """Return hash and owner of every run of `length` words that crosses no border and has enough real words."""
        count = len(self.words) - length + 1
        if count < 1:
            return np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.int64)
        mixed = _scatter(self.words)
        hashes = np.zeros(count, dtype=np.uint64)
        for offset in range(length):
            hashes = hashes * _MULTIPLIER + mixed[offset : offset + count]
        usable = _windows(self.words == 0, length) == 0
        usable &= _windows(self.lettered, length) >= min(MIN_LETTERED, length)
        return hashes[usable], self.owners[:count][usable]


def _scatter(words: Numbers) -> Hashes:
    """Return a 64-bit number for each word number (splitmix64), so that sums of them rarely collide."""
    mixed = words.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _windows(values: NDArray[Any], length: int) -> Numbers:
    sums = np.concatenate([[0], np.cumsum(values, dtype=np.int64)])
    return sums[length:] - sums[:-length]


def _pairs(hashes: Hashes, owners: Numbers) -> tuple[Hashes, Numbers]:
    """Return each (hash, owner) once, sorted by hash."""
    order = np.lexsort((owners, hashes))
    hashes, owners = hashes[order], owners[order]
    new = np.ones(len(hashes), dtype=bool)
    new[1:] = (hashes[1:] != hashes[:-1]) | (owners[1:] != owners[:-1])
    return hashes[new], owners[new]


# ------------------------------------------------------------ test sets


def read_parts(benchmarks: Path) -> list[Part]:
    """Read all items of the three test sets from a local mirror (gsm8k/, agieval/hub/, bbh/test/).

    Raises MemphisError naming the file that is missing or damaged.
    """
    parts = []
    for task in [task for column in CURRENT.columns for task in column.tasks]:
        if task == "gsm8k":
            file, cut = benchmarks / "gsm8k" / "test.jsonl", _gsm8k
        elif task.startswith("agieval_"):
            name = task.removeprefix("agieval_").replace("_", "-")
            file, cut = benchmarks / "agieval" / "hub" / name / "test.jsonl", _agieval
        else:
            file, cut = benchmarks / "bbh" / "test" / f"{task.removeprefix('bbh_cot_fewshot_')}.jsonl", _bbh
        if not file.is_file():
            raise MemphisError(f"{file}: not found; --benchmarks needs the mirror with gsm8k, agieval/hub and bbh/test")
        for number, row in enumerate(read_json_lines(file)):
            parts += [Part(task, number, name, text) for name, text in _fields(cut, row, file).items() if text.strip()]
    return parts


def _fields(cut: Callable[[dict[str, Any]], dict[str, str]], row: dict[str, Any], file: Path) -> dict[str, str]:
    try:
        return cut(row)
    except (KeyError, TypeError, AttributeError) as error:
        raise MemphisError(f"{file}: an item without {error}; copy the file again") from error


def _gsm8k(row: dict[str, Any]) -> dict[str, str]:
    return {"question": row["question"], "solution": row["answer"]}


def _agieval(row: dict[str, Any]) -> dict[str, str]:
    """Split a query: passage if any, "Q: ", question, " Answer Choices: ", choices, line "A: Among A through E, …"."""
    stem, _, choices = row["query"].rpartition("\nA: ")[0].rpartition(" Answer Choices: ")
    passage, _, question = stem.rpartition("Q: ")
    return {"passage": passage, "question": question, "choices": choices}


def _bbh(row: dict[str, Any]) -> dict[str, str]:
    question, _, options = row["input"].partition("\nOptions:")
    return {"question": question, "choices": options}


# ------------------------------------------------------------ training rows


def read_training(data: Path) -> list[TrainingRow]:
    """Read rows of a data stage (sft.jsonl, and the questions that are not among them), of a .jsonl, .json or .parquet
    file, or of all .jsonl and .parquet files below a directory. Every text of a row counts, in any column.

    Raises MemphisError when there are none, or a file cannot be read.
    """
    stage = (data / "sft.jsonl").is_file()
    if stage:
        files = [file for file in (data / "sft.jsonl", data / "questions.jsonl") if file.is_file()]
    elif data.is_dir():
        files = sorted(file for file in data.rglob("*") if file.suffix in (".jsonl", ".parquet"))
    else:
        files = [data]
    rows: list[TrainingRow] = []
    known: set[Any] = set()
    for file in files:
        for number, row in enumerate(_rows(file), start=1):
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


def _rows(file: Path) -> Iterator[Any]:
    if file.suffix == ".parquet":
        from pyarrow import ArrowException
        from pyarrow.parquet import read_table

        try:
            yield from read_table(file).to_pylist()
        except (OSError, ArrowException) as error:
            raise MemphisError(f"{file}: cannot be read ({str(error).splitlines()[0]})") from error
    elif file.suffix == ".json":
        yield from read_json_lines(file, whole=True)
    else:
        yield from read_json_lines(file)


def read_json_lines(file: Path, *, whole: bool = False) -> Iterator[Any]:
    """Yield rows of JSON lines, or of one JSON list. The last line may lack its line break."""
    try:
        text = file.read_text(encoding="utf-8")
        if whole and text.lstrip().startswith("["):
            yield from json.loads(text)
            return
    except (OSError, ValueError) as error:
        raise MemphisError(f"{file}: cannot be read ({error})") from error
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
    widths = [max(len(row[place]) for row in table) for place in range(len(table[0]))]
    lines = [
        "Training rows that share a run of words with a test item, and in brackets those that have at least "
        f"{COPY_RATIO:.0%} of a part of it.",
        f"A run is {index.num_words} words; runs that more than {COMMON} items have do not count.",
        "",
    ]
    for first, *rest in table:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))]
        lines.append("   ".join(cells))
    items = ", ".join(f"{name} {count - missed} of {count}" for name, (count, missed) in checked.items())
    lines += ["", f"Test items long enough to be looked for: {items}."]
    for match in found[:show]:
        where = f"{match.row.source}: {match.row.name} ~ {match.part}"
        lines.append(f"{match.overlap:7.1%}  {where}: {_shortened(match.stretch())}")
    if len(found) > show:
        lines.append(f"and {len(found) - show} more pairs; --show N lists N, --out FILE writes all")
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in "\n".join(lines))


def _count(found: Sequence[Match]) -> str:
    rows = {id(match.row) for match in found}
    copies = {id(match.row) for match in found if match.overlap >= COPY_RATIO}
    return f"{len(rows)} ({len(copies)})" if rows else "0"


def _shortened(text: str, width: int = 160) -> str:
    return text if len(text) <= width else f"{text[:width]} …"


def default_benchmarks() -> Path:
    """Return $MEMPHIS_SHARED/benchmarks, else `shared/benchmarks` beside the repository."""
    beside = Path(__file__).resolve().parents[2] / "shared"
    return Path(os.environ.get("MEMPHIS_SHARED", beside)) / "benchmarks"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m eval.contamination", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data", type=Path, help="data stage, .jsonl/.json/.parquet file, or a directory of such files")
    parser.add_argument("--benchmarks", type=Path, default=default_benchmarks(), metavar="DIR", help="the test sets")
    parser.add_argument(
        "--n", type=int, default=NUM_WORDS, metavar="WORDS", help="words in a run; default: %(default)s"
    )
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
    try:
        sys.exit(main())
    except MemphisError as fault:
        sys.exit(f"error: {fault}")
