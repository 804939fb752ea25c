"""Tests of the rival methods' losses in flat micro-batches against numbers recorded from their own implementations."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from memphis.config.sections import Optim
from memphis.data.tokens import Example, Sequence
from memphis.losses import KNOBS, LOSSES
from memphis.training.batches import flatten
from memphis.training.objective import Totals, objective
from memphis.training.train_plan import TrainPlan

GOLDEN = Path(__file__).parent.parent / "golden" / "rivals"
PROMPT = [1, 2]


def completion(length: int) -> Sequence:
    """Return a prompt of two tokens followed by `length` targets."""
    return Sequence([*PROMPT, *range(3, 3 + length)], [-100, -100, *range(3, 3 + length)])


def cases(name: str) -> list[dict[str, Any]]:
    return json.loads((GOLDEN / f"{name}.json").read_text())["cases"]


def run(case: dict[str, Any], loss: Any, reduction: Any) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """Return (loss, metrics, gradient of every target's log-probability in the order chosen, rejected of each pair)."""
    given = case["inputs"]
    examples = [
        Example(str(i), (completion(len(chosen)), completion(len(rejected))), len(PROMPT))
        for i, (chosen, rejected) in enumerate(zip(given["chosen"], given["rejected"], strict=True))
    ]
    optim = Optim(lr=1e-5)
    plan = TrainPlan(
        family="rank", objective=loss, epochs=1, global_batch_size=4, optim=optim, seed=0, reduction=reduction
    )
    batch = flatten(examples, range(len(examples)))
    logps = torch.tensor(alternating(given["chosen"], given["rejected"]), dtype=torch.float64, requires_grad=True)
    reference = torch.tensor([given["ref_chosen"], given["ref_rejected"]], dtype=torch.float64).T
    total, metrics = objective(logps, batch, plan, Totals.of([batch], plan), reference)
    total.backward()
    assert logps.grad is not None
    return total, metrics, logps.grad


def alternating(chosen: list[list[float]], rejected: list[list[float]]) -> list[float]:
    return [value for pair in zip(chosen, rejected, strict=True) for side in pair for value in side]


RECORDED = {
    "outputs": ("irpo", "token"),
    "outputs_sequence_normalised": ("irpo", "sequence"),
    "outputs_dpo_only": ("dpo", "token"),
}


@pytest.mark.parametrize("recorded", RECORDED)
@pytest.mark.parametrize("number", range(len(cases("irpo"))))
def test_dpo_and_irpo_are_those_of_trl(number: int, recorded: str) -> None:
    case = cases("irpo")[number]
    given, expected = case["inputs"], case[recorded]
    name, reduction = RECORDED[recorded]
    knobs = {"beta": given["beta"], "alpha": given["alpha"]}
    loss = LOSSES[name](**{knob: value for knob, value in knobs.items() if knob in KNOBS[name]})
    total, _, gradient = run(case, loss, reduction)
    assert total.item() == pytest.approx(expected["loss"], rel=1e-12)
    wanted = torch.tensor(alternating(expected["grad_chosen"], expected["grad_rejected"]), dtype=torch.float64)
    torch.testing.assert_close(gradient, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("number", range(len(cases("irpo"))))
def test_metrics_are_relative_to_the_reference(number: int) -> None:
    """Compare with TRL's rewards/chosen, /rejected, /margins and /accuracies: beta * (policy - reference)."""
    case = cases("irpo")[number]
    given = case["inputs"]
    _, metrics, _ = run(case, LOSSES["dpo"](beta=given["beta"]), "token")
    pairs = zip(given["chosen"], given["ref_chosen"], given["rejected"], given["ref_rejected"], strict=True)
    rewards = [(given["beta"] * (sum(c) - rc), given["beta"] * (sum(r) - rr)) for c, rc, r, rr in pairs]
    n = len(rewards)
    assert metrics["chosen_reward"].item() == pytest.approx(sum(c for c, _ in rewards) / n)
    assert metrics["rejected_reward"].item() == pytest.approx(sum(r for _, r in rewards) / n)
    assert metrics["margin"].item() == pytest.approx(sum(c - r for c, r in rewards) / n)
    assert metrics["accuracy"].item() == pytest.approx(sum(c > r for c, r in rewards) / n)
