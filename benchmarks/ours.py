"""Our side of the training comparisons: memphis' own loop, data path and losses, as the stages use them; and in other
forms: one trick left out, other sizes, several devices, its matrix products alone."""

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.functional import linear
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel, StableLmForCausalLM, StableLmModel

from benchmarks import material
from benchmarks.worker import Gate, Gated
from memphis.config.sections import Optim
from memphis.data import tokens
from memphis.data.tokens import Example
from memphis.jsonl import RowLog, read_rows
from memphis.losses import CrossEntropy, RankLoss
from memphis.methods import losses
from memphis.training import attention, loop
from memphis.training import model as models
from memphis.training.batches import FlatBatch
from memphis.training.layers import decoder_layers, recompute
from memphis.training.train_plan import TrainPlan

TOKENS: dict[str, Any] = {"max_length": 1024, "eos": "every_turn", "overlong": "drop"}
MICRO_BATCH_TOKENS = 1024  # about the eight rows that a peer's micro-batch has
FOREVER = 1000  # epochs: the gate ends the process earlier


def sft(gate: Gated, work: Path, *, model: str, rows: int, step: int | None = None, dtype: str = "float32") -> None:
    """Train on so many rows, read and tokenised. step: rows of an optimizer step, by default all of them."""
    loaded, _ = models.load(work / model)
    run(gate, loaded, work, make_examples(work, rows), make_plan("sft", step or rows, dtype))


def rank(gate: Gated, work: Path, *, model: str, pairs: int, shared: bool = True) -> None:
    """Train on pairs. shared=False: every completion has its own copy of the prompt, and shares nothing."""
    tokenizer = tokens.load_tokenizer(work / model)
    found, _ = tokens.pair_examples(material.pairs(work, pairs), tokenizer, **TOKENS)
    if not shared:
        found = [replace(example, prompt_length=0) for example in found]
    loaded, _ = models.load(work / model)
    run(gate, loaded, work, found, make_plan("rank", pairs))


def timed(gate: Gate, work: Path, *, model: str, rows: int) -> None:
    """Train as `sft`; `other_s` is what a step spends outside of forward and backward passes (loss included) and the
    optimizer: cutting the window into micro-batches, norms and checks, probes, the row of the log."""
    training = 0.0  # in this step: beginnings are subtracted, ends added

    def begin(*_: Any) -> None:
        nonlocal training
        training -= time.process_time()

    def end(*_: Any) -> None:
        nonlocal training
        training += time.process_time()

    backward = torch.Tensor.backward

    def timed_backward(tensor: torch.Tensor) -> None:
        backward(tensor)
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


def make_examples(work: Path, rows: int) -> list[Example]:
    """The first rows, tokenised; the tokenizer is the same with every model."""
    tokenizer = tokens.load_tokenizer(work / "small")
    return tokens.sft_examples(read_rows(work / "rows.jsonl")[:rows], tokenizer, **TOKENS)[0]


def make_plan(family: Any, step: int, dtype: Any = "float32") -> TrainPlan:
    """The plan that is the same on both sides: one learning rate, AdamW (fused), no noise, cross-entropy alone."""
    return TrainPlan(
        family=family,
        objective=RankLoss() if family == "rank" else CrossEntropy(),
        epochs=FOREVER,
        global_batch_size=step,
        optim=Optim(name="adamw", lr=1e-5, decay=0.0),
        seed=0,
        schedule="constant",
        dtype=dtype,
        micro_batch_tokens=MICRO_BATCH_TOKENS,
    )


class Log(RowLog):
    """The loop's log. A step ends with its row, and the loop waits there at the gate."""

    def __init__(self, path: Path, gate: Callable[[dict[str, Any]], None]) -> None:
        super().__init__(path)
        self.gate = gate

    def __call__(self, row: dict[str, Any]) -> None:
        super().__call__(row)
        self.gate(row)


def run(gate: Gated, model: PreTrainedModel, work: Path, examples: Sequence[Example], plan: TrainPlan) -> None:
    """memphis' own loop on these examples, with the gate after every step."""
    total = sum(len(sequence.input_ids) for example in examples for sequence in example.sequences)

    def wait(row: dict[str, Any]) -> None:
        gate(tokens=total, **{name: row[f"{plan.family}/{name}"] for name in ("loss", "ce")})

    out = Path(tempfile.mkdtemp(dir=work))
    loop.train(model, examples, plan, out_dir=out, log=Log(out / "metrics.jsonl", wait), checkpoint_every=math.inf)


