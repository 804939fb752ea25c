"""Our side of the training comparisons: memphis' own loop, data path and losses, as the stages use them."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from transformers import PreTrainedModel, StableLmModel

from benchmarks import material
from benchmarks.worker import Gate
from memphis.config.sections import Optim
from memphis.data import tokens
from memphis.data.tokens import Example
from memphis.jsonl import RowLog, read_rows
from memphis.losses import CrossEntropy, RankLoss
from memphis.training import model as models
from memphis.training.loop import train
from memphis.training.train_plan import TrainPlan

MAX_LENGTH = 1024
MICRO_BATCH_TOKENS = 1024  # about the eight rows that a peer's micro-batch has
FOREVER = 1000  # steps: the gate ends the process earlier


class Log(RowLog):
    """The loop's log, which remembers its last row."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.last: dict[str, Any] = {}  # and so it stays where another device writes

    def __call__(self, row: dict[str, Any]) -> None:
        self.last = row
        super().__call__(row)


def sft(
    gate: Callable[..., None], work: Path, *, model: str, rows: int, step: int | None = None, dtype: str = "float32"
) -> None:
    """rows: read and tokenised. step: rows of an optimizer step, by default all of them."""
    tokenizer = tokens.load_tokenizer(work / model)
    examples, _ = tokens.sft_examples(
        read_rows(work / "rows.jsonl")[:rows], tokenizer, max_length=MAX_LENGTH, eos="every_turn", overlong="drop"
    )
    _train(gate, work, model, examples, plan("sft", step or rows, dtype))


def rank(gate: Callable[..., None], work: Path, *, model: str, pairs: int, shared: bool = True) -> None:
    """shared=False: every completion is given its own copy of the prompt, as a sequence that shares nothing."""
    tokenizer = tokens.load_tokenizer(work / model)
    examples, _ = tokens.pair_examples(
        material.pairs(work, pairs), tokenizer, max_length=MAX_LENGTH, eos="every_turn", overlong="drop"
    )
    if not shared:
        examples = [replace(example, prompt_length=0) for example in examples]
    _train(gate, work, model, examples, plan("rank", pairs))


def plan(loss: Any, step: int, dtype: Any = "float32") -> TrainPlan:
    """What is the same on both sides: one learning rate, AdamW (fused), no noise, cross-entropy alone."""
    return TrainPlan(
        family=loss,
        objective=RankLoss() if loss == "rank" else CrossEntropy(),
        epochs=FOREVER,
        global_batch_size=step,
        optim=Optim(name="adamw", lr=1e-5, decay=0.0),
        seed=0,
        schedule="constant",
        dtype=dtype,
        micro_batch_tokens=MICRO_BATCH_TOKENS,
    )


def _train(gate: Callable[..., None], work: Path, model: str, examples: Sequence[Example], plan: TrainPlan) -> None:
    loaded, _ = models.load(work / model, dtype=torch.float32, freeze_embeddings="both")
    run(gate, loaded, work / f"ours-{plan.family}-{model}-{plan.dtype}", examples, plan)


def run(
    gate: Callable[..., None], model: PreTrainedModel, out: Path, examples: Sequence[Example], plan: TrainPlan
) -> None:
    """memphis' own loop on these examples, with the gate after every step. out: a directory, made here."""
    out.mkdir(exist_ok=True)
    log = Log(out / "metrics.jsonl")
    tokens_of_targets = [label for e in examples for s in e.sequences for label in s.labels if label != tokens.IGNORE]
    sizes = {"tokens": sum(len(s.input_ids) for e in examples for s in e.sequences), "targets": len(tokens_of_targets)}

    def wait(_: str) -> None:
        names = ("loss", "ce", "rank_loss")
        gate(**sizes, **{name: log.last[key] for name in names if (key := f"{plan.family}/{name}") in log.last})

    train(model, examples, plan, out_dir=out, log=log, kill_point=wait)


def timed(gate: Gate, work: Path, *, model: str, rows: int) -> None:
    """As `sft`; `other_s` is what a step spends outside of forward and backward passes (loss included) and the
    optimizer: cutting the window into micro-batches, norms and checks, probes, the row of the log."""
    training = began = 0.0

    def begin(*_: Any) -> None:
        nonlocal began
        began = time.process_time()

    def end(*_: Any) -> None:
        nonlocal training
        training += time.process_time() - began

    backward = torch.Tensor.backward

    def timed_backward(tensor: torch.Tensor, *arguments: Any, **named: Any) -> None:
        backward(tensor, *arguments, **named)
        end()

    def report(**found: Any) -> None:
        nonlocal training
        gate(other_s=time.process_time() - gate.resumed - training, **found)
        training = 0.0

    torch.nn.modules.module.register_module_forward_pre_hook(
        lambda module, _: begin() if isinstance(module, StableLmModel) else None
    )
    register_optimizer_step_pre_hook(begin)
    register_optimizer_step_post_hook(end)
    with patch.object(torch.Tensor, "backward", timed_backward):
        sft(report, work, model=model, rows=rows)
