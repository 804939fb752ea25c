"""Tests of task files as lm-eval reads them: the tiny suite's prompts are those of training and of the base corpus."""

import json
from pathlib import Path
from typing import Any

import pytest
from lm_eval.tasks import TaskManager

from eval.suites import CARD, CURRENT, TINY, Column, Suite
from eval.tasks import write_task
from memphis.data.prompts import STOP_STRINGS, completion_cot, render_cot
from memphis.data.tiny import Difficulty, few_shot_prompt, problems
from memphis.errors import MemphisError


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for split, count in (("dev", 5), ("test", 8)):
        rows = problems(split, count, 0, Difficulty())
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def load(suite: Suite, column: Column, name: str, data_dir: Path | None, folder: Path) -> Any:
    file = write_task(suite, column, name, data_dir, folder)
    (task,) = TaskManager(include_defaults=False).load([str(file)])["tasks"].values()
    task.set_fewshot_seed(seed=1234)
    return task


def requests(task: Any) -> list[Any]:
    task.build_all_requests(limit=None, rank=0, world_size=1)
    return task.instances


def rows(data_dir: Path, split: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (data_dir / f"{split}.jsonl").read_text().splitlines()]


def test_tiny_gen_asks_as_training_does(data_dir: Path, tmp_path: Path) -> None:
    task = load(TINY, TINY.columns[0], "tiny_gen", data_dir, tmp_path)
    for request, row in zip(requests(task), rows(data_dir, "test"), strict=True):
        context, settings = request.args
        assert context == render_cot(row["prompt"])
        assert settings == {"until": STOP_STRINGS, "max_gen_toks": 96, "do_sample": False, "temperature": 0.0}
        assert score(task, request, completion_cot(row["rationale"], row["answer"])) == 1.0
        assert score(task, request, row["answer"]) == 0.0
        assert score(task, request, completion_cot(row["rationale"], row["answer"] + "0")) == 0.0


def test_tiny_cot_is_the_base_corpus_few_shot_text(data_dir: Path, tmp_path: Path) -> None:
    task = load(TINY, TINY.columns[2], "tiny_cot", data_dir, tmp_path)
    shots = rows(data_dir, "dev")[:3]
    for request, row in zip(requests(task), rows(data_dir, "test"), strict=True):
        context, settings = request.args
        assert context == few_shot_prompt(row["prompt"], shots)
        assert settings["until"] == ["Q:", "\n\n"]
        assert score(task, request, f" {row['rationale']} So the answer is {row['answer']}.") == 1.0
        assert score(task, request, f" {row['rationale']} So the answer is {int(row['answer']) + 1}.") == 0.0


def test_tiny_mc_asks_for_the_last_result_of_a_story(data_dir: Path, tmp_path: Path) -> None:
    task = load(TINY, TINY.columns[1], "tiny_mc", data_dir, tmp_path)
    found = [request.args for request in requests(task)]
    for place, row in enumerate(rows(data_dir, "test")):
        choices = found[4 * place : 4 * place + 4]
        context, right = choices[row["gold"]]
        story = f"{row['prompt']} {row['rationale']}"
        assert story.startswith(context + right)
        assert " = " not in story.removeprefix(context + right)  # nothing is left to calculate
        assert [(text, choice) for text, choice in choices] == [(context, f" {c}") for c in row["choices"]]
    doc = rows(data_dir, "test")[0]
    # acc_norm divides by the characters of the choice: -3 for two characters beats -2 for one.
    doc |= {"choices": ["1", "22", "3", "4"], "gold": 1}
    assert task.process_results(doc, [(-2.0, False), (-3.0, False), (-9.0, False), (-9.0, False)])["acc_norm"] == 1.0


def score(task: Any, request: Any, response: str) -> float:
    request.resps = [response]
    task._instances = [request]
    task.apply_filters()
    return float(task.process_results(request.doc, [request.filtered_resps["get-answer"]])["exact_match"])


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write items of a few benchmarks, laid out like the real mirror."""
    folder = tmp_path_factory.mktemp("mirror")
    for name, lines in {
        "gsm8k/main/train.jsonl": [
            {"question": f"{i} + 1?", "answer": f"It is {i + 1}.\n#### {i + 1}"} for i in range(8)
        ],
        "gsm8k/main/test.jsonl": [{"question": "1 + 1?", "answer": "#### 2"}],
        "agieval/hub/sat-math/test.jsonl": [{"query": "Q: 1?", "choices": ["(A)1", "(B)2"], "gold": [0]}],
        "bbh/snarks/test.jsonl": [{"input": "Which?", "target": "(A)"}],
        "bbh/sports_understanding/test.jsonl": [{"input": "Is it?", "target": "yes"}],
    }.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for benchmark, parts in {"gsm8k": ["main"], "bbh": ["snarks", "sports_understanding"]}.items():
        configs = [f"- config_name: {p}\n  data_dir: {p}\n" for p in parts]
        (folder / benchmark / "README.md").write_text("---\nconfigs:\n" + "".join(configs) + "---\n")
    return folder


def test_stock_tasks_read_the_mirror(mirror: Path, tmp_path: Path) -> None:
    gsm8k, agieval, bbh = CURRENT.columns
    (request,) = requests(load(CURRENT, gsm8k, "gsm8k", mirror, tmp_path))
    assert request.args[0].count("Question: ") == 6
    assert request.args[1]["until"] == ["Question:", "</s>", "<|im_end|>"]
    assert [r.args for r in requests(load(CURRENT, agieval, "agieval_sat_math", mirror, tmp_path))] == [
        ("Q: 1?", " (A)1"),
        ("Q: 1?", " (B)2"),
    ]
    (request,) = requests(load(CURRENT, bbh, "bbh_cot_fewshot_snarks", mirror, tmp_path))
    assert request.args[0].count("Let's think step by step.\n") == 4


def test_the_card_differs_where_it_must(mirror: Path, tmp_path: Path) -> None:
    gsm8k, _, bbh = CARD.columns
    (request,) = requests(load(CARD, gsm8k, "gsm8k", mirror, tmp_path))
    assert request.args[1] == {"until": ["\n\n", "Question:"], "do_sample": True, "temperature": 1.0}
    (request,) = requests(load(CARD, bbh, "bbh_cot_fewshot_snarks", mirror, tmp_path))
    assert request.args[0].endswith("Q: Which?\nA: Let's think step by step.")
    assert request.args[0].count("Let's think step by step.\n") == 3
    (request,) = requests(load(CARD, bbh, "bbh_cot_fewshot_sports_understanding", mirror, tmp_path))
    assert request.args[0].count("Let's think step by step. ") == 3


def test_missing_data_are_named(data_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(MemphisError, match="has no folder gsm8k"):
        write_task(CURRENT, CURRENT.columns[0], "gsm8k", tmp_path, tmp_path)
    with pytest.raises(MemphisError, match=r"eval\.suites=\[tiny\] needs test\.jsonl"):
        write_task(TINY, TINY.columns[0], "tiny_gen", tmp_path, tmp_path)
    (tmp_path / "test.jsonl").write_text("")
    (tmp_path / "dev.jsonl").write_text("")
    with pytest.raises(MemphisError, match="no three rows to show"):
        write_task(TINY, TINY.columns[2], "tiny_cot", tmp_path, tmp_path)
