"""Tests of learning rate and largest step of a stage, of refusals, and of the law against a run's own `update_ratio`."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from memphis.config.sections import OptimKnobs, RankTraining, SftTraining
from memphis.errors import MemphisError
from memphis.jsonl import RowLog, read_rows
from memphis.losses import CrossEntropy
from memphis.methods.relative_step import gains
from memphis.methods.schedules import cosine
from memphis.training.loop import train
from memphis.training.step_size import CARD_STEPS, LARGE, WEIGHTS, at_rate, card_peak, refuse_large, step_size
from memphis.training.train_plan import NO_NOISE, TrainPlan
from tests.composing import compose_config
from tests.training.conftest import make_examples
from tests.training.plain import make_model


def knobs(lr: float | str, **more: object) -> SftTraining:
    return SftTraining(optim=OptimKnobs(lr=lr, **more))  # type: ignore[arg-type]


def test_numbers_of_the_card_and_of_a_short_run() -> None:
    assert card_peak() == step_size(knobs(1e-5), CARD_STEPS).peak == pytest.approx(5.0e-4, rel=0.01)
    bump = step_size(knobs(1e-5), 13)
    assert bump.peak == pytest.approx(2.1e-3, rel=0.01)
    assert str(bump) == "lr 1e-05 in 13 steps; peak relative step 2.1e-03, 4.2 times the card's 5.0e-04"
    assert str(step_size(knobs(2e-4), 13)).endswith("4.2e-02, 85 times the card's 5.0e-04")
    assert "peak relative step not known" in str(step_size(knobs(2e-5, name="adamw"), 13))


@pytest.mark.parametrize("steps", [2, 13, 40, CARD_STEPS, 5000])
def test_auto_has_the_cards_peak_however_long_the_stage(steps: int) -> None:
    size = step_size(knobs("auto"), steps)
    assert size.derived
    assert size.peak == pytest.approx(card_peak())
    assert step_size(knobs(size.lr), steps).peak == pytest.approx(card_peak())
    assert at_rate(OptimKnobs(lr="auto", decay=0.5), size.lr).decay == 0.5


def test_auto_at_the_cards_length_is_the_cards_rate() -> None:
    assert step_size(knobs("auto"), CARD_STEPS).lr == pytest.approx(1e-5)
    assert step_size(knobs("auto"), 1).lr == 0  # as in every schedule: a single step of warm-up


def test_the_rate_of_rank_real_is_small_enough_for_any_number_of_steps() -> None:
    real = compose_config("model=hf", "model.path=a/b", "eval=none").rank
    peaks = [step_size(real, steps).peak or 0 for steps in range(1, 700)]
    assert max(peaks) == pytest.approx(5.3e-4, rel=0.01)


def test_a_pretrained_model_is_refused_large_steps() -> None:
    for lr, steps in ((2e-4, 13), (2e-4, None), (1e-5, 13)):
        with pytest.raises(MemphisError, match=f"^sft.optim.lr={lr:g}: .* or sft.optim.allow_large_steps=true"):
            refuse_large("sft", knobs(lr), steps, WEIGHTS + 1)
        refuse_large("sft", knobs(lr), steps, WEIGHTS)
        refuse_large("sft", knobs(lr), steps, None)
    refuse_large("sft", knobs(1e-5), CARD_STEPS, 3 * 10**9)
    refuse_large("sft", knobs(1e-5), None, 3 * 10**9)
    refuse_large("sft", knobs("auto"), 13, 3 * 10**9)
    refuse_large("sft", knobs(1e-3, name="adamw"), 13, 3 * 10**9)  # its step is not known
    refuse_large("rank", RankTraining(), 10, 3 * 10**9)
    just = LARGE * card_peak() / step_size(knobs(1.0), 13).peak  # type: ignore[operator]
    refuse_large("sft", knobs(just * 0.999), 13, 3 * 10**9)
    with pytest.raises(MemphisError, match="4 times the card's"):
        refuse_large("sft", knobs(just * 1.001), 13, 3 * 10**9)


def test_update_ratio_of_a_real_run_agrees_with_the_law(tmp_path: Path, log: RowLog) -> None:
    """Compare a run whose gradients are small, by a small weight of the loss's text, with lr * f(k) * gain(k + 1)."""
    model, lr = make_model(), 1e-4
    plan = TrainPlan(
        family="sft",
        epochs=3,
        global_batch_size=2,
        optim=at_rate(OptimKnobs(lr=lr), lr),
        seed=3,
        warmup_ratio=0.2,
        objective=CrossEntropy(mixce=None),
        neftune=NO_NOISE,
        micro_batch_tokens=60,
    )
    shrink(model, 1e-3)
    train(model, make_examples(10), plan, out_dir=tmp_path, log=log)
    rows = read_rows(log.path)
    for k, gain in enumerate(gains(len(rows))):
        expected = lr * cosine(k, len(rows), 0.2) * gain
        assert rows[k]["optim/update_ratio"] == pytest.approx(expected, rel=0.04)
    unscaled = tmp_path / "unscaled"
    unscaled.mkdir()
    train(make_model(), make_examples(10), replace(plan, seed=4), out_dir=unscaled, log=RowLog(unscaled / "m"))
    for k, row in enumerate(read_rows(unscaled / "m")):  # gradients of a random model are large: below the law
        assert row["optim/update_ratio"] <= 1.04 * lr * cosine(k, len(rows), 0.2) * gains(k + 1)[-1]


def shrink(model: torch.nn.Module, factor: float) -> None:
    """Scale every gradient, as a model of many more weights has it."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.register_hook(lambda gradient: factor * gradient)
