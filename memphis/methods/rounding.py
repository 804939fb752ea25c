"""Stochastic rounding of float32 numbers to bfloat16.

Rounding to nearest loses every update smaller than half a step of the weight, which at small learning rates is most of
them; rounding up or down at random, with the right odds, keeps them in expectation.
"""

import torch
from torch import Tensor


def stochastic_bfloat16(values: Tensor, generator: torch.Generator) -> Tensor:
    """Round each float32 number, of any shape, to one of its two bfloat16 neighbours; the expectation is that number.

    The upper neighbour has probability (value - lower) / (upper - lower); numbers that bfloat16 holds and infinities
    stay as they are. generator: on the device of `values`; the result is a function of it and of `values`.
    Raises ValueError for another dtype.
    """
    if values.dtype is not torch.float32:
        raise ValueError(f"stochastic rounding starts from float32, not {values.dtype}")
    # bfloat16 is the upper half of a float32: a uniform lower half carries over as often as the cut-off part is large
    noise = torch.randint(0, 1 << 16, values.shape, generator=generator, device=values.device, dtype=torch.int32)
    bits = noise.add_(values.view(torch.int32)).bitwise_and_(-1 << 16)
    return bits.view(torch.float32).to(torch.bfloat16)
