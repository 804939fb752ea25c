"""Size of Adalite's steps relative to the weights, known before training from learning rate, schedule and length.

Adalite scales a tensor's step to |p| / |g| times |g| / sqrt(c), where its statistic c gathers `eps` at every step:
c(1) = eps, c(t) = (1 - t^-beta_decay) c(t-1) + eps + what squared gradients add. Where gradient elements are far below
sqrt(eps) they add nothing, so the step has the relative size lr * gain(t), gain(t) = 1 / sqrt(c(t)), whatever the model
and the loss. Elsewhere c is larger and the step smaller: the size given here is a bound. The pull of norms to 1
(`decay`) is left out; it moves weights by about lr * decay.
"""

import math

from memphis.methods.schedules import SCHEDULES


def gains(steps: int, eps: float = 1e-5, beta_decay: float = 0.8) -> list[float]:
    """Return the relative size of a step at learning rate 1, for steps 1 ... `steps`: 316, 265, 234 … by default."""
    found, statistic = [], 0.0
    for step in range(1, steps + 1):
        statistic = (1 - step**-beta_decay) * statistic + eps
        found.append(1 / math.sqrt(statistic))
    return found


def peak_factor(
    steps: int, warmup_ratio: float, schedule: str = "cosine", eps: float = 1e-5, beta_decay: float = 0.8
) -> float:
    """Return the largest relative step of a run of `steps` steps, divided by its peak learning rate.

    0 if all steps are warm-up steps at rate 0. Raises ValueError if steps < 1 or warmup_ratio is outside [0, 1].
    """
    factor = SCHEDULES[schedule]
    return max(factor(k, steps, warmup_ratio) * gain for k, gain in enumerate(gains(max(1, steps), eps, beta_decay)))
