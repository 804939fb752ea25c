"""The model to start from: the tiny one is pre-trained here, any other is found, pinned and checked."""

import math
from pathlib import Path
from typing import Any

from memphis.data import tokens
from memphis.data.tiny import Difficulty
from memphis.data.tiny_corpus import base_corpus
from memphis.data.tiny_tokenizer import train_tokenizer
from memphis.stages.context import Context
from memphis.stages.train import run_loop
from memphis.training import model as models
from memphis.training.plan import OptimPlan, TrainPlan


def run(context: Context) -> dict[str, Any]:
    base = context.config["base"]
    return _pretrain(context, base) if base is not None else _pin(context)


def _pretrain(context: Context, base: dict[str, Any]) -> dict[str, Any]:
    difficulty = Difficulty(base["max_number"], base["max_factor"], base["max_steps"])
    texts = base_corpus(base["texts"], context.seed, difficulty)
    (context.out / "model").mkdir(exist_ok=True)
    tokenizer = train_tokenizer(texts, base["vocab_size"], context.out / "model")
    model = models.new_tiny(
        tokenizer,
        **{key: base[key] for key in ("hidden", "layers", "heads", "intermediate", "max_positions")},
        seed=context.seed,
    ).to(context.bench.device)
    plan = TrainPlan(
        family="base",
        epochs=math.ceil(base["steps"] * base["batch_size"] / base["texts"]),
        max_steps=base["steps"],
        global_batch_size=base["batch_size"],
        optim=OptimPlan("adamw", base["lr"], decay=0.01),
        seed=context.seed,
        warmup_ratio=base["warmup_ratio"],
        micro_batch_tokens=context.runtime.micro_batch_tokens,
    )
    examples = tokens.text_examples(texts, tokenizer, max_length=base["max_positions"])
    return run_loop(context, model, examples, plan, tokenizer)


def _pin(context: Context) -> dict[str, Any]:
    """`model/` becomes links to the checkpoint's files: nothing is copied, and a change of any file is noticed."""
    place = context.places["model"]
    path, _, revision = (place, "", "") if Path(place).is_dir() else place.partition("@")
    source = models.locate(path, revision or None)
    tokens.load_tokenizer(source)
    link = context.out / "model"
    link.mkdir(exist_ok=True)
    for file in sorted(Path(source).iterdir()):
        if file.is_file() and not (link / file.name).exists():
            (link / file.name).symlink_to(file.resolve())
    return {"fingerprint": models.fingerprint(link)}
