"""Tests of the training loop: steps, order, rows, stopping and resuming."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from memphis.config.sections import Neftune, Optim
from memphis.errors import MemphisError, Stopped
from memphis.jsonl import RowLog, read_rows
from memphis.losses import CrossEntropy, Dpo, RankLoss
from memphis.shape import Shape
from memphis.training import loop
from memphis.training.loop import epoch_order, num_steps, score, train
from memphis.training.objective import Totals
from memphis.training.train_plan import NO_NOISE, TrainPlan
from tests.training.conftest import make_examples
from tests.training.plain import make_model

SFT = TrainPlan(
    family="sft",
    epochs=2,
    global_batch_size=4,
    optim=Optim(lr=1e-2),
    seed=3,
    warmup_ratio=0.2,
    objective=CrossEntropy(mixce=0.75),
    neftune=Neftune(alpha=1.0, variant="supertrainer2000", length=64),
    micro_batch_tokens=60,
)
BASE = replace(SFT, family="base", objective=CrossEntropy(), neftune=NO_NOISE, optim=Optim(name="adamw", lr=1e-2))
RANK = replace(SFT, family="rank", objective=RankLoss())
DPO = replace(RANK, objective=Dpo(), optim=Optim(name="adamw", lr=1e-2))
PLANS = {
    "sft": (SFT, {}, "both"),
    "base": (BASE, {}, "none"),
    "rank": (RANK, {"rejected": 2}, "both"),
    "dpo": (DPO, {"rejected": 1}, "input"),
}


class Killed(BaseException):
    pass


def weights(model) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def lasting(path: Path) -> list[dict]:
    """Return the rows without values that depend on the clock."""
    rows = read_rows(path)
    return [{k: v for k, v in row.items() if k != "_t" and not k.startswith("perf/")} for row in rows]


@pytest.mark.parametrize("name", PLANS)
def test_a_broken_run_ends_as_an_unbroken_one(name: str, tmp_path: Path) -> None:
    plan, shape, frozen = PLANS[name]
    examples = make_examples(10, **shape)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    model = make_model(frozen=frozen)
    summary = train(model, examples, plan, out_dir=whole, log=RowLog(whole / "m"))
    assert summary["steps"] == 6

    calls = {"step": 0, "checkpoint": 0}

    def die(point: str, when: dict[str, int]) -> None:
        calls[point] += 1
        if calls[point] == when.get(point):
            raise Killed

    def attempt(expected, **how) -> None:
        nonlocal again
        calls.update(step=0, checkpoint=0)
        again = make_model(frozen=frozen)
        arguments = {"out_dir": broken, "log": RowLog(broken / "m"), **how}
        if expected is None:
            resumed = train(again, examples, plan, **arguments)
            assert {k: v for k, v in resumed.items() if k != "seconds"} == {
                k: v for k, v in summary.items() if k != "seconds"
            }
        else:
            with pytest.raises(expected):
                train(again, examples, plan, **arguments)

    again = None
    attempt(Killed, kill_point=lambda p: die(p, {"step": 1}))  # before there is any checkpoint
    attempt(Stopped, should_stop=lambda: calls["step"] == 2, kill_point=lambda p: die(p, {}))
    assert len(lasting(broken / "m")) == 2
    attempt(Killed, checkpoint_every=0.0, kill_point=lambda p: die(p, {"step": 2}))  # one step is lost
    assert [path.name for path in (broken / "checkpoint").iterdir()] == ["3"]
    attempt(Killed, checkpoint_every=0.0, kill_point=lambda p: die(p, {"checkpoint": 2}))  # leaves a torn checkpoint
    assert {path.name for path in (broken / "checkpoint").iterdir()} == {"4", "5.part"}
    attempt(None)
    assert same(weights(again), weights(model))
    assert lasting(broken / "m") == lasting(whole / "m")
    assert [row["step"] for row in read_rows(broken / "m")] == [1, 2, 3, 4, 5, 6]


def test_a_checkpoint_has_no_pickle_and_only_what_is_trained(tmp_path: Path, log: RowLog) -> None:
    model = make_model()
    with pytest.raises(Stopped):
        train(model, make_examples(9), SFT, out_dir=tmp_path, log=log, should_stop=lambda: True)
    files = sorted(path.name for path in (tmp_path / "checkpoint" / "1").iterdir())
    assert files == ["extra.safetensors", "optimizer.safetensors", "state.json", "weights.safetensors"]
    state = json.loads((tmp_path / "checkpoint" / "1" / "state.json").read_text())
    assert state["step"] == 1
    assert state["offset"] == log.offset()
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert set(state["optimizer"]) == trained


def test_a_writer_whose_directory_was_taken_over_stops(tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.mkdir()
    log = RowLog(tmp_path / "elsewhere")

    def take_over(point: str) -> None:
        if part.exists():
            part.rename(tmp_path / "theirs")

    with pytest.raises(FileNotFoundError):
        train(make_model(), make_examples(9), SFT, out_dir=part, log=log, kill_point=take_over, checkpoint_every=0.0)
    assert not part.exists()


@pytest.mark.parametrize("name", PLANS)
def test_frozen_tensors_stay_bit_for_bit_and_all_others_move(name: str, tmp_path: Path, log: RowLog) -> None:
    plan, shape, frozen = PLANS[name]
    model = make_model(frozen=frozen)
    before = weights(model)
    train(model, make_examples(10, **shape), plan, out_dir=tmp_path, log=log)
    after = weights(model)
    for parameter, p in model.named_parameters():
        assert torch.equal(before[parameter], after[parameter]) != p.requires_grad, parameter


def test_training_helps(tmp_path: Path, log: RowLog) -> None:
    examples = make_examples(8)
    plan = replace(BASE, epochs=30, warmup_ratio=0.1)
    train(make_model(frozen="none"), examples, plan, out_dir=tmp_path, log=log)
    rows = read_rows(log.path)
    assert rows[-1]["base/ce"] < 0.3 * rows[0]["base/ce"]


def test_ranking_raises_the_margin(tmp_path: Path, log: RowLog) -> None:
    model, examples = make_model(), make_examples(8, rejected=1)
    before = score(model, examples, RANK)
    train(model, examples, replace(DPO, epochs=20), out_dir=tmp_path, log=log)
    after = score(model, examples, RANK)
    gain = (after[:, 0] - after[:, 1]) - (before[:, 0] - before[:, 1])
    assert (gain > 0).all()
    rows = read_rows(log.path)
    assert rows[0]["rank/preference_loss"] == pytest.approx(math.log(2), rel=0.02)  # policy = reference, but for noise
    assert rows[-1]["rank/preference_loss"] < 0.5


def test_a_reference_model_is_used(tmp_path: Path, log: RowLog) -> None:
    examples = make_examples(4, rejected=1)
    plan = replace(DPO, neftune=NO_NOISE, epochs=1)
    model, reference = make_model(), make_model(seed=1)
    h = [(s[:, 0] - s[:, 1]) for s in (score(model, examples, plan), score(reference, examples, plan))]
    expected = torch.nn.functional.softplus(-plan.objective.beta * (h[0] - h[1])).mean().item()
    train(model, examples, plan, out_dir=tmp_path, log=log, reference=reference)
    assert read_rows(log.path)[0]["rank/preference_loss"] == pytest.approx(expected, rel=1e-5)


def test_order_is_a_function_of_seed_and_epoch() -> None:
    orders = {(seed, epoch): epoch_order(50, seed, epoch) for seed in (0, 1) for epoch in (0, 1)}
    assert all(sorted(order) == list(range(50)) for order in orders.values())
    assert len({tuple(order) for order in orders.values()}) == 4
    assert epoch_order(50, 1, 1) == orders[1, 1]


def test_the_knobs_of_the_optimizer_reach_it() -> None:
    knobs = {"lr": 0.3, "decay": 0.2, "variant": "feb5", "eps": 2e-5, "beta_decay": 0.5}
    made = loop.make_optimizer([torch.nn.Parameter(torch.ones(2))], Optim(**knobs))
    assert made.defaults == {**knobs, "centralize": True}


def test_number_of_steps() -> None:
    assert num_steps(10, SFT) == 6  # two epochs of 4 + 4 + 2
    assert num_steps(8, SFT) == 4
    assert num_steps(10, replace(SFT, max_steps=5)) == 5
    assert num_steps(10, replace(SFT, max_steps=50)) == 6


def test_every_example_is_seen_once_an_epoch_and_the_last_window_makes_a_step(
    tmp_path: Path, log: RowLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    original = loop._Stepper.step
    monkeypatch.setattr(
        loop._Stepper, "step", lambda self, step, keys, window: seen.append(keys) or original(self, step, keys, window)
    )
    train(make_model(), make_examples(10), SFT, out_dir=tmp_path, log=log)
    assert [len(keys) for keys in seen] == [4, 4, 2] * 2
    for epoch in (seen[:3], seen[3:]):
        assert sorted(key for keys in epoch for key in keys) == list(range(10))


def test_mfu_by_hand() -> None:
    shape = Shape(hidden=10, layers=2, heads=1, kv_heads=1, intermediate=20, vocab_size=50)
    flops = 6 * (2 * (4 * 100 + 3 * 200) + 500) + 12 * 2 * 10 * 30  # per token, in sequences of 30 tokens
    assert shape.model_flops(30) == flops
    speed = loop._Speed(make_model(), SFT)
    speed.shape, speed.peak, speed.devices = shape, 1e6, 2
    totals = Totals(
        1, examples=4, label_tokens=1, tokens=180, chosen_tokens=1, rejected_tokens=1, rejected=2, longest=30
    )
    found = speed(totals, 3.0)
    assert found["perf/tokens_per_sec"] == 60
    assert found["perf/tokens_per_sec_per_device"] == 30
    assert found["perf/mfu"] == pytest.approx(30 * flops / 1e6)


def test_rows_carry_the_names_of_the_schema(tmp_path: Path, log: RowLog) -> None:
    examples = make_examples(10, rejected=1)
    train(make_model(), examples, RANK, out_dir=tmp_path, log=log)
    rows = read_rows(log.path)
    shared = {"step", "steps", "tokens", "optim/lr", "optim/grad_norm", "optim/update_ratio", "optim/moved_frac"}
    shared |= {"optim/skipped_nonfinite", "perf/tokens_per_sec", "perf/step_s", "perf/data_s", "perf/rss_gib"}
    shared |= {"perf/tokens_per_sec_per_device", "perf/mfu"}
    names = "loss rank_loss ce token_acc accuracy margin chosen_logp rejected_logp chosen_len rejected_len epoch label_tokens"
    assert shared | {f"rank/{name}" for name in names.split()} <= set(rows[0])
    first = rows[0]
    assert first["perf/tokens_per_sec_per_device"] == first["perf/tokens_per_sec"]
    assert first["perf/mfu"] is None  # no peak is known for a CPU
    assert first["optim/lr"] == 0  # the first warm-up step
    assert first["optim/update_ratio"] == first["optim/moved_frac"] == 0
    assert rows[3]["optim/moved_frac"] > 0.9
    assert rows[2]["optim/lr"] == pytest.approx(RANK.optim.lr)
    assert rows[-1]["rank/epoch"] == 2.0
    assert rows[-1]["steps"] == 6
    assert first["rank/margin"] == pytest.approx(first["rank/chosen_logp"] - first["rank/rejected_logp"], rel=1e-4)
    assert first["rank/loss"] == pytest.approx(first["rank/ce"] + 0.25 * first["rank/rank_loss"], rel=1e-5)
    flat = sum(len(s.input_ids) for e in examples for s in e.sequences) - sum(e.prompt_length for e in examples)
    assert rows[2]["tokens"] == flat


def test_update_ratio_is_the_norm_of_the_update_over_that_of_the_weights(tmp_path: Path, log: RowLog) -> None:
    model = make_model()
    before = torch.cat([p.detach().flatten() for p in model.parameters() if p.requires_grad]).clone()
    plan = replace(SFT, epochs=1, global_batch_size=10, warmup_ratio=0.0)
    train(model, make_examples(10), plan, out_dir=tmp_path, log=log)
    after = torch.cat([p.detach().flatten() for p in model.parameters() if p.requires_grad])
    assert read_rows(log.path)[0]["optim/update_ratio"] == pytest.approx(
        ((after - before).norm() / before.norm()).item(), rel=0.05
    )


def test_a_loss_that_is_not_finite_skips_the_step(tmp_path: Path, log: RowLog, monkeypatch: pytest.MonkeyPatch) -> None:
    original, steps = loop.gradients, []

    def poisoned(model, *args, **kwargs):
        metrics = original(model, *args, **kwargs)
        steps.append(weights(model))
        return {**metrics, "loss": metrics["loss"] * math.nan} if len(steps) == 3 else metrics

    monkeypatch.setattr(loop, "gradients", poisoned)
    summary = train(make_model(), make_examples(10), SFT, out_dir=tmp_path, log=log)
    assert summary["skipped_nonfinite"] == 1
    assert same(steps[2], steps[3])  # the third step changed nothing
    assert not same(steps[3], steps[4])
    row = read_rows(log.path)[2]
    assert row["sft/loss"] is None
    assert row["optim/skipped_nonfinite"] == 1


def test_five_such_steps_in_a_row_stop_the_run(tmp_path: Path, log: RowLog) -> None:
    model = make_model()
    with torch.no_grad():
        model.model.norm.weight[0] = math.nan
    with pytest.raises(MemphisError, match=r"5 steps in a row, up to step 5 with examples q\d, q\d, q\d, q\d;"):
        train(model, make_examples(10), SFT, out_dir=tmp_path, log=log)
    assert len(read_rows(log.path)) == 5


def test_no_examples_is_an_error(tmp_path: Path, log: RowLog) -> None:
    with pytest.raises(MemphisError, match="no examples"):
        train(make_model(), [], SFT, out_dir=tmp_path, log=log)
