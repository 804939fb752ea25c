"""Tests of the harness on real engines with a random model: the record's content, and resuming a killed evaluation."""

import gzip
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eval.harness import evaluate
from memphis.data.tiny import Difficulty, problems
from memphis.jsonl import PROGRESS
from memphis.sampling import Engine, progress
from memphis.sampling.hf import HfEngine
from memphis.sampling.progress import Progress
from memphis.training.model import fingerprint
from tests.tiny_models import vllm_engine, write_model

UNITS = ["tiny_gen", "tiny_mc", "tiny_cot"]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for split, count in (("dev", 3), ("test", 12)):
        rows = problems(split, count, 0, Difficulty())
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "a", seed=0, max_positions=1024)


@pytest.fixture(scope="module")
def engine(model: Path) -> HfEngine:
    return HfEngine(model, dtype="float32")


class Run:
    """Caller of evaluate that keeps the rows and kill points of the call."""

    def __init__(self, engine: Engine, model: Path, data_dir: Path, out: Path, **knobs: Any) -> None:
        out.mkdir(exist_ok=True)
        self.rows: list[dict[str, Any]] = []
        self.points: list[str] = []
        self.told: list[dict[str, Any]] = []
        self.arguments = (
            (engine, model, "tiny"),
            {
                "fingerprint": fingerprint(model),
                "data_dir": data_dir,
                "limit": 4,
                "seeds": [0],
                "allow_truncated": False,
                "out": out,
                **knobs,
            },
        )

    def __call__(self, die_at: int | None = None) -> dict[str, Any]:
        def kill_point(name: str) -> None:
            self.points.append(name)
            if len(self.points) == die_at:
                raise KeyboardInterrupt

        positional, named = self.arguments
        told, engine = Progress(named["out"] / PROGRESS), positional[0]
        write = told._write

        def written() -> None:
            write()
            self.told.append(json.loads((named["out"] / PROGRESS).read_text()))

        told._write = written  # type: ignore[method-assign]
        with told, engine.meter.reporting(told.step):
            return evaluate(*positional, **named, log=self.rows.append, progress=told, kill_point=kill_point)


def without_seconds(record: dict[str, Any]) -> dict[str, Any]:
    tasks = {name: {k: v for k, v in task.items() if k != "seconds"} for name, task in record["tasks"].items()}
    return {k: v for k, v in record.items() if k != "seconds"} | {"tasks": tasks}


def samples(out: Path, unit: str) -> list[dict[str, Any]]:
    return [
        json.loads(line) for line in gzip.decompress((out / "samples" / f"{unit}.jsonl.gz").read_bytes()).splitlines()
    ]


def test_the_record_says_what_was_measured(engine: HfEngine, model: Path, data_dir: Path, tmp_path: Path) -> None:
    run = Run(engine, model, data_dir, tmp_path)
    record = run()
    json.dumps(record, allow_nan=False)
    assert (record["suite"], record["engine"], record["dtype"], record["limit"]) == ("tiny", "hf", "float32", 4)
    assert record["comparable"] is False
    assert record["fingerprint"] == fingerprint(model)
    assert {"lm_eval", "torch", "transformers"} <= record["versions"].keys()
    assert record["truncated_prompts"] == 0
    assert [(c["metric"], c["filter"], c["shots"], c["n"]) for c in record["columns"].values()] == [
        ("exact_match", "get-answer", 0, 4),
        ("acc_norm", "none", 0, 4),
        ("exact_match", "get-answer", 3, 4),
    ]
    for unit in UNITS:
        task, found = record["tasks"][unit], samples(tmp_path, unit)
        assert (task["n"], task["n_all"]) == (4, 12)
        assert [sample["doc"]["id"] for sample in found] == [f"tiny-test-{i:05d}" for i in range(4)]
        assert task["count"] == sum(sample[task["metric"]] for sample in found)
        assert task["score"] == task["count"] / 4
    assert [row["step"] for row in run.rows[:-1]] == [1, 2, 3]
    assert run.rows[-1]["eval/tiny/tiny_mc/acc_norm"] == record["columns"]["tiny_mc"]["score"]
    assert run.rows[-1]["eval/tiny/tiny_mc/n"] == 4


def test_answers_are_counted_inside_a_task_and_finished_tasks_as_done(
    engine: HfEngine, model: Path, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "REPORT_S", 0.0)
    run = Run(engine, model, data_dir, tmp_path)
    run()
    assert len(run.told) > 100  # each token of tiny_gen and tiny_cot
    first = [row for row in run.told if row["share"] < 1 / 3]
    assert {row["of"] for row in first if row["answers"] or row["tokens_per_sec"]} == {4}
    assert [row["share"] for row in run.told] == sorted(row["share"] for row in run.told)
    assert (run.told[0]["share"], run.told[-1]["share"], run.told[-1]["seconds_left"]) == (0.0, 1.0, 0.0)
    (tmp_path / "tasks" / "tiny_mc.json").unlink()
    run.told.clear()
    run()
    assert (run.told[0]["share"], run.told[0]["seconds_left"]) == (2 / 3, None)
    assert run.told[-1]["share"] == 1.0


