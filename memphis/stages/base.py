"""Base stage, the model to start from: the tiny one is pre-trained here, any other is found, pinned and checked."""

import math
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from memphis.config.forms import BaseForm
from memphis.config.sections import Optim, TinyBase
from memphis.data import tokens
from memphis.data.tiny import Difficulty
from memphis.data.tiny_corpus import base_corpus
from memphis.data.tiny_tokenizer import train_tokenizer
from memphis.stages.context import Context
from memphis.stages.train import run_loop
from memphis.store import write_json
from memphis.training import checks, distributed
from memphis.training import model as models
from memphis.training.probe import examine, probe
from memphis.training.train_plan import SCORED, TrainPlan
from memphis.training.verdict import choose


def run(context: Context, config: BaseForm) -> dict[str, Any]:
    return _pretrain(context, config.base) if config.base is not None else _pin(context)


def _pretrain(context: Context, base: TinyBase) -> dict[str, Any]:
    difficulty = Difficulty(base.max_number, base.max_factor, base.max_steps)
    # The texts to train on are the first ones of more: what is scored is kept out, and changes nothing.
    texts = base_corpus(base.texts + SCORED, context.seed, difficulty)
    texts, others = texts[: base.texts], texts[base.texts :]
    with tempfile.TemporaryDirectory() as elsewhere:  # every rank makes its own, that of rank 0 is kept
        place = context.out / "model" if distributed.rank() == 0 else Path(elsewhere)
        place.mkdir(exist_ok=True)
        tokenizer = train_tokenizer(texts, base.vocab_size, place)
    model = models.new_tiny(
        tokenizer,
        hidden=base.hidden,
        layers=base.layers,
        heads=base.heads,
        intermediate=base.intermediate,
        max_positions=base.max_positions,
        seed=context.seed,
    ).to(context.worker.device)
    verdict = probe(model)
    plan = TrainPlan(
        family="base",
        lr_key="model.base.lr",
        peak_step=1.0,  # weights that are noise have to move: no step is too long
        epochs=math.ceil(base.steps * base.batch_size / base.texts),
        max_steps=base.steps,
        global_batch_size=base.batch_size,
        optim=Optim(name="adamw", lr=base.lr),
        beta2=0.95,  # 0.999 ended 0.026 higher in loss
        seed=context.seed,
        warmup_ratio=base.warmup_ratio,
        micro_batch_tokens=context.runtime.micro_batch_tokens,
        packing=choose(verdict, "auto", base.max_positions),
    )
    examples, heldout = (
        tokens.text_examples(some, tokenizer, max_length=base.max_positions) for some in (texts, others)
    )
    return {**run_loop(context, model, examples, plan, tokenizer, heldout), "packing": asdict(verdict)}


def _pin(context: Context) -> dict[str, Any]:
    """Link `model/` to the checkpoint's files: nothing is copied, and a change of any file is noticed.

    An old StableLM gets a config.json of its own there, translated for today's software.
    """
    place = context.places["model"]
    local = Path(place).is_dir()
    path, _, revision = (place, "", "") if local else place.partition("@")
    source = models.locate(path, revision or None)
    with checks.refusing(path, source):
        translated = models.modern_config(checks.check_files(source))
    link = context.out / "model"
    shutil.rmtree(link, ignore_errors=True)
    link.mkdir()
    for file in sorted(source.iterdir()):
        if file.is_file() and not (translated and file.name == "config.json"):
            (link / file.name).symlink_to(file.resolve())
    if translated:
        write_json(link / "config.json", translated)
        print(f"{path}: config.json of an old StableLM, translated for today's software", flush=True)
    with checks.refusing(path, link):
        rows = checks.check_model(link)
        checks.check_ids(link, tokens.load_tokenizer(link), rows)
    verdict = examine(link, context.worker.device)
    line = f"{path}: {verdict}"
    print(line, flush=True)
    return {
        "fingerprint": models.fingerprint(link),
        "revision": None if local else source.name,  # a snapshot's directory is named after its commit
        "packing": asdict(verdict),
        **({} if verdict.auto == "packed" else {"warnings": [line]}),
    }
