"""Learning rate and largest step of a trained stage, and the refusal of steps that destroy a pretrained model.

Needs no torch: `plan=true` says the same as the stage. Adalite alone has a known size; see methods/relative_step.py.
"""

from dataclasses import dataclass, fields

from memphis.config.sections import Optim, OptimKnobs, RankTraining, Sft, SftTraining
from memphis.errors import MemphisError
from memphis.methods.relative_step import peak_factor

CARD_STEPS = 694  # of the model card's supervised stage: 2 epochs of 44,369 rows, 128 at a time
LARGE = 4  # times the card's peak; a pretrained model was destroyed at 85 times, and its loss rose at first at 4.2
WEIGHTS = 20_000_000  # a model of more is taken for a pretrained one


@dataclass(frozen=True)
class StepSize:
    """Learning rate of a stage of `steps` optimizer steps, and the largest of them relative to the weights.

    lr: as given or, for `lr=auto`, the one whose peak is the card's. peak: None with AdamW, whose step relative to the
    weights depends on them. derived: lr follows from the number of steps.
    """

    steps: int
    lr: float
    peak: float | None
    derived: bool

    def __str__(self) -> str:
        source = f", derived from {self.steps:,} steps" if self.derived else f" in {self.steps:,} steps"
        if self.peak is None:
            return f"lr {self.lr:.3g}{source}; AdamW, peak relative step not known"
        return f"lr {self.lr:.3g}{source}; peak relative step {self.peak:.1e}, {times_card(self.peak)}"


def step_size(knobs: SftTraining | RankTraining, steps: int) -> StepSize:
    """Return the learning rate and peak of a stage with these knobs. steps >= 1."""
    optim = knobs.optim
    if optim.name == "adamw":
        assert optim.lr != "auto"  # refused with the config
        return StepSize(steps, optim.lr, None, derived=False)
    factor = peak_factor(steps, knobs.warmup_ratio, knobs.schedule, optim.eps, optim.beta_decay)
    if optim.lr != "auto":
        return StepSize(steps, optim.lr, optim.lr * factor, derived=False)
    lr = card_peak() / factor if factor else 0.0  # a single step of warm-up has rate 0
    return StepSize(steps, lr, lr * factor, derived=True)


def card_peak() -> float:
    """Return the peak relative step of the model card's supervised stage: 5.0e-4."""
    card = Sft()
    assert card.optim.lr != "auto"
    return card.optim.lr * peak_factor(CARD_STEPS, card.warmup_ratio, card.schedule)


def times_card(peak: float) -> str:
    """Return a peak relative step as a multiple of the card's, for people."""
    times = peak / card_peak()
    return f"{times:{'.2g' if times < 10 else ',.0f'}} times the card's {card_peak():.1e}"


def at_rate(optim: OptimKnobs, lr: float) -> Optim:
    """Return the optimizer's settings with a learning rate in place of `auto`."""
    return Optim(**{field.name: getattr(optim, field.name) for field in fields(OptimKnobs)} | {"lr": lr})


def refuse_large(kind: str, knobs: SftTraining | RankTraining, steps: int | None, weights: int | None) -> None:
    """Refuse steps of more than LARGE times the card's peak for a model of more than WEIGHTS weights.

    steps: None where they are not known yet: judged as in a stage as long as the card's. weights: None = not known:
    nothing is refused. Raises MemphisError with the numbers and what to type.
    """
    if weights is None or weights <= WEIGHTS:
        return
    size = step_size(knobs, steps or CARD_STEPS)
    if size.peak is None or size.peak <= LARGE * card_peak():
        return
    length = f"in {steps:,} steps" if steps else f"if it has {CARD_STEPS} steps, as the card's (its own are not known)"
    raise MemphisError(
        f"{kind}.optim.lr={size.lr:g}: the peak relative step of stage {kind} is {size.peak:.1e} {length}, "
        f"{times_card(size.peak)}, for a model of {weights / 1e6:,.0f} M weights; more than {LARGE} times destroys a "
        f"pretrained model: {kind}=real, {kind}.optim.lr=auto, or {kind}.optim.allow_large_steps=true"
    )
