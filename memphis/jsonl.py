"""Files that are there whole or not at all; JSON lines: rows of data, and a stage's metrics.jsonl, which survives a
kill and can be cut back to a checkpoint."""

import json
import math
import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


class RowLog:
    """Append rows to `path`. Each call opens the file anew: once the directory has been taken over and renamed by
    another process the next row raises FileNotFoundError, which is how a writer that lost its claim stops."""

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
        """Bytes written so far; a checkpoint keeps this number."""
        return self.path.stat().st_size

    def cut(self, offset: int) -> None:
        """Forget the rows that came after the checkpoint which recorded `offset`."""
        with self.path.open("r+b") as file:
            file.truncate(offset)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """All whole rows of a file; a torn last line (killed writer) is ignored."""
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1] if line]


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write a file of rows under a temporary name and rename it."""
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`, renamed to it when the block has written all of it, removed when it has not."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
