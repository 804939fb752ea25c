"""Read text files with rows: JSON lines, JSON lists and tables, compressed or not. Nothing is guessed.

`datasets` does: in a JSON column of mixed types it turns "2" into 2 near the file's beginning and 2 into "2" further
on, it takes "NA" in a CSV for nothing and "007" for 7, and it does not report the number of a broken line.
"""

import csv
import gzip
import io
import json
import sys
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def records(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a file of ROW_FILES other than parquet. Raises ValueError where it is none or is damaged."""
    try:
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        text = content.decode("utf-8-sig")
        name = file.name.removesuffix(".gz")
        if name.endswith((".csv", ".tsv")):
            yield from _cells(text, "\t" if name.endswith(".tsv") else ",")
        else:
            yield from _objects(text)
    except (RecursionError, EOFError, OSError, zlib.error, csv.Error) as error:
        raise ValueError(str(error) or type(error).__name__) from None


def _cells(text: str, delimiter: str) -> Iterator[dict[str, str]]:
    """Yield the rows of a table with a header; every cell is a text, and an empty one is an empty text."""
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header = next(reader, [])
    if twice := [name for name, count in Counter(filter(None, header)).items() if count > 1]:
        raise ValueError(f"the header names {twice[0]!r} twice")
    for cells in filter(None, reader):  # not a line without anything
        if len(cells) != len(header):
            raise ValueError(f"line {reader.line_num} ends a row of {len(cells)} cells, the header has {len(header)}")
        yield dict(zip(header, cells, strict=True))


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of a text that is one JSON list, or has one object per line."""
    whole = text.lstrip().startswith("[")
    values = enumerate(_json(text), 1) if whole else _lines(text)
    for number, value in values:
        if not isinstance(value, dict):
            raise ValueError(f"{'element' if whole else 'line'} {number} is no object: {str(value)[:40]!r}")
        yield value


def _json(text: str) -> Any:
    """Parse JSON. Raises ValueError for a key that stands twice in an object, of which the library keeps the last."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
            raise ValueError(f"the key {twice!r} stands twice in an object")
        return made

    return json.loads(text, object_pairs_hook=once)


def _lines(text: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield number, _json(line)
            except ValueError as error:
                raise ValueError(f"line {number} is no JSON: {str(error).split(':')[0]}") from None
