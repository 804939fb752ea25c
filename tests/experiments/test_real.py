"""Tests of the experiment on a real model: its tables follow from the rows of results.jsonl, its runs from the protocol."""

from pathlib import Path
from typing import Any

import pytest

from experiments.real import __main__ as real
from tests.composing import compose_config


def run(arm: str, seed: int, *right: str) -> dict[str, Any]:
    return {
        **{"arm": arm, "seed": seed, "right": dict(zip(("gsm8k", "flute"), right, strict=True))},
        **{"models": [["base", 1, 8], ["SFT", 1, 4]], "steps": {"sft": 30, "rank-1": 4}, "pairs": {"pairs-1": 50}},
        **{"seconds": 1800 + 60 * seed, "threads": "2", "machine": "x86_64, 2 cores, cpu", "commit": "abc"},
    }


RUNS = [
    *(run("memphis", 0, "1100", "1111"), run("sft_continued", 0, "1000", "1110"), run("base", 0, "0000", "0000")),
    *(run("memphis", 1, "1110", "0111"), run("sft_continued", 1, "1110", "0011")),
]


def test_the_tables_follow_from_the_runs() -> None:
    head, *scores = real.scores(RUNS)
    assert head[4:6] == ["gsm8k", "flute"]
    shown = "base 1 of 8; SFT 1 of 4"
    assert scores[0] == ["memphis", "8", "75.0, 75.0", "75.0", "62.5", "87.5", f"{shown} / {shown}"]
    assert [row[0] for row in scores] == ["memphis", "sft_continued", "base"]
    _, control, base = real.differences(RUNS)
    assert control[:4] == ["sft_continued", "8", "+25.0, +12.5", "+18.8"]
    assert control[4] == "-60.7 to +98.2"  # Student's t with one degree of freedom: 18.75 ± 12.706 · 6.25
    low, high = map(float, control[6].split(" to "))
    assert low < 18.75 < high
    assert base[2:6] == ["+75.0", "+75.0", "–", "–"]  # one seed
    _, memphis, *_ = real.costs(RUNS)
    assert memphis == ["memphis", "0, 1", "30, 4 / 30, 4", "50 / 50", "30 m 30 s", "2", "x86_64, 2 cores, cpu", "abc"]


def test_what_could_be_detected() -> None:
    assert real.detectable(0.02, float("inf")) == "5.6"  # (1.960 + 0.842) standard errors
    assert real.detectable(0.02, 2) == "10.7"  # (4.303 + 1.061)
    assert real.detectable(None, 2) == "–"


def test_the_block_of_the_readme_is_replaced(tmp_path: Path) -> None:
    text = (real.FOLDER / "README.md").read_text()
    (tmp_path / "README.md").write_text(text)
    real.write_tables(RUNS, tmp_path)
    written = (tmp_path / "README.md").read_text()
    assert written.split(real.BEGIN)[0] == text.split(real.BEGIN)[0]
    assert "| sft_continued | 8 | +25.0, +12.5 |" in written
    real.write_tables(RUNS, tmp_path)
    assert (tmp_path / "README.md").read_text() == written


def test_a_run_is_typed_as_the_protocol_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def called(command: list[str], check: bool) -> None:
        commands.append(command[2:])

    monkeypatch.setattr(real.subprocess, "run", called)
    for arm in real.ARMS:
        real.train(arm, 1, "owner/model", tmp_path, tmp_path / "runs", ())
    first, control, base, shots = (compose_config(*command) for command in commands)
    source = first.data.sources["tinycot"]
    assert (first.seed, source.subset_seed, source.heldout) == (1, 1, str(tmp_path / "heldout.jsonl"))  # type: ignore[union-attr]
    assert (control.sft.continued, base.sft.skipped, base.eval.shots, shots.eval.shots) == (True, True, 0, 4)
    trial = compose_config(*commands[0], *real.TRIAL).data.sources["tinycot"]
    assert (trial.asked, 4 * trial.limit) == (8, 16)  # type: ignore[union-attr, operator]
