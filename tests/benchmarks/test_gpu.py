"""The GPU benchmark: its rows are as long as the recipe's, and its miniature runs for real on a CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from memphis.runs import REPOSITORY


def run(*arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(REPOSITORY / "benchmarks" / "gpu.py"), *arguments]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **more}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env)


@pytest.mark.slow
def test_the_miniature_runs_all_parts_on_a_cpu(tmp_path: Path) -> None:
    done = run("--tiny", "--out", str(tmp_path / "found.json"), TORCHINDUCTOR_CACHE_DIR=str(tmp_path / "compiled"))
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["tiny"]
    assert "no GPU" in found["hardware"]
    rows = found["results"]
    assert [row["setting"] for row in rows] == [
        "sft",
        "rank",
        "sft, half of the tokens",
        "sft, everything recomputed",
        "sft, compiled",
        "rank, compiled",
    ]
    assert all(row["tokens_per_sec"] > 0 and row["steps"] == 2 and "mfu" not in row for row in rows), done.stdout
    assert [row["recomputed_layers"] for row in rows] == [0, 0, 0, 1, 0, 0]  # of one, on a CPU
    assert [row["micro_batch_tokens"] for row in rows] == [256, 256, 128, 256, 256, 256]
    assert list((tmp_path / "compiled").rglob("*.so"))  # by the two that say so
    assert len(done.stdout.splitlines()) == 2 + len(rows)


@pytest.mark.slow
def test_without_a_gpu_it_says_so_in_one_line() -> None:
    done = run()
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: torch finds no GPU here; ")


def test_rows_are_as_long_as_those_of_the_recipe() -> None:
    from benchmarks.gpu import FULL, examples  # imports of a script: kept from the collection of other tests

    rows = examples(FULL, number=3000)
    lengths = [len(row.sequences[0].input_ids) for row in rows]
    assert sum(lengths) / len(rows) == pytest.approx(
        (27.676 * 123 + 7 * 160 + 5 * 350 + 4.693 * 446) / 44.369, rel=0.05
    )
    assert max(lengths) <= 4096
    pairs = examples(FULL, rejected=1, number=1000)
    flat = [sum(len(s.input_ids) for s in pair.sequences) - pair.prompt_length for pair in pairs]
    assert sum(flat) / len(pairs) == pytest.approx(190, rel=0.05)  # prompt once, two answers
    assert all(label == -100 for pair in pairs for label in pair.sequences[1].labels[: pair.prompt_length])
