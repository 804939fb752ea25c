"""Statistics of differences over seeds: mean, standard deviation and the paired t-test. Pure numbers.

The unit is a run: its score is one number, and runs of two arms with the same seed are a pair, because they share data,
base model and SFT. The interval and the p-value are those of Student's t for so few pairs.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LEVEL = 0.95  # of intervals


@dataclass(frozen=True)
class Spread:
    """Mean of n values, and their standard deviation (n - 1); None for a single value."""

    mean: float
    sd: float | None
    n: int

    @property
    def error(self) -> float | None:
        """Standard error of the mean."""
        return None if self.sd is None else self.sd / math.sqrt(self.n)


@dataclass(frozen=True)
class Difference:
    """Mean of n paired differences, its standard error, its interval and two-sided p-value.

    One pair of runs says nothing about chance: then the difference is that of the items (`items` True), with an exact
    test, and holds for these two models alone. error is None if only an interval is known; low, high and p are None if
    nothing is known.
    """

    mean: float
    error: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    n: int = 1
    items: bool = False


def spread(values: Sequence[float]) -> Spread:
    """Return the spread of values. Raises ValueError for no values."""
    if not values:
        raise ValueError("no values")
    mean = sum(values) / len(values)
    if len(values) == 1:
        return Spread(mean, None, 1)
    return Spread(mean, math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1)), len(values))


def paired(values: Mapping[int, float], baseline: Mapping[int, float]) -> Difference | None:
    """Return `values` minus `baseline` (seed -> score) over the seeds that both have; None when there is none."""
    seeds = sorted(values.keys() & baseline.keys())
    if not seeds:
        return None
    found = spread([values[seed] - baseline[seed] for seed in seeds])
    if found.error is None:
        return Difference(found.mean)
    if found.error < 1e-12:  # the same difference every time, rounding apart: no spread to judge it by
        if abs(found.mean) > 1e-12:
            return Difference(found.mean, 0.0, n=found.n)
        return Difference(0.0, 0.0, 0.0, 0.0, 1.0, found.n)
    from scipy.special import stdtr, stdtrit  # takes half a second, which would slow `--help` down

    half = float(stdtrit(found.n - 1, (1 + LEVEL) / 2)) * found.error
    p = 2 * float(stdtr(found.n - 1, -abs(found.mean / found.error)))
    return Difference(found.mean, found.error, found.mean - half, found.mean + half, p, found.n)
