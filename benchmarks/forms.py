"""Our trainer in other forms: one trick left out, other sizes, several devices, its matrix products alone."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.functional import linear
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel, StableLmConfig, StableLmForCausalLM

from benchmarks import material, ours
from benchmarks.worker import Gate
from memphis.data import tokens
from memphis.data.tokens import Example
from memphis.data.tokens import Sequence as TokenSequence
from memphis.jsonl import read_rows
from memphis.methods import losses
from memphis.training import attention, loop
from memphis.training import model as models
from memphis.training.batches import FlatBatch
from memphis.training.layers import decoder_layers, recompute

Gated = Callable[..., None]
BATCH = 8  # rows of a padded batch


def examples_of(work: Path, number: int) -> list[Example]:
    tokenizer = tokens.load_tokenizer(work / "small")
    rows = read_rows(work / "rows.jsonl")[:number]
    return tokens.sft_examples(rows, tokenizer, max_length=ours.MAX_LENGTH, eos="every_turn", overlong="drop")[0]


def without(gate: Gated, work: Path, *, trick: str, model: str, rows: int) -> None:
    """A step of `ours.sft` without one trick; "" leaves out none.

    logits_kept: the head at target positions, its logits kept for backward. every_position: the head at all positions.
    trainable_head: a head that is not frozen, with logits computed again in backward. padded, sorted_padded: batches
    of BATCH rows, padded to their longest. checkpointing: layers recomputed in backward. adalite: in place of AdamW.
    """
    loaded, _ = models.load(work / model, freeze_embeddings="input" if trick == "trainable_head" else "both")
    if trick == "checkpointing":
        recompute(loaded, len(decoder_layers(loaded)))
    examples, plan = examples_of(work, rows), ours.plan("sft", rows)
    if trick in ("padded", "sorted_padded"):
        examples = padded(examples, in_order=trick == "sorted_padded")
    if trick == "adalite":
        plan = replace(plan, optim=replace(plan.optim, name="adalite"))
    forms = {"logits_kept": (losses, "target_logps", logits_kept), "every_position": (loop, "target_logps", at_all)}
    place, name, form = forms.get(trick, (loop, "target_logps", loop.target_logps))
    with patch.object(place, name, form):
        ours.run(gate, loaded, work / f"without-{trick}", examples, plan)


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
    arranged = sorted(examples, key=lambda e: len(e.sequences[0].input_ids)) if in_order else list(examples)
    filled = []
    for start in range(0, len(arranged), BATCH):
        batch = arranged[start : start + BATCH]
        longest = max(len(example.sequences[0].input_ids) for example in batch)
        for example in batch:
            ids, labels = example.sequences[0].input_ids, example.sequences[0].labels
            more = longest - len(ids)
            longer = TokenSequence(ids + more * ids[-1:], labels + more * [tokens.IGNORE])
            filled.append(replace(example, sequences=(longer,)))
    return filled


def sized(
    gate: Gated,
    work: Path,
    *,
    rows: int = 64,
    join: int = 1,
    vocabulary: int = material.TOKENS,
    width: int = 256,
    layers: int = 4,
    budget: int = ours.MICRO_BATCH_TOKENS,
    devices: int = 1,
) -> None:
    """A step of a model of other dimensions. join: rows that are put together to one, which keeps the tokens."""
    shape = material.SHAPE | {
        "hidden_size": width,
        "intermediate_size": width * 688 // 256,
        "num_hidden_layers": layers,
        "num_attention_heads": width // 64,
        "num_key_value_heads": width // 64,
    }
    torch.manual_seed(0)
    config = StableLmConfig(**shape, vocab_size=vocabulary, max_position_embeddings=material.POSITIONS)
    model = StableLmForCausalLM(config)
    model.set_attn_implementation(attention.NAME)
    models.freeze(model, "both")
    apart = examples_of(work, rows)
    joined = [_joined(apart[start : start + join]) for start in range(0, rows, join)]
    plan = replace(ours.plan("sft", len(joined)), micro_batch_tokens=budget)
    out = work / f"sized-{rows}-{join}-{vocabulary}-{width}-{layers}-{budget}-{devices}"
    if devices == 1:
        ours.run(gate, model, out, joined, plan)
        return
    out.mkdir()
    arguments = (devices, gate, model, out, joined, plan)
    torch.multiprocessing.start_processes(_device, arguments, nprocs=devices, start_method="fork")


def _device(rank: int, devices: int, gate: Gated, model: Any, out: Path, examples: list[Example], plan: Any) -> None:
    dist.init_process_group("gloo", init_method=f"file://{out}/rendezvous", rank=rank, world_size=devices)
    ours.run(gate if rank == 0 else lambda **_: None, model, out, examples, plan)


def _joined(examples: Sequence[Example]) -> Example:
    sequences = [example.sequences[0] for example in examples]
    ids = [token for sequence in sequences for token in sequence.input_ids]
    labels = [label for sequence in sequences for label in sequence.labels]
    return replace(examples[0], sequences=(TokenSequence(ids, labels),))


class _Products(TorchDispatchMode):
    """Notes the shapes of all matrix products."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Any, list[tuple[torch.Size, tuple[int, ...]]]]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default, torch.ops.aten.bmm.default):
            self.seen.append((function, [(arg.shape, arg.stride()) for arg in args]))
        return function(*args, **(kwargs or {}))


def products(gate: Gate, work: Path, *, model: str, rows: int) -> None:
    """The matrix products of a step and nothing else, with the shapes and strides that they have there."""
    loaded, _ = models.load(work / model, freeze_embeddings="both")
    noted = _Products()

    class Enough(Exception):
        pass

    def stop(**_: Any) -> None:
        raise Enough

    try:
        with noted:
            ours.run(stop, loaded, work / f"products-{model}", examples_of(work, rows), ours.plan("sft", rows))
    except Enough:
        pass
    places = {place: _random(*place) for _, given in noted.seen for place in given}
    flops = sum(2 * given[-2][0].numel() * given[-1][0][-1] for _, given in noted.seen)
    while True:
        for function, given in noted.seen:
            function(*(places[place] for place in given))
        gate(gflop=flops / 1e9)


def _random(shape: torch.Size, stride: tuple[int, ...]) -> Tensor:
    size = 1 + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
    return torch.rand(size).as_strided(shape, stride)
