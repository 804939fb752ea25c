"""Atomic file writes, and JSON lines: rows of data, and a stage's metrics.jsonl, which survives a kill and can be cut
back to a checkpoint."""

import json
import math
import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

PROGRESS = "progress.json"  # of a stage that is being built, beside its metrics.jsonl


class RowLog:
    """Append rows to `path`. Each call opens the file anew: once another process has taken over and renamed the
    directory, the next row raises FileNotFoundError, which stops a writer that lost its claim."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def __call__(self, row: dict[str, Any]) -> None:
        """Write one flat row. Non-finite numbers become null and their keys are listed under `_nonfinite`."""
        clean = {"_t": round(time.time(), 3), **row}
        bad = [key for key, value in row.items() if isinstance(value, float) and not math.isfinite(value)]
        if bad:
            clean.update(dict.fromkeys(bad), _nonfinite=bad)
        line = json.dumps(clean, allow_nan=False) + "\n"
        with self.path.open("r+b") as file:  # r+ and not a: must not create the file again after a takeover
            file.seek(0, 2)
            file.write(line.encode())

    def offset(self) -> int:
        """Return the bytes written so far; a checkpoint stores this number."""
        return self.path.stat().st_size

    def cut(self, offset: int) -> None:
        """Drop the rows that came after the checkpoint which recorded `offset`."""
        with self.path.open("r+b") as file:
            file.truncate(offset)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return all complete rows of a file; a torn last line (killed writer) is ignored."""
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1] if line]


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write a file of rows under a temporary name and rename it."""
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; rename it to `path` if the block succeeds, remove it if it fails."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
