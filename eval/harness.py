"""Run a suite with lm-evaluation-harness on the job's running engine, a few tasks at a time, so that a killed
evaluation keeps its finished tasks. Nothing outside `out` changes: the random states of the process are restored.

A task that samples is run once per seed; its score is the mean over seeds and items (`suites.stderr_over_seeds`).
"""

import gzip
import hashlib
import json
import logging
import math
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import lm_eval
import numpy as np
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.utils import handle_non_serializable
from tqdm import tqdm

from eval import heldout
from eval.adapters import MAX_GEN_TOKENS, language_model, replaced
from eval.records import read_samples
from eval.suites import TASKS, Column, find_suite, pooled_stderr, stderr_over_seeds, wilson
from eval.tasks import SHOTS_SEED, load_task, named_tasks
from memphis.errors import MemphisError
from memphis.jsonl import atomic_write
from memphis.sampling import Engine
from memphis.sampling.progress import Progress
from memphis.store import installed, read_json, write_json

# Small tasks of a column are run together up to this number of items. A kill loses what is run together.
TOGETHER = 1024
SAMPLE_KEYS = ("doc_id", "doc", "target", "resps", "filtered_resps", "filter", "doc_hash", "prompt_hash", "target_hash")


class _Unit(NamedTuple):
    """Task with one seed: the smallest part that is run, kept and shared between suites."""

    column: Column
    task: str
    seed: int

    @property
    def name(self) -> str:
        """Name of its files."""
        return self.column.unit(self.task, self.seed)


