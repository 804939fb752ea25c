"""Loss and metric sums of one flat micro-batch. Every sum is divided by totals of the whole window (one
optimizer step), which are known from the labels before any forward pass: so cutting a window differently, or spreading
it over devices, changes rounding only.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from memphis.losses import Comparing, Group, Likelihood
from memphis.methods import losses, neftune
from memphis.training.batches import FlatBatch
from memphis.training.train_plan import TrainPlan


@dataclass(frozen=True)
class Totals:
    """Divisors of a window's sums. ce: of the cross-entropy, by the rule of `reduction`."""

    ce: int
    examples: int
    label_tokens: int  # of the cross-entropy
    tokens: int
    chosen_tokens: int
    rejected_tokens: int
    rejected: int
    longest: int  # tokens of the longest sequence

    @classmethod
    def of(
        cls,
        batches: Sequence[FlatBatch],
        plan: TrainPlan,
        gather: Callable[[Sequence[int]], list[list[int]]] = lambda numbers: [list(numbers)],
    ) -> "Totals":
        """Count totals. batches: of the window, or of a device's part; then `gather` returns every device's numbers."""
        empty = torch.zeros(0, dtype=torch.int64)  # a device may have no example of a small window
        counts = torch.cat([empty, *(b.counts for b in batches)])
        column = torch.cat([empty, *(b.column for b in batches)])
        targets = counts[column == plan.ce_column]
        label_tokens = int(targets.sum())
        by_rule = {"token": label_tokens, "sequence": int((targets > 0).sum()), "microbatch_mean": len(batches)}
        parts = gather(
            [
                by_rule[plan.reduction],
                sum(len(b.members) for b in batches),
                label_tokens,
                sum(len(b.input_ids) for b in batches),
                int(counts[column == 0].sum()),
                int(counts[column > 0].sum()),
                int((column > 0).sum()),
                max((longest for b in batches for longest in b.longest), default=0),
            ]
        )
        *columns, longest = zip(*parts, strict=True)
        ce, examples, label_tokens, tokens, chosen_tokens, rejected_tokens, rejected = map(sum, columns)
        return cls(
            ce=max(1, ce),
            examples=examples,
            label_tokens=label_tokens,
            tokens=tokens,
            chosen_tokens=chosen_tokens,
            rejected_tokens=rejected_tokens,
            rejected=rejected,
            longest=max(longest),
        )


def embedding_noise(
    batch: FlatBatch, keys: Sequence[int], plan: TrainPlan, *, width: int, step: int, window_longest: int
) -> Tensor:
    """Return the noise [T, width] of a micro-batch: one draw per example, from (plan.seed, step, keys[b]).

    All sequences of an example share the prompt's draw and, for variant "paper", the length of its longest sequence.
    """
    noise = torch.empty(len(batch.input_ids), width, device=batch.input_ids.device)
    knobs = plan.neftune
    for key, (start, size), longest in zip(keys, batch.spans, batch.longest, strict=True):
        lengths = {"supertrainer2000": knobs.length or plan.max_length, "hf": window_longest, "paper": longest}
        noise[start : start + size] = neftune.noise(
            (size, width),
            alpha=knobs.alpha,
            length=lengths[knobs.variant],
            seed=plan.seed,
            step=step,
            example_key=key,
            variant=knobs.variant,
            device=noise.device,
        )
    return noise


def sums_by_column(logps: Tensor, batch: FlatBatch, num_columns: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return log-probability sums, target counts and a mask of what exists, each [B, num_columns], without gold."""
    sums, counts = losses.per_sequence(logps, batch.target_sequence, len(batch.counts))
    here = batch.column >= 0
    cell = (batch.sequence_member * num_columns + batch.column)[here]
    shape = (len(batch.members), num_columns)
    flat = len(batch.members) * num_columns
    return (
        sums.new_zeros(flat).index_copy(0, cell, sums[here]).view(shape),
        counts.new_zeros(flat).index_copy(0, cell, counts[here]).view(shape),
        torch.zeros(flat, dtype=torch.bool, device=cell.device).index_fill(0, cell, True).view(shape),
    )


def objective(
    logps: Tensor,
    batch: FlatBatch,
    plan: TrainPlan,
    totals: Totals,
    reference: Tensor | None = None,
    greedy: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return this micro-batch's part of the window's loss (the parts add up to it), and of its metrics.

    reference: [B, columns] summed log-probabilities of the reference model, where the objective needs one.
    greedy: [N], True for each target where no other token is more likely.
    """
    metrics: dict[str, Tensor] = {}
    loss = logps.new_zeros(())
    group = _group(logps, batch, reference) if plan.objective.comparing else None
    for weight, term in plan.objective.terms:
        if isinstance(term, Likelihood):
            mine = batch.column[batch.target_sequence] == plan.ce_column
            ours, sequence = logps[mine], batch.target_sequence[mine]
            total = losses.reduce(term(ours), sequence, len(batch.counts), plan.reduction)[0]
            loss = loss + weight * total / totals.ce
            metrics |= _likelihood_metrics(ours.detach(), None if greedy is None else greedy[mine], term, totals)
        else:
            assert group is not None
            each = term(group)
            # microbatch_mean averages means of micro-batches, of the comparison too
            share = len(batch.members) * totals.ce if plan.reduction == "microbatch_mean" else totals.examples
            loss = loss + weight * each.sum() / share
            metrics |= _comparison_metrics(each.detach(), group, term, totals)
    metrics["loss"] = loss.detach()
    return loss, metrics


def _group(logps: Tensor, batch: FlatBatch, reference: Tensor | None) -> Group:
    columns = int(batch.column.max()) + 1
    sums, counts, exists = sums_by_column(logps, batch, columns)
    return Group(sums, counts, exists, None if reference is None else reference[:, :columns])


def _likelihood_metrics(logps: Tensor, greedy: Tensor | None, term: Likelihood, totals: Totals) -> dict[str, Tensor]:
    metrics = {"ce": -logps.sum() / max(1, totals.label_tokens)}
    if greedy is not None:
        metrics["token_acc"] = greedy.sum() / max(1, totals.label_tokens)
    if term.mixce is not None:
        metrics["mixce_reverse"] = -(logps.exp() * logps).sum() / max(1, totals.label_tokens)
    return metrics


@torch.no_grad()
def _comparison_metrics(each: Tensor, group: Group, term: Comparing, totals: Totals) -> dict[str, Tensor]:
    """Compute a comparison's metrics. Accuracy and margin are of the values that the term compares: relative to the
    reference where it has one, as TRL's `rewards/accuracies` and `rewards/margins` are."""
    rewards = term.rewards(group)
    margins = rewards[:, :1] - rewards[:, 1:]
    metrics = {
        term.metric: each.sum(),
        "accuracy": group.mean_rejected((margins > 0).to(each.dtype)).sum(),
        "margin": group.mean_rejected(margins).sum(),
        "chosen_logp": group.scores[:, 0].sum(),
        "rejected_logp": group.mean_rejected(group.scores[:, 1:]).sum(),
    }
    if term.needs_reference:
        metrics |= {
            "chosen_reward": rewards[:, 0].sum(),
            "rejected_reward": group.mean_rejected(rewards[:, 1:]).sum(),
        }
    return {name: value / totals.examples for name, value in metrics.items()}
