"""Tests of the benchmarks on real engines with a random model: all 36 tasks through vLLM and through transformers."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from eval import harness
from eval.adapters import language_model
from eval.harness import evaluate
from eval.records import load
from eval.suites import CURRENT
from memphis.jsonl import PROGRESS
from memphis.sampling.hf import HfEngine
from memphis.sampling.progress import Progress
from memphis.training.model import fingerprint
from tests.eval.scripted import plain_score, samples_of
from tests.offline import train
from tests.tiny_models import benchmark_tokenizer, vllm_engine, write_model

pytestmark = pytest.mark.slow
LIMIT = 2


@pytest.fixture(scope="module")
def model(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a random StableLM with a context of 4,096 tokens that ends most of its answers by itself."""
    vocabulary = benchmark_tokenizer(shared / "benchmarks")
    path = write_model(tmp_path_factory.mktemp("model") / "m", 0, max_positions=4096, vocabulary=vocabulary)
    weights = load_file(path / "model.safetensors")
    ends = [
        i for i in range(len(vocabulary)) if any(s in vocabulary.decode([i]) for s in ("Q", "\n\n", "<|endoftext|>"))
    ]
    weights["lm_head.weight"][torch.tensor(ends)] *= 1.3
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    return path


def run(engine: Any, model: Path, suite: str, shared: Path, out: Path, **knobs: Any) -> dict[str, Any]:
    out.mkdir(exist_ok=True)
    chosen: dict[str, Any] = {"limit": LIMIT, "seeds": [0], "allow_truncated": False, **knobs}
    return evaluate(
        engine,
        model,
        suite,
        fingerprint=fingerprint(model),
        data_dir=shared / "benchmarks",
        out=out,
        log=lambda row: None,
        progress=Progress(out / PROGRESS),
        kill_point=lambda name: None,
        **chosen,
    )


def test_both_engines_give_the_same_answers_on_all_36_tasks(shared: Path, model: Path, tmp_path: Path) -> None:
    engines = {"hf": HfEngine(model, dtype="float32"), "vllm": vllm_engine(model)}
    records = {name: run(engine, model, "current", shared, tmp_path / name) for name, engine in engines.items()}
    choices = generations = 0
    largest = 0.0
    incomplete, ended = [], 0
    for column in CURRENT.columns:
        for task in column.tasks:
            both = [samples_of(tmp_path / name, record["tasks"][task]) for name, record in records.items()]
            for one, other in zip(*both, strict=True):
                assert (one["doc_id"], one["filter"], one["prompt_hash"]) == (
                    other["doc_id"],
                    other["filter"],
                    other["prompt_hash"],
                )
                if one["filter"] == column.filter:
                    assert other[column.metric] == plain_score("current", task, other)
                if column.name == "agieval":
                    scores = [[float(answer[0]) for (answer,) in sample["resps"]] for sample in (one, other)]
                    largest = max(largest, *(abs(x - y) for x, y in zip(*scores, strict=True)))
                    lengths = [len(choice) for choice in one["doc"]["choices"]]
                    best = [max(range(len(s)), key=lambda i: s[i] / lengths[i]) for s in scores]
                    assert best[0] == best[1]
                    choices += 1
                elif one["filter"] == column.filter:
                    (text,), (fast,) = one["resps"][0], other["resps"][0]
                    generations += 1
                    ended += len(fast) < 600
                    if text != fast:  # the documented exception: vLLM drops an incomplete last character
                        incomplete.append((task, text[-20:], fast[-20:]))
                        assert text.rstrip("\ufffd") == fast.rstrip("\ufffd")
    print(
        f"{choices} choices, log-likelihoods differ by at most {largest:.1e}; {generations} generations, "
        f"{ended} shorter than 600 characters, {len(incomplete)} with the exception: {incomplete}; seconds "
        f"{ {name: record['seconds'] for name, record in records.items()} }"
    )
    assert (choices, generations) == (8 * LIMIT, 28 * LIMIT)
    assert largest < 1e-3
    assert len(incomplete) <= generations // 10
    for record in records.values():
        assert record["truncated_prompts"] == 0
        assert record["comparable"] is False
    assert language_model(engines["vllm"], model, 0).add_bos_token is False