def evaluate(
    engine: Engine,
    model_dir: Path,
    suite: str,
    *,
    fingerprint: str,
    data_dir: Path | None,
    limit: int | None,
    seeds: Sequence[int],
    allow_truncated: bool,
    out: Path,
    log: Callable[[dict[str, Any]], None],
    progress: Progress,
    kill_point: Callable[[str], None],
    tasks: Sequence[str] = (),
    asking: heldout.Asking | None = None,
) -> dict[str, Any]:
    """Score the weights that `engine` holds, which are those of `model_dir`, and return the record of the suite.

    fingerprint: of the weights, for the record.
    data_dir: the data stage's directory (test.jsonl, dev.jsonl, heldout.jsonl) for its suites. The benchmarks: a local
        mirror of their data, None for the hub.
    limit: number of items of every task, from its beginning; such a record is marked as not comparable.
    seeds: of tasks that sample: each is run once per seed. Greedy tasks are run once and do not depend on them.
    allow_truncated: score a benchmark suite although prompts must be cut to fit the model's context.
    out: gets tasks/<unit>.json and samples/<unit>.jsonl.gz. A unit that is there is not run again; suites that share
        requests share units if they share `out`.
    log: called once per unit and once with the columns.
    progress: is told of units; whoever reads the engine's meter tells it of answers.
    tasks: names of lm-eval's tasks and groups, for suite tasks.
    asking: how suite heldout asks and judges; only that suite needs it.

    The record has, per task and per column, score (0..1), count of correct answers, n items, stderr, metric, filter and
    shots; a column's stderr is the pooled one. Where several seeds were used, `seeds` lists them, `counts` has the
    correct answers of each and `count` those of all, so that score = count / n / seeds.
    Raises MemphisError for missing data, prompts that do not fit, and a model whose log-likelihoods are not numbers.
    """
    chosen = find_suite(suite)
    named: dict[str, Any] = {}
    if asking is not None:
        chosen = replace(chosen, columns=heldout.columns(data_dir, asking.shots))
    elif suite == TASKS.name:
        columns_named, named = named_tasks(tasks)
        chosen = replace(chosen, columns=columns_named)
    (out / "tasks").mkdir(exist_ok=True)
    (out / "samples").mkdir(exist_ok=True)
    seeds_of = {column.name: list(seeds) if column.sampled else list(seeds)[:1] for column in chosen.columns}
    units = [_Unit(c, task, seed) for c in chosen.columns for task in c.tasks for seed in seeds_of[c.name]]
    files = {unit.name: out / "tasks" / f"{unit.name}.json" for unit in units}
    found: dict[str, dict[str, Any]] = {}
    with _undisturbed(), tempfile.TemporaryDirectory() as folder:

        def load(unit: _Unit) -> Any:
            if unit.task in named:
                return named[unit.task]
            return load_task(chosen, unit.column, unit.task, data_dir, Path(folder))

        missing = {unit.task: unit for unit in units if not files[unit.name].exists()}
        if missing and chosen.data != "stage" and not allow_truncated:
            _refuse_cut(language_model(engine, model_dir, 0), suite, list(missing.values()), load, limit)
        progress.start(len(units), sum(file.exists() for file in files.values()))
        for step, unit in enumerate(units, start=1):
            column, task, seed = unit
            if not files[unit.name].exists():
                alike = [u for u in units[step - 1 :] if (u.column, u.seed) == (column, seed)]
                batch = [u for u in alike if not files[u.name].exists()]
                if asking is None:
                    model = language_model(engine, model_dir, seed)
                    ran = _run(model, batch, load, limit, engine.dtype, progress)
                else:
                    progress.begin(len(batch))
                    asked = heldout.ask(engine, model_dir, data_dir, [one.task for one in batch], asking, limit)
                    ran = [(one, *found) for one, found in zip(batch, asked, strict=True)]
                for done, result, samples in ran:
                    name = f"samples/{done.name}.jsonl.gz"
                    _write_samples(out / name, samples)
                    kill_point("task")
                    write_json(files[done.name], result | {"samples": name})
            found[unit.name] = read_json(files[unit.name])
            title = f"{task}-s{seed}" if column.sampled else task  # the column has the plain name
            log({"step": step, "steps": len(units)} | _numbers(f"{suite}/{title}", found[unit.name]))
            kill_point("task-done")
    results = {
        task: _over_seeds(column, {seed: found[column.unit(task, seed)] for seed in seeds_of[column.name]}, out)
        for column in chosen.columns
        for task in column.tasks
    }
    columns = {column.name: _column(column, [results[task] for task in column.tasks]) for column in chosen.columns}
    if not find_suite(suite).columns:
        columns = {column.name: columns[column.name] | {"tasks": list(column.tasks)} for column in chosen.columns}
    if asking is not None:
        columns = {name: whole | wilson(whole["count"], whole["n"]) for name, whole in columns.items()}
    record = {
        "suite": suite,
        "columns": columns,
        "tasks": results,
        "comparable": limit is None,
        "limit": limit,
        "seed": seeds[0],
        "seeds": list(seeds),
        "engine": engine.name,
        "dtype": engine.dtype,
        "fingerprint": fingerprint,
        "versions": {name.replace("lm-eval", "lm_eval"): version for name, version in installed().items()},
        "seconds": round(sum(task["seconds"] for task in results.values()), 2),
        "truncated_prompts": sum(task["truncated_prompts"] for task in results.values()),
        "empty_answers": sum(task["empty_answers"] for task in results.values()),
    }
    row = {f"eval/{key}": record[key] for key in ("truncated_prompts", "empty_answers")}
    row["eval/wall_s"] = record["seconds"]
    row |= {} if limit is None else {"eval/limit": limit}
    for name, whole in columns.items():
        row |= _numbers(f"{suite}/{name}", whole)
    log(row)
    return record


