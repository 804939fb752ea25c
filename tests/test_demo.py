"""Tests of `make demo` as a newcomer starts it: real training, vLLM and lm-eval, W&B offline; tables and reports."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from memphis.runs import REPOSITORY
from tests.micro import environment

# The laptop recipe and its control once, for all tests of this file, at a third of its size or less: easier sums, which fewer
# steps suffice to learn, and fewer questions of each kind.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]


HARDEST = {"max_number": 12, "max_factor": 3, "max_steps": 2}
FEWER = {"questions": 400, "dev": 40, "test": 250}
DEMO = [
    *("-m", "method=memphis,sft_continued", "model.base.steps=800", "model.base.texts=12800"),
    *(f"model.base.{key}={value}" for key, value in HARDEST.items()),
    *(f"data.sources.tiny.{key}={value}" for key, value in {**FEWER, **HARDEST}.items()),
]


def train(root: Path, *overrides: str) -> "subprocess.CompletedProcess[str]":
    settings = environment(root)
    del settings["OMP_NUM_THREADS"]  # as a user would start it
    line = [sys.executable, str(REPOSITORY / "train.py"), *overrides]
    return subprocess.run(line, capture_output=True, text=True, cwd=root, env=settings, check=False)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return the directory of the self-taught run, and the output."""
    root = tmp_path_factory.mktemp("demo")
    done = train(root, *DEMO)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return run_of(root, "memphis"), done.stdout


def run_of(root: Path, method: str) -> Path:
    """Return the directory of the run with this method. Its name is a hash, as there are many overrides."""
    files = (root / "tiny" / "s0").glob("*/run.json")
    (run,) = (file.parent for file in files if f"method={method}" in json.loads(file.read_text())["overrides"])
    return run


def scores(run: Path) -> dict[str, dict[str, Any]]:
    summary = json.loads((run / "summary.json").read_text())
    return {row["label"]: row["columns"] for row in summary["scores"]}


def test_it_ends_with_a_table_a_figure_and_samples(demo: tuple[Path, str]) -> None:
    run, out = demo
    assert "warning: " not in out
    assert list(scores(run)) == ["base", "SFT", "iteration 1", "iteration 2", "iteration 3"]
    for name in (
        "report.html",
        "results.md",
        "results.csv",
        "accuracy.svg",
        "samples.md",
        "config.yaml",
        "run.json",
        "metrics.jsonl",
    ):
        assert (run / name).stat().st_size > 0
    for row in ("base", "SFT", "iteration 3"):
        assert re.search(rf"^ *{row} +\d+\.\d ± \d+\.\d", out, re.M)
    assert "slerp.t=0.5" in out
    assert re.search(r"^memphis +\d+\.\d +1 +[+-]\d+\.\d +[+-]\d+\.\d +.* \(items\)$", out, re.M)
    assert re.search(r"^sft_continued +\d+\.\d +1 +[+-]\d+\.\d +baseline", out, re.M)
    (compared,) = run.parents[2].glob("comparisons/tiny-*")
    for name in ("report.html", "report.md", "figure.svg", "results.csv", "results.json"):
        assert (compared / name).stat().st_size > 0
    assert out.rstrip().endswith(f"comparisons/{compared.name}/report.html")
    assert "\x1b" not in out


def test_every_step_of_the_recipe_happened(demo: tuple[Path, str]) -> None:
    """Check each step, regardless of exact numbers: training learns, pairs are made, weights move and move back."""
    run, _ = demo
    found = scores(run)
    assert found["base"]["tiny/tiny_gen"]["score"] < 0.05  # the format is unknown before SFT
    assert 0.1 < found["SFT"]["tiny/tiny_gen"]["score"] < 0.6
    taught = found["iteration 3"]["tiny/tiny_gen"]["score"]
    assert taught > found["SFT"]["tiny/tiny_gen"]["score"] + 0.03  # it was 18 points on the author's machine
    control = scores(run_of(run.parents[2], "sft_continued"))["SFT continued"]["tiny/tiny_gen"]["score"]
    assert taught > control - 0.05  # 250 questions, one seed: experiments/tiny has five seeds at full size
    stages = {row["name"]: row for row in json.loads((run / "stages.json").read_text())}
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for k in (1, 2, 3):
        assert stages[f"pairs-{k}"]["summary"]["pairs"] >= 100
        merge = next(row for row in rows if row["stage"] == f"merge-{k}")
        assert 0 < merge["merge/drift_prev"] < 0.2
        ranks = [row["rank/accuracy"] for row in rows if row["stage"] == f"rank-{k}" and "rank/accuracy" in row]
        assert sum(ranks[-10:]) > sum(ranks[:10])
    sft = [row["sft/ce"] for row in rows if row["stage"] == "sft" and "sft/ce" in row]
    assert sum(sft[-10:]) < 0.7 * sum(sft[:10])


def test_frozen_weights_are_those_of_the_base_model_bit_for_bit(demo: tuple[Path, str]) -> None:
    from safetensors.torch import load_file

    run, _ = demo
    base, last = (
        load_file(next(run.glob(f"*-{name}")) / "model" / "model.safetensors") for name in ("base", "merge-3")
    )
    frozen = [name for name in base if "embed_tokens" in name or "lm_head" in name]
    assert len(frozen) == 2
    assert all(base[name].equal(last[name]) for name in frozen)
    assert not any(base[name].equal(last[name]) for name in base if "mlp" in name)


def test_wandb_recorded_offline(demo: tuple[Path, str]) -> None:
    run, _ = demo
    (segment,) = run.glob("wandb/offline-run-*/run-*.wandb")
    assert segment.stat().st_size > 100_000


def test_the_same_command_again_starts_nothing(demo: tuple[Path, str]) -> None:
    run, first = demo
    logs = set(run.parent.rglob("*.log"))
    assert len(logs) > 10  # logs of the stage processes
    done = train(run.parents[2], *DEMO)
    assert done.returncode == 0
    assert "started" not in done.stdout
    assert set(run.parent.rglob("*.log")) == logs
    table = [line for line in first.splitlines() if "±" in line and "[" not in line]
    assert table
    assert all(line in done.stdout for line in table)


def test_slerp_rebuilds_nothing_before_the_first_merge(demo: tuple[Path, str]) -> None:
    run, _ = demo
    done = train(run.parents[2], *DEMO[2:], "slerp.t=0.5", "plan=true")
    built = re.findall(r"^ *\d+ build +(\S+)", done.stdout, re.M)
    assert built[:3] == ["merge-1", "evaluate-1", "generate-2"]
    assert len(built) == 12
