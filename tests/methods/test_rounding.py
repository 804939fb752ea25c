"""Tests of stochastic rounding: right on average, exact where nothing is to be rounded."""

import pytest
import torch

from memphis.methods.adalite import Adalite
from memphis.methods.rounding import stochastic_bfloat16


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_only_neighbours_come_out_with_the_odds_of_their_nearness() -> None:
    below, above = 1.0, 1.0 + 2**-7  # neighbours in bfloat16
    for share in (0.0, 0.25, 0.9):
        values = torch.full((40_000,), below + share * 2**-7)
        for sign in (1, -1):
            rounded = stochastic_bfloat16(sign * values, generator()).float() * sign
            assert set(rounded.tolist()) <= {below, above}
            assert (rounded == above).float().mean().item() == pytest.approx(share, abs=0.01)


def test_the_mean_is_the_number_over_many_magnitudes() -> None:
    values = torch.randn(480, generator=generator(1)) * 10.0 ** torch.arange(-20, 20).repeat_interleave(12)
    total = sum(stochastic_bfloat16(values, generator(seed)).double() for seed in range(400)) / 400
    assert ((total - values.double()).abs() <= 2**-7 * 0.2 * values.abs().double()).all()


def test_what_bfloat16_holds_stays() -> None:
    values = torch.tensor([0.0, -0.0, 1.5, -3.0, torch.inf, -torch.inf])
    assert torch.equal(stochastic_bfloat16(values, generator()).float(), values)
    assert stochastic_bfloat16(torch.tensor([torch.nan]), generator()).isnan().all()
    with pytest.raises(ValueError, match="float32"):
        stochastic_bfloat16(values.double(), generator())


def test_plain_bfloat16_loses_the_rank_stage_and_rounding_at_random_does_not() -> None:
    """Show why master weights are float32: 40 steps of the card's rank learning rate on a 1024 x 1024 weight."""
    draw = generator(3)
    start = (torch.randn(1024, 1024, generator=draw) * 0.02).bfloat16()
    gradient = torch.randn(1024, 1024, generator=draw) * 1e-4  # far below sqrt(eps), as in any large model
    exact, plain, random = (start.float().requires_grad_(), start.clone().requires_grad_(), start.clone())
    widened = random.float().requires_grad_()
    optimizers = [Adalite([p], lr=5e-7) for p in (exact, plain, widened)]
    moved = []
    for step in range(40):
        before = plain.detach().clone()
        with torch.no_grad():
            widened.copy_(random)
        for p, optimizer in zip((exact, plain, widened), optimizers, strict=True):
            p.grad = gradient.to(p.dtype)
            optimizer.step()
        random = stochastic_bfloat16(widened.detach(), generator(step))
        moved.append((plain != before).float().mean().item())
    assert moved[0] == pytest.approx(0.037, abs=0.004)
    assert sum(moved) / 40 == pytest.approx(0.016, abs=0.002)
    intended = (exact - start.float()).detach()

    def realized(p: torch.Tensor) -> float:
        return (((p.float() - start.float()) * intended).sum() / intended.square().sum()).item()

    assert realized(plain.detach()) == pytest.approx(0.044, abs=0.006)
    assert realized(random) == pytest.approx(1.0, abs=0.01)
