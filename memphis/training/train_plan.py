"""Settings of a training run, as plain values: everything `loop.train` reads beside model, examples and directory."""

from dataclasses import fields
from typing import Any, Literal

from pydantic.dataclasses import dataclass

from memphis.config.sections import Neftune, Optim, Training
from memphis.losses import CrossEntropy, Objective
from memphis.ranges import RULES, Length, Positive, Ratio

# "equal": padded without padding, in groups of rows of the same length, each after a row of a single token: for rotary
# embeddings that depend on the longest row, and that grow with every call.
Packing = Literal["packed", "padded", "equal"]
GOLD = -1  # column of an example's gold sequence; 0 = its chosen (or only) sequence, 1.. = rejected ones
NO_NOISE = Neftune(alpha=0.0)
# Rows scored before and after a run: kept out of its training if there are MANY in all, else some of the trained ones.
SCORED, MANY = 50, 500


@dataclass(config=RULES, frozen=True, kw_only=True)
class TrainPlan(Training):
    """Settings of one stage of training: the knobs of its section, and what the stage adds to them.

    family: prefix of its metrics. lr_key: config key of the learning rate; None = `<family>.optim.lr`.
    peak_step: norm of the largest update / norm of the weights that the scale states; a warning only.
    objective: cross-entropy of every example's first sequence, or another loss.
    max_steps: cuts the run short; the schedule then ends there. beta2: of AdamW.
    dtype: of forward and backward passes (bfloat16 = autocast). Master weights keep the dtype the model was loaded in.
    rounding: how an update that bfloat16 master weights cannot hold is rounded to them.
    micro_batch_tokens: memory only; it changes results by rounding, except with reduction "microbatch_mean".
    packing: how the forward pass lays out rows; see forward.py.
    """

    family: Literal["base", "sft", "rank"]
    lr_key: str | None = None
    peak_step: float | None = None
    seed: int
    epochs: Positive  # of a stage whose length is given in steps there may be more than a config allows
    optim: Optim
    objective: Objective = CrossEntropy()
    max_length: Length = 2**20  # examples are cut before; NEFTune's length, where it has none of its own
    warmup_ratio: Ratio = 0.0
    neftune: Neftune = NO_NOISE
    max_steps: int | None = None
    beta2: float = 0.999
    micro_batch_tokens: Positive = 4096
    dtype: Literal["float32", "bfloat16"] = "float32"
    rounding: Literal["nearest", "stochastic"] = "nearest"
    packing: Packing = "packed"

    @classmethod
    def of(cls, knobs: Training, **rest: Any) -> "TrainPlan":
        """Build a plan from the knobs of a section and the rest."""
        return cls(**{field.name: getattr(knobs, field.name) for field in fields(Training)} | rest)

    @property
    def shared(self) -> bool:
        """True if sequences of an example share the computation of their prompt."""
        return self.packing == "packed"

    @property
    def learning_rate(self) -> str:
        """Learning rate as it is typed, `sft.optim.lr=1e-05`."""
        return f"{self.lr_key or f'{self.family}.optim.lr'}={self.optim.lr}"

    @property
    def ce_column(self) -> int:
        """Column of the sequence whose likelihood is trained."""
        return GOLD if self.objective.gold else 0


__all__ = ["GOLD", "Neftune", "Optim", "TrainPlan"]
