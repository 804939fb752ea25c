"""Losses of the rivals against numbers recorded from their own implementations, through our flat micro-batches."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from memphis.config.sections import Optim
from memphis.data.tokens import Example, Sequence
from memphis.losses import LOSSES
from memphis.training.batches import flatten
from memphis.training.objective import Totals, objective
from memphis.training.plan import TrainPlan

GOLDEN = Path(__file__).parent.parent / "golden" / "rivals"
PROMPT = [1, 2]


def completion(length: int) -> Sequence:
    """A prompt of two tokens, then so many targets."""
    return Sequence([*PROMPT, *range(3, 3 + length)], [-100, -100, *range(3, 3 + length)])


def cases(name: str) -> list[dict[str, Any]]:
    return json.loads((GOLDEN / f"{name}.json").read_text())["cases"]


@pytest.mark.parametrize(("reduction", "recorded"), [("token", "outputs"), ("sequence", "outputs_sequence_normalised")])
@pytest.mark.parametrize("number", range(len(cases("irpo"))))
def test_irpo(number: int, reduction: Any, recorded: str) -> None:
    case = cases("irpo")[number]
    given, expected = case["inputs"], case[recorded]
    examples = [
        Example(str(i), (completion(len(chosen)), completion(len(rejected))), len(PROMPT))
        for i, (chosen, rejected) in enumerate(zip(given["chosen"], given["rejected"], strict=True))
    ]
    loss = LOSSES["irpo"](beta=given["beta"], alpha=given["alpha"])
    plan = TrainPlan(
        family="rank", objective=loss, epochs=1, global_batch_size=4, optim=Optim(lr=1e-5), seed=0, reduction=reduction
    )
    batch = flatten(examples, range(len(examples)))
    flat = [logp for pair in zip(given["chosen"], given["rejected"], strict=True) for side in pair for logp in side]
    logps = torch.tensor(flat, dtype=torch.float64, requires_grad=True)
    reference = torch.tensor([given["ref_chosen"], given["ref_rejected"]], dtype=torch.float64).T
    total, metrics = objective(logps, batch, plan, Totals.of([batch], plan), reference)
    total.backward()

    assert total.item() == pytest.approx(expected["loss"], rel=1e-12)
    gradients = zip(expected["grad_chosen"], expected["grad_rejected"], strict=True)
    expected_flat = [value for pair in gradients for side in pair for value in side]
    assert logps.grad is not None
    torch.testing.assert_close(logps.grad, torch.tensor(expected_flat, dtype=torch.float64), rtol=1e-10, atol=1e-12)
    rewards = given["beta"] * (torch.tensor([sum(row) for row in given["chosen"]]) - torch.tensor(given["ref_chosen"]))
    assert metrics["chosen_reward"].item() == pytest.approx(rewards.mean().item(), rel=1e-6)
