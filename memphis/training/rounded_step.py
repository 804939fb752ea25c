"""Optimizer steps of bfloat16 master weights that lose nothing in expectation; see methods/rounding.py.

Works with any torch optimizer whose update of a tensor depends on that tensor alone (Adalite, AdamW): its state stays
with the parameter, and is float32.
"""

import hashlib
from collections.abc import Sequence

import torch
from torch.nn import Parameter
from torch.optim import Optimizer

from memphis.methods.rounding import stochastic_bfloat16


@torch.no_grad()
def rounded_step(optimizer: Optimizer, params: Sequence[Parameter], *, seed: int, step: int) -> None:
    """Take `optimizer.step()` in float32 and round its result stochastically to the bfloat16 parameters.

    The draws follow from (seed, step, place in `params`). Tensor by tensor, so that only one of them exists in float32
    at a time. Gradients are consumed: they are None afterwards.
    """
    gradients = [parameter.grad for parameter in params]
    for parameter in params:
        parameter.grad = None  # the optimizer skips parameters without one
    for number, (parameter, gradient) in enumerate(zip(params, gradients, strict=True)):
        if gradient is not None:
            kept = parameter.data
            parameter.data, parameter.grad = kept.float(), gradient.float()
            optimizer.step()
            digest = hashlib.sha256(f"round/{seed}/{step}/{number}".encode()).digest()
            generator = torch.Generator(kept.device).manual_seed(int.from_bytes(digest[:8], "little") >> 1)
            kept.copy_(stochastic_bfloat16(parameter.data, generator))
            parameter.grad, parameter.data = None, kept
