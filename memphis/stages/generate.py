"""Sample answers to every question, shard by shard; a shard's tokens depend on nothing but its own seed."""

import math
import time
from pathlib import Path
from typing import Any

from memphis.data import prompts, tokens
from memphis.errors import Stopped
from memphis.rows import read_rows, write_rows
from memphis.stages.context import Context
from memphis.store import derived_seed
from memphis.training.model import fingerprint


def run(context: Context) -> dict[str, Any]:
    knobs = context.config["generate"]
    model = context.inputs["model"] / "model"
    questions = read_rows(context.inputs["data"] / "questions.jsonl")
    shards = math.ceil(len(questions) / knobs["shard_size"])
    parts = context.out / "shards"
    parts.mkdir(exist_ok=True)
    tokenizer = tokens.load_tokenizer(model)
    started = time.monotonic()
    for index in range(shards):
        batch = questions[index * knobs["shard_size"] : (index + 1) * knobs["shard_size"]]
        part = parts / f"{index:05d}.jsonl"
        if not part.exists():
            if context.stopping():
                raise Stopped
            engine = context.bench.engine_for(knobs["engine"], model, context.config["model"]["dtype"])
            completions = engine.generate(
                [tokens.prompt_ids(row["prompt"], tokenizer) for row in batch],
                num_samples=knobs["num_samples"],
                temperature=knobs["temperature"],
                top_p=knobs["top_p"],
                max_new_tokens=knobs["max_new_tokens"],
                stop=prompts.STOP_STRINGS,
                seed=derived_seed(context.seed, "shard", index),
            )
            context.kill_point("shard")
            write_rows(
                part,
                [
                    {"id": row["id"], "samples": [vars(c) for c in found]}
                    for row, found in zip(batch, completions, strict=True)
                ],
            )
        context.log(
            {
                "step": index + 1,
                "steps": shards,
                "gen/questions": min((index + 1) * knobs["shard_size"], len(questions)),
            }
        )
        context.kill_point("shard-done")
    return _join(context, [parts / f"{index:05d}.jsonl" for index in range(shards)], model, time.monotonic() - started)


def _join(context: Context, parts: list[Path], model: Path, seconds: float) -> dict[str, Any]:
    rows = [row for part in parts for row in read_rows(part)]
    write_rows(context.out / "samples.jsonl", rows)
    lengths = sorted(len(sample["token_ids"]) for row in rows for sample in row["samples"])
    unique = sum(len({sample["text"] for sample in row["samples"]}) for row in rows)
    metrics = {
        "gen/questions": len(rows),
        "gen/samples": len(lengths),
        "gen/truncated_frac": sum(not sample["finished"] for row in rows for sample in row["samples"]) / len(lengths),
        "gen/unique_frac": unique / len(lengths),
        "gen/len_mean": sum(lengths) / len(lengths),
        "gen/len_p95": lengths[int(0.95 * (len(lengths) - 1))],
        "gen/tokens_per_sec": sum(lengths) / max(seconds, 1e-9),
        "gen/wall_s": seconds,
    }
    context.log(metrics)
    return {"tokens": sum(lengths), "samples": len(lengths), "fingerprint": fingerprint(model)}
