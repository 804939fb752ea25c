"""Attention over a flat micro-batch by rows (layout.py), in one of two ways.

In half precision on an NVIDIA GPU, FlashAttention for rows of any length: the queries of a row are the positions it
owns, its keys all those it reads; nothing is padded and no query is computed twice. Elsewhere blocks: queries, keys and
values are gathered by row, go through plain causal attention, and each flat position takes its output from the row that
owns it.

transformers passes no per-batch data of ours down to the attention function (StableLM drops unknown arguments), so the
rows of the current micro-batch are a module variable, set by `attending`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from memphis.training.layout import Rows, Slots

NAME = "memphis_rows"


_current: Rows | None = None


@contextmanager
def attending(rows: Rows) -> Iterator[None]:
    """Use these rows in forward *and backward* passes inside (a backward pass with checkpointing runs forward again,
    on CUDA in another thread: hence a plain variable and no thread-local one)."""
    global _current
    previous, _current = _current, rows
    try:
        yield
    finally:
        _current = previous


class _Gather(torch.autograd.Function):
    """Gather x[:, slots]. Backward gathers too: index_add_ would be slow on CPU and not deterministic on CUDA."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slots: Slots) -> Tensor:
        ctx.slots = slots
        return x.index_select(1, slots.flat)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        # Padding slots hold exact zeros here: their outputs are never taken and no real query sees their keys.
        result = grad.index_select(1, ctx.slots.home)
        for slots, flat in ctx.slots.shared:
            result[:, flat] += grad.index_select(1, slots)
        return result, None


class _TakeHome(torch.autograd.Function):
    """Take x[home]; no slot is taken twice, so the backward pass is a plain scatter."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slots: Slots) -> Tensor:
        ctx.slots, ctx.shape = slots, x.shape
        return x.index_select(0, slots.home)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad.new_zeros(ctx.shape).index_copy_(0, ctx.slots.home, grad), None


@torch.compiler.disable
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

    A sliding window of n lets a query see n keys, its own included. Raises RuntimeError outside of `attending`, and for
    attention that is more than causal softmax (soft cap, sinks), which would be ignored silently otherwise.
    """
    rows = _current
    if rows is None:
        raise RuntimeError("the model was called outside of memphis.training.attention.attending()")
    if any(kwargs.get(name) is not None for name in ("softcap", "s_aux")):
        raise RuntimeError(f"{type(module).__name__}: soft caps and sinks are not supported")
    window = kwargs.get("sliding_window")
    if window is not None and window >= rows.length.max():
        window = None
    kind = query.device.type  # under autocast rotary embeddings leave queries and keys in float32
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else query.dtype
    if dropout == 0.0 and _has_kernel(query.device, dtype, query.shape[-1]):
        return _packed(query.to(dtype), key.to(dtype), value.to(dtype), rows, scaling, window), None
    return _in_blocks(query, key, value, rows, scaling, window, dropout), None


def _has_kernel(device: torch.device, dtype: torch.dtype, head_dim: int) -> bool:
    """True if torch has FlashAttention for this: it needs half precision and an Ampere GPU or a newer one."""
    fits = dtype in (torch.bfloat16, torch.float16) and head_dim % 8 == 0 and head_dim <= 256
    return fits and device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


def _packed(query: Tensor, key: Tensor, value: Tensor, rows: Rows, scaling: float | None, window: int | None) -> Tensor:
    packed = rows.packed
    gathered = [x[0] if packed.slots is None else _Gather.apply(x[0], packed.slots) for x in (key, value)]
    q, k, v = (x.transpose(0, 1) for x in (query[0], *gathered))  # [queries or slots, H or H_kv, D]
    # The window (-1, 0) is causal, counted from the end: a row's last query sees all keys, the one before all but one.
    # A number in place of -1 is how many keys before its own a query sees.
    output: Tensor = varlen_attn(
        q,
        k,
        v,
        packed.query_ends,
        packed.key_ends,
        packed.longest_query,
        packed.longest_key,
        scale=scaling,
        window_size=(-1 if window is None else window - 1, 0),
        enable_gqa=q.shape[1] != k.shape[1],
    )
    return output[None]


def _in_blocks(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    rows: Rows,
    scaling: float | None,
    window: int | None,
    dropout: float,
) -> Tensor:
    shapes, slots = rows.blocks.shapes, rows.blocks.slots
    blocks = [_Gather.apply(x[0], slots).split([r * n for r, n in shapes], dim=1) for x in (query, key, value)]
    outputs = []
    for (num_rows, length), *parts in zip(shapes, *blocks, strict=True):
        q, k, v = (part.unflatten(1, (num_rows, length)).transpose(0, 1) for part in parts)  # [rows, H, length, D]
        band = None
        if window is not None and window < length:
            band = torch.ones(length, length, dtype=torch.bool, device=q.device).tril().triu(1 - window)
        how = {"attn_mask": band, "is_causal": band is None, "enable_gqa": q.shape[1] != k.shape[1]}
        output = scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=scaling, **how)
        outputs.append(output.transpose(1, 2).flatten(0, 1))
    taken: Tensor = _TakeHome.apply(torch.cat(outputs), slots)
    return taken[None]


# No mask function is registered under this name: transformers then builds no mask, which is what rows need.
AttentionInterface.register(NAME, row_attention)
