"""Adalite, the optimizer of the model card: layer-wise normalised steps with one statistic per row of a weight.

Source: euclaise/supertrainer2000 at 8da21ba and aecebf1. Tensor by tensor, so that temporaries are the size of one
parameter. Only whole-tensor operations that DTensor knows, and no branch on a value: sharded parameters (FSDP2) reduce
by themselves and nothing waits for the device.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.linalg import vector_norm

Variant = Literal["jan31", "feb5"]


class Adalite(torch.optim.Optimizer):
    """Step per tensor: centralised gradient / sqrt(statistic), clipped to rms 1, scaled by |p|/|g|, pulled to norm 1.

    eps: added to the squared gradient before it enters the statistic, so it accumulates there (as in the original).
    decay: strength of the pull of each tensor's norm to 1 ("Lambda"); it is multiplied by lr, not by the trust ratio.
    beta_decay: the statistic keeps 1 - t^(-beta_decay) of itself at step t.
    centralize: subtract the mean of each row from the gradient (of the whole of a 1-D tensor). `p.grad` is not changed.
    variant: what the statistic `c` is a mean over: "jan31" one number per row, "feb5" one per last-dimension index;
        one number for tensors with fewer than two dimensions.

    State per tensor: `step` (int) and `c`. Updates run in the dtype of the parameter: pure bfloat16 parameters lose
    most of a step of relative size 1e-4, keep float32 masters. Parameters without a gradient are skipped and keep
    their step count; a tensor whose parameter or gradient is all zero gets neither trust ratio nor pull.
    Raises ValueError for lr < 0, eps <= 0, decay < 0, beta_decay < 0 or an unknown variant.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        eps: float = 1e-5,
        decay: float = 0.01,
        beta_decay: float = 0.8,
        centralize: bool = True,
        variant: Variant = "jan31",
    ) -> None:
        if not (lr >= 0 and eps > 0 and decay >= 0 and beta_decay >= 0):
            raise ValueError(f"lr={lr}, eps={eps}, decay={decay}, beta_decay={beta_decay}: negative, or eps is 0")
        if variant not in ("jan31", "feb5"):
            raise ValueError(f"Adalite variant {variant!r} is neither jan31 nor feb5")
        defaults = {"lr": lr, "eps": eps, "decay": decay, "beta_decay": beta_decay}
        super().__init__(params, {**defaults, "centralize": centralize, "variant": variant})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        with torch.enable_grad():
            loss = None if closure is None else closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    _update(parameter, self.state[parameter], group)
        return loss


def centralized(gradient: Tensor) -> Tensor:
    """Return the gradient minus the mean of each row (of the whole, for 1-D); a single element stays as it is."""
    if sum(gradient.shape) <= 1:
        return gradient
    return gradient - gradient.mean(_rest(gradient.dim(), "jan31"), keepdim=True)


def _update(p: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
    g = centralized(p.grad) if group["centralize"] else p.grad
    state["step"] = state.get("step", 0) + 1
    kept = 1 - state["step"] ** -group["beta_decay"]  # 0 at the first step, which therefore needs no state

    u = g.square().mul_(1 - kept)
    if state["step"] > 1:
        rows = group["variant"] == "jan31" and p.dim() > 1
        u += kept * (state["c"].view(-1, *[1] * (p.dim() - 1)) if rows else state["c"])
    u += group["eps"]
    # abs() changes no number: for sharded parameters it reduces the mean over the processes now. Left pending, the sum
    # would be taken at another time when a checkpoint is written, with other rounding.
    state["c"] = u.mean(_rest(p.dim(), group["variant"])).abs()

    m = u.rsqrt_().mul_(g)
    m /= (vector_norm(m) / math.sqrt(m.numel())).clamp(min=1)

    p_norm, g_norm = vector_norm(p), vector_norm(g)
    both = (p_norm != 0) & (g_norm != 0)
    m *= torch.where(both, p_norm / g_norm, 1.0)
    m.addcmul_(p, torch.where(both, group["decay"] * (1 - 1 / p_norm), 0.0))
    p.add_(m, alpha=-group["lr"])


def _rest(dims: int, variant: Variant) -> tuple[int, ...]:
    """Return all dimensions but the one that has a statistic of its own; all of them if there are fewer than two.

    Listed one by one: DTensor takes mean(dim=()) of a sharded vector for a mean over nothing.
    """
    if dims < 2:
        return tuple(range(dims))
    return tuple(range(1, dims)) if variant == "jan31" else tuple(range(dims - 1))
