import math

import pytest
import torch

from memphis.methods import slerp as module
from memphis.methods.slerp import angle, blend, coefficients, products, slerp


def pair(degrees: float, dtype=torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    a = torch.tensor([[1.0, 0.0], [0.0, 0.0]], dtype=dtype)
    theta = math.radians(degrees)
    return a, torch.tensor([[math.cos(theta), math.sin(theta)], [0.0, 0.0]], dtype=dtype)


def test_by_hand():
    x, y = pair(90)
    half = math.sqrt(0.5)
    torch.testing.assert_close(slerp(x, y, 0.5), torch.tensor([[half, half], [0, 0]], dtype=torch.float64))
    # 2 and 1 long, 60 degrees apart, a third of the way: sin 40 / sin 60 of one and sin 20 / sin 60 of the other
    x, y = pair(60)
    c = [math.sin(math.radians(d)) / math.sin(math.radians(60)) for d in (40, 20)]
    torch.testing.assert_close(slerp(2 * x, y, 1 / 3), 2 * c[0] * x + c[1] * y)


def test_ends_and_equal_tensors_come_back_bit_for_bit():
    previous, updated = torch.randn(3, 5), torch.randn(3, 5)
    assert slerp(previous, updated, 0.0) is previous
    assert slerp(previous, updated, 1.0) is updated
    for t in (0.01, 0.3, 0.99):
        assert torch.equal(slerp(previous, previous.clone(), t), previous)


def test_unit_vectors_stay_on_the_sphere_and_the_arc():
    x, y = pair(75)
    for t in (0.1, 0.5, 0.9):
        z = slerp(x, y, t)
        assert z.norm().item() == pytest.approx(1, abs=1e-12)
        assert angle(*_norms(x, z)) == pytest.approx(t * math.radians(75), abs=1e-12)


def test_exchange():
    x, y = torch.randn(7, dtype=torch.float64), torch.randn(7, dtype=torch.float64)
    torch.testing.assert_close(slerp(x, y, 0.3), slerp(y, x, 0.7))


def test_linear_above_the_threshold_on_both_sides():
    for degrees in (1.8, 178.3, 180):
        x, y = pair(degrees)
        torch.testing.assert_close(slerp(x, y, 0.25), 0.75 * x + 0.25 * y, rtol=0, atol=1e-15)
    x, y = pair(1.82)  # arccos(0.9995) is 1.81 degrees
    assert slerp(x, y, 0.5).norm().item() == pytest.approx(1, abs=1e-12)
    x, y = pair(1.80)
    assert slerp(x, y, 0.5).norm().item() == pytest.approx(math.cos(math.radians(0.9)), abs=1e-12)
    assert not slerp(*pair(180), 0.5)[0].abs().gt(1e-15).any()  # opposite vectors pass through zero


def test_near_parallel_with_the_threshold_open():
    for degrees in (0, 1e-9, 1e-6, 0.1, 180):
        result = slerp(*pair(degrees), 0.3, dot_threshold=1.0)
        assert result.isfinite().all()
        assert result.norm() <= 1 + 1e-9


def test_zero_vectors_count_as_orthogonal():
    zero, x = torch.zeros(4), torch.randn(4)
    torch.testing.assert_close(slerp(zero, x, 0.99), math.sin(0.99 * math.pi / 2) * x)
    torch.testing.assert_close(slerp(x, zero, 0.99), math.sin(0.01 * math.pi / 2) * x)
    assert not slerp(zero, torch.full((4,), 1e-20), 0.5).gt(1e-20).any()
    assert angle(0.0, 0.0, 1.0) == math.pi / 2
    torch.testing.assert_close(slerp(x * 1e-9 / x.norm(), x, 0.5), math.sqrt(0.5) * x)  # too short to have a direction
    torch.testing.assert_close(slerp(x * 1e-7 / x.norm(), x, 0.5), 0.5 * x)


def test_a_small_update_survives_and_untouched_elements_do_not_move():
    torch.manual_seed(0)
    previous = torch.randn(10_000)
    updated = previous.clone()
    updated[::2] *= 1 + 1e-3
    result = slerp(previous, updated, 0.99)
    assert torch.equal(result[1::2], previous[1::2])
    moved = (result - previous)[::2] / (updated - previous)[::2]
    assert moved.median().item() == pytest.approx(0.99, abs=1e-3)


def test_read_in_pieces_is_the_same(monkeypatch):
    torch.manual_seed(0)
    previous, updated = torch.randn(50, 21), torch.randn(50, 21)
    whole = slerp(previous, updated, 0.3)
    monkeypatch.setattr(module, "PIECE", 64)
    assert torch.equal(slerp(previous, updated, 0.3), whole)
    rows = [slice(0, 7), slice(7, 8), slice(8, 50)]
    sums = torch.tensor([products(previous[r], updated[r]) for r in rows], dtype=torch.float64).sum(0).tolist()
    both = coefficients(sums[0], math.sqrt(sums[1]), math.sqrt(sums[2]), 0.3, 0.9995)
    assert torch.equal(torch.cat([blend(previous[r], updated[r], *both) for r in rows]), whole)


def test_products_are_summed_in_float64():
    many = torch.full((1 << 21,), 0.1)
    exact = many[0].double().item() ** 2 * many.numel()
    assert products(many, many) == pytest.approx((exact,) * 3, rel=1e-10)  # in float32: 7e-4
    x = torch.randn(1000, dtype=torch.bfloat16)
    assert products(x, x)[0] == pytest.approx(x.double().square().sum().item(), rel=1e-12)


def test_angle_of_a_small_step():
    x, y = pair(math.degrees(1e-4))
    assert angle(*_norms(x, y)) == pytest.approx(1e-4, rel=1e-6)


def test_dtype_and_layout():
    for dtype in (torch.bfloat16, torch.float16, torch.float32, torch.float64):
        x, y = pair(90, dtype)
        assert slerp(x, y, 0.5).dtype == dtype
    x, y = torch.randn(4, 6), torch.randn(4, 6)
    torch.testing.assert_close(slerp(x.T, y.T, 0.4), slerp(x, y, 0.4).T)
    assert slerp(torch.tensor(2.0), torch.tensor(-4.0), 0.5).item() == -1  # 0-D, opposite: linear
    assert slerp(torch.empty(0), torch.empty(0), 0.5).shape == (0,)
    step = torch.tensor([7])
    assert slerp(step, step.clone(), 0.5) is step  # equal counters pass; unequal ones cannot be merged


def test_lerp():
    assert coefficients(0.0, 1.0, 1.0, 0.25, method="lerp") == (0.75, 0.25)
    assert coefficients(0.0, 1.0, 1.0, 0.5) == pytest.approx((math.sqrt(0.5),) * 2)
    assert coefficients(0.0, 1.0, 1.0, 0.0) == (1, 0)
    assert coefficients(0.0, 1.0, 1.0, 1.0) == (0, 1)


@pytest.mark.parametrize(
    ("previous", "updated", "t", "message"),
    [
        (torch.zeros(2, 3), torch.zeros(3, 2), 0.5, "cannot interpolate"),
        (torch.zeros(2), torch.zeros(2).double(), 0.5, "cannot interpolate"),
        (torch.tensor([1]), torch.tensor([2]), 0.5, "cannot interpolate"),
        (torch.zeros(2), torch.ones(2), 1.01, "outside"),
        (torch.zeros(2), torch.ones(2), -0.01, "outside"),
        (torch.zeros(2), torch.ones(2), float("nan"), "outside"),
        (torch.zeros(2), torch.tensor([1, float("nan")]), 0.5, "NaN or infinity"),
    ],
)
def test_refuses(previous, updated, t, message):
    with pytest.raises(ValueError, match=message):
        slerp(previous, updated, t)


def test_coefficients_refuse():
    with pytest.raises(ValueError, match="outside"):
        coefficients(0.0, 1.0, 1.0, 2.0)
    with pytest.raises(ValueError, match="neither slerp nor lerp"):
        coefficients(0.0, 1.0, 1.0, 0.5, method="linear")


def _norms(x, y):
    dot, xx, yy = products(x, y)
    return dot, math.sqrt(xx), math.sqrt(yy)
