"""Tests of `eval.tasks`: tasks of lm-eval by name, groups of them, refusals, and the key of the stage."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from datasets import config as datasets_config
from huggingface_hub import constants
from lm_eval.tasks import TaskManager

from eval import table, tasks
from eval.compare import compare
from eval.harness import evaluate
from eval.records import find
from eval.suites import mean
from memphis.config import from_dict, to_dict
from memphis.errors import MemphisError
from memphis.jsonl import PROGRESS
from memphis.recipe import recipe
from memphis.sampling.hf import HfEngine
from memphis.sampling.progress import Progress
from memphis.store import write_json
from tests.composing import compose_config
from tests.tiny_models import write_model

CHOICE = {
    "output_type": "multiple_choice",
    "test_split": "test",
    "doc_to_text": "{{question}}",
    "doc_to_choice": "{{choices}}",
    "doc_to_target": "{{gold}}",
    "metric_list": [mean("acc"), mean("acc_norm")],
}


@pytest.fixture
def own_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace lm-eval's 14,000 tasks by a few with data of this test: reading them all takes seconds."""
    folder = tmp_path / "tasks"
    folder.mkdir()
    rows = [{"question": f"{n}?", "choices": ["one", "two"], "gold": n % 2} for n in range(6)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    kept = {"data_files": {"test": str(tmp_path / "rows.jsonl")}, "cache_dir": str(tmp_path / "cache")}
    local = {**CHOICE, "dataset_path": "json", "dataset_kwargs": kept}
    found: dict[str, dict[str, Any]] = {
        "left": {**local, "task": "left"},
        "right": {**local, "task": "right"},
        "both": {"group": "both", "task": ["left", "right"]},
        "far": {**CHOICE, "task": "far", "dataset_path": "owner/nowhere"},
        "bleu": {**local, "task": "bleu", "output_type": "generate_until", "metric_list": [mean("bleu")]},
        "mixed": {"group": "mixed", "task": ["left", "shots"]},
        "shots": {**local, "task": "shots", "num_fewshot": 1, "fewshot_split": "test"},
    }
    for name, config in found.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.setattr(tasks, "TaskManager", lambda: TaskManager(include_path=str(folder), include_defaults=False))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "a", seed=0, max_positions=1024)


def score(model: Path, out: Path, names: list[str], limit: int | None = None) -> Path:
    """Evaluate the tasks; return the stage's directory, with its record."""
    out.mkdir()
    record = evaluate(
        HfEngine(model, dtype="float32"),
        model,
        "tasks",
        fingerprint="f" * 64,
        data_dir=None,
        limit=limit,
        seeds=[0],
        allow_truncated=False,
        out=out,
        log=lambda row: None,
        progress=Progress(out / PROGRESS),
        kill_point=lambda name: None,
        tasks=names,
    )
    write_json(out / "record.json", {"tasks": record})
    return out


@pytest.mark.usefixtures("own_tasks")
def test_tasks_and_groups_are_columns(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = find(score(model, tmp_path / "one", ["both", "left"]))
    record = one.records["tasks"]
    both, left = record["columns"].values()
    assert (both["tasks"], both["n"], both["metric"], both["title"]) == (
        ["left", "right"],
        12,
        "acc_norm",
        "both (acc_norm)",
    )
    assert (left["tasks"], left["n"], left["shots"]) == (["left"], 6, 0)
    assert both["count"] == sum(record["tasks"][task]["count"] for task in both["tasks"])
    assert [[result.name for result in column] for column in compare(one, one)] == [["both", "left", "right"], ["left"]]
    assert table.main([str(one.file.parent), "--results", str(tmp_path / "none")]) == 0
    assert "| Model | both | left |" in capsys.readouterr().out


@pytest.mark.usefixtures("own_tasks")
def test_a_limit_is_marked(tmp_path: Path, model: Path) -> None:
    record = find(score(model, tmp_path / "one", ["left"], limit=2)).records["tasks"]
    assert (record["comparable"], record["columns"]["left"]["n"], record["tasks"]["left"]["n_all"]) == (False, 2, 6)


@pytest.mark.usefixtures("own_tasks")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nope", r"eval.tasks: nope is no task or group of lm-eval [\d.]+; `lm-eval ls tasks` lists"),
        ("far", "eval.tasks: far needs the data set owner/nowhere, which is not in .* cannot be had"),
        ("bleu", "eval.tasks: bleu is measured by bleu; only tasks with exact_match, acc_norm, acc are counted"),
        ("mixed", "eval.tasks: the tasks of mixed differ in metric or shots"),
    ],
)
def test_what_cannot_be_counted_is_refused(name: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (constants, datasets_config):
        monkeypatch.setattr(module, "HF_HUB_OFFLINE", True)
    with pytest.raises(MemphisError, match=message):
        tasks.named_tasks([name])


def test_names_enter_the_key_where_they_are(tmp_path: Path) -> None:
    def last(*typed: str) -> Any:
        return recipe(compose_config("iterations=1", *typed), tmp_path / "identities.json")[-1]

    assert "tasks" not in last().config["eval"]
    assert last("eval.tasks=[piqa]").config["eval"]["tasks"] == ["piqa"]
    assert last("eval=none", "eval.tasks=[piqa]", "eval.at=final").kind == "evaluate"
    with pytest.raises(MemphisError, match="eval.tasks=.*: the same task twice"):
        compose_config("eval.tasks=[piqa,piqa]")


def test_a_config_from_before_has_no_tasks() -> None:
    plain = to_dict(compose_config())
    del plain["eval"]["tasks"]
    assert from_dict(plain) == compose_config()
