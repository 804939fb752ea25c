"""Garbage collection of a store: find what nothing needs any more, and why, and remove it.

Roots are every `stages.json` below `runtime.root` (run directories, frozen grids), whatever the directory is called,
also behind links, and live claims; all that a root reads, directly or not, is kept. So is a half-built stage of a root:
the same command continues it. Only what the store itself has made is removed.
"""

import contextlib
import os
import re
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
    "damaged": "set aside as damaged",
    "old": "replaced by a newer one",
    "grave": "claim of a dead process",
    "trash": "left by a removal that was interrupted",
}
# Names that the store gives: of a stage, of its claim, of the directory where it is built, of what is set aside.
_NAME = re.compile(r"(?P<stage>[a-z_]+-[0-9a-f]{16})(?P<more>(\.(claim|(part|damaged|old|grave|trash)-[0-9a-f]+))*)")
_PROBE = re.compile(r"\.probe-[0-9a-f]{8}(\.moved)?")


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
    links: list[str]  # names of entries that nothing needs and that are links: they are left alone


def look(store: Store, older_than: float = HOUR_S) -> Found:
    """Classify all entries of the store; removes nothing. older_than: seconds.

    Raises MemphisError when a file that names stages, or the record of a stage that is needed, cannot be read, when a
    link leads nowhere, and when no file names any stage: what is needed would be unknown.
    """
    now = _now(store)
    live = _live(store, now)
    named, roots = _named(store)
    if not roots:
        raise MemphisError(
            f"{store.root.parent}: there is no run directory or grid in it, so nothing says what its store is needed "
            "for; name the right --root, or remove the directory `store` by hand"
        )
    needed = _with_ancestors(store, named | live)
    garbage: list[Entry] = []
    young: list[Entry] = []
    links: list[str] = []
    for path in sorted(store.root.iterdir()):
        if (why := _why(store, path, needed, live)) is None:
            continue
        if path.is_symlink() and not path.name.endswith(".claim"):
            links.append(path.name)
            continue
        size, written = _measure(path)
        age = now - written
        (garbage if age > older_than else young).append(Entry(path, size, age, why))
    kept = sum((store.root / name / "DONE").exists() for name in needed)
    return Found(garbage, young, kept, roots, len(live), links)


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
    needed = _with_ancestors(store, _named(store)[0] | _live(store, _now(store)))
    removed = []
    for entry, trash in renamed:
        if entry.path.name in needed and not entry.path.exists():
            trash.rename(entry.path)
            continue
        if trash.is_dir() and not trash.is_symlink():
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
    if _PROBE.fullmatch(path.name):
        return "left by a process that was killed"
    if not (match := _NAME.fullmatch(path.name)):
        return None
    stage, last = match["stage"], match["more"].rpartition(".")[2].partition("-")[0]
    if last in _LEFTOVERS:
        return _LEFTOVERS[last]
    if last == "part":
        if stage in live:
            return None
        if (store.root / stage / "DONE").exists():
            return "left half-built; the stage was finished by another process"
        return None if stage in needed else "half-built, and no run directory or grid needs the stage"
    if last == "claim":
        return None if stage in live else "its process is gone"
    return "no run directory, grid or live claim needs it" if stage not in needed and _is_stage(path) else None


def _is_stage(path: Path) -> bool:
    """True if the record in `path` says that it is the stage of that name."""
    with contextlib.suppress(OSError, ValueError, TypeError, LookupError):
        record = read_json(path / "stage.json")
        return bool(path.name == f"{record['kind']}-{record['key']}")
    return False


def _named(store: Store) -> tuple[set[str], int]:
    """Return the stage directories that files `stages.json` below the store's parent name, and the number of files."""
    names: set[str] = set()
    count = 0
    own = store.root.resolve()
    seen = {store.root.parent.resolve()}

    def unreadable(error: OSError) -> None:
        raise MemphisError(f"{error.filename}: {error.strerror}; what is needed there is unknown") from error

    def unseen(place: Path) -> bool:
        """True for a directory that is no stage and was not looked into before, by this name or another."""
        real = place.resolve()
        if real in seen or (real.parent == own and _NAME.fullmatch(real.name)):
            return False
        seen.add(real)
        return True

    for folder, below, files in os.walk(store.root.parent, onerror=unreadable, followlinks=True):
        for place in (Path(folder, name) for name in files):
            if place.is_symlink() and not place.exists() and not Path(os.path.realpath(place)).is_relative_to(own):
                raise MemphisError(f"{place}: a link to nowhere, so what is needed there is unknown; mend or remove it")
        run = "stages.json" in [*below, *files]
        if run:
            names |= _stages(Path(folder, "stages.json"))
            count += 1
        # What W&B and the children of a run write names no stage, and may be many files.
        below[:] = [name for name in below if not (run and name in ("wandb", "logs")) and unseen(Path(folder, name))]
    return names, count


def _stages(file: Path) -> set[str]:
    """Return the stage directories that a file `stages.json` names. Raises MemphisError if it names none."""
    try:
        names = {Path(row["dir"]).name for row in read_json(file)}
        if names:
            return names
        reason = "it names no stage"
    except (OSError, ValueError, TypeError, LookupError) as error:
        reason = type(error).__name__
    raise MemphisError(f"{file}: cannot be read ({reason}), so what it needs is unknown; mend or remove it")


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
