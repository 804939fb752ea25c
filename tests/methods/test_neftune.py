import math

import pytest
import torch

from memphis.methods.neftune import from_uniform, noise, noise_scale

KEYS = {"seed": 0, "step": 3, "example_key": 17}


def draw(shape=(300, 64), *, variant="paper", alpha=10.0, length=300, **keys):
    return noise(shape, alpha=alpha, length=length, variant=variant, **{**KEYS, **keys})


def test_the_scales_of_the_card():
    assert noise_scale(10, 4096, 2560) == pytest.approx(0.00309, abs=5e-6)
    assert noise_scale(10, 1024, 2560) == pytest.approx(0.00618, abs=5e-6)
    assert noise_scale(10, 300, 2560) == pytest.approx(0.0114, abs=5e-5)


@pytest.mark.parametrize(
    ("variant", "low", "mean", "std"), [("supertrainer2000", 0, 0.5, 12), ("hf", -1, 0, 3), ("paper", -1, 0, 3)]
)
def test_range_mean_and_spread(variant, low, mean, std):
    scale = noise_scale(10, 300, 64)
    values = draw(variant=variant) / scale
    assert values.dtype == torch.float32
    assert values.min() >= low
    assert values.max() <= 1 + 1e-6
    assert values.mean().item() == pytest.approx(mean, abs=0.02)
    assert values.std().item() == pytest.approx(1 / math.sqrt(std), rel=0.02)


def test_a_draw_belongs_to_seed_step_and_example_alone():
    first = draw()
    torch.manual_seed(5)
    torch.rand(1000)
    draw(example_key=18)
    assert torch.equal(draw(), first)  # regardless of draws in between
    others = [draw(seed=1), draw(step=4), draw(example_key=18), draw(seed=3, step=0)]
    for other in others:
        assert not torch.equal(other, first)
    flat = torch.stack([first, *others]).flatten(1).double()
    assert (torch.corrcoef(flat) - torch.eye(5)).abs().max() < 0.05


def test_it_leaves_the_global_generator_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    draw()
    assert torch.equal(torch.rand(3), expected)


def test_variants_differ_only_in_form():
    paper, one_sided = draw(variant="paper"), draw(variant="supertrainer2000")
    torch.testing.assert_close(paper, 2 * one_sided - noise_scale(10, 300, 64))
    torch.testing.assert_close(draw(alpha=5.0), draw() / 2)
    assert not draw(alpha=0.0).any()


def test_unknown_variant():
    with pytest.raises(ValueError, match="variant 'gauss'"):
        from_uniform(torch.zeros(2), 1.0, "gauss")