def test_tasks_that_share_a_batch_are_scored_and_kept_one_by_one(
    shared: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bbh = CURRENT.columns[-1]
    few = replace(CURRENT, columns=(replace(bbh, tasks=bbh.tasks[:3]),))
    monkeypatch.setattr(harness, "find_suite", lambda name: few)
    batches: list[list[str]] = []
    score = harness.lm_eval.evaluate

    def watched(model: Any, loaded: Any, **how: Any) -> Any:
        batches.append(list(loaded["tasks"]))
        return score(model, loaded, **how)

    monkeypatch.setattr(harness.lm_eval, "evaluate", watched)
    engine = HfEngine(model, dtype="float32")
    records = {}
    for items, expected in ((1, [1, 1, 1]), (LIMIT + 1, [2, 1]), (harness.TOGETHER, [3])):
        monkeypatch.setattr(harness, "TOGETHER", items)
        records[items] = run(engine, model, "current", shared, tmp_path / f"{items}")
        assert [len(batch) for batch in batches] == expected
        batches.clear()
        for record in (records[items], *records[items]["tasks"].values()):
            del record["seconds"]
    assert records[1] == records[LIMIT + 1] == records[harness.TOGETHER]
    for file in (tmp_path / "1" / "samples").iterdir():
        assert file.read_bytes() == (tmp_path / f"{harness.TOGETHER}" / "samples" / file.name).read_bytes()
    (tmp_path / "1" / "tasks" / f"{bbh.tasks[1]}.json").unlink()
    run(engine, model, "current", shared, tmp_path / "1")
    assert batches == [[bbh.tasks[1]]]  # only the missing task


def test_card_on_vllm_with_two_seeds(shared: Path, model: Path, tmp_path: Path) -> None:
    """Check reuse: AGIEval has the prompts of `current` and is scored once for both; GSM8K is sampled for each seed."""
    engine = vllm_engine(model)
    card = run(engine, model, "card", shared, tmp_path, limit=1, seeds=[0, 1])
    files = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "tasks").iterdir()}
    assert len(files) == 2 + 8 + 27
    current = run(engine, model, "current", shared, tmp_path, limit=1)
    assert {name: (tmp_path / "tasks" / name).stat().st_mtime_ns for name in files} == files
    assert len(list((tmp_path / "tasks").iterdir())) == len(files) + 1 + 27
    assert card["columns"]["agieval"] == current["columns"]["agieval"]
    drawn = [sample["resps"] for sample in samples_of(tmp_path, card["tasks"]["gsm8k"])]
    assert drawn[0] != drawn[1]
    (tmp_path / "record.json").write_text(json.dumps({"card": card, "current": current}))
    assert set(load(tmp_path / "record.json").records) == {"card", "current"}  # load() also checks the sums in it


def test_any_model_is_evaluated_offline_by_one_command(shared: Path, model: Path, tmp_path: Path) -> None:
    relative = os.path.relpath(shared / "benchmarks", tmp_path)
    words = [
        "method=none",
        "model=hf",
        f"model.path={model}",
        "eval=current",
        f"eval.data_dir={relative}",
        "eval.limit=1",
    ]
    done = train(tmp_path, *words)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    for column in ("gsm8k", "agieval", "bbh"):
        assert column in done.stdout
    assert "not comparable" in done.stdout
    (record,) = (tmp_path / "store").glob("evaluate-*/record.json")
    found = load(record).records["current"]
    assert [(c["n"], c["shots"]) for c in found["columns"].values()] == [(1, 5), (8, 0), (27, 3)]
    assert found["engine"] == "vllm"
    assert found["model"]["stage"].startswith("base-")
    again = train(tmp_path, *words)
    assert again.returncode == 0
    assert again.stdout.splitlines()[-1] == done.stdout.splitlines()[-1]