def without(gate: Gated, work: Path, *, trick: str, model: str, rows: int) -> None:
    """A step of `ours.sft` without one trick; "ours" leaves out none.

    logits_kept: the head at target positions, its logits kept for backward. every_position: the head at all positions.
    trainable_head: a head that is not frozen, with logits computed again in backward. padded, sorted_padded: batches
    of 8 rows, padded to their longest. checkpointing: layers recomputed in backward. adalite: in place of AdamW.
    """
    loaded, _ = models.load(work / model, freeze_embeddings="input" if trick == "trainable_head" else "both")
    if trick == "checkpointing":
        recompute(loaded, len(decoder_layers(loaded)))
    examples, plan = make_examples(work, rows), make_plan("sft", rows)
    if trick in ("padded", "sorted_padded"):
        examples = padded(examples, in_order=trick == "sorted_padded")
    if trick == "adalite":
        plan = replace(plan, optim=replace(plan.optim, name="adalite"))
    forms = {"logits_kept": (losses, logits_kept), "every_position": (loop, at_all)}
    place, form = forms.get(trick, (loop, loop.target_logps))
    with patch.object(place, "target_logps", form):
        run(gate, loaded, work, examples, plan)


def logits_kept(hidden: Tensor, weight: Tensor, targets: Tensor, **_: Any) -> Tensor:
    return linear(hidden, weight).log_softmax(1).gather(1, targets[:, None])[:, 0]


def at_all(model: PreTrainedModel, batch: FlatBatch, **_: Any) -> Tensor:
    embeddings = model.get_input_embeddings()(batch.input_ids)
    hidden = model.base_model(
        inputs_embeds=embeddings[None], position_ids=batch.position_ids[None], use_cache=False
    ).last_hidden_state[0]
    logits: Tensor = model.get_output_embeddings()(hidden)
    return logits.log_softmax(1)[batch.predictors, batch.targets]


def padded(examples: Sequence[Example], *, in_order: bool) -> list[Example]:
    """Rows as long as the longest of their batch: what stands after a row's end trains nothing and costs the same."""
    arranged = sorted(examples, key=lambda e: len(e.sequences[0].input_ids)) if in_order else examples
    filled = []
    for start in range(0, len(arranged), 8):
        batch = [example.sequences[0] for example in arranged[start : start + 8]]
        longest = max(len(sequence.input_ids) for sequence in batch)
        for example, row in zip(arranged[start:], batch, strict=False):
            more = longest - len(row.input_ids)
            longer = tokens.Sequence(row.input_ids + more * row.input_ids[-1:], row.labels + more * [tokens.IGNORE])
            filled.append(replace(example, sequences=(longer,)))
    return filled


def sized(
    gate: Gated,
    work: Path,
    *,
    rows: int = 64,
    join: int = 1,
    budget: int = MICRO_BATCH_TOKENS,
    devices: int = 1,
    **shape: int,
) -> None:
    """A step of a model of other dimensions. join: rows that are put together to one, which keeps the tokens."""
    torch.manual_seed(0)
    model = StableLmForCausalLM(material.config(**shape))
    model.set_attn_implementation(attention.NAME)
    models.freeze(model, "both")
    apart = make_examples(work, rows)
    joined = [_joined(apart[start : start + join]) for start in range(0, rows, join)]
    plan = replace(make_plan("sft", len(joined)), micro_batch_tokens=budget)
    if devices == 1:
        run(gate, model, work, joined, plan)
    else:
        arguments = (devices, f"file://{tempfile.mkdtemp(dir=work)}/rendezvous", gate, model, work, joined, plan)
        torch.multiprocessing.start_processes(_device, arguments, nprocs=devices, start_method="fork")


def _device(rank: int, devices: int, rendezvous: str, *arguments: Any) -> None:
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=devices)
    run(*arguments)  # the first one alone logs, and waits at the gate


def _joined(examples: Sequence[Example]) -> Example:
    sequences = [example.sequences[0] for example in examples]
    ids = [token for sequence in sequences for token in sequence.input_ids]
    labels = [label for sequence in sequences for label in sequence.labels]
    return replace(examples[0], sequences=(tokens.Sequence(ids, labels),))


class _Products(TorchDispatchMode):
    """Notes all matrix products, with random tensors of the same shapes and strides."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Any, list[Tensor]]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default, torch.ops.aten.bmm.default):
            self.seen.append((function, [_random(arg.shape, arg.stride()) for arg in args]))
        return function(*args, **(kwargs or {}))


@cache
def _random(shape: torch.Size, stride: tuple[int, ...]) -> Tensor:
    size = 1 + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
    return torch.rand(size).as_strided(shape, stride)


def products(gate: Gated, work: Path, *, model: str, rows: int) -> None:
    """The matrix products of a step and nothing else."""
    loaded, _ = models.load(work / model)
    with _Products() as noted:
        plan = replace(make_plan("sft", rows), max_steps=1)
        run(lambda **_: None, loaded, work, make_examples(work, rows), plan)
    flops = sum(2 * tensors[-2].numel() * tensors[-1].shape[-1] for _, tensors in noted.seen)
    while True:
        for function, tensors in noted.seen:
            function(*tensors)
        gate(gflop=flops / 1e9)
