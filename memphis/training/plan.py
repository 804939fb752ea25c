"""What a training run is, as plain values: everything `loop.train` reads beside model, examples and directory."""

from dataclasses import dataclass
from typing import Literal

from memphis.methods.adalite import Variant as AdaliteVariant
from memphis.methods.losses import Reduction
from memphis.methods.neftune import Variant as NeftuneVariant

GOLD = -1  # column of an example's gold sequence; 0 = its chosen (or only) sequence, 1.. = rejected ones


@dataclass(frozen=True)
class OptimPlan:
    """name "adamw": plain AdamW with weight decay `decay`; "adalite": `decay` is its Lambda. lr: the peak."""

    name: Literal["adalite", "adamw"]
    lr: float
    decay: float = 0.01
    variant: AdaliteVariant = "jan31"
    beta2: float = 0.999  # of AdamW


@dataclass(frozen=True)
class NeftunePlan:
    """Noise on input embeddings in training forwards. length: L of variant supertrainer2000, in tokens."""

    alpha: float
    variant: NeftuneVariant
    length: int | None = None


@dataclass(frozen=True)
class TrainPlan:
    """One stage of training.

    family: prefix of its metrics. global_batch_size: examples per optimizer step. max_steps: cuts the run short; the
        schedule then ends there.
    loss: "sft" = cross-entropy of every example's first sequence; "rank" = cross-entropy of `ce_target` + weight *
        rank loss; "spin", "dpo" = sigmoid preference against a reference model, scaled by beta, no cross-entropy.
    mixce: weight of the forward cross-entropy; None = plain cross-entropy. reduction: see losses.reduce.
    dtype: of forward and backward passes (bfloat16 = autocast). Master weights keep the dtype the model was loaded in.
    rounding: how an update that bfloat16 master weights cannot hold is rounded to them.
    micro_batch_tokens: memory only; it changes results by rounding, except with reduction "microbatch_mean".
    """

    family: Literal["base", "sft", "rank"]
    epochs: int
    global_batch_size: int
    optim: OptimPlan
    seed: int
    loss: Literal["sft", "rank", "spin", "dpo"] = "sft"
    warmup_ratio: float = 0.0
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    reduction: Reduction = "token"
    neftune: NeftunePlan | None = None
    mixce: float | None = None
    weight: float = 0.25
    use_average: bool = True
    ce_target: Literal["chosen", "gold"] = "chosen"
    beta: float = 0.1
    max_steps: int | None = None
    micro_batch_tokens: int = 4096
    dtype: Literal["float32", "bfloat16"] = "float32"
    rounding: Literal["nearest", "stochastic"] = "nearest"

    @property
    def pairwise(self) -> bool:
        """Does the loss compare a chosen sequence with rejected ones?"""
        return self.loss != "sft"

    @property
    def ce_column(self) -> int:
        """Column of the sequence that the cross-entropy is taken on."""
        return GOLD if self.loss == "rank" and self.ce_target == "gold" else 0
