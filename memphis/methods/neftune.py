"""NEFTune: uniform noise on input embeddings, in training only. The caller decides when a forward pass is training.

One draw belongs to one example at one optimizer step, whatever else is in the micro-batch.
Sources: arXiv 2310.05914 (paper), trl (hf), euclaise/supertrainer2000.
"""

import hashlib
import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

Variant = Literal["supertrainer2000", "hf", "paper"]


def noise_scale(alpha: float, length: int, width: int) -> float:
    """Return alpha / sqrt(length * width), the largest size of one noise element. `width` is the hidden size."""
    return alpha / math.sqrt(length * width)


def from_uniform(uniform: Tensor, scale: float, variant: Variant) -> Tensor:
    """Turn a draw from [0, 1) into noise: scale * u for supertrainer2000, scale * (2u - 1) for hf and paper."""
    if variant == "supertrainer2000":
        return uniform * scale
    if variant in ("hf", "paper"):
        return (2 * uniform - 1) * scale
    raise ValueError(f"neftune variant {variant!r} is none of supertrainer2000, hf, paper")


def noise(
    shape: Sequence[int],
    *,
    alpha: float,
    length: int,
    seed: int,
    step: int,
    example_key: int | str,
    variant: Variant,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Noise [T, D] in float32 for the T positions of one example; a function of (seed, step, example_key, T, D) alone.

    length: L of the scale. supertrainer2000: a fixed number; paper: the true length of this sequence; hf: the longest
        sequence of the optimizer step's batch (the micro-batch's would tie the result to how the batch was cut).
    example_key: the example's name in the data. Sequences that share a prompt get one draw for it, which is what lets
        them share the prompt's activations.
    device: of the generator. The numbers are the same on the same kind of device, not across kinds.
    """
    name = f"{seed}/{step}/{example_key}".encode()
    # int64 for the CUDA generator; the CPU generator keeps the lower 32 bits, so these must be well mixed too
    key = int.from_bytes(hashlib.sha256(name).digest()[:8], "little") >> 1
    generator = torch.Generator(device).manual_seed(key)
    uniform = torch.rand(tuple(shape), generator=generator, device=device, dtype=torch.float32)
    return from_uniform(uniform, noise_scale(alpha, length, shape[-1]), variant)
