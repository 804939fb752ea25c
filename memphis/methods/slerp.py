"""Spherical interpolation of weights: the mathematics of one tensor, or of a model read in pieces.

A merge that streams checkpoints adds up `products` over pieces, calls `coefficients` once, then `blend`s piece by
piece. Source: Shoemake 1985; the per-tensor form of mergekit (arcee-ai/mergekit).
"""

import math
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

ZERO_NORM = 1e-8  # mergekit: a vector this short is not normalised, so it counts as orthogonal to everything
PIECE = 1 << 17  # elements whose float64 copies are alive at once: 1 MiB each stays in cache, 8 MiB is 5 times slower


def slerp(previous: Tensor, updated: Tensor, t: float, dot_threshold: float = 0.9995) -> Tensor:
    """Interpolate `t` of the way from `previous` to `updated` along the arc between their directions.

    Both are taken as single flat vectors of any shape. The coefficients sin((1 - t)w)/sin(w) and sin(t w)/sin(w), w
    being the angle between them, apply to the vectors as they are: lengths are blended, not normalised.

    t: weight of `updated`. 0 returns `previous` itself, 1 `updated`; bit-equal tensors (frozen weights) are not copied.
    dot_threshold: above this |cosine| (nearly parallel, or opposite) the blend is linear.
    Returns the dtype of the inputs; the arithmetic is float64.
    Raises ValueError if shapes or dtypes differ, a blended tensor is not floating point or not finite, or t is outside
        [0, 1].
    """
    _check_t(t)
    if previous.shape != updated.shape or previous.dtype != updated.dtype:
        raise ValueError(
            f"cannot interpolate {tuple(previous.shape)} {previous.dtype} with {tuple(updated.shape)} {updated.dtype}"
        )
    if not previous.is_floating_point() and not torch.equal(previous, updated):
        raise ValueError(f"cannot interpolate tensors of {previous.dtype}")
    if t == 0 or torch.equal(previous, updated):
        return previous
    if t == 1:
        return updated
    dot, previous_square, updated_square = products(previous, updated)
    both = coefficients(dot, math.sqrt(previous_square), math.sqrt(updated_square), t, dot_threshold)
    return blend(previous, updated, *both)


def products(previous: Tensor, updated: Tensor) -> tuple[float, float, float]:
    """Return (sum of previous * updated, sum of previous², sum of updated²) in float64; those of pieces add up."""
    dot = previous_square = updated_square = 0.0
    for a, b in _pieces(previous, updated):
        dot += torch.dot(a, b).item()
        previous_square += torch.dot(a, a).item()
        updated_square += torch.dot(b, b).item()
    return dot, previous_square, updated_square


def angle(dot: float, norm_prev: float, norm_upd: float) -> float:
    """Return the angle between two vectors in radians, 0 ... pi; pi/2 if one is zero; below 1e-7 mere rounding."""
    return math.acos(_cosine(dot, norm_prev, norm_upd))


def coefficients(
    dot: float,
    norm_prev: float,
    norm_upd: float,
    t: float,
    dot_threshold: float = 0.9995,
    method: Literal["slerp", "lerp"] = "slerp",
) -> tuple[float, float]:
    """Return the numbers (c_prev, c_upd) of the result c_prev * previous + c_upd * updated.

    dot: sum of previous * updated, not normalised. norm_prev, norm_upd: Frobenius norms.
    method: "lerp" is linear whatever the angle.
    Raises ValueError if t is outside [0, 1], the method is unknown or a number is not finite.
    """
    _check_t(t)
    if method not in ("slerp", "lerp"):
        raise ValueError(f"method {method!r} is neither slerp nor lerp")
    cosine = _cosine(dot, norm_prev, norm_upd)
    sine = math.sqrt(1 - cosine * cosine)
    # t = 0 and 1 are exact in linear form; a vanishing sine is left only where dot_threshold = 1
    if method == "lerp" or t in (0, 1) or abs(cosine) > dot_threshold or sine < 1e-7:
        return 1 - t, t
    theta = math.acos(cosine)
    return math.sin((1 - t) * theta) / sine, math.sin(t * theta) / sine


def blend(previous: Tensor, updated: Tensor, c_prev: float, c_upd: float) -> Tensor:
    """Return c_prev * previous + c_upd * updated, in float64, rounded once to the dtype of `previous`."""
    out = torch.empty(previous.numel(), dtype=previous.dtype, device=previous.device)
    start = 0
    for a, b in _pieces(previous, updated):
        out[start : start + a.numel()] = (a * c_prev).add_(b, alpha=c_upd)
        start += a.numel()
    return out.view(previous.shape)


def _pieces(previous: Tensor, updated: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    a, b = previous.detach().reshape(-1), updated.detach().reshape(-1)
    for start in range(0, a.numel(), PIECE):
        yield a[start : start + PIECE].double(), b[start : start + PIECE].double()


def _cosine(dot: float, norm_prev: float, norm_upd: float) -> float:
    if not math.isfinite(dot + norm_prev + norm_upd):
        raise ValueError("weights to interpolate hold NaN or infinity")
    for norm in (norm_prev, norm_upd):
        dot = dot / norm if norm > ZERO_NORM else dot
    return min(1.0, max(-1.0, dot))


def _check_t(t: float) -> None:
    if not 0 <= t <= 1:
        raise ValueError(f"t={t} is outside [0, 1]")
