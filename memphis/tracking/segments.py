"""Send offline segments of runs to the server. Each is inspected first: one bad file makes `wandb sync` send none of a
list, and a missing staged file makes it lose an artifact silently."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memphis.errors import MemphisError
from memphis.tracking import session


@dataclass(frozen=True)
class Segment:
    """Recording of one attempt."""

    file: Path
    run_id: str
    missing: list[Path]  # files of its artifacts that no longer exist
    cut: bool  # it ends within a record, because its writer was killed


def segments(directory: Path) -> list[Path]:
    """Return the offline .wandb files below a run directory in the order in which they were started.

    Those of online attempts are left out: `wandb sync` sends them completely, which would double what the server has.
    """
    return sorted((directory / "wandb").glob("offline-run-*/run-*.wandb"))


def sync(directory: Path, report: Callable[[str], None]) -> bool:
    """Send what was recorded below `directory` and has not been sent; all segments of an id make one run.

    A segment that cannot be read is skipped and reported; one with missing files keeps its run from being sent.
    Returns True if all that was recorded is on the server now. Raises MemphisError when nothing was recorded,
    without a key, and when the server does not answer.
    """
    found = segments(directory)
    if not found:
        raise MemphisError(
            f"{directory}: no offline segment in {directory / 'wandb'}; `python -m memphis.tracking push` makes a "
            "W&B run from the files of the run"
        )
    if fault := session.unreachable():
        raise MemphisError(fault)
    complete = True
    by_run: dict[str, list[Segment]] = {}
    with session.surroundings(directory / "wandb"):
        for file in found:
            if _synced(file).exists():
                report(f"{file.parent.name}: sent before")
            elif isinstance(segment := look(file), str):
                report(f"{file.parent.name}: left out, {segment}")
                complete = False
            else:
                by_run.setdefault(segment.run_id, []).append(segment)
        for run_id, parts in by_run.items():
            missing = [path for part in parts for path in part.missing]
            if missing:
                report(
                    f"{run_id}: not sent, {len(missing)} staged files are gone (first: {missing[0]}); sync where the "
                    f"run was made, or `python -m memphis.tracking push {directory} --new-id`"
                )
                complete = False
            else:
                complete &= _send(run_id, parts, report)
    return complete


def look(file: Path) -> Segment | str:
    """Read a segment with wandb's own reader; return it, or why it cannot be sent."""
    done = _wandb(file, "leet", "inspect", "--json", str(file))
    records: list[dict[str, Any]] = []
    for text in done.stdout.splitlines():
        try:
            records.append(json.loads(text))
        except ValueError:
            break
    runs = [record["run"]["run_id"] for record in records if record.get("type") == "run"]
    if not runs:
        return "its attempt ended before it had written anything"
    manifests = [record.get("artifact", {}).get("manifest", {}).get("contents", []) for record in records]
    staged = [Path(entry["local_path"]) for entries in manifests for entry in entries if entry.get("local_path")]
    missing = [path for path in staged if not path.exists()]
    return Segment(file, runs[0], missing, cut="incomplete" in done.stderr)


def _synced(file: Path) -> Path:
    """Return the marker that `wandb sync` writes beside a segment it has sent."""
    return file.with_name(f"{file.name}.synced")


def _send(run_id: str, parts: list[Segment], report: Callable[[str], None]) -> bool:
    """Send the segments of a run in order. `wandb sync` stops after a segment that was cut, so that one ends a list."""
    ends = [number for number, part in enumerate(parts, 1) if part.cut or number == len(parts)]
    for first, end in zip([0, *ends], ends, strict=False):
        last = parts[end - 1]
        done = _wandb(last.file, "sync", *(str(part.file.parent) for part in parts[first:end]))
        output = [text.removeprefix("wandb: ") for text in (done.stdout + done.stderr).splitlines() if text.strip()]
        unsent = [part for part in parts[first:end] if not _synced(part.file).exists()]  # the status is not reliable
        if unsent == [last] and last.cut and "incomplete" in "".join(output):
            _synced(last.file).touch()  # everything that was recorded was sent
            report(f"{last.file.parent.name}: its attempt was killed while it wrote; sent as far as it goes")
        elif unsent:
            reason = output[-1] if output else f"`wandb sync` ended with status {done.returncode}"
            report(f"{run_id}: not sent: {reason}")
            return False
    report(f"{run_id}: sent, {len(parts)} segments")
    return True


def _wandb(file: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run wandb's own program, which leaves its logs beside the segment's directory."""
    environment = {**os.environ, "WANDB_DIR": str(file.parents[2])}
    command = [sys.executable, "-m", "wandb", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
