"""Our side of the training comparisons: memphis' own loop, data path and losses, as the stages use them; and in other
forms: one trick left out, other sizes, its matrix products alone."""

import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import linear
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel, StableLmConfig, StableLmForCausalLM

from benchmarks import material
from benchmarks.worker import Gated
from memphis.config.sections import Optim
from memphis.data import tokens
from memphis.data.tokens import Example
from memphis.jsonl import RowLog, read_rows
from memphis.losses import CrossEntropy, RankLoss
from memphis.training import attention, loop
from memphis.training import model as models
from memphis.training.batches import FlatBatch, cut, flatten
from memphis.training.forward import target_logps
from memphis.training.layers import decoder_layers, recompute
from memphis.training.objective import Totals
from memphis.training.train_plan import TrainPlan

TOKENS: dict[str, Any] = {"max_length": 1024, "eos": "every_turn", "overlong": "drop"}
MICRO_BATCH_TOKENS = 1024  # about the eight rows that a peer's micro-batch has
FOREVER = 1000  # epochs: the gate ends the process earlier
NUMBERS = ("loss", "ce", "tokens_per_sec", "mfu", "mem_alloc_gib")  # of the loop's row of a step
PRODUCTS = (torch.ops.aten.mm.default, torch.ops.aten.addmm.default, torch.ops.aten.bmm.default)


def sft(gate: Gated, work: Path, *, model: str, rows: int) -> None:
    """Train on so many rows, all of them in a step."""
    loaded, _ = models.load(work / model)
    run(gate, loaded, work, make_examples(work, rows), make_plan("sft", rows))


def rank(gate: Gated, work: Path, *, model: str, pairs: int, shared: bool = True) -> None:
    """Train on pairs, all in a step. shared=False: every completion has its own copy of the prompt."""
    tokenizer = tokens.load_tokenizer(work / model)
    found, _ = tokens.pair_examples(material.pairs(work, pairs), tokenizer, **TOKENS)
    if not shared:
        found = [replace(example, prompt_length=0) for example in found]
    loaded, _ = models.load(work / model)
    run(gate, loaded, work, found, make_plan("rank", pairs))


