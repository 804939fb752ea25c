"""The counts of PERFORMANCE section 6, by the graph that submits sweeps."""

from pathlib import Path

import pytest

from benchmarks import sweep
from memphis.pipeline import KINDS


def counts(numbers: dict[str, float]) -> list[float]:
    return [numbers[kind] for kind, row in KINDS.items() if row.hours]


def test_one_factor_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMPHIS_RUNS", "")  # put back at the end
    found = sweep.count(sweep.ONE, tmp_path)
    assert found["ours"]["runs"] == 39
    assert counts(found["alone"]) == [39, 102, 102, 102, 39]
    assert counts(found["ours"]) == [3, 60, 69, 84, 39]
    assert found["alone"]["gpu_h"] == pytest.approx(39.1, abs=0.05)
    assert found["ours"]["gpu_h"] == pytest.approx(23.1, abs=0.05)


@pytest.mark.slow
def test_full_product(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMPHIS_RUNS", "")
    found = sweep.count(sweep.FULL, tmp_path)
    assert found["ours"]["runs"] == 360
    assert counts(found["alone"]) == [360, 720, 720, 720, 360]
    assert counts(found["ours"]) == [3, 219, 228, 288, 291]
    assert found["alone"]["gpu_h"] == pytest.approx(298.8, abs=0.05)
    assert found["ours"]["gpu_h"] == pytest.approx(98.3, abs=0.05)
