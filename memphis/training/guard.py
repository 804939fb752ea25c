"""Guard of a training run: it stops one that destroys the model, and warns of steps that are too long or nothing."""

import math
from typing import Any, NoReturn

from memphis.errors import MemphisError
from memphis.methods.schedules import SCHEDULES
from memphis.training.train_plan import TrainPlan

# A model is destroyed if its cross-entropy (nats a token) is above that before training by RISE and above this share of
# ln(vocabulary), which is what guessing gives: either alone may be a hard row, or a model that begins to learn.
RISE, SHARE = 1.0, 0.8
# Such steps in a row that stop a run: one may be an odd window.
IN_A_ROW = 2
# A warning: a step this many times as long as the scale's own, or longer than LONG if the scale states none.
TIMES, LONG = 10, 0.01


class Guard:
    """Judge of every step of a run, by plain numbers in `state`, which checkpoints hold.

    vocabulary: rows of the embedding. total: the run's steps.
    """

    def __init__(self, plan: TrainPlan, vocabulary: int, total: int) -> None:
        self.plan, self.total = plan, total
        self.limit = SHARE * math.log(vocabulary)
        # before: the loss of the scored rows. start: that or, where it is higher, the first step's, which has noise.
        self.state: dict[str, Any] = {"before": 0.0, "start": None, "high": 0, "update_ratio": 0.0}

    def step(self, number: int, row: dict[str, Any]) -> None:
        """Judge a step whose loss was finite. number: from 1. row: its metrics; the loss is that before the update.

        Raises MemphisError if the model is destroyed.
        """
        family = self.plan.family
        # an objective that has no likelihood among its terms tells that of the chosen sample
        loss = row[f"{family}/ce"] if f"{family}/ce" in row else -row[f"{family}/chosen_logp"]
        if self.state["start"] is None:
            self.state["start"] = max(self.state["before"], loss)
        start = self.state["start"]
        self.state["high"] = self.state["high"] + 1 if self._destroyed(start, loss) else 0
        self.state["update_ratio"] = max(self.state["update_ratio"], row["optim/update_ratio"])
        if self.state["high"] == IN_A_ROW:
            self._stop(start, loss, f"in {IN_A_ROW} steps in a row, up to step {number} of {self.total}")

    def end(self, after: float) -> None:
        """Judge the loss after the last step. Raises MemphisError if the model is destroyed."""
        before = self.state["before"]
        if self._destroyed(before, after) or not math.isfinite(after):
            self._stop(before, after, f"after the last of {self.total} steps")

    def warnings(self) -> list[str]:
        """Return what the user should know of a run that ended, one line each."""
        plan, found = self.plan, []
        if not any(SCHEDULES[plan.schedule](step, self.total, plan.warmup_ratio) for step in range(self.total)):
            section = (plan.lr_key or plan.family).removesuffix(".lr")
            found.append(
                f"{plan.family}: the learning rate was 0 in all steps ({self.total}), nothing was trained; a warm-up "
                f"begins at 0: use {section}.warmup_ratio=0, or more rows or epochs"
            )
        longest = self.state["update_ratio"]
        if longest > (TIMES * plan.peak_step if plan.peak_step else LONG):
            than = f"{TIMES} times the {plan.peak_step:.2%} of this scale" if plan.peak_step else f"{LONG:.0%}"
            found.append(
                f"{plan.family}: a step moved the weights by {longest:.2%} (optim/update_ratio), more than {than}; "
                f"{plan.learning_rate} may be too high"
            )
        return found

    def _destroyed(self, before: float, loss: float) -> bool:
        return loss > before + RISE and loss > self.limit

    def _stop(self, before: float, loss: float, when: str) -> NoReturn:
        key, _, _ = self.plan.learning_rate.partition("=")
        raise MemphisError(
            f"{self.plan.learning_rate}: training destroyed the model: its loss was {before:.2f} before "
            f"and {loss:.2f} {when}, where guessing gives {self.limit / SHARE:.2f}; lower the learning rate, for "
            f"instance {key}={self.plan.optim.lr / 10:.2g}"
        )
