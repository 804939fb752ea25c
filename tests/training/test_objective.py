"""Tests of the window's loss in flat micro-batches against numbers recorded from the original trainer."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from memphis.config.sections import Optim
from memphis.data.tokens import Example, Sequence
from memphis.losses import CrossEntropy, RankLoss
from memphis.training.batches import flatten
from memphis.training.objective import Totals, objective
from memphis.training.train_plan import TrainPlan

GOLDEN = Path(__file__).parent.parent / "golden"
PLAN = TrainPlan(family="sft", epochs=1, global_batch_size=4, optim=Optim(lr=1e-5), seed=0)


def golden(name: str) -> list[dict]:
    return json.loads((GOLDEN / f"{name}.json").read_text())["cases"]


def from_labels(labels: list[int]) -> Sequence:
    return Sequence([max(0, label) for label in labels], labels)


def window_loss(
    examples: list[Example], groups: list[list[int]], logits: list[Tensor], plan: TrainPlan
) -> tuple[Tensor, dict]:
    """Return a window's loss and summed metrics. logits: [T-1, V] of every sequence, in micro-batch order."""
    batches = [flatten(examples, members) for members in groups]
    totals = Totals.of(batches, plan)
    total, sums = torch.zeros((), dtype=torch.float64), {}
    rows = iter(logits)
    for batch in batches:
        parts = []
        for sequence in range(len(batch.counts)):
            example = examples[batch.members[batch.sequence_member[sequence]]]
            column = int(batch.column[sequence])
            labels = example.gold.labels if column < 0 else example.sequences[column].labels
            logps = torch.log_softmax(next(rows), -1)
            parts += [logps[i - 1, label] for i, label in enumerate(labels) if i and label != -100]
        loss, metrics = objective(torch.stack(parts), batch, plan, totals)
        total = total + loss
        for name, value in metrics.items():
            sums[name] = sums.get(name, 0) + value
    return total, sums


@pytest.mark.parametrize("case", golden("accumulation"), ids=lambda case: case["name"])
@pytest.mark.parametrize("reduction", ["microbatch_mean", "token", "sequence"])
def test_accumulation(case: dict, reduction: str) -> None:
    examples = [Example(str(i), (from_labels(labels),), 0) for i, labels in enumerate(case["labels"])]
    logits = torch.tensor(case["logits"], dtype=torch.float64, requires_grad=True)
    order = [i for group in case["microbatches"] for i in group]
    plan = replace(PLAN, objective=CrossEntropy(mixce=case["mixce"]), reduction=reduction)
    loss, _ = window_loss(examples, case["microbatches"], [logits[i] for i in order], plan)
    loss.backward()
    expected = case["expected"][reduction]
    assert loss.item() == pytest.approx(expected["loss"], rel=1e-10)
    torch.testing.assert_close(
        logits.grad, torch.tensor(expected["grad_logits"], dtype=torch.float64), rtol=0, atol=1e-10
    )


COMBINED = [case for case in golden("combined_loss") if not case["hyper"]["detach_negatives"]]


@pytest.mark.parametrize("case", COMBINED, ids=lambda case: case["name"])
def test_cross_entropy_and_rank(case: dict) -> None:
    examples = [Example(str(i), tuple(map(from_labels, group)), 0) for i, group in enumerate(case["labels"])]
    logits = torch.tensor(case["logits"], dtype=torch.float64, requires_grad=True)
    hyper = case["hyper"]
    plan = replace(
        PLAN,
        objective=RankLoss(weight=hyper["beta"], use_average=hyper["use_average"], mixce=hyper["mixce"]),
    )
    groups = [[i] for i in range(len(examples))]  # the cut must not matter
    loss, sums = window_loss(examples, groups, list(logits.flatten(0, 1)), plan)
    loss.backward()
    expected = case["expected"]
    assert loss.item() == pytest.approx(expected["loss"], rel=1e-10)
    assert sums["rank_loss"].item() == pytest.approx(expected["rank_loss"], rel=1e-10)
    torch.testing.assert_close(
        logits.grad, torch.tensor(expected["grad_logits"], dtype=torch.float64), rtol=0, atol=1e-10
    )


@pytest.mark.parametrize("case", golden("ce_target"), ids=lambda case: case["name"])
def test_cross_entropy_target(case: dict) -> None:
    """Check the target with a bigram table as the model, so that prompts can be shared as in training."""
    table = torch.tensor(case["bigram_table"], dtype=torch.float64, requires_grad=True)
    examples = []
    for i, row in enumerate(case["rows"]):
        sequences = [Sequence(ids, labels) for ids, labels in zip(row["input_ids"], row["labels"], strict=True)]
        gold = Sequence(row["ce_ids"], row["ce_labels"]) if case["ce_target"] == "gold" else None
        examples.append(Example(str(i), tuple(sequences), 2, gold))
    plan = replace(PLAN, objective=RankLoss(weight=case["beta"], ce_target=case["ce_target"]))
    batch = flatten(examples, range(len(examples)))
    logps = table.log_softmax(1)[batch.input_ids[batch.predictors], batch.targets]
    greedy = table.detach()[batch.input_ids[batch.predictors]].argmax(1) == batch.targets
    loss, metrics = objective(logps, batch, plan, Totals.of([batch], plan), greedy=greedy)
    loss.backward()
    expected = case["expected"]
    mine = batch.column[batch.target_sequence] == plan.ce_column
    assert metrics["token_acc"].item() == pytest.approx(greedy[mine].double().mean().item())
    assert loss.item() == pytest.approx(expected["loss"], rel=1e-10)
    assert metrics["ce"].item() == pytest.approx(expected["lm_loss"], rel=1e-10)
    torch.testing.assert_close(
        table.grad, torch.tensor(expected["grad_table"], dtype=torch.float64), rtol=0, atol=1e-10
    )


def test_microbatch_mean_of_pairs_averages_micro_batches() -> None:
    case = COMBINED[0]
    examples = [Example(str(i), tuple(map(from_labels, group)), 0) for i, group in enumerate(case["labels"])]
    logits = torch.tensor(case["logits"], dtype=torch.float64)
    plan = replace(PLAN, objective=RankLoss())
    each = [window_loss([e], [[0]], list(logits[i]), plan)[0] for i, e in enumerate(examples)]
    mean, _ = window_loss(
        examples,
        [[i] for i in range(len(examples))],
        list(logits.flatten(0, 1)),
        replace(plan, reduction="microbatch_mean"),
    )
    assert mean.item() == pytest.approx(torch.stack(each).mean().item(), rel=1e-12)
