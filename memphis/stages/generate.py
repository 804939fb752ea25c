"""Generate stage: sample answers to every question, in shards; a shard's tokens depend on its own seed alone.

With an input `judged`, only the questions that none of its samples got right are asked, with the answer as a hint.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from memphis.config.forms import GenerateForm
from memphis.data import prompts, tokens
from memphis.errors import MemphisError, Stopped
from memphis.jsonl import PROGRESS, atomic_write, read_rows
from memphis.sampling.progress import Progress
from memphis.stages.context import Context
from memphis.stages.engines import sample_all
from memphis.stages.shards import Sampling, Shard
from memphis.store import derived_seed
from memphis.training.model import fingerprint


def run(context: Context, config: GenerateForm) -> dict[str, Any]:
    started = time.monotonic()
    knobs, model = config.generate, context.inputs["model"] / "model"
    tokenizer = tokens.load_tokenizer(model)
    questions = _questions(context.inputs)
    family = "gen/hinted_" if "judged" in context.inputs else "gen/"
    parts = context.out / "shards"
    parts.mkdir(exist_ok=True)
    prompt_ids = tokens.prompt_ids([row["prompt"] for row in questions], tokenizer)
    shards = [
        Shard(
            parts / f"{index:05d}.jsonl",
            [row["id"] for row in questions[start : start + knobs.shard_size]],
            prompt_ids[start : start + knobs.shard_size],
            derived_seed(context.seed, "shard", index),
        )
        for index, start in enumerate(range(0, len(questions), knobs.shard_size))
    ]
    logged = 0

    def log_finished() -> None:
        nonlocal logged
        while logged < len(shards) and shards[logged].path.exists():
            logged += 1
            sampled = min(logged * knobs.shard_size, len(questions))
            context.log({"step": logged, "steps": len(shards), f"{family}questions": sampled})
            context.kill_point("shard-done")

    sampling = Sampling(model, config.model.dtype, knobs)
    each = knobs.num_samples if knobs.temperature > 0 else 1  # engines draw one greedy answer and copy it
    there = sum(len(shard.ids) for shard in shards if shard.path.exists())
    with ThreadPoolExecutor(1) as pool, Progress(context.out / PROGRESS) as progress:
        mark = pool.submit(fingerprint, model)  # reads all weights, while the engine starts
        progress.start(each * len(questions), each * there)
        spent = sample_all(context.worker, sampling, shards, log_finished, progress.step)
        if logged < len(shards):
            raise Stopped
    metrics, warnings = _join(context.out / "samples.jsonl", [shard.path for shard in shards])
    seconds = time.monotonic() - started
    metrics |= {
        "tokens_per_sec": metrics["tokens"] / seconds,
        "around_frac": 1 - sum(spent) / len(spent) / seconds,
        "wall_s": seconds,
    }
    summary = {"tokens": metrics.pop("tokens"), "samples": metrics["samples"], "fingerprint": mark.result()}
    context.log({f"{family}{name}": value for name, value in metrics.items()})
    return summary | ({"warnings": warnings} if warnings else {})


def _questions(inputs: dict[str, Path]) -> list[dict[str, Any]]:
    """Return the questions to ask."""
    questions = read_rows(inputs["data"] / "questions.jsonl")
    if not questions:
        raise MemphisError("data.sources: there is no question to ask (none was read)")
    if "judged" not in inputs:
        return questions
    judged = read_rows(inputs["judged"] / "judged.jsonl")
    solved = {row["id"] for row in judged if any(sample["correct"] for sample in row["samples"])}
    failed = [row for row in questions if row["id"] not in solved]
    return [row | {"prompt": prompts.hinted(row["prompt"], row["answer"])} for row in failed]


def _join(out: Path, parts: list[Path]) -> tuple[dict[str, Any], list[str]]:
    """Join all shards in one file; returns metrics over them, and warnings."""
    lengths: list[int] = []
    questions = unique = finished = without_room = 0
    warnings = []
    with atomic_write(out) as temporary, temporary.open("wb") as file:
        for part in parts:
            file.write(part.read_bytes())
            for row in read_rows(part):
                sizes = [len(sample["token_ids"]) for sample in row["samples"]]
                lengths += sizes
                questions += 1
                unique += len({sample["text"] for sample in row["samples"]})
                finished += sum(sample["finished"] for sample in row["samples"])
                without_room += not any(sizes)
    if without_room:
        what = f"{without_room} of {questions} questions fill the model's context and leave no room for an answer"
        if without_room == questions:
            raise MemphisError(f"data.sources: {what}; ask shorter ones, or use a model with a longer context")
        warnings.append(what)
    lengths.sort()
    metrics = {
        "questions": questions,
        "samples": len(lengths),
        "tokens": sum(lengths),
        "truncated_frac": (len(lengths) - finished) / len(lengths),
        "unique_frac": unique / len(lengths),
        "len_mean": sum(lengths) / len(lengths),
        "len_p95": lengths[int(0.95 * (len(lengths) - 1))],
    }
    return metrics, warnings