def sized(
    gate: Gated, work: Path, *, rows: int = 64, join: int = 1, budget: int = MICRO_BATCH_TOKENS, **shape: int
) -> None:
    """Train a model of other dimensions. join: rows that are put together to one, which keeps the tokens."""
    plan = replace(make_plan("sft", rows // join), micro_batch_tokens=budget)
    run(gate, random_model(material.config(**shape)), work, make_examples(work, rows, join), plan)


def random_model(config: StableLmConfig, device: str = "cpu") -> StableLmForCausalLM:
    """A model as the stages load one: float32, embeddings and head frozen."""
    torch.manual_seed(0)
    with torch.device(device):
        model = StableLmForCausalLM(config)
    model.set_attn_implementation(attention.NAME)
    models.freeze(model, "both")
    return model


def make_examples(work: Path, rows: int, join: int = 1) -> list[Example]:
    """The first rows, tokenised; the tokenizer is the same with every model. join: so many become one."""
    tokenizer = tokens.load_tokenizer(work / "small")
    found, _ = tokens.sft_examples(read_rows(work / "rows.jsonl")[:rows], tokenizer, **TOKENS)
    joined = []
    for start in range(0, len(found), join):
        parts = [example.sequences[0] for example in found[start : start + join]]
        ids = [token for part in parts for token in part.input_ids]
        labels = [label for part in parts for label in part.labels]
        joined.append(replace(found[start], sequences=(tokens.Sequence(ids, labels),)))
    return joined


def make_plan(family: Literal["sft", "rank"], step: int) -> TrainPlan:
    """The plan that is the same on both sides: one learning rate, AdamW (fused), no noise, cross-entropy alone."""
    return TrainPlan(
        family=family,
        objective=RankLoss() if family == "rank" else CrossEntropy(),
        epochs=FOREVER,
        global_batch_size=step,
        optim=Optim(name="adamw", lr=1e-5, decay=0.0),
        seed=0,
        schedule="constant",
        micro_batch_tokens=MICRO_BATCH_TOKENS,
    )


def run(gate: Gated, model: PreTrainedModel, work: Path, examples: Sequence[Example], plan: TrainPlan) -> None:
    """memphis' own loop on these examples, with the gate after every step."""
    out = Path(tempfile.mkdtemp(dir=work))
    log = RowLog(out / "metrics.jsonl")
    total = sum(len(sequence.input_ids) for example in examples for sequence in example.sequences)

    def wait(_: str) -> None:
        row = {key.rpartition("/")[2]: value for key, value in read_rows(log.path)[-1].items()}
        gate(tokens=total, **{name: row[name] for name in NUMBERS if row.get(name) is not None})

    loop.train(model, examples, plan, out_dir=out, log=log, kill_point=wait, checkpoint_every=math.inf)


def products(gate: Gated, work: Path, *, model: str, rows: int) -> None:
    """Train as `sft`; `cpu_s` is what the matrix products of a step take, and nothing else."""

    def report(**found: Any) -> None:
        gate(loss=found["loss"], cpu_s=timer.seconds)
        timer.seconds = 0.0

    with _ProductTimer() as timer:
        sft(report, work, model=model, rows=rows)


class _ProductTimer(TorchDispatchMode):
    """Adds up the CPU-seconds of all matrix products."""

    seconds = 0.0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        began = time.process_time()
        result = function(*args, **(kwargs or {}))
        self.seconds += time.process_time() - began if function in PRODUCTS else 0.0
        return result


def without(gate: Gated, work: Path, *, trick: str, model: str, rows: int) -> None:
    """Passes and optimizer steps of `sft` without one trick; "ours" leaves out none.

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
    optim = replace(plan.optim, name="adalite") if trick == "adalite" else plan.optim
    optimizer = loop.make_optimizer([weight for weight in loaded.parameters() if weight.requires_grad], optim)
    forward = {"logits_kept": logits_kept, "every_position": every_position}.get(trick, target_logps)
    loaded.train()
    while True:
        batches = [flatten(examples, members) for members in cut(examples, plan.micro_batch_tokens)]
        totals = Totals.of(batches, plan)
        found = loop.gradients(loaded, batches, plan, totals, keys=range(len(examples)), forward=forward)
        optimizer.step()
        optimizer.zero_grad()
        gate(loss=found["loss"].item())


def logits_kept(model: PreTrainedModel, batch: FlatBatch, **_: Any) -> Tensor:
    hidden = _hidden_states(model, batch).index_select(0, batch.predictors)
    return linear(hidden, model.get_output_embeddings().weight).log_softmax(1).gather(1, batch.targets[:, None])[:, 0]


def every_position(model: PreTrainedModel, batch: FlatBatch, **_: Any) -> Tensor:
    logits: Tensor = model.get_output_embeddings()(_hidden_states(model, batch))
    return logits.log_softmax(1)[batch.predictors, batch.targets]


def _hidden_states(model: PreTrainedModel, batch: FlatBatch) -> Any:
    inputs = {"inputs_embeds": model.get_input_embeddings()(batch.input_ids)[None], "use_cache": False}
    return model.base_model(position_ids=batch.position_ids[None], **inputs).last_hidden_state[0]


def padded(examples: Sequence[Example], *, in_order: bool) -> list[Example]:
    """Rows as long as the longest of their batch: what stands after a row's end trains nothing and costs the same."""
    arranged = sorted(examples, key=lambda e: len(e.sequences[0].input_ids)) if in_order else examples
    filled = []
    for start in range(0, len(arranged), 8):
        batch = arranged[start : start + 8]
        longest = max(len(example.sequences[0].input_ids) for example in batch)
        for example in batch:
            (row,) = example.sequences
            more = longest - len(row.input_ids)
            longer = tokens.Sequence(row.input_ids + more * row.input_ids[-1:], row.labels + more * [tokens.IGNORE])
            filled.append(replace(example, sequences=(longer,)))
    return filled