def test_scores_are_lm_evals(engine: HfEngine, model: Path, data_dir: Path, tmp_path: Path) -> None:
    record = Run(engine, model, data_dir, tmp_path, limit=12)()
    found = samples(tmp_path, "tiny_mc")
    for sample in found:
        choices, gold = sample["doc"]["choices"], sample["doc"]["gold"]
        per_character = [logp / len(choice) for ((logp, _),), choice in zip(sample["resps"], choices, strict=True)]
        assert sample["acc_norm"] == (per_character.index(max(per_character)) == gold)
    n, p = 12, record["columns"]["tiny_mc"]["score"]
    assert 0 < p < 1
    assert record["columns"]["tiny_mc"]["stderr"] == pytest.approx((p * (1 - p) / (n - 1)) ** 0.5)
    assert Run(engine, model, data_dir, tmp_path / "all", limit=None)()["comparable"] is True


@pytest.mark.parametrize("die_at", [1, 2, 3, 6])
def test_a_killed_evaluation_goes_on_where_it_was(
    engine: HfEngine, model: Path, data_dir: Path, tmp_path: Path, die_at: int
) -> None:
    whole = Run(engine, model, data_dir, tmp_path / "whole")()
    run = Run(engine, model, data_dir, tmp_path / "killed")
    with pytest.raises(KeyboardInterrupt):
        run(die_at=die_at)
    kept = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "killed/tasks").iterdir()}
    assert len(kept) == die_at // 2
    again = Run(engine, model, data_dir, tmp_path / "killed")
    assert without_seconds(again()) == without_seconds(whole)
    assert again.points.count("task") == 3 - len(kept)  # only the missing ones were run
    assert [row["step"] for row in again.rows[:-1]] == [1, 2, 3]  # the rows are complete nevertheless
    for name, changed in kept.items():
        assert (tmp_path / "killed/tasks" / name).stat().st_mtime_ns == changed
    for unit in UNITS:
        written = [(tmp_path / part / "samples" / f"{unit}.jsonl.gz").read_bytes() for part in ("whole", "killed")]
        assert written[0] == written[1]


def test_an_evaluation_leaves_the_random_states_alone(
    engine: HfEngine, model: Path, data_dir: Path, tmp_path: Path
) -> None:
    def draws() -> tuple[float, ...]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    def seeded() -> None:
        random.seed(5)
        np.random.seed(5)
        torch.manual_seed(5)

    seeded()
    expected = draws()
    seeded()
    Run(engine, model, data_dir, tmp_path)()
    assert draws() == expected


def test_cut_prompts_are_counted(model: Path, data_dir: Path, tmp_path: Path) -> None:
    engine = HfEngine(model, dtype="float32")
    engine.max_model_len = 170
    record = Run(engine, model, data_dir, tmp_path)()
    tokenizer = engine.tokenizer
    rows = [json.loads(line) for line in (data_dir / "test.jsonl").read_text().splitlines()[:4]]
    texts = [[f"{row['prompt']} {row['rationale'].rsplit(' = ', 1)[0]} = {c}" for c in row["choices"]] for row in rows]
    scored = [max(len(ids) for ids in tokenizer(choices)["input_ids"]) for choices in texts]
    assert min(scored) <= 169 < max(scored)
    assert record["tasks"]["tiny_mc"]["truncated_prompts"] == sum(length > 169 for length in scored)
    assert record["tasks"]["tiny_cot"]["truncated_prompts"] == 4  # three shots never fit
    assert record["truncated_prompts"] == sum(record["tasks"][unit]["truncated_prompts"] for unit in UNITS)


@pytest.mark.slow
def test_vllm_and_transformers_give_the_same_record(
    engine: HfEngine, model: Path, data_dir: Path, tmp_path: Path
) -> None:
    fast = vllm_engine(model)
    records = [Run(e, model, data_dir, tmp_path / e.name, limit=12)() for e in (engine, fast)]
    for unit in UNITS:
        mine, theirs = ({k: v for k, v in r["tasks"][unit].items() if k != "seconds"} for r in records)
        assert mine == theirs
        for a, b in zip(samples(tmp_path / "hf", unit), samples(tmp_path / "vllm", unit), strict=True):
            assert a["prompt_hash"] == b["prompt_hash"]
            if unit == "tiny_mc":
                for ((x, _),), ((y, _),) in zip(a["resps"], b["resps"], strict=True):
                    assert x == pytest.approx(y, abs=1e-3)
            else:
                assert a["resps"] == b["resps"]
    again = Run(fast, model, data_dir, tmp_path / "again", limit=12)()
    assert without_seconds(again) == without_seconds(records[1])
