"""Losses that `rank.loss` can name, each with its knobs, their defaults and ranges, and its terms.

A loss is a weighted sum of terms. Two kinds of term: `Likelihood` costs every target token of one sequence of an
example, all others compare an example's chosen sequence with its rejected ones. Training divides the first as
`sft.reduction` or `rank.reduction` says, the others by the number of examples. Equations: memphis/methods/losses.py.

torch is imported where a term is computed: the process that reads a config needs the knobs alone.
"""

from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, get_args

from pydantic import Field
from pydantic.dataclasses import dataclass

from memphis.ranges import RULES, Rate, Ratio, Weight

if TYPE_CHECKING:
    from torch import Tensor


class Group:
    """Sequences of B examples in K columns, column 0 being the chosen one: log-probability and number of their target
    tokens. exists: False marks an empty slot. reference: sums of the reference model. All are [B, K]."""

    def __init__(self, sums: "Tensor", counts: "Tensor", exists: "Tensor", reference: "Tensor | None" = None) -> None:
        self.sums, self.exists, self.reference = sums, exists, reference
        self.scores = sums / counts.clamp(min=1)  # length-normalised
        self.rejected = exists[:, 1:]

    def mean_rejected(self, values: "Tensor") -> "Tensor":
        """Return the mean of values [B, K - 1] over the rejected sequences that exist, [B]."""
        return (values * self.rejected).sum(1) / self.rejected.sum(1).clamp(min=1)


@dataclass(config=RULES, frozen=True)
class Likelihood:
    """Cross-entropy of every target token, mixed with its reverse by MixCE. gold: on the data's text."""

    mixce: Ratio | None = None
    gold: bool = False
    needs_reference: ClassVar[bool] = False

    def __call__(self, logps: "Tensor") -> "Tensor":
        """Return the cost of each token, [N], from log-probabilities [N]."""
        from memphis.methods.losses import mixce_tokens

        return mixce_tokens(logps, self.mixce)


@dataclass(config=RULES, frozen=True)
class Ranking:
    """The rank loss of Memphis-CoT: the chosen sequence against all rejected ones at once."""

    use_average: bool = True
    needs_reference: ClassVar[bool] = False
    metric: ClassVar[str] = "rank_loss"

    def __call__(self, group: Group) -> "Tensor":
        """Return the loss of each example, [B]."""
        from memphis.methods.losses import rank

        return rank(group.scores, group.exists, self.use_average)

    def rewards(self, group: Group) -> "Tensor":
        """Return the values that are compared, [B, K]."""
        return group.scores


@dataclass(config=RULES, frozen=True)
class Preference:
    """Sigmoid loss of pairs, relative to a reference model; the mean over an example's rejected sequences."""

    beta: Rate = 0.1
    needs_reference: ClassVar[bool] = True
    metric: ClassVar[str] = "preference_loss"

    def __call__(self, group: Group) -> "Tensor":
        """Return the loss of each example, [B]."""
        from memphis.methods.losses import preference

        assert group.reference is not None
        policy, reference = group.sums, group.reference
        each = preference(policy[:, :1], policy[:, 1:], reference[:, :1], reference[:, 1:], self.beta)
        return group.mean_rejected(each)

    def rewards(self, group: Group) -> "Tensor":
        """Return the values that are compared, [B, K]: beta * (log-probability - that of the reference)."""
        assert group.reference is not None
        return self.beta * (group.sums - group.reference)


Comparing = Ranking | Preference
Term = Likelihood | Comparing
COMPARED = ("pairs", "human")  # values of rank.examples with rejected sequences
ALONE = ("correct", "rationalized")  # and those without


