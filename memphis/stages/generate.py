"""Sample answers to every question, shard by shard; a shard's tokens depend on nothing but its own seed.

With an input `judged`, only the questions that none of its samples got right are asked, with the answer as a hint.
"""

import math
import time
from pathlib import Path
from typing import Any

from memphis.data import prompts, tokens
from memphis.errors import MemphisError, Stopped
from memphis.rows import read_rows, write_rows
from memphis.stages.context import Context
from memphis.store import derived_seed
from memphis.training.model import fingerprint


def run(context: Context) -> dict[str, Any]:
    knobs = context.config["generate"]
    model = context.inputs["model"] / "model"
    tokenizer = tokens.load_tokenizer(model)
    questions, warnings = _questions(context.inputs, tokenizer.eos_token)
    family = "gen/hinted_" if "judged" in context.inputs else "gen/"
    shards = math.ceil(len(questions) / knobs["shard_size"])
    parts = context.out / "shards"
    parts.mkdir(exist_ok=True)
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
                f"{family}questions": min((index + 1) * knobs["shard_size"], len(questions)),
            }
        )
        context.kill_point("shard-done")
    found = [parts / f"{index:05d}.jsonl" for index in range(shards)]
    return _join(context, found, model, time.monotonic() - started, family, warnings)


def _questions(inputs: dict[str, Path], eos: str) -> tuple[list[dict[str, Any]], list[str]]:
    """What to ask, and what there is to say of what is not asked."""
    rows = read_rows(inputs["data"] / "questions.jsonl")
    # Spelt out in a row, the end-of-text token would end it in the middle: training drops such rows too.
    questions = [row for row in rows if eos not in f"{row['prompt']}\n{row['rationale']}\n{row['answer']}"]
    warnings = []
    if left_out := len(rows) - len(questions):
        warnings.append(f"{left_out} of {len(rows)} questions contain {eos!r} and were not asked")
    if not questions:
        raise MemphisError(f"data.sources: there is no question to ask ({'; '.join(warnings) or 'none was read'})")
    if "judged" not in inputs:
        return questions, warnings
    judged = read_rows(inputs["judged"] / "judged.jsonl")
    solved = {row["id"] for row in judged if any(sample["correct"] for sample in row["samples"])}
    failed = [row for row in questions if row["id"] not in solved]
    return [row | {"prompt": prompts.hinted(row["prompt"], row["answer"])} for row in failed], warnings


def _join(
    context: Context, parts: list[Path], model: Path, seconds: float, family: str, warnings: list[str]
) -> dict[str, Any]:
    rows = [row for part in parts for row in read_rows(part)]
    if without_room := sum(not any(sample["token_ids"] for sample in row["samples"]) for row in rows):
        what = f"{without_room} of {len(rows)} questions fill the model's context and leave no room for an answer"
        if without_room == len(rows):
            raise MemphisError(f"data.sources: {what}; ask shorter ones, or use a model with a longer context")
        warnings = [*warnings, what]
    write_rows(context.out / "samples.jsonl", rows)
    lengths = sorted(len(sample["token_ids"]) for row in rows for sample in row["samples"])
    unique = sum(len({sample["text"] for sample in row["samples"]}) for row in rows)
    count = max(1, len(lengths))
    metrics = {
        "questions": len(rows),
        "samples": len(lengths),
        "truncated_frac": sum(not sample["finished"] for row in rows for sample in row["samples"]) / count,
        "unique_frac": unique / count,
        "len_mean": sum(lengths) / count,
        "len_p95": lengths[int(0.95 * (len(lengths) - 1))] if lengths else 0,
        "tokens_per_sec": sum(lengths) / max(seconds, 1e-9),
        "wall_s": seconds,
    }
    context.log({f"{family}{name}": value for name, value in metrics.items()})
    summary = {"tokens": sum(lengths), "samples": len(lengths), "fingerprint": fingerprint(model)}
    return summary | ({"warnings": warnings} if warnings else {})
