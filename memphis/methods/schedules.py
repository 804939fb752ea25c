"""Learning-rate factors in the Hugging Face convention: step 0 of a warm-up has factor 0, the last step is above 0."""

import math
from collections.abc import Callable


def cosine(step: int, total: int, warmup_ratio: float) -> float:
    """Return factor of optimizer step `step` (0 ... total - 1): linear warm-up, then half a cosine from 1 towards 0.

    The warm-up takes ceil(warmup_ratio * total) steps. Raises ValueError if step < 0, total < 1 or the ratio is
    outside [0, 1]. Source: transformers get_cosine_schedule_with_warmup.
    """
    return _factor(step, total, warmup_ratio, lambda progress: 0.5 * (1 + math.cos(math.pi * progress)))


def linear(step: int, total: int, warmup_ratio: float) -> float:
    """Return a factor like `cosine`, but falling linearly. Source: transformers get_linear_schedule_with_warmup."""
    return _factor(step, total, warmup_ratio, lambda progress: 1 - progress)


def constant(step: int, total: int, warmup_ratio: float) -> float:
    """Return a factor like `cosine`, but staying at 1 after the warm-up."""
    return _factor(step, total, warmup_ratio, lambda progress: 1.0)


SCHEDULES: dict[str, Callable[[int, int, float], float]] = {"cosine": cosine, "linear": linear, "constant": constant}


def _factor(step: int, total: int, warmup_ratio: float, decay: Callable[[float], float]) -> float:
    if step < 0 or total < 1 or not 0 <= warmup_ratio <= 1:
        raise ValueError(f"no schedule for step={step}, total={total}, warmup_ratio={warmup_ratio}")
    warmup = math.ceil(warmup_ratio * total)  # of the float product, as transformers does: 0.07 * 100 gives 8
    return step / warmup if step < warmup else decay(min(1.0, (step - warmup) / max(1, total - warmup)))
