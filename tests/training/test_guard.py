"""Tests of the guard of training: a destroyed model stops a run, long steps and steps of nothing are told, and what is
scored before and after."""

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from memphis.config.sections import Optim
from memphis.data.tokens import Example, Sequence
from memphis.errors import MemphisError, Stopped
from memphis.jsonl import RowLog, read_rows
from memphis.training import loop
from memphis.training.guard import Guard
from memphis.training.loop import cross_entropy, epoch_order, hold_out, train
from memphis.training.train_plan import MANY, SCORED
from tests.training.conftest import make_examples
from tests.training.plain import VOCAB, make_model, plain_logps
from tests.training.test_loop import DPO, RANK, SFT

# Weights are those of `make_model`; a model starts below guessing only on rows that it finds likely; see `learned`.
MILD = replace(SFT, optim=Optim(name="adamw", lr=1e-3), warmup_ratio=0.0)
WILD = replace(MILD, optim=Optim(name="adamw", lr=1.0))


@torch.no_grad()
def learned(number: int, rejected: int = 0) -> tuple[torch.nn.Module, list[Example]]:
    """Return a model and rows that it finds likely: its own most likely tokens."""
    model, plain = make_model(), make_model(packed=False)
    examples = []
    for example in make_examples(number, rejected=rejected):
        ids = example.sequences[0].input_ids[: example.prompt_length]
        for _ in range(8):
            ids = [*ids, int(plain(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())]
        own = Sequence(ids, [-100] * example.prompt_length + ids[example.prompt_length :])
        examples.append(replace(example, sequences=(own, *example.sequences[1:])))
    return model, examples


@pytest.mark.parametrize(
    ("plan", "rejected"), [(WILD, 0), (replace(WILD, family="rank", objective=RANK.objective), 1), (replace(DPO, optim=WILD.optim, warmup_ratio=0.0), 1)]
)  # fmt: skip
def test_a_destroyed_model_stops_the_run_within_three_steps(plan, rejected: int, tmp_path: Path, log: RowLog) -> None:
    model, examples = learned(20, rejected)
    with pytest.raises(MemphisError) as caught:
        train(model, examples, plan, out_dir=tmp_path, log=log)
    rows = read_rows(log.path)
    assert len(rows) == 3
    first, _, loss = (row.get(f"{plan.family}/ce", -row.get("rank/chosen_logp", 0.0)) for row in rows)
    before = max(first, rows[0][f"{plan.family}/seen_before"])
    assert loss > before + 1
    assert str(caught.value) == (
        f"{plan.family}.optim.lr=1.0: training destroyed the model: its loss was {before:.2f} before and {loss:.2f} in 2 "
        f"steps in a row, up to step 3 of 10, where guessing gives 4.57; lower the learning rate, for instance "
        f"{plan.family}.optim.lr=0.1"
    )


def test_a_run_that_ends_before_is_stopped_at_its_end(tmp_path: Path, log: RowLog) -> None:
    model, examples = learned(8)
    with pytest.raises(MemphisError, match=r"its loss was .* before and .* after the last of 1 steps, where"):
        train(model, examples, replace(WILD, max_steps=1), out_dir=tmp_path, log=log)
    assert read_rows(log.path)[0]["sft/seen_after"] > math.log(VOCAB)


def test_a_good_run_is_neither_stopped_nor_warned_of(tmp_path: Path, log: RowLog) -> None:
    model, examples = learned(20)
    summary = train(model, examples, replace(MILD, peak_step=0.01), out_dir=tmp_path, log=log)
    assert "warnings" not in summary
    assert summary["seen_after"] < summary["seen_before"] < 0.8 * math.log(VOCAB)
    rows = read_rows(log.path)
    assert summary["update_ratio"] == max(row["optim/update_ratio"] for row in rows)
    assert [row["sft/seen_before"] for row in (rows[0], rows[-1])] == 2 * [summary["seen_before"]]
    assert rows[-1]["sft/seen_after"] == summary["seen_after"]
    assert sum("sft/seen_before" in row or "sft/seen_after" in row for row in rows) == 2
    assert not any("heldout" in key for row in rows for key in row)


def judged(*losses: float, before: float = 1.0, family: str = "sft") -> str:
    guard = Guard(replace(MILD, family=family), vocabulary=1000, total=9)  # 0.8 ln(vocabulary) is 5.53
    guard.state["before"] = before
    try:
        for number, loss in enumerate(losses, 1):
            guard.step(number, {f"{family}/ce": loss, "optim/update_ratio": 0.0})
    except MemphisError:
        return f"stopped at {number}"
    return "went on"


def test_both_thresholds_twice_in_a_row() -> None:
    assert judged(1.0, 5.6, 5.6, 5.6) == "stopped at 3"
    assert judged(5.6, 1.0, 5.6, 5.5, 5.6, 2.0) == "went on"
    assert judged(5.4, 5.4, 5.4) == "went on"  # a rise, but better than guessing
    assert judged(6.9, 6.9, 6.9, before=6.8, family="base") == "went on"  # guesses, as it did before
    assert judged(6.9, 8.0, 8.0, before=6.8, family="base") == "stopped at 3"
    assert judged(6.0, 6.9, 6.9) == "went on"  # the first window, which no step can have changed, is the start


def test_steps_that_are_too_long_are_told(tmp_path: Path) -> None:
    def told(name: str, **how) -> list[str]:
        model, examples = learned(12)
        place = tmp_path / name
        place.mkdir()
        plan = replace(MILD, **how)
        return train(model, examples, plan, out_dir=place, log=RowLog(place / "m")).get("warnings", [])

    lr = Optim(name="adamw", lr=1e-2)
    (line,) = told("unstated", optim=lr)
    assert line.startswith("sft: a step moved the weights by ")
    assert line.endswith("% (optim/update_ratio), more than 1%; sft.optim.lr=0.01 may be too high")
    (line,) = told("stated", optim=lr, peak_step=1e-3)
    assert "more than 10 times the 0.10% of this scale; sft.optim.lr=0.01 may" in line
    assert not told("less", optim=lr, peak_step=1e-2)


def test_a_run_without_a_step_is_told(tmp_path: Path, log: RowLog) -> None:
    model, examples = learned(4)
    summary = train(model, examples, replace(MILD, epochs=1, warmup_ratio=0.2), out_dir=tmp_path, log=log)
    assert summary["warnings"] == [
        "sft: the learning rate was 0 in all steps (1), nothing was trained; a warm-up begins at 0: use "
        "sft.warmup_ratio=0, or more rows or epochs"
    ]
    assert summary["seen_before"] == summary["seen_after"]


def test_a_loss_is_the_mean_over_targets_of_what_is_trained() -> None:
    model, plain = make_model(), make_model(packed=False)
    for gold in (False, True):
        examples = make_examples(5, rejected=1, gold=gold)
        plan = replace(RANK, objective=replace(RANK.objective, ce_target="gold" if gold else "chosen"))
        with torch.no_grad():
            logps = torch.cat(plain_logps(plain, [e.gold if gold else e.sequences[0] for e in examples]))
        assert cross_entropy(model, examples, plan) == pytest.approx(-logps.mean().item(), rel=1e-4)


def test_rows_are_kept_out_where_there_are_enough_and_whole_questions() -> None:
    few = make_examples(MANY - 1)
    assert hold_out(few, 0) == (few, [])
    examples = make_examples(MANY)
    trained, held = hold_out(examples, 0)
    assert len(held) == SCORED
    assert sorted(e.id for e in trained + held) == sorted(e.id for e in examples)
    assert hold_out(examples, 0) == (trained, held)
    assert hold_out(examples, 1)[1] != held
    grouped = [replace(e, id=f"q{i // 7}") for i, e in enumerate(examples)]
    trained, held = hold_out(grouped, 0)
    assert not {e.id for e in trained} & {e.id for e in held}
    assert SCORED <= len(held) < SCORED + 7
    assert hold_out([replace(e, id="q") for e in examples], 0)[1] == []  # else nothing would be left


def test_kept_out_rows_are_scored_and_not_trained(tmp_path: Path, log: RowLog, monkeypatch: pytest.MonkeyPatch) -> None:
    model, examples = learned(24)
    scored: list[Counter[str]] = []
    monkeypatch.setattr(
        loop, "cross_entropy", lambda m, some, *rest: scored.append(Counter(e.id for e in some)) or len(scored)
    )
    summary = train(model, examples[8:], MILD, out_dir=tmp_path, log=log, heldout=examples[:8])
    assert scored == 2 * [Counter(e.id for e in examples[:8])]
    assert (summary["heldout_before"], summary["heldout_after"], summary["heldout_rows"]) == (1, 2, 8)
    assert not any(key.startswith("seen") for key in summary)


def test_trained_rows_are_those_that_a_short_run_reaches(tmp_path: Path, log: RowLog) -> None:
    model, examples = learned(24)
    plan = replace(MILD, max_steps=2)
    summary = train(model, examples, plan, out_dir=tmp_path, log=log)
    assert summary["seen_rows"] == 8  # two windows of four
    first = [examples[key] for key in epoch_order(24, plan.seed, 0)[:8]]
    assert summary["seen_after"] == cross_entropy(model, first, plan)


def test_a_continued_run_does_not_score_again_and_remembers_a_bad_step(
    tmp_path: Path, log: RowLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, original = [], loop.cross_entropy
    monkeypatch.setattr(loop, "cross_entropy", lambda *how: calls.append(1) or original(*how))
    model, examples = learned(20)
    with pytest.raises(Stopped):
        train(model, examples, WILD, out_dir=tmp_path, log=log, should_stop=lambda: len(read_rows(log.path)) == 2)
    assert len(calls) == 1
    with pytest.raises(MemphisError, match=r"in 2 steps in a row, up to step 3 of 10"):
        train(make_model(), examples, WILD, out_dir=tmp_path, log=log)
    assert len(calls) == 1
