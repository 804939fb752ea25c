"""Tests of the card's recipe on its four sources, small: `+exp=memphis_cot` from a hub cache, without a network.

The base model is a StableLM with a GPT-NeoX tokenizer, over-fitted for some seconds on the real rows whose questions it
gets, so that right and wrong samples are mixed as they are with a model that can reason a little.
"""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import GPTNeoXTokenizer

from memphis.config.sections import Optim
from memphis.data import prompts
from memphis.data.tokens import sft_examples
from memphis.jsonl import RowLog, read_rows
from memphis.runs import REPOSITORY
from memphis.store import read_json
from memphis.training.loop import train
from memphis.training.model import new_tiny, save
from memphis.training.train_plan import TrainPlan
from tests.composing import compose_config
from tests.hub import lines, put_dataset, put_model, reddit
from tests.offline import fork

# 95 s of CPU time with two starts of vLLM: no other test shows that all stages fit together on four sources.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

COMMIT = "0123456789abcdef0123456789abcdef01234567"
EOS = "<|endoftext|>"
COT = {"prompt": "prompt", "rationale": "rationale", "target": "answer"}
LIMITS = {"tinycot": 60, "scicot": 24, "reddit": 24, "oasst2": 12}
OVERRIDES = [
    *("+exp=memphis_cot", "iterations=2", "eval=none", "tracking=none", "runtime=laptop"),
    *(f"data.sources.{name}.limit={limit}" if name == "reddit" else f"+data.sources.{name}.limit={limit}" for name, limit in LIMITS.items()),
    *("model.dtype=float32", "model.parameters=1000000", "sft.max_length=384", "sft.epochs=1", "sft.global_batch_size=16"),
    *("generate.num_samples=6", "generate.max_new_tokens=72", "generate.temperature=0.8"),
    *("rank.max_length=256", "rank.global_batch_size=8"),
]  # fmt: skip


def short_rows(shared: Path) -> list[dict[str, Any]]:
    """Return 200 real rows with short questions, rationales and answers."""
    rows = lines(shared / "data" / "tinycot_sample" / "train.jsonl")
    size = {row["id"]: len(row["prompt"] + row["rationale"]) for row in rows}
    asked = [
        row for row in rows if row["source"] in ("strategyqa", "tal_scq5k_en", "gsm8k") and len(row["target"]) <= 8
    ]
    return sorted(asked, key=lambda row: size[row["id"]])[:200]


def neox_tokenizer(texts: list[str]) -> GPTNeoXTokenizer:
    """Train a GPT-NeoX tokenizer, like StableLM 3B's: byte-level BPE with one special token, which also pads."""
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=1200, special_tokens=[EOS], initial_alphabet=alphabet, show_progress=False)
    learner.train_from_iterator(texts, trainer)
    learned = json.loads(learner.model.__getstate__())
    return GPTNeoXTokenizer(vocab=learned["vocab"], merges=[tuple(pair) for pair in learned["merges"]], pad_token=EOS)


@pytest.fixture(scope="module")
def hub(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an HF_HOME with the card's base model and its four data sets."""
    home = tmp_path_factory.mktemp("hf")
    short = short_rows(shared)
    cot = [{"id": row["id"], "kind": "cot", **{COT[key]: row[key] for key in COT}} for row in short]
    tokenizer = neox_tokenizer([span.text for row in cot for span in prompts.spans(row, "every_turn")])
    model = new_tiny(tokenizer, hidden=128, layers=2, heads=4, intermediate=256, max_positions=640, seed=0)
    examples, _ = sft_examples(cot, tokenizer, max_length=384, eos="every_turn", overlong="drop")
    plan = TrainPlan(
        family="base", epochs=7, global_batch_size=16, optim=Optim(name="adamw", lr=3e-3), beta2=0.95, seed=0
    )
    work = tmp_path_factory.mktemp("base")
    train(model, examples, plan, out_dir=work, log=RowLog(work / "metrics.jsonl"))
    save(model, tokenizer, work / "model")
    cfg = compose_config("+exp=memphis_cot")
    assert cfg.model.path is not None
    put_model(home / "hub", cfg.model.path, COMMIT, work / "model")
    samples = {"tinycot": [{key: row[key] for key in (*COT, "source")} for row in short], "reddit": reddit(300)[0]}
    for name, folder in (("scicot", "scicot_sample"), ("oasst2", "oasst_sample")):
        samples[name] = lines(shared / "data" / folder / "train.jsonl")
    for name, source in cfg.data.sources.items():
        put_dataset(home / "hub", source.path, COMMIT if source.revision == "main" else source.revision, samples[name])
    return home


def run(hub: Path, root: Path, *more: str) -> "subprocess.CompletedProcess[str]":
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MEMPHIS_", "WANDB_", "SLURM_", "HF_"))}
    environment |= {"HF_HOME": str(hub), "HF_HUB_OFFLINE": "1", "MEMPHIS_RUNS": str(root), "OMP_NUM_THREADS": "1"}
    return fork([str(REPOSITORY / "train.py"), *OVERRIDES, *more], root, environment)


def test_the_whole_recipe_on_the_four_sources(hub: Path, tmp_path: Path) -> None:
    done = run(hub, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (tmp_path / "memphis_cot" / "s0").iterdir()
    stages = {link.name[3:]: link for link in path.glob("[0-9]*-*")}
    loops = [f"{kind}-{k}" for k in (1, 2) for kind in ("generate", "pairs", "rank", "merge")]
    assert list(dict(sorted(stages.items(), key=lambda item: item[1].name))) == ["data", "base", "sft", *loops]

    counts = read_json(stages["data"] / "counts.json")
    assert {name: found["kept"] for name, found in counts.items()} == LIMITS
    assert counts["reddit"]["rows"] == 300
    assert counts["reddit"]["dropped_title"] > 20
    assert len(read_rows(stages["data"] / "questions.jsonl")) == LIMITS["tinycot"]
    told = [line for line in done.stdout.splitlines() if line.startswith("warning: data.sources.")]
    assert [re.findall(r"has (\d+) rows", line) for line in told] == [["200"], ["300"], ["95"], ["500"]]  # each once
    for stage, revision in (("data", "scicot"), ("base", None)):
        summary = read_json(stages[stage] / "stage.json")["summary"]
        assert (summary["revisions"][revision] if revision else summary["revision"]) == COMMIT

    for k in (1, 2):
        found = read_json(stages[f"pairs-{k}"] / "counts.json")
        assert found["pairs/count"] >= 20, found
        assert 0.3 < found["gen/valid_frac"] < 0.95, found
        assert 0.1 < found["gen/pass@1"] < 0.9, found

    weights = {
        name: load_file(link / "model" / "model.safetensors")
        for name, link in stages.items()
        if (link / "model").is_dir()
    }
    assert set(weights) >= {"base", "sft", "merge-1", "merge-2"}
    for before, after in (("base", "sft"), ("sft", "merge-1"), ("merge-1", "merge-2")):
        for name, tensor in weights[before].items():
            frozen = "embed_tokens" in name or "lm_head" in name
            assert torch.equal(tensor, weights[after][name]) == frozen, (before, after, name)


def test_fetched_once_the_data_are_read_from_the_cache(hub: Path, tmp_path: Path) -> None:
    contents = set()
    for attempt in ("first", "second"):
        (tmp_path / attempt).mkdir()
        done = run(hub, tmp_path / attempt, "until=data")
        assert done.returncode == 0, done.stderr
        (record,) = (tmp_path / attempt / "store").glob("data-*/stage.json")
        contents.add(read_json(record)["summary"]["content"])
    assert len(contents) == 1
