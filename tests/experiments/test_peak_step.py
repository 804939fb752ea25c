"""Tests of the study of peak steps: its settings are those of its protocol, draws follow from the seed."""

from pathlib import Path

import pytest

from experiments.peak_step import __main__ as study
from memphis.config.sections import OptimKnobs, SftTraining
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
    row = {"arm": "adamw-2e-05", "heldout_before": 1.5, "bump": 0.25, "seconds": 120}
    study.write_table([row | {"seed": seed, "heldout_after": 1.4 + seed / 10} for seed in (0, 1)])
    written = (tmp_path / "README.md").read_text()
    assert "| adamw-2e-05 | 2.00e-05 | – | 2 | 1.500 | 1.450 | -0.100, +0.000 | +0.25 | 2.0 |" in written
    assert written.split("<!-- results:begin -->")[0] == text.split("<!-- results:begin -->")[0]
    study.write_table([])
    assert "adamw-2e-05" not in (tmp_path / "README.md").read_text()
