"""Losses of every method as pure functions of target log-probabilities, and those log-probabilities themselves.

Nothing here divides by a batch: a loss is a sum and a count (or one value per group) and the training loop normalises
once over the accumulated batch.
Shapes: B sequences or groups, T tokens, N target tokens, S sequences in a flat micro-batch, V vocabulary, D width.
"""

from collections.abc import Iterator
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

IGNORE = -100  # label of a token that is not trained on
Reduction = Literal["token", "sequence", "microbatch_mean"]


def token_logps(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the log-probability of each label given its predecessors, [B, T-1]; 0, without gradient, for label -100.

    logits [B, T or T-1, V]: position t predicts labels[:, t + 1]; a T-th position predicts nothing and is left out.
    labels [B, T]. At least float32. Raises ValueError for other shapes.
    """
    batch, length = labels.shape
    if logits.dim() != 3 or logits.shape[0] != batch or logits.shape[1] not in (length, length - 1):
        raise ValueError(f"logits {tuple(logits.shape)} do not belong to labels {tuple(labels.shape)}")
    aligned = logits[:, : length - 1].flatten(0, 1).to(_accurate(logits.dtype))
    losses = F.cross_entropy(aligned, labels[:, 1:].flatten(), ignore_index=IGNORE, reduction="none")
    return -losses.view(batch, length - 1)


def sequence_logps(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return (sum [B], count [B]) of each sequence's target log-probabilities; arguments as in `token_logps`."""
    return token_logps(logits, labels).sum(1), (labels[:, 1:] != IGNORE).sum(1)


def per_sequence(values: Tensor, sequence_ids: Tensor, num_sequences: int) -> tuple[Tensor, Tensor]:
    """Return (sum [S], count [S]) of values [N] of the sequences sequence_ids [N], each 0 ... num_sequences - 1.

    A length-normalised score is sum / count.clamp(min=1): 0 for a sequence without targets.
    """
    sums = values.new_zeros(num_sequences).index_add(0, sequence_ids, values)
    counts = sequence_ids.new_zeros(num_sequences).index_add(0, sequence_ids, torch.ones_like(sequence_ids))
    return sums, counts


def mixce(logps: Tensor, ratio: float | None) -> tuple[Tensor, Tensor]:
    """Return (sum, count) of the MixCE loss over log-probabilities [N] of target tokens; see `mixce_tokens`."""
    return mixce_tokens(logps, ratio).sum(), torch.tensor(logps.numel())


def mixce_tokens(logps: Tensor, ratio: float | None) -> Tensor:
    """Return -(ratio + (1 - ratio) * q) * log q of each token, q = exp(log q) without gradient. Same shape as logps.

    ratio: weight of ordinary cross-entropy, 0 ... 1 (eta of the paper). 1 or None is ordinary cross-entropy.
    Raises ValueError outside that range. Source: arXiv 2305.16958.
    """
    if ratio is None:
        return -logps
    if not 0 <= ratio <= 1:
        raise ValueError(f"mixce ratio {ratio} is outside [0, 1]")
    return -(ratio + (1 - ratio) * logps.detach().exp()) * logps


def reduce(losses: Tensor, sequence_ids: Tensor, num_sequences: int, reduction: Reduction) -> tuple[Tensor, Tensor]:
    """Return (sum, count) of a micro-batch such that the loss of the accumulated batch is (all sums) / (all counts).

    losses [N] per target token; sequence_ids [N]: the sequence of each, 0 ... num_sequences - 1.
    "token": every target token weighs the same. "sequence": every sequence that has targets. "microbatch_mean": every
    micro-batch (supertrainer2000, Lightning), the one rule that depends on how the batch was cut.
    """
    if reduction == "token":
        return losses.sum(), torch.tensor(losses.numel())
    if reduction == "sequence":
        sums, counts = per_sequence(losses, sequence_ids, num_sequences)
        return (sums / counts.clamp(min=1)).sum(), (counts > 0).sum()
    if reduction == "microbatch_mean":
        return losses.sum() / max(1, losses.numel()), torch.tensor(min(1, losses.numel()))
    raise ValueError(f"reduction {reduction!r} is none of token, sequence, microbatch_mean")


def rank(scores: Tensor, valid: Tensor, use_average: bool = True) -> Tensor:
    """Return -log[e^s0 / (e^s0 + A_j e^sj)] of each group, [B]: the chosen response against all rejected ones.

    scores [B, K]: length-normalised log-probabilities, column 0 is the chosen response.
    valid [B, K] bool: False marks an empty slot, which has no influence whatever number stands in it. A group without
        a chosen or without any rejected response costs 0 and has no gradient.
    use_average: A is the mean over rejected responses (supertrainer2000), else the sum (PRO paper).
    Values and gradients are finite for any finite scores. Raises ValueError unless both are [B, K].
    Source: arXiv 2306.17492.
    """
    if scores.dim() != 2 or scores.shape != valid.shape:
        raise ValueError(f"scores {tuple(scores.shape)} and valid {tuple(valid.shape)} must both be [B, K]")
    empty = ~valid[:, 1:]
    complete = valid[:, 0] & ~empty.all(1)
    against = scores[:, 1:].masked_fill(empty, -torch.inf).logsumexp(1)
    if use_average:
        against = against - (~empty).sum(1).clamp(min=1).to(against.dtype).log()
    margin = scores[:, 0].masked_fill(~complete, 0.0) - against
    return (-F.logsigmoid(margin)).masked_fill(~complete, 0.0)


def preference(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    beta: float,
    kind: Literal["sigmoid", "hinge"] = "sigmoid",
) -> Tensor:
    """Return the loss of SPIN and DPO for each pair, [B]; every argument is a *summed* log-probability [B].

    h = (policy chosen - rejected) - (reference chosen - rejected). "sigmoid": softplus(-beta h); "hinge":
    max(0, 1 - beta h). Zeros as reference give the reference-free form. Sources: arXiv 2401.01335, 2305.18290.
    """
    h = (policy_chosen - policy_rejected) - (reference_chosen - reference_rejected)
    if kind == "sigmoid":
        return -F.logsigmoid(beta * h)
    if kind == "hinge":
        return F.relu(1 - beta * h)
    raise ValueError(f"preference loss {kind!r} is neither sigmoid nor hinge")


def target_logps(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    greedy: Tensor | None = None,
    chunk_bytes: int = 64 << 20,
) -> Tensor:
    """Return log softmax(hidden weight' + bias)[targets], [N], computed in chunks.

    hidden [N, D], weight [V, D], targets [N] in 0 ... V - 1, bias [V]. The matrix products run in the dtype of `hidden`
    (autocast's if it is on), softmax and result in float32, or float64 throughout for float64.
    greedy: bool [N], filled in: True where no token is more likely than the target.
    chunk_bytes: upper bound for any [chunk, V] tensor (but at least one row). The result does not depend on it.

    Frozen head ("J in forward"): (onehot(target) - p) W, [N, D], is computed together with the value, so that backward
    is one multiplication and no logits are kept. It is exact for every loss that sees the model through these numbers
    alone. Trainable head: logits are computed again in backward, chunk by chunk, adding up the weight's gradient.
    """
    if hidden.dim() != 2 or weight.dim() != 2 or hidden.shape[1] != weight.shape[1] or len(targets) != len(hidden):
        shapes = [tuple(tensor.shape) for tensor in (hidden, weight, targets)]
        raise ValueError("hidden {}, weight {}, targets {} are not [N, D], [V, D], [N]".format(*shapes))
    device = hidden.device.type
    dtype = hidden.dtype
    if torch.is_autocast_enabled(device) and dtype is not torch.float64:
        dtype = torch.get_autocast_dtype(device)
    hidden, weight, bias = hidden.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    rows = max(1, chunk_bytes // (weight.shape[0] * _accurate(dtype).itemsize))
    greedy = torch.empty_like(targets, dtype=torch.bool) if greedy is None else greedy
    if torch.is_grad_enabled() and (weight.requires_grad or (bias is not None and bias.requires_grad)):
        return _TrainableHead.apply(hidden, weight, bias, targets, rows, greedy)
    if torch.is_grad_enabled() and hidden.requires_grad:
        return _FrozenHead.apply(hidden, weight, bias, targets, rows, greedy)
    return _no_grad_logps(hidden, weight, bias, targets, rows, greedy)


class _FrozenHead(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, rows: int, greedy: Tensor
    ) -> Tensor:
        logps = hidden.new_empty(len(hidden), dtype=_accurate(hidden.dtype))
        jacobian = torch.empty_like(hidden, memory_format=torch.contiguous_format)
        for part in _parts(len(hidden), rows):
            logps[part], probs = _softmax(hidden[part], weight, bias, targets[part], greedy[part])
            jacobian[part] = _onehot_minus(probs, targets[part]).to(weight.dtype) @ weight
        ctx.save_for_backward(jacobian)
        return logps

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (jacobian,) = ctx.saved_tensors
        return (jacobian * grad[:, None]).to(jacobian.dtype), None, None, None, None, None


class _TrainableHead(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, rows: int, greedy: Tensor
    ) -> Tensor:
        ctx.rows = rows
        ctx.save_for_backward(hidden, weight, bias, targets)
        return _no_grad_logps(hidden, weight, bias, targets, rows, greedy)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, targets = ctx.saved_tensors
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        exact = _accurate(hidden.dtype)
        grad_hidden = torch.empty_like(hidden, memory_format=torch.contiguous_format) if needs_hidden else None
        grad_weight = torch.zeros_like(weight, dtype=exact) if needs_weight else None
        grad_bias = torch.zeros_like(bias, dtype=exact) if needs_bias else None
        for part in _parts(len(hidden), ctx.rows):
            _, probs = _softmax(hidden[part], weight, bias, targets[part])
            grad_logits = _onehot_minus(probs, targets[part]).mul_(grad[part, None])
            if grad_bias is not None:
                grad_bias += grad_logits.sum(0)
            grad_logits = grad_logits.to(weight.dtype)
            if grad_hidden is not None:
                grad_hidden[part] = grad_logits @ weight
            if grad_weight is not None:
                grad_weight += grad_logits.T @ hidden[part]
        cast = [None if g is None else g.to(hidden.dtype) for g in (grad_hidden, grad_weight, grad_bias)]
        return *cast, None, None, None


@torch.no_grad()
def _no_grad_logps(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, rows: int, greedy: Tensor
) -> Tensor:
    logps = hidden.new_empty(len(hidden), dtype=_accurate(hidden.dtype))
    for part in _parts(len(hidden), rows):
        logps[part], _ = _softmax(hidden[part], weight, bias, targets[part], greedy[part])
    return logps


def _softmax(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, greedy: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return (log p of targets, all p), in place: one [chunk, V] buffer is alive (two while widening to float32)."""
    x = F.linear(hidden, weight, bias).to(_accurate(hidden.dtype))
    x -= x.amax(1, keepdim=True)
    logps = x.gather(1, targets[:, None]).squeeze(1)
    if greedy is not None:
        greedy.copy_(logps == 0)  # the largest logit has just become 0
    total = x.exp_().sum(1)
    return logps - total.log(), x.div_(total[:, None])


def _onehot_minus(probs: Tensor, targets: Tensor) -> Tensor:
    """Return d(log p of target) / d(logits), in place. Formed before rounding to bfloat16: 1 - p cancels near p = 1."""
    return probs.neg_().scatter_add_(1, targets[:, None], torch.ones_like(probs[:, :1]))


def _parts(length: int, rows: int) -> Iterator[slice]:
    return (slice(start, start + rows) for start in range(0, length, rows))


def _accurate(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype is torch.float64 else torch.float32
