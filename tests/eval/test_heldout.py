"""Tests of suite heldout: the stage on a scripted engine, its record, resuming, comparison of two, and its keys."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eval import table
from eval.compare import compare, report
from eval.compare import main as compare_main
from eval.records import find
from eval.suites import measured, wilson
from memphis.config.forms import parse
from memphis.data.prompts import render_cot
from memphis.errors import MemphisError
from memphis.jsonl import read_rows, write_rows
from memphis.pipeline import KINDS
from memphis.recipe import recipe
from memphis.runs.console import scores
from memphis.sampling import Completion
from memphis.sampling.progress import Meter
from memphis.stages import context, evaluate
from memphis.stages.context import Context, Runtime, Worker
from memphis.store import Stage, read_json
from tests.composing import compose_config
from tests.tiny_models import write_model

SUMS = [
    {"data": "sums", "id": f"sums/{n}", "source": "sums", "prompt": f"{n} + 1?", "rationale": "r", "answer": str(n + 1)}
    for n in range(5)
]
WORDS = [
    {
        "data": "words",
        "id": f"words/{n}",
        "source": origin,
        "prompt": f"{origin} {n}?",
        "rationale": "",
        "answer": "yes",
    }
    for origin in ("a/b", "c d")
    for n in range(3)
]
LOCAL = ("data=local", "data.path=owner/rows", "eval=heldout", "iterations=1")
Say = Callable[[str], Completion]


class Talker:
    """Fake engine. say: prompt of a row -> completion."""

    name, dtype, max_model_len = "hf", "float32", 40

    def __init__(self, model: Path, say: Say) -> None:
        from memphis.data.tokens import load_tokenizer

        self.tokenizer, self.say, self.asked, self.meter = load_tokenizer(model), say, 0, Meter()

    def load(self, path: Path) -> None:
        pass

    def generate(self, prompts: list[list[int]], **knobs: Any) -> list[list[Completion]]:
        assert (knobs["num_samples"], knobs["temperature"], knobs["max_new_tokens"]) == (1, 0.0, 64)
        self.asked += len(prompts)
        self.meter(len(prompts), 0, 9, 64)
        texts = [self.tokenizer.decode(ids) for ids in prompts]
        return [[self.say(text)] for text in texts]


def right(text: str) -> Completion:
    """Answer sums below 3 + 1 correctly, and words of the first origin."""
    prompt = text.split("\n")[1]
    if "+" in prompt:
        n = int(prompt.split()[0])
        return Completion(f"Counting.\n### Answer:\n{n + 1 if n < 3 else 0}.0", [1], n != 2)  # 2 + 1 has no end
    return Completion("Well.\n### Answer:\nYes, it is." if prompt.startswith("a/b") else "yes", [1], True)


def stage_of(tmp_path: Path, *overrides: str) -> Stage:
    typed = (*LOCAL, "data.sources.local.heldout=test", "generate=hf", *overrides)
    return recipe(compose_config(*typed), tmp_path / "identities.json")[-1]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("stage") / "model", seed=0).parent


def build(
    tmp_path: Path, model: Path, rows: list[dict[str, Any]], say: Say = right, *overrides: str
) -> tuple[dict[str, Any], Path, Talker]:
    """Run an evaluate stage on `rows`; return its summary, its directory and the engine."""
    data, out = tmp_path / "data", tmp_path / "out"
    for folder in (data, out):
        folder.mkdir(parents=True, exist_ok=True)
    write_rows(data / "heldout.jsonl", rows)
    stage, worker = stage_of(tmp_path, *overrides), Worker(Runtime("cpu", 1, 64))
    engine = worker.engine = Talker(model / "model", say)  # type: ignore[assignment]
    inputs = {"data": data, "model": model}
    summary = evaluate.run(
        Context("evaluate", inputs, 0, 0, {}, out, worker), parse(KINDS["evaluate"].form, stage.config)
    )
    return summary, out, engine


def samples(out: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress((out / "samples" / name).read_bytes()).splitlines()]


def test_rows_are_asked_and_judged_per_source(tmp_path: Path, model: Path) -> None:
    summary, out, _ = build(tmp_path, model, [*SUMS, *WORDS])
    record = find(out).records["heldout"]  # checked
    sums, words = (record["columns"][name] for name in ("sums", "words"))
    assert (sums["count"], sums["n"], sums["metric"]) == (2, 5, "acc")  # 2.0 is 2; an answer without end is wrong
    assert (words["count"], words["n"], words["tasks"]) == (3, 6, ["words/a/b", "words/c d"])
    assert [record["tasks"][task]["count"] for task in words["tasks"]] == [3, 0]
    assert (sums["low"], sums["high"]) == pytest.approx((0.1176, 0.7693), abs=1e-4)
    assert (record["comparable"], record["tasks"]["sums"]["unfinished_answers"]) == (True, 1)
    assert set(summary["columns"]) == {"heldout/sums", "heldout/words"}
    assert [column.name for column in measured(record)] == ["sums", "words"]
    asked = samples(out, "sums-heldout.jsonl.gz")
    assert [sample["doc"]["prompt"] for sample in asked] == [row["prompt"] for row in SUMS]
    row = read_rows(out / "metrics.jsonl")[-1]
    assert row["eval/heldout/sums/acc"] == 0.4
    assert row["eval/heldout/sums/acc/low"] == sums["low"]
    assert row["eval/heldout/sums/acc/high"] == sums["high"]


def test_prompts_are_those_of_training(tmp_path: Path, model: Path) -> None:
    seen: list[str] = []

    def say(text: str) -> Completion:
        seen.append(text)
        return Completion("", [], True)

    build(tmp_path, model, SUMS[:2], say)
    assert seen == [render_cot(row["prompt"]) for row in SUMS[:2]]


def test_a_limit_is_marked_as_not_comparable(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary, out, engine = build(tmp_path, model, [*SUMS, *WORDS], right, "eval.limit=2")
    record = find(out).records["heldout"]
    assert (record["comparable"], record["limit"], engine.asked) == (False, 2, 6)
    assert record["tasks"]["sums"]["n_all"] == 5
    assert read_rows(out / "metrics.jsonl")[-1]["eval/limit"] == 2
    assert "heldout/sums 100.0 (34.2 to 100.0), first 2 only %" in scores(summary["columns"])
    assert table.main([str(out), "--results", str(tmp_path / "none")]) == 0
    assert "100.0 (34.2 to 100.0), N = 2, first 2 only: not comparable |" in capsys.readouterr().out
    assert compare_main([str(out), str(out)]) == 0
    assert "the first 2 items of each task alone, not comparable with full results" in capsys.readouterr().out


def test_finished_sources_are_not_asked_again(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, *_ = build(tmp_path / "whole", model, [*SUMS, *WORDS])
    monkeypatch.setattr(context, "kill_point", lambda kind, name: stop() if name == "task-done" else None)

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "killed", model, [*SUMS, *WORDS])
    monkeypatch.undo()
    again, _, engine = build(tmp_path / "killed", model, [*SUMS, *WORDS])
    assert engine.asked == len(WORDS)
    assert again == whole


def test_two_models_are_compared_row_by_row(tmp_path: Path, model: Path) -> None:
    _, a, _ = build(tmp_path / "a", model, [*SUMS, *WORDS])
    _, b, _ = build(tmp_path / "b", model, [*SUMS, *WORDS], lambda _: Completion("So.\n### Answer:\n5", [1], True))
    (sums,), words = compare(find(a), find(b))
    assert (sums.n, sums.only_a, sums.only_b) == (5, ["sums/0", "sums/1"], ["sums/4"])
    assert [one.name for one in words] == ["words", "words/a/b", "words/c d"]
    text = report([[sums], words], per_task=True, flips=0)
    assert "heldout/sums: 95 % Wilson interval of A 11.76 to 76.93, of B 3.62 to 62.45." in text
    _, other, _ = build(tmp_path / "c", model, WORDS[:3])
    with pytest.raises(MemphisError, match="differ in the tasks of words; compare evaluations of the same data"):
        compare(find(a), find(other))
    _, apart, _ = build(tmp_path / "d", model, SUMS[:3])
    with pytest.raises(MemphisError, match="measured nothing in common"):
        compare(find(other), find(apart))


def test_the_table_shows_sources_and_their_origins(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = build(tmp_path, model, [*SUMS, *WORDS])
    results = tmp_path / "results"
    for words in ([str(out), "--save"], []):  # then from the committed copy, which has no samples
        assert table.main([*words, "--per-task", "--results", str(results)]) == 0
        text = capsys.readouterr().out
        assert "| Model | sums | words | words/a/b | words/c d |" in text
        assert "| 40.0 (11.8 to 76.9), N = 5 | 50.0 (18.8 to 81.2), N = 6 | 100.0 (43.9 to 100.0), N = 3 |" in text


def test_a_damaged_interval_is_refused(tmp_path: Path, model: Path) -> None:
    _, out, _ = build(tmp_path, model, SUMS)
    records = read_json(out / "record.json")
    records["heldout"]["columns"]["sums"]["low"] = 0.3
    (out / "record.json").write_text(json.dumps(records))
    with pytest.raises(MemphisError, match="sums has the interval 0.3 to"):
        find(out)


def test_wilson_by_hand() -> None:
    assert wilson(0, 10) == pytest.approx({"low": 0, "high": 3.8415 / 13.8415}, abs=1e-4)
    assert wilson(10, 10)["low"] == pytest.approx(10 / 13.8415, abs=1e-4)
    assert wilson(50, 100) == pytest.approx({"low": 0.4038, "high": 0.5962}, abs=1e-4)


def test_keys_move_with_how_rows_are_asked_only_where_they_are(tmp_path: Path) -> None:
    for change in ("generate.max_new_tokens=65", "pairs.answer.mode=numeric"):
        assert stage_of(tmp_path, change).config != stage_of(tmp_path).config, change
        assert stage_of(tmp_path, change, "eval=current").config == stage_of(tmp_path, "eval=current").config
    assert stage_of(tmp_path, "generate.num_samples=3", "generate.temperature=0.9").config == stage_of(tmp_path).config


def test_rows_are_asked_before_between_and_after(tmp_path: Path) -> None:
    stages = recipe(compose_config(*LOCAL, "data.sources.local.heldout=0.5"), tmp_path / "identities.json")
    asked = [stage for stage in stages if stage.kind == "evaluate"]
    assert [stage.name for stage in asked] == ["evaluate-base", "evaluate-sft", "evaluate-1"]
    assert all("data" in stage.inputs for stage in asked)


def test_between_the_ends_fewer_rows_are_asked(tmp_path: Path) -> None:
    def limits(*overrides: str) -> dict[str, int | None]:
        words = (*LOCAL, "data.sources.local.heldout=0.5", "eval=heldout_ends", *overrides)
        stages = recipe(compose_config(*words), tmp_path / "identities.json")
        return {s.name: s.config["eval"]["limit"] for s in stages if s.kind == "evaluate"}

    both = {"evaluate-base": None, "evaluate-sft": 40}
    assert limits() == both | {"evaluate-1": None}
    assert limits("iterations=2") == both | {"evaluate-1": 40, "evaluate-2": None}
    assert limits("iterations=2", "method=sft_continued") == both | {"evaluate-sft-continued": None}
    assert limits("method=sft_only") == {"evaluate-base": None, "evaluate-sft": None}
    assert limits("method=none") == {"evaluate-base": None}
    assert limits("iterations=2", "eval.limit=50")["evaluate-2"] == 50
    assert limits("eval=heldout") == dict.fromkeys(("evaluate-base", "evaluate-sft", "evaluate-1"))
    same = limits("sft.from=owner/model", "model=hf", "model.path=owner/model")  # SFT is the base model
    assert same == {"evaluate-base": None, "evaluate-sft": None, "evaluate-1": None}
    with pytest.raises(MemphisError, match=r"eval.limit_between=40: more than eval.limit=30"):
        limits("eval.limit=30")


def test_solved_training_rows_of_the_same_origin_come_first(tmp_path: Path, model: Path) -> None:
    def trained(row: dict[str, Any], n: int) -> dict[str, Any]:
        return {
            **row,
            "id": f"{row['data']}/{n}",
            "kind": "cot",
            "prompt": f"t{n} {row['source']}?",
            "rationale": "So.",
        }

    seen: list[str] = []

    def say(text: str) -> Completion:
        seen.append(text)
        return Completion("", [], True)

    for folder in (tmp_path / "data", tmp_path / "more" / "data"):
        folder.mkdir(parents=True)
    rows = [trained(row, n) for n, row in enumerate([WORDS[0], WORDS[3], WORDS[0], WORDS[3], WORDS[0], SUMS[0]])]
    write_rows(tmp_path / "data" / "sft.jsonl", rows)
    _, out, _ = build(tmp_path, model, [WORDS[0], WORDS[3]], say, "eval.shots=2")
    solved = "### User:\nt{} {}?\n### Rationale:\nSo.\n### Answer:\nyes\n"
    shown = {"a/b": (0, 2), "c d": (1, 3)}
    assert seen == [
        "".join(solved.format(n, origin) for n in taken) + render_cot(f"{origin} 0?") for origin, taken in shown.items()
    ]
    record = find(out).records["heldout"]
    column = record["columns"]["words"]
    assert (column["shots"], column["title"]) == (2, "Held-out rows of words, 2-shot")
    write_rows(tmp_path / "more" / "data" / "sft.jsonl", rows)
    with pytest.raises(MemphisError, match=r"eval.shots=4: words has 3 training rows of a/b; lower it"):
        build(tmp_path / "more", model, [WORDS[0]], say, "eval.shots=4")
    assert "shots" not in stage_of(tmp_path).config["eval"]
    with pytest.raises(MemphisError, match=r"eval.shots=2: is of suite 'heldout'"):
        stage_of(tmp_path, "eval=current", "eval.shots=2")
