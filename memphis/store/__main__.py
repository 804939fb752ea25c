"""python -m memphis.store: look at a store, explain a stage, check its files, remove what nothing needs."""

import argparse
import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from memphis import REPOSITORY
from memphis.errors import MemphisError, run_command
from memphis.formatting import duration, size_text
from memphis.store import WEIGHTS, Store, collect, differences, read_json, sha256
from memphis.store.disk import explained


def _done(store: Store) -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in sorted(store.root.glob("*-*")):
        if (path / "DONE").exists() and "." not in path.name:
            with contextlib.suppress(MemphisError):
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
    bad, stages = 0, list(_done(store))
    for path, record in stages:
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
    print(f"{len(stages)} stages checked, {bad} damaged files")
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


def _gc(store: Store, older_than: float, delete: bool) -> int:
    found = collect.look(store, older_than)
    gone = collect.remove(store, found.garbage) if delete else found.garbage
    verb = "removed" if delete else "would remove"
    for entry in gone:
        print(f"{verb} {entry.path.name:34} {size_text(entry.size):>10}  {duration(entry.age)} old: {entry.why}")
    print(f"kept: {found.kept} stages that {found.roots} runs and grids and {found.claims} live claims need")
    if found.links:
        print(f"left alone: {', '.join(found.links)}: links; nothing needs what they lead to, remove them by hand")
    if found.young:
        size = size_text(sum(entry.size for entry in found.young))
        print(f"kept: {len(found.young)} entries that nothing needs, younger than {duration(older_than)} ({size})")
    total = size_text(sum(entry.size for entry in gone))
    print(f"{verb} {len(gone)} entries, {total}{'' if delete or not gone else '; add --delete to do it'}")
    return 0


def _seconds(text: str) -> float:
    """Convert `90m`, `12h` or `7d` to seconds. Raises MemphisError for less than an hour."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([mhd])", text)
    seconds = float(match[1]) * {"m": 60, "h": 3600, "d": 86400}[match[2]] if match else 0.0
    if seconds < collect.HOUR_S:
        raise MemphisError(f"--older-than={text}: give a time of at least 1h, such as 90m, 12h or 7d")
    return seconds


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m memphis.store", description=(__doc__ or "").split("\n")[0])
    root = os.environ.get("MEMPHIS_RUNS", "runs")
    parser.add_argument("--root", default=root, help="runtime.root (default: %(default)s)")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("ls", help="every stage with its state, size and cost")
    commands.add_parser("verify", help="compare sha256 of every file with its record")
    commands.add_parser("why", help="what a stage is made of, and why it is not another one").add_argument("stage")
    gc = commands.add_parser("gc", help="what no run directory, grid or live claim needs; with --delete remove it")
    gc.add_argument("--delete", action="store_true", help="remove it (without: only tell)")
    gc.add_argument("--older-than", default="1h", help="only what was last written so long ago (default: %(default)s)")
    arguments = parser.parse_args(argv)
    store = Store(REPOSITORY / arguments.root / "store")
    if not store.root.is_dir():
        raise MemphisError(
            f"--root={arguments.root}: there is no store in it; run `python train.py` first or name another root"
        )
    with explained(store.root.parent):
        match arguments.command:
            case "ls":
                return _ls(store)
            case "verify":
                return _verify(store)
            case "gc":
                return _gc(store, _seconds(arguments.older_than), arguments.delete)
            case _:
                return _why(store, arguments.stage)


if __name__ == "__main__":
    run_command(main)
