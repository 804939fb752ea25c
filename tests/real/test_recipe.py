"""The recipe on a real model and real rows: steps that destroy it, kills, and weights in bfloat16."""

import json
import math
import re
import shutil
from pathlib import Path

import pytest

from memphis.jsonl import read_rows
from memphis.store import read_json
from memphis.training.model import fingerprint
from tests.offline import train

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

KILLS = ("sft:step:3", "generate:shard-done:1", "rank:step:1")


@pytest.fixture(scope="module")
def rows(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with 160 real rows that are answered by yes or no."""
    lines = (shared / "data" / "tinycot_sample" / "train.jsonl").read_text(encoding="utf-8").strip().split("\n")
    file = tmp_path_factory.mktemp("real") / "rows.jsonl"
    file.write_text("\n".join([line for line in lines if json.loads(line)["source"] == "strategyqa"][:160]) + "\n")
    return file


def typed(model: Path, rows: Path) -> list[str]:
    return [
        "+exp=smollm2",
        f"model.path={model}",
        f"data.path={rows}",
        "data.sources.tinycot.origins=null",
        "eval=none",
    ]


def stages(root: Path, kind: str) -> list[Path]:
    return sorted(path for path in (root / "store").glob(f"{kind}-*") if (path / "DONE").exists())


def test_the_wreck_is_refused_and_if_forced_it_is_stopped(smollm2: Path, rows: Path, tmp_path: Path) -> None:
    words = ["model=hf", f"model.path={smollm2}", "data=local", f"data.path={rows}", "eval=none", "method=sft_only"]
    words += ["sft=tiny", "sft.epochs=1"]
    done = train(tmp_path, *words)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: sft.optim.lr=0.0002: the peak relative step of stage sft is ")
    assert "for a model of 135 M weights" in line
    assert "sft=real, sft.optim.lr=auto, or sft.optim.allow_large_steps=true" in line
    assert not list((tmp_path / "store").glob("*-*"))  # before any cost

    done = train(tmp_path, *words, "sft.optim.allow_large_steps=true")
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    found = re.search(
        r"sft\.optim\.lr=0\.0002: training destroyed the model: its loss was (\S+) before and (\S+) in 2 steps in a "
        r"row, up to step (\d+) of 10, where guessing gives 10\.80; lower the learning rate, for instance "
        r"sft\.optim\.lr=2e-05",
        line,
    )
    assert found is not None, line
    before, after, step = float(found[1]), float(found[2]), int(found[3])
    assert before < 4 < 0.8 * math.log(49_152) < after
    assert step <= 1 + 3  # the first one has learning rate 0
    assert not stages(tmp_path, "sft")


def test_killed_anywhere_it_ends_bit_for_bit_the_same(smollm2: Path, rows: Path, tmp_path: Path) -> None:
    words = [  # 16 rows, 8 questions; AdamW, because it learns the format in 8 steps
        *typed(smollm2, rows),
        *("data.sources.tinycot.heldout=null", "data.sources.tinycot.limit=16", "data.sources.tinycot.questions=8"),
        *("iterations=1", "generate=hf", "generate.shard_size=4", "generate.temperature=1", "generate.top_p=1"),
        *("sft.optim.name=adamw", "sft.optim.lr=1e-4", "sft.global_batch_size=4", "rank.global_batch_size=2"),
        *("rank.warmup_ratio=0", "name=loop"),
    ]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for root in (whole, broken):
        root.mkdir()
    done = train(whole, *words)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (ranked,) = stages(whole, "rank")
    assert read_json(ranked / "stage.json")["summary"]["steps"] >= 1  # there were pairs

    (broken / "store").mkdir()
    for kind in ("data", "base"):
        (built,) = stages(whole, kind)
        shutil.copytree(built, broken / "store" / built.name, symlinks=True)
    for kill in KILLS:
        done = train(broken, *words, MEMPHIS_TEST_KILL=kill, MEMPHIS_CHECKPOINT_S="0")
        assert done.returncode == 1, f"{kill}: {done.stdout[-2000:]}"
        assert not stages(broken, kill.partition(":")[0])
    done = train(broken, *words)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    for kind in ("sft", "rank", "merge"):
        ((one,), (other,)) = stages(whole, kind), stages(broken, kind)
        assert one.name == other.name
        assert fingerprint(one / "model") == fingerprint(other / "model"), kind
    ((one,), (other,)) = stages(whole, "generate"), stages(broken, "generate")
    assert (one / "samples.jsonl").read_bytes() == (other / "samples.jsonl").read_bytes()


@pytest.mark.parametrize("master", ["bfloat16", "bfloat16_stochastic"])
def test_weights_in_bfloat16_are_trained(master: str, smollm2: Path, rows: Path, tmp_path: Path) -> None:
    done = train(
        tmp_path,
        *typed(smollm2, rows),
        *("data.sources.tinycot.heldout=null", "data.sources.tinycot.limit=8", "data.sources.tinycot.questions=false"),
        *("method=sft_only", "sft.epochs=1", "sft.global_batch_size=4", "sft.warmup_ratio=0", "model.dtype=float32"),
        f"model.master_dtype={master}",
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (sft,) = stages(tmp_path, "sft")
    summary = read_json(sft / "stage.json")["summary"]
    losses = [row["sft/ce"] for row in read_rows(sft / "metrics.jsonl") if "sft/ce" in row]
    assert summary["steps"] == len(losses) == 2
    assert all(0 < loss < 4 for loss in losses)
    assert fingerprint(sft / "model") != fingerprint(smollm2)