def _run(
    model: TemplateLM,
    units: Sequence[_Unit],
    load: Callable[[_Unit], Any],
    limit: int | None,
    dtype: str,
    progress: Progress,
) -> list[tuple[_Unit, dict[str, Any], list[dict[str, Any]]]]:
    """Run the first of `units`, all of one column and seed, and further ones up to TOGETHER: their results and samples.

    Their requests go through the engine in one batch; task by task it would wait for the longest answer of each.
    """
    started = time.monotonic()
    column, items = units[0].column, _items(units[0].column, limit)
    described: dict[str, Any] = {}
    for unit in units[:1] if column.sampled else units:  # random draws must not depend on other tasks
        described[unit.task] = load(unit)
        sizes = [min(len(task.eval_docs), items or len(task.eval_docs)) for task in described.values()]
        if sum(sizes) >= TOGETHER:
            break
    random.seed(0)  # as lm-eval's own entry point does
    np.random.seed(SHOTS_SEED)
    torch.manual_seed(units[0].seed if column.sampled else SHOTS_SEED)
    progress.begin(len(described))
    loaded: Any = {"tasks": described, "groups": {}}
    results = lm_eval.evaluate(model, loaded, limit=items, log_samples=True)
    assert results is not None  # only other ranks of a distributed run get None
    cut = {task: len(_cut(model, one.instances)) for task, one in described.items()}
    seconds = (time.monotonic() - started) / sum(sizes)
    return [
        (unit, *_result(unit, described[unit.task], results, cut[unit.task], seconds * size, dtype))
        for unit, size in zip(units, sizes, strict=False)
    ]


def _result(
    unit: _Unit, described: Any, results: dict[str, Any], cut: int, seconds: float, dtype: str
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    column, task = unit.column, unit.task
    samples = results["samples"][task]
    counted = [sample for sample in samples if sample["filter"] == column.filter]
    empty = _check_answers(task, counted, dtype)
    values = [float(sample[column.metric]) for sample in counted]
    if other := set(values) - {0.0, 1.0}:
        raise MemphisError(f"{task}: {column.metric} of an item is {max(other)}, neither right nor wrong; leave it out")
    count = round(sum(values))
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
        "truncated_prompts": cut,
        "empty_answers": empty,
        "seconds": round(seconds, 2),
    }
    keys = (*SAMPLE_KEYS, *described.aggregation())
    return result, [{key: sample[key] for key in keys if key in sample} for sample in samples]


def _items(column: Column, limit: int | None) -> int | None:
    return min((n for n in (column.items, limit) if n is not None), default=None)


def _over_seeds(column: Column, results: dict[int, dict[str, Any]], out: Path) -> dict[str, Any]:
    """Merge the results of a task over its seeds."""
    first = next(iter(results.values()))
    if not column.sampled:
        return first
    counts = [result["count"] for result in results.values()]
    together = {"seeds": list(results), "counts": counts, "count": sum(counts)}
    if len(results) == 1:
        return first | together
    draws = [
        [float(row[column.metric]) for row in read_samples(out / result["samples"], column.filter)]
        for result in results.values()
    ]
    return first | {
        **together,
        "score": sum(counts) / first["n"] / len(counts),
        "stderr": stderr_over_seeds(draws),
        "empty_answers": sum(result["empty_answers"] for result in results.values()),
        "seconds": round(sum(result["seconds"] for result in results.values()), 2),
        "samples": [result["samples"] for result in results.values()],
    }


