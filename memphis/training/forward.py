"""Forward pass of a micro-batch: log-probabilities of its targets, of packed rows or of padded ones.

Packed, the model's body runs once over the flat micro-batch, with our attention (attention.py) in place of its own, and
its head is applied as a linear layer. Padded, rows of similar length go side by side through the model's own forward
pass, whatever that does. probe.py tells which of them is right for a model.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from memphis.methods import losses
from memphis.training.batches import FlatBatch
from memphis.training.train_plan import Packing

_CHUNK_BYTES = 64 << 20  # of logits at a time


def target_logps(
    model: PreTrainedModel,
    batch: FlatBatch,
    *,
    dtype: torch.dtype,
    packing: Packing = "packed",
    noise: Tensor | None = None,
    greedy: Tensor | None = None,
) -> Tensor:
    """Return the log-probability of every target token, [N], float32. Call inside `attending(batch.rows)`.

    dtype: float32, or bfloat16 for autocast. packing: "packed" for a model loaded for that, and for no other.
    noise: [T, D], added to the input embeddings. greedy: see losses.target_logps.
    """
    with torch.autocast(batch.input_ids.device.type, torch.bfloat16, enabled=dtype is torch.bfloat16):
        if packing != "packed":
            return _padded(model, batch, packing == "equal", noise, greedy)
        with _added(model, None if noise is None else noise[None]):
            hidden = model.base_model(
                input_ids=batch.input_ids[None], position_ids=batch.position_ids[None], use_cache=False
            ).last_hidden_state[0]
        head = model.get_output_embeddings()
        return losses.target_logps(
            hidden.index_select(0, batch.predictors), head.weight, batch.targets, bias=head.bias, greedy=greedy
        )


@contextmanager
def _added(model: PreTrainedModel, noise: Tensor | None) -> Iterator[None]:
    """Add noise [rows, length, D] to what the input embedding returns."""
    if noise is None:
        yield
        return
    embedding = model.get_input_embeddings()
    hook = embedding.register_forward_hook(lambda module, given, found: found + noise.to(found.dtype))
    try:
        yield
    finally:
        hook.remove()


def _padded(
    model: PreTrainedModel, batch: FlatBatch, equal: bool, noise: Tensor | None, greedy: Tensor | None
) -> Tensor:
    device = batch.input_ids.device
    flat = torch.from_numpy(batch.rows.reads()[0]).to(device)
    rows = flat.split(batch.rows.length.tolist())  # flat positions that each row reads
    targets = torch.arange(len(batch.targets), device=device).split(batch.counts.tolist())
    logps: list[Tensor] = []
    order: list[Tensor] = []
    for group in batch.rows.groups(*[1.0] * equal):
        # Padding repeats flat position 0. It comes after all real tokens of a row, which do not see it: no mask.
        index = pad_sequence([rows[i] for i in group], batch_first=True)
        mine = torch.cat([targets[i] for i in group])
        row = torch.arange(len(group), device=device).repeat_interleave(batch.counts[group])
        column = batch.position_ids[batch.predictors[mine]]
        if equal:
            with torch.no_grad():
                model(input_ids=batch.input_ids[None, :1], use_cache=False)
        part = torch.zeros_like(mine, dtype=torch.bool)
        with _added(model, None if noise is None else noise[index]):
            logps.append(_own_logps(model, batch.input_ids[index], row, column, batch.targets[mine], part))
        if greedy is not None:
            greedy[mine] = part
        order.append(mine)
    return torch.cat(logps)[torch.argsort(torch.cat(order))]


def _own_logps(
    model: PreTrainedModel, ids: Tensor, row: Tensor, column: Tensor, targets: Tensor, greedy: Tensor
) -> Tensor:
    """Return the log-probabilities of targets [n] after the positions (row, column) of ids [rows, length].

    What the model makes of hidden states is computed at these positions alone, chunk by chunk, and once more in the
    backward pass: its own forward runs on a body that returns the chunk. All logits at once where the body is not what
    the model calls.
    """
    body = model.base_model
    kept: list[Any] = []

    def keep(module: torch.nn.Module, given: Any, found: Any) -> Any:
        short = _with_hidden(found, found[0][:, :1])
        kept.extend((found[0], short))
        return short

    hook = body.register_forward_hook(keep) if body is not model else None
    try:
        logits = model(input_ids=ids, use_cache=False).logits
    finally:
        if hook is not None:
            hook.remove()
    if not kept:
        return _chosen(logits[row, column], targets, greedy)
    hidden, short = kept[0][row, column], kept[1]

    def chunk_logps(greedy: Tensor, hidden: Tensor, targets: Tensor) -> Tensor:
        body.forward = lambda *args, **kwargs: _with_hidden(short, hidden[None])
        try:
            return _chosen(model(input_ids=ids[:1, :1], use_cache=False).logits[0], targets, greedy)
        finally:
            del body.forward

    size = max(1, _CHUNK_BYTES // (4 * logits.shape[-1]))
    parts = zip(greedy.split(size), hidden.split(size), targets.split(size), strict=True)
    return torch.cat([checkpoint(partial(chunk_logps, part), *inputs, use_reentrant=False) for part, *inputs in parts])


def _with_hidden(output: Any, hidden: Tensor) -> Any:
    if isinstance(output, tuple):
        return (hidden, *output[1:])
    return type(output)(**{**output, "last_hidden_state": hidden})


def _chosen(logits: Tensor, targets: Tensor, greedy: Tensor) -> Tensor:
    logps = logits.float().log_softmax(-1).gather(1, targets[:, None])[:, 0]
    with torch.no_grad():
        greedy.copy_(logits.gather(1, targets[:, None])[:, 0] >= logits.amax(-1))
    return logps
