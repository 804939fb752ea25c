"""Garbage collection of a store: find what nothing needs any more, and why, and remove it.

Roots are every `stages.json` below `runtime.root` (run directories, frozen grids) and live claims; all that a root
reads, directly or not, is kept. So is a half-built stage of a root: the same command continues it.
"""

import contextlib
import os
import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR
from typing import Any

from memphis.errors import MemphisError
from memphis.store import Store, claims, read_json
from memphis.store.claims import Claim

HOUR_S = 3600.0  # nothing younger than this is removed: a run that is starting has not written down yet what it needs
_LEFTOVERS = {
    ".damaged-": "set aside as damaged",
    ".old-": "replaced by a newer one",
    ".grave-": "claim of a dead process",
    ".trash-": "left by a removal that was interrupted",
}


@dataclass(frozen=True)
class Entry:
    """Entry of the store that nothing needs. size: bytes; age: seconds since it was last written."""

    path: Path
    size: int
    age: float
    why: str


@dataclass(frozen=True)
class Found:
    """Result of `look`: `garbage` can be removed, `young` can be removed when it is old enough."""

    garbage: list[Entry]
    young: list[Entry]
    kept: int  # stages that a root needs
    roots: int  # files that name stages
    claims: int  # live ones


def look(store: Store, older_than: float = HOUR_S) -> Found:
    """Classify all entries of the store; removes nothing. older_than: seconds.

    Raises MemphisError when a file that names stages, or the record of a stage that is needed, cannot be read: what
    depends on it would be unknown.
    """
    now = _now(store)
    live = _live(store, now)
    named, roots = _named(store.root.parent)
    needed = _with_ancestors(store, named | live)
    garbage: list[Entry] = []
    young: list[Entry] = []
    for path in sorted(store.root.iterdir()):
        if (why := _why(store, path, needed, live)) is not None:
            size, written = _measure(path)
            age = now - written
            (garbage if age > older_than else young).append(Entry(path, size, age, why))
    kept = sum((store.root / name / "DONE").exists() for name in needed)
    return Found(garbage, young, kept, roots, len(live))


def remove(store: Store, entries: list[Entry]) -> list[Entry]:
    """Remove the entries, and return those that were removed.

    All are renamed first, so that no reader finds half of one; what a run that started meanwhile needs is put back.
    """
    renamed = []
    for entry in entries:
        trash = entry.path.with_name(f"{entry.path.name.split('.trash-')[0]}.trash-{uuid.uuid4().hex[:8]}")
        with contextlib.suppress(FileNotFoundError):  # released or set aside at this moment
            entry.path.rename(trash)
            renamed.append((entry, trash))
    needed = _with_ancestors(store, _named(store.root.parent)[0] | _live(store, _now(store)))
    removed = []
    for entry, trash in renamed:
        if entry.path.name in needed and not entry.path.exists():
            trash.rename(entry.path)
            continue
        if trash.is_dir():
            shutil.rmtree(trash)
        else:
            trash.unlink()
        removed.append(entry)
    return removed


def _live(store: Store, now: float) -> set[str]:
    """Return the stages that are being built. A claim of another machine that was silent for an hour is watched for
    two heartbeats before it counts as dead: clocks can jump, and a live builder touches its claim."""
    owners = {path.stem: Claim(path.with_suffix("")).owner() for path in store.root.glob("*.claim")}
    standing = {name: owner for name, owner in owners.items() if owner is not None and not Claim.gone(owner)}
    silent = {
        name
        for name, owner in standing.items()
        if owner["host"] != socket.gethostname() and now - owner["touched"] / 1e9 > HOUR_S
    }
    if silent:
        time.sleep(2 * claims.HEARTBEAT_S)
    return {name for name, owner in standing.items() if name not in silent or Claim(store.root / name).owner() != owner}


def _why(store: Store, path: Path, needed: set[str], live: set[str]) -> str | None:
    """Return why nothing needs `path`; None if something does, or if it is not part of the store."""
    name = path.name
    for mark, why in _LEFTOVERS.items():
        if mark in name:
            return why
    if name.startswith(".probe-"):
        return "left by a process that was killed"
    stage, _, token = name.partition(".part-")
    if token:
        if stage in live:
            return None
        if (store.root / stage / "DONE").exists():
            return "left half-built; the stage was finished by another process"
        return None if stage in needed else "half-built, and no run directory or grid needs the stage"
    if path.suffix == ".claim":
        return None if path.stem in live else "its process is gone"
    if not path.is_dir() or "-" not in name or name in needed:
        return None
    return "no run directory, grid or live claim needs it"


def _named(root: Path) -> tuple[set[str], int]:
    """Return the stage directories that files `stages.json` below `root` name, and the number of these files."""
    names: set[str] = set()
    count = 0

    def unreadable(error: OSError) -> None:
        raise MemphisError(f"{error.filename}: {error.strerror}; what is needed there is unknown") from error

    for folder, below, files in os.walk(root, onerror=unreadable):
        below[:] = [name for name in below if name not in ("wandb", "logs") and Path(folder, name) != root / "store"]
        if "stages.json" in files:
            file = Path(folder, "stages.json")
            count += 1
            try:
                names.update(Path(row["dir"]).name for row in read_json(file))
            except (OSError, ValueError, TypeError, KeyError) as error:
                raise MemphisError(
                    f"{file}: cannot be read ({type(error).__name__}), so what it needs is unknown; mend or remove it"
                ) from error
    return names, count


def _with_ancestors(store: Store, names: set[str]) -> set[str]:
    """Return the stages and everything they read, directly or not."""
    found: set[str] = set()
    waiting = sorted(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _reads(store, name)
    return found


def _reads(store: Store, name: str) -> Iterator[str]:
    """Yield the directories that a stage reads: by its record, else by the spec from which it is built."""
    files = [file for file in (store.root / name / "stage.json", store.specs / f"{name}.json") if file.exists()]
    for file in files:
        with contextlib.suppress(OSError, ValueError, KeyError, AttributeError):
            reads: dict[str, Any] = read_json(file)["reads"]
            yield from reads.values()
            return
    if files:
        raise MemphisError(f"{files[0]}: cannot be read, so what {name} needs is unknown; `verify` tells more")


def _measure(path: Path) -> tuple[int, float]:
    """Return the bytes of all files in `path`, and when anything in it was last written, by the file system's clock."""
    stats = [file.lstat() for file in ([path, *path.rglob("*")] if path.is_dir() else [path])]
    written = max(max(stat.st_mtime, stat.st_ctime) for stat in stats)  # a copy is as new as its arrival
    return sum(stat.st_size for stat in stats if not S_ISDIR(stat.st_mode)), written


def _now(store: Store) -> float:
    """Return the time of the file system that the entries' times come from: this machine's clock may differ."""
    probe = store.root / f".probe-{uuid.uuid4().hex[:8]}"
    try:
        probe.touch(exist_ok=False)
        now = probe.stat().st_mtime
        probe.unlink()
    except OSError as error:
        raise MemphisError(f"{store.root}: {error.strerror}; gc needs a store that it can write to") from error
    return now
