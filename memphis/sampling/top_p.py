"""Top-p sampling on a CPU without sorting the whole vocabulary, which takes as long as a small model's matrix products.

The tokens that are kept, and their order, are those of the sort: a row where rounding could decide is left to it.
"""

import torch
from torch import Tensor

MOST = 256  # tokens of a row that are looked at; one whose nucleus is larger is sorted
MARGIN = 1e-4  # far above what rounding and the order of a float32 sum over a vocabulary can change
SMALL = 8 * MOST  # vocabulary up to which sorting is as fast


def nucleus(scores: Tensor, probabilities: Tensor, top_p: Tensor | float) -> tuple[Tensor, Tensor]:
    """Return which of the most probable tokens belong to the nucleus, the fewest that together reach `top_p`, and for
    which rows this is sure: [B, K] and [B].

    A row is unsure if its K tokens do not reach `top_p`, if a sum is so near to `top_p` that rounding could decide, or
    if the order of its tokens is not strict.

    scores: [B, K], what the vocabulary is ordered by, largest first.
    probabilities: [B, K] of these tokens. top_p: one for all rows, or [B, 1].
    """
    reached = probabilities.double().cumsum(-1)
    inside = reached - probabilities < top_p
    last = inside[:, :-1] & ~inside[:, 1:]
    strict = (scores[:, :-1] > scores[:, 1:]) | ~inside[:, :-1]
    clear = (reached - top_p).abs() > MARGIN
    return inside, last.any(-1) & strict.all(-1) & clear.all(-1)


def mask_rest(logits: Tensor, top_p: Tensor) -> Tensor:
    """Set all logits [B, V] outside of a row's nucleus to -inf, in place, in the rows that are sure.

    Returns the numbers of the other rows, which are as they were.
    top_p: [B].
    """
    best, tokens = logits.topk(MOST, dim=-1)
    inside, sure = nucleus(best, (best - logits.logsumexp(-1, keepdim=True)).exp(), top_p[:, None])
    unsure = (~sure).nonzero()[:, 0]
    kept = logits[unsure]
    logits.fill_(-torch.inf).scatter_(-1, tokens, best.masked_fill(~inside, -torch.inf))
    logits[unsure] = kept
    return unsure
