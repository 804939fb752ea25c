"""Attention over a flat micro-batch: every sequence is a *row*, the list of flat positions it reads, in order.

Queries, keys and values are gathered by row, go through plain causal attention, and each flat position takes its output
from the one row that owns it. A prompt that several completions share is read by all their rows and owned by the first.
Padding inside a gathered block comes after all real queries of its row, so a causal call needs no mask.

transformers passes no per-batch data of ours down to the attention function (StableLM drops unknown arguments), so the
rows of the current micro-batch are a module variable, set by `attending`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

NAME = "memphis_rows"


@dataclass(frozen=True)
class Rows:
    """Blocks of rows of similar length. A *slot* is one cell of a block; slots are numbered block after block."""

    shapes: tuple[tuple[int, int], ...]  # rows and padded length of every block
    slots: Tensor  # [slots] flat position that a slot reads; 0 in padding
    home: Tensor  # [T] slot that owns a flat position
    shared: tuple[
        tuple[Tensor, Tensor], ...
    ]  # (slots, flat positions) of further readers; no position twice in one tuple

    def to(self, device: torch.device) -> "Rows":
        shared = tuple((slots.to(device), flat.to(device)) for slots, flat in self.shared)
        return replace(self, slots=self.slots.to(device), home=self.home.to(device), shared=shared)


_current: Rows | None = None


@contextmanager
def attending(rows: Rows) -> Iterator[None]:
    """Forward *and backward* passes inside use these rows (a backward pass with checkpointing runs forward again,
    on CUDA in another thread: hence a plain variable and no thread-local one)."""
    global _current
    previous, _current = _current, rows
    try:
        yield
    finally:
        _current = previous


class _Gather(torch.autograd.Function):
    """x[:, slots]. Its backward pass gathers too: index_add_ would be slow on CPU and not deterministic on CUDA."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Rows) -> Tensor:
        ctx.rows = rows
        return x.index_select(1, rows.slots)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        # Padding slots hold exact zeros here: their outputs are never taken and no real query sees their keys.
        result = grad.index_select(1, ctx.rows.home)
        for slots, flat in ctx.rows.shared:
            result[:, flat] += grad.index_select(1, slots)
        return result, None


class _TakeHome(torch.autograd.Function):
    """x[home]; no slot is taken twice, so the backward pass is a plain scatter."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Rows) -> Tensor:
        ctx.rows, ctx.shape = rows, x.shape
        return x.index_select(0, rows.home)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad.new_zeros(ctx.shape).index_copy_(0, ctx.rows.home, grad), None


def row_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention function for transformers: query [1, H, T, D], key and value [1, H_kv, T, D] -> [1, T, H, D].

    Raises RuntimeError outside of `attending`, and for attention that is more than causal softmax (sliding window,
    soft cap, sinks), which would be ignored silently otherwise.
    """
    rows = _current
    if rows is None:
        raise RuntimeError("the model was called outside of memphis.training.attention.attending()")
    if any(kwargs.get(name) is not None for name in ("sliding_window", "softcap", "s_aux")):
        raise RuntimeError(f"{type(module).__name__}: sliding windows, soft caps and sinks are not supported")
    blocks = [_Gather.apply(x[0], rows).split([r * n for r, n in rows.shapes], dim=1) for x in (query, key, value)]
    outputs = []
    for (num_rows, length), *parts in zip(rows.shapes, *blocks, strict=True):
        q, k, v = (part.unflatten(1, (num_rows, length)).transpose(0, 1) for part in parts)  # [rows, H, length, D]
        output = scaled_dot_product_attention(
            q, k, v, dropout_p=dropout, is_causal=True, scale=scaling, enable_gqa=q.shape[1] != k.shape[1]
        )
        outputs.append(output.transpose(1, 2).flatten(0, 1))
    return _TakeHome.apply(torch.cat(outputs), rows)[None], None


# No mask function is registered under this name: transformers then builds no mask, which is what rows need.
AttentionInterface.register(NAME, row_attention)
