"""Shards of a generate stage's questions. A shard's samples do not depend on the engine that samples them."""

import time
from dataclasses import dataclass
from pathlib import Path

from memphis.config.sections import Generate
from memphis.data.prompts import STOP_STRINGS
from memphis.hooks import kill_point
from memphis.jsonl import write_rows
from memphis.sampling.progress import Report
from memphis.stages.context import Worker


@dataclass(frozen=True)
class Sampling:
    """Settings that the shards of a stage share."""

    model: Path
    dtype: str
    knobs: Generate


@dataclass(frozen=True)
class Shard:
    """A part of the questions: the unit of resuming. path: file of its samples. prompts: token ids."""

    path: Path
    ids: list[str]
    prompts: list[list[int]]
    seed: int


def sample(worker: Worker, sampling: Sampling, shard: Shard, report: Report) -> float:
    """Write the samples of a shard; returns the seconds that its engine took, including its start or load.

    report: called now and then, first when the engine is ready.
    """
    started = time.monotonic()
    knobs = sampling.knobs
    engine = worker.engine_for(knobs.engine, sampling.model, sampling.dtype)
    report(0, len(shard.ids), 0, knobs.max_new_tokens)
    with engine.meter.reporting(report):
        completions = engine.generate(
            shard.prompts,
            num_samples=knobs.num_samples,
            temperature=knobs.temperature,
            top_p=knobs.top_p,
            max_new_tokens=knobs.max_new_tokens,
            stop=STOP_STRINGS,
            seed=shard.seed,
        )
    spent = time.monotonic() - started
    kill_point("generate", "shard")
    write_rows(
        shard.path,
        [{"id": i, "samples": [vars(c) for c in found]} for i, found in zip(shard.ids, completions, strict=True)],
    )
    return spent
