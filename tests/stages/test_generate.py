"""Tests of questions that cannot be sampled, with a warning or one clear error, and of special tokens spelt in them."""

from pathlib import Path
from typing import Any

import pytest

from memphis.config.forms import parse
from memphis.data.prompts import render_cot
from memphis.data.tokens import load_tokenizer
from memphis.errors import MemphisError
from memphis.jsonl import read_rows, write_rows
from memphis.pipeline import KINDS
from memphis.sampling.hf import HfEngine
from memphis.stages import generate
from memphis.stages.context import Context, Runtime, Worker
from tests.tiny_models import write_model

KNOBS = {"engine": "hf", "num_samples": 2, "temperature": 1.0, "top_p": 1.0, "max_new_tokens": 3, "shard_size": 2}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    write_model(folder / "model", 0, max_positions=64)
    return folder


def run(model: Path, folder: Path, *prompts: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    for name in ("data", "out"):
        (folder / name).mkdir(parents=True)
    rows = [
        {"id": str(i), "source": "s", "prompt": prompt, "rationale": "r", "answer": "4"}
        for i, prompt in enumerate(prompts)
    ]
    write_rows(folder / "data" / "questions.jsonl", rows)
    config = {"generate": KNOBS, "model": {"dtype": "float32"}}
    inputs = {"data": folder / "data", "model": model}
    context = Context("generate", inputs, 0, 1, {}, folder / "out", Worker(Runtime("cpu", 1, 64)))
    return generate.run(context, parse(KINDS["generate"].form, config)), read_rows(folder / "out" / "samples.jsonl")


def test_a_question_with_the_end_of_text_in_it_is_asked_as_text(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[int]] = []
    real = HfEngine.generate

    def spy(self: HfEngine, prompts: list[list[int]], **knobs: Any) -> Any:
        asked.extend(prompts)
        return real(self, prompts, **knobs)

    monkeypatch.setattr(HfEngine, "generate", spy)
    summary, rows = run(model, tmp_path / "mixed", "a?", "b <|endoftext|>")
    assert [row["id"] for row in rows] == ["0", "1"]
    assert "warnings" not in summary
    tokenizer = load_tokenizer(model / "model")
    assert tokenizer.decode(asked[1]) == render_cot("b <|endoftext|>")
    assert tokenizer.eos_token_id not in asked[1]
    with pytest.raises(MemphisError, match=r"^data.sources: there is no question to ask \(none was read\)"):
        run(model, tmp_path / "none")


def test_a_question_longer_than_the_context_is_said(model: Path, tmp_path: Path) -> None:
    long = "why " * 80
    summary, rows = run(model, tmp_path / "mixed", long, "a?")
    said = "1 of 2 questions fill the model's context and leave no room for an answer"
    assert summary["warnings"] == [said]
    assert [len(sample["token_ids"]) for sample in rows[0]["samples"]] == [0, 0]
    with pytest.raises(
        MemphisError, match=r"^data.sources: 1 of 1 questions fill the model's context .* longer context$"
    ):
        run(model, tmp_path / "none", long)
