"""Tests of the size of Adalite's steps: the law against numbers by hand and against the optimizer itself."""

import pytest
import torch

from memphis.methods.adalite import Adalite
from memphis.methods.relative_step import gains, peak_factor
from memphis.methods.schedules import cosine


def test_gains_are_those_measured_before() -> None:
    found = gains(1000)
    for step, gain in {1: 316, 2: 265, 3: 234, 10: 150, 50: 77, 100: 58, 1000: 22}.items():
        assert found[step - 1] == pytest.approx(gain, rel=0.01)
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize("variant", ["jan31", "feb5"])
@pytest.mark.parametrize(("eps", "beta_decay"), [(1e-5, 0.8), (1e-3, 0.5), (1e-5, 0.0)])
def test_a_step_on_small_gradients_has_the_size_of_the_law(variant: str, eps: float, beta_decay: float) -> None:
    generator = torch.Generator().manual_seed(0)
    weights = [torch.nn.Parameter(torch.randn(*shape, generator=generator)) for shape in ((24, 40), (64,))]
    lr = 1e-4
    optimizer = Adalite(weights, lr, eps=eps, decay=0.0, beta_decay=beta_decay, variant=variant)  # type: ignore[arg-type]
    for gain in gains(12, eps, beta_decay):
        before = [p.detach().clone() for p in weights]
        for p in weights:
            p.grad = 1e-5 * torch.randn(p.shape, generator=generator)
        optimizer.step()
        for old, new in zip(before, weights, strict=True):
            assert ((new - old).norm() / old.norm()).item() == pytest.approx(lr * gain, rel=1e-3)


def test_it_is_a_bound_where_gradients_are_large() -> None:
    weight = torch.nn.Parameter(torch.randn(24, 40, generator=torch.Generator().manual_seed(0)))
    optimizer = Adalite([weight], 1e-4, decay=0.0)
    for scale, gain in zip((1e-3, 1e-2, 1e-1, 1.0, 1e-4), gains(5), strict=True):
        before = weight.detach().clone()
        weight.grad = scale * torch.randn(24, 40, generator=torch.Generator().manual_seed(1))
        optimizer.step()
        assert ((weight - before).norm() / before.norm()).item() < 1e-4 * gain


def test_the_peak_is_the_largest_step_of_the_schedule() -> None:
    assert peak_factor(13, 0.2) == pytest.approx(gains(4)[-1])  # 3 steps of warm-up
    assert peak_factor(13, 1.0) == max(cosine(k, 13, 1.0) * gain for k, gain in enumerate(gains(13)))
    assert peak_factor(5, 0.0, "constant") == gains(1)[0]
    assert peak_factor(1, 0.2) == 0  # a single step of warm-up has rate 0
    with pytest.raises(ValueError, match="no schedule"):
        peak_factor(5, 1.1)
