"""Formatting of numbers and text for people."""

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

# Control characters (a line break and a tab excepted), lone surrogates, and what changes the reading direction.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u200e\u200f\u2028-\u202e\u2066-\u2069]")

# Value of data.sources.X.human -> who wrote such rows.
HUMAN = {"true": "by people", "mixed": "with a model in the loop", "generated": "by a model or a program"}


def printable(text: str, one_line: bool = False) -> str:
    """Return `text` without characters that could move a cursor, colour a terminal or reorder what is read.

    Such characters become U+FFFD; line breaks and tabs stay unless it is to be one line. For model output, file
    contents and error messages.
    """
    shown = _UNPRINTABLE.sub("\ufffd", text.replace("\r\n", "\n"))
    return re.sub("[\n\t]", "\ufffd", shown) if one_line else shown


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a line per row for a terminal: the first column left-aligned, the others right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["   ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]


def duration(seconds: float) -> str:
    """Format seconds as `0.4 s`, `12 s`, `3 m 05 s` or `2 h 07 m`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} m {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} m"


def rounded(number: float) -> str:
    """Format a number with three digits: `950`, `12.3k`, `4.56M`."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= 0.9995 * size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.0f}"


def percent(score: float, stderr: float | None) -> str:
    """Format a share and its standard error, both from 0 to 1, in percentage points: `45.3 ± 2.0`."""
    return f"{100 * score:.1f}" if stderr is None else f"{100 * score:.1f} ± {100 * stderr:.1f}"


def score_text(column: Mapping[str, Any]) -> str:
    """Format the score of an evaluation's column: as `percent` does, `45.3 (41.0 to 49.7)` where it has an interval
    (`low`, `high`), and with the number of items to which it was limited."""
    if "low" in column:
        text = f"{percent(column['score'], None)} ({100 * column['low']:.1f} to {100 * column['high']:.1f})"
    else:
        text = percent(column["score"], column["stderr"])
    return f"{text}, first {column['limit']} only" if "limit" in column else text


def size_text(size: float) -> str:
    """Format bytes as `1.5 MiB` or `5.2 GiB`."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**27 else f"{size / 2**20:.1f} MiB"


def rows_by_human(rows: Iterable[tuple[str, int]]) -> str:
    """Format (`human` of a source, its rows) in sum: `9 rows; by people (true) 7, with a model in the loop …`."""
    counts: Counter[str] = Counter()
    for human, number in rows:
        counts[human] += number
    shown = [f"{words} ({human}) {counts[human]:,}" for human, words in HUMAN.items()]
    return f"{counts.total():,} rows; {', '.join(shown)}"


def download_command(repo: str, revision: str | None, kind: Literal["model", "dataset"]) -> str:
    """Return the command that puts all files of a repository of the hub into its cache."""
    kinds = [] if kind == "model" else ["--repo-type", kind]
    return shlex.join(["hf", "download", repo, *kinds, *(["--revision", revision] if revision else [])])
