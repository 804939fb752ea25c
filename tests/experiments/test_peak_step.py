"""Tests of the study of peak steps: its settings are those of its protocol, draws follow from the seed."""

import sys
from pathlib import Path

import pytest

from experiments.peak_step import __main__ as study
from memphis.config.sections import OptimKnobs, SftTraining
from memphis.jsonl import write_rows
from memphis.training.step_size import card_peak, step_size


def test_the_settings_are_those_of_the_protocol() -> None:
    arms = list(study.arms())
    assert len({arm.name for arm in arms}) == len(arms) == 11
    for arm in arms:
        optim = OptimKnobs(lr=arm.lr, name=arm.optimizer)  # type: ignore[arg-type]
        peak = step_size(SftTraining(optim=optim, warmup_ratio=arm.warmup), study.STEPS).peak
        assert peak == (None if arm.peak is None else pytest.approx(arm.peak))
    assert [round(arm.peak / card_peak()) for arm in arms if arm.peak] == [1, 2, 4, 8] * 2


def test_rows_are_drawn_by_the_seed_from_every_source() -> None:
    rows = [{"id": f"{source}-{i}", "source": source} for source in (*study.SOURCES, "other") for i in range(60)]
    drawn = study.draw(rows, 52, 0)
    assert len({row["id"] for row in drawn}) == study.STEPS * study.BATCH == 208
    assert drawn == study.draw(rows, 52, 0) != study.draw(rows, 52, 1)
    assert {row["source"] for row in drawn} == set(study.SOURCES)


def test_the_table_has_the_runs_so_far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (study.FOLDER / "README.md").read_text()
    (tmp_path / "README.md").write_text(text)
    monkeypatch.setattr(study, "FOLDER", tmp_path)
    row = {
        "arm": "adamw-2e-05",
        "heldout_before": 1.5,
        "bump": 0.25,
        "seconds": 120,
        "update_ratio": [1.0] * study.STEPS,
    }
    study.write_table([row | {"seed": seed, "heldout_after": 1.4 + seed / 10} for seed in (0, 1)])
    written = (tmp_path / "README.md").read_text()
    assert "| adamw-2e-05 | 2.00e-05 | – | 2 | 1.500 | 1.450 | -0.100, +0.000 | +0.25 | 2.0 |" in written
    assert written.split("<!-- results:begin -->")[0] == text.split("<!-- results:begin -->")[0]
    study.write_table([])
    assert "adamw-2e-05" not in (tmp_path / "README.md").read_text()


def test_the_measured_steps_stand_beside_the_law() -> None:
    arm = next(study.arms())
    law = [arm.lr * f * gain for f, gain in ((0, 316.2), (1 / 3, 265.0), (2 / 3, 233.6), (1, 211.8))]
    runs = [
        {"arm": name, "seed": seed, "update_ratio": [*(times * size for size in law), *[arm.lr] * (study.STEPS - 4)]}
        for name in (arm.name, "adamw-2e-05")
        for seed, times in enumerate((0.8, 1.0))
    ]
    _, _, *rows = study.law_table(runs)
    (cells,) = (row.split(" | ") for row in rows)  # AdamW has no law
    assert cells[:2] == [f"| {arm.name}", "2"]
    assert cells[2] == f"{0.9 * law[1]:.2e} / {law[1]:.2e} = 0.90"
    assert cells[3] == f"{0.9 * law[3]:.2e} / {law[3]:.2e} = 0.90"
    assert study.law_table([])[2:] == []


def test_nothing_is_run_where_all_runs_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "README.md").write_text((study.FOLDER / "README.md").read_text())
    facts = {
        "heldout_before": 1.5,
        "heldout_after": 1.4,
        "bump": 0.1,
        "seconds": 60,
        "update_ratio": [1e-4] * study.STEPS,
    }
    write_rows(
        tmp_path / "results.jsonl",
        [{"arm": arm.name, "seed": seed, **facts} for arm in study.arms() for seed in study.SEEDS],
    )
    monkeypatch.setattr(study, "FOLDER", tmp_path)
    monkeypatch.setattr(sys, "argv", ["peak_step", "no-model", "no-rows", str(tmp_path / "work")])
    study.main()
    text = (tmp_path / "README.md").read_text()
    assert text.count("| adalite-1x-warmup-20 |") == 2
    assert not (tmp_path / "work").exists()
