"""Made-up stages, rows and samples, and access to the segments of a run through wandb's own reader."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from omegaconf import OmegaConf

from memphis import config
from memphis.config import Config
from memphis.store import Stage, Store, sha256, write_json

RUN_ID = "slerp-t-0-9-abcd1234"


def stage(name: str, **inputs: Stage) -> Stage:
    kind, _, iteration = name.partition("-")
    return Stage(name, kind, 1, {"name": name}, inputs, iteration=int(iteration or 0))


DATA, BASE, SFT, GENERATE = stage("data"), stage("base"), stage("sft"), stage("generate-1")
PAIRS = stage("pairs-1", data=DATA, samples=GENERATE)


def run_at(root: Path, cfg: Config) -> Any:
    """Return the attributes of a run that a Tracker reads, and write the run's config.yaml and run.json."""
    path = root / "tiny" / "s7" / "slerp.t-0.9"
    path.mkdir(parents=True, exist_ok=True)
    overrides = ["seed=7", "+sweep=slerp_factor", "slerp.t=0.9"]
    info = {"run_id": RUN_ID, "slug": "slerp.t-0.9", "git": {"sha": "c" * 40, "dirty": True}, "overrides": overrides}
    (path / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(config.to_dict(cfg))))
    write_json(path / "run.json", info)
    return SimpleNamespace(path=path, info=info, store=Store(root / "store"))


def write_samples(store: Store, questions: int) -> list[str]:
    """Write the inputs of the samples table: two samples per question, the first right, the second with no answer."""
    right = {"text": "1 + 1 = 2\n### Answer:\n2", "valid": True, "reason": "", "answer": "2", "correct": True}
    wrong = {"text": "x" * 5000, "valid": False, "reason": "no_answer", "answer": None, "correct": None}
    ids = [f"q{k}" for k in range(questions)]
    files = {
        store.path(DATA) / "questions.jsonl": [{"id": i, "prompt": f"prompt {i}", "answer": "2"} for i in ids],
        store.path(GENERATE) / "samples.jsonl": [
            {"id": i, "samples": [{"token_ids": [1] * n} for n in (5, 2)]} for i in ids
        ],
        store.path(PAIRS) / "judged.jsonl": [{"id": i, "samples": [right, wrong]} for i in reversed(ids)],
        store.path(PAIRS) / "pairs.jsonl": [{"id": i, "chosen": right["text"], "rejected": []} for i in ids],
        store.path(PAIRS) / "counts.json": [{"pairs/count": len(ids)}],
    }
    for path, rows in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return ids


def finished(store: Store, made: Stage, rows: list[dict[str, Any]] = (), **summary: Any) -> dict[str, Any]:  # type: ignore[assignment]
    """Turn the content of a stage's directory into a finished stage; return its record."""
    path = store.path(made)
    path.mkdir(parents=True, exist_ok=True)
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = [file for file in path.rglob("*") if file.is_file() and file.name not in ("stage.json", "DONE")]
    outputs = {
        file.relative_to(path).as_posix(): {
            "bytes": file.stat().st_size,
            "mtime_ns": file.stat().st_mtime_ns,
            "sha256": sha256(file),
        }
        for file in files
    }
    record = {**made.spec(), "outputs": outputs, "summary": summary, "seconds": 1.0}
    write_json(path / "stage.json", record)
    (path / "DONE").write_text(sha256(path / "stage.json") + "\n")
    return record


def finished_pairs(store: Store, questions: int = 70) -> dict[str, Any]:
    """Write the pairs of an iteration and their input stages as finished; return the record of the pairs."""
    write_samples(store, questions)
    for source in (DATA, GENERATE):
        finished(store, source)
    return finished(store, PAIRS, pairs=questions)


def row(step: int, name: str = "sft", **values: Any) -> dict[str, Any]:
    counters = {"iteration": 0, "global_step": step, "tokens": 9 * step}
    return {"_t": 1.0, "step": step, "steps": 6, "stage": name, **counters, **values}


def segments(run_dir: Path) -> list[Path]:
    return sorted((run_dir / "wandb").glob("*run-*/*.wandb"))


@cache
def inspect(segment: Path) -> list[dict[str, Any]]:
    """Return all records of one segment, read by `wandb leet inspect --json`."""
    program = Path(sys.executable).with_name("wandb")
    done = subprocess.run([program, "leet", "inspect", "--json", segment], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def records(run_dir: Path, kind: str) -> list[Any]:
    """Return all records of one type, over all attempts in order."""
    return [record[kind] for path in segments(run_dir) for record in inspect(path) if record["type"] == kind]


def history(run_dir: Path) -> list[dict[str, Any]]:
    return [record["item"] for record in records(run_dir, "history")]