def _column(column: Column, tasks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Pool all items of the tasks: each item counts the same, as in the card."""
    count, n = sum(task["count"] for task in tasks), sum(task["n"] for task in tasks)
    draws = len(tasks[0].get("seeds", [None]))
    return {
        "title": column.title,
        "score": count / n / draws,
        "count": count,
        "n": n,
        "stderr": pooled_stderr([task["stderr"] for task in tasks], [task["n"] for task in tasks]),
        "metric": column.metric,
        "filter": column.filter,
        "shots": column.shots,
        **({"seeds": tasks[0]["seeds"]} if column.sampled else {}),
    }


def _numbers(name: str, result: dict[str, Any]) -> dict[str, Any]:
    metric = f"eval/{name}/{result['metric']}"
    return {
        metric: result["score"],
        f"{metric}/stderr": result["stderr"],
        **{f"{metric}/{end}": result[end] for end in ("low", "high") if end in result},
        f"eval/{name}/n": result["n"],
        f"eval/{name}/n_shot": result["shots"],
    }


def _check_answers(task: str, samples: Sequence[dict[str, Any]], dtype: str) -> int:
    """Return the number of empty generated answers. Raises MemphisError for log-likelihoods that are not numbers:
    lm-eval would take the first of them as the model's choice."""
    answers = [answer for sample in samples for answers in sample["resps"] for answer in answers]
    if isinstance(answers[0], str):
        empty = sum(not answer.strip() for answer in answers)
        if empty == len(answers):
            print(f"warning: all {empty} answers of {task} are empty: the model ends its text at once", flush=True)
        return empty
    if bad := sum(math.isnan(logp) for logp, _ in answers):
        cure = "give an undamaged checkpoint" if dtype == "float32" else f"model.dtype={dtype}: try model.dtype=float32"
        raise MemphisError(
            f"{task}: {bad} of {len(answers)} log-likelihoods are not numbers (NaN): damaged weights, or a number that "
            f"grew too large on the way; {cure}"
        )
    return 0


def _refuse_cut(
    model: TemplateLM, suite: str, units: Sequence[_Unit], load: Callable[[_Unit], Any], limit: int | None
) -> None:
    """Check all prompts before anything is scored. Raises MemphisError if some do not fit the model's context."""
    cut: dict[str, int] = {}
    total = 0
    for unit in units:
        described = load(unit)
        described.build_all_requests(limit=_items(unit.column, limit), rank=0, world_size=1)
        total += len({instance.doc_id for instance in described.instances})
        cut[unit.task] = len(_cut(model, described.instances))
    if any(cut.values()):
        worst = max(cut, key=lambda task: cut[task])
        raise MemphisError(
            f"eval.suites: {sum(cut.values())} of {total} prompts of suite {suite} do not fit the model's context "
            f"of {model.max_length} tokens together with their answers ({cut[worst]} of {worst}) and would be cut from "
            "the left; such scores are not the benchmark's. Take them all the same with eval.allow_truncated=true"
        )


def _cut(model: TemplateLM, instances: Sequence[Instance]) -> set[int]:
    """Return the items of which a prompt is cut because prompt and answer together exceed the model's context.

    Raises MemphisError when the answer alone fills the context.
    """
    contexts, rests = zip(*(instance.args for instance in instances), strict=True)
    if isinstance(rests[0], str):  # a choice that is scored; vLLM keeps one token of the context free
        answers = [len(ids) + 1 for ids in model.tok_encode(list(rests))]
        lengths = [len(ids) + 1 for ids in model.tok_encode([a + b for a, b in zip(contexts, rests, strict=True)])]
    else:
        answers = [settings.get("max_gen_toks", MAX_GEN_TOKENS) for settings in rests]
        lengths = [len(ids) + room for ids, room in zip(model.tok_encode(list(contexts)), answers, strict=True)]
    if max(answers) >= model.max_length:
        raise MemphisError(
            f"{instances[0].task_name}: an answer takes up to {max(answers)} tokens, and the model's whole context is "
            f"{model.max_length}: no room for a prompt; evaluate a model with a longer context"
        )
    return {i.doc_id for i, length in zip(instances, lengths, strict=True) if length > model.max_length}


def _write_samples(path: Path, samples: Sequence[dict[str, Any]]) -> None:
    text = "".join(json.dumps(sample, ensure_ascii=False, default=handle_non_serializable) + "\n" for sample in samples)
    with atomic_write(path) as temporary:
        temporary.write_bytes(gzip.compress(text.encode(), mtime=0))  # no time: equal samples give equal bytes


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Restore the random states and lm-eval's log level at the end. Show no progress bars, which would fill the log:
    lm-eval has no option for all of its own."""
    states = random.getstate(), np.random.get_state()
    logger, start = logging.getLogger("lm_eval"), tqdm.__init__
    level = logger.level

    def start_disabled(self: tqdm, *arguments: Any, **named: Any) -> None:
        start(self, *arguments, **named | {"disable": True})

    with torch.random.fork_rng(range(torch.cuda.device_count())), replaced(tqdm, "__init__", start_disabled):
        logger.setLevel(logging.ERROR)  # it warns once per cut prompt; we count them
        try:
            yield
        finally:
            logger.setLevel(level)
            random.setstate(states[0])
            np.random.set_state(states[1])