@dataclass(config=RULES, frozen=True, kw_only=True)
class Loss:
    """A weighted sum of terms.

    At most one of them is a likelihood, and at most one compares. examples: what `rank.examples` may be beside it, the
    usual one first. ignores: beginnings of keys that nothing reads beside it.
    """

    examples: ClassVar[tuple[str, ...]] = COMPARED
    ignores: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        sorts = [isinstance(term, Likelihood) for _, term in self.terms]
        if len(set(sorts)) < len(sorts):
            raise TypeError(f"{type(self).__name__}: two terms of one sort; a batch is divided by one total for each")

    @property
    def terms(self) -> tuple[tuple[float, Term], ...]:
        """Terms of the sum as (weight, term) pairs."""
        return ()

    @property
    def needs_reference(self) -> bool:
        return any(term.needs_reference for _, term in self.terms)

    @property
    def comparing(self) -> bool:
        """True if a term compares a chosen sequence with rejected ones."""
        return any(not isinstance(term, Likelihood) for _, term in self.terms)

    @property
    def gold(self) -> bool:
        """True if a term is taken on the data's own text."""
        return any(isinstance(term, Likelihood) and term.gold for _, term in self.terms)


@dataclass(config=RULES, frozen=True, kw_only=True)
class NoLoss(Loss):
    """No self-teaching."""

    loss: Literal["none"] = "none"
    examples: ClassVar[tuple[str, ...]] = (*COMPARED, *ALONE)
    ignores: ClassVar[tuple[str, ...]] = ("rank.", "pairs.", "slerp.", "generate.num_samples", "generate.temperature")


@dataclass(config=RULES, frozen=True, kw_only=True)
class CrossEntropy(Loss):
    """Cross-entropy of correct samples: STaR, rejection sampling fine-tuning; and of the supervised stage's rows."""

    loss: Literal["ce"] = "ce"
    mixce: Ratio | None = None  # weight of the forward cross-entropy; null = plain cross-entropy
    examples: ClassVar[tuple[str, ...]] = ALONE
    ignores: ClassVar[tuple[str, ...]] = ("pairs.mode", "pairs.order", "pairs.max_per_question", "pairs.unfinished")

    @property
    def terms(self) -> tuple[tuple[float, Term], ...]:
        return ((1.0, Likelihood(self.mixce)),)


@dataclass(config=RULES, frozen=True, kw_only=True)
class RankLoss(Loss):
    """Memphis-CoT: cross-entropy plus the weighted rank loss."""

    loss: Literal["rank"] = "rank"
    weight: Weight = 0.25  # of the rank loss beside the cross-entropy
    use_average: bool = True  # over the rejected samples of a group; false: their sum
    ce_target: Literal["chosen", "gold"] = (
        "chosen"  # the cross-entropy is of the chosen sample, or of the data's own text
    )
    mixce: Ratio | None = None

    @property
    def terms(self) -> tuple[tuple[float, Term], ...]:
        return ((1.0, Likelihood(self.mixce, self.ce_target == "gold")), (self.weight, Ranking(self.use_average)))


@dataclass(config=RULES, frozen=True, kw_only=True)
class Spin(Loss):
    """SPIN (arXiv 2401.01335)."""

    loss: Literal["spin"] = "spin"
    beta: Rate = 0.1  # scale of the preference loss

    @property
    def terms(self) -> tuple[tuple[float, Term], ...]:
        return ((1.0, Preference(self.beta)),)


@dataclass(config=RULES, frozen=True, kw_only=True)
class Dpo(Loss):
    """DPO (arXiv 2305.18290)."""

    loss: Literal["dpo"] = "dpo"
    beta: Rate = 0.1

    @property
    def terms(self) -> tuple[tuple[float, Term], ...]:
        return ((1.0, Preference(self.beta)),)


@dataclass(config=RULES, frozen=True, kw_only=True)
class Irpo(Loss):
    """Iterative reasoning preference optimization (arXiv 2404.19733): DPO plus the likelihood of the chosen sample."""

    loss: Literal["irpo"] = "irpo"
    beta: Rate = 0.1
    alpha: Weight = 1.0  # of the likelihood beside DPO

    @property
    def terms(self) -> tuple[tuple[float, Term], ...]:
        return ((1.0, Preference(self.beta)), (self.alpha, Likelihood()))


Objective = Annotated[RankLoss | CrossEntropy | Spin | Dpo | Irpo | NoLoss, Field(discriminator="loss")]
LOSSES: dict[str, type[Any]] = {kind().loss: kind for kind in get_args(get_args(Objective)[0])}
KNOBS = {name: {field.name for field in fields(loss)} - {"loss"} for name, loss in LOSSES.items()}
