"""Tests of the control of self-teaching: as long as the cycles, on the rationales of the cycles' questions."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from memphis import config
from memphis.config.forms import parse
from memphis.errors import MemphisError
from memphis.jsonl import read_rows, write_rows
from memphis.pipeline import KINDS, cut
from memphis.stages import sft
from memphis.stages.context import Context, Runtime, Worker
from memphis.training.model import fingerprint
from tests.composing import compose_config
from tests.tiny_models import write_model

QUESTIONS = 6


def row(number: int, kind: str = "cot") -> dict[str, Any]:
    text = {"prompt": f"{number} and 1 ?", "rationale": f"{number} + 1 = {number + 1}.", "answer": str(number + 1)}
    return {"id": f"q{number}", "source": "s", "kind": kind, **text}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    write_rows(tmp_path / "data" / "sft.jsonl", [row(number) for number in range(10)])
    asked = [row(number) for number in range(QUESTIONS)] + [row(99) | {"rationale": ""}]
    write_rows(tmp_path / "data" / "questions.jsonl", asked)
    (tmp_path / "sft").mkdir()
    write_model(tmp_path / "sft" / "model", 0)
    return tmp_path


def run(
    place: Path, *budget: tuple[int, int], batch: int = 4, typed: tuple[str, ...] = ()
) -> tuple[dict[str, Any], Path]:
    """Run the sft stage. budget: (steps, tokens) of each cycle."""
    plain = config.to_dict(
        compose_config(f"sft.global_batch_size={batch}", "sft.epochs=2", "sft.max_length=64", *typed)
    )
    inputs = {"data": place / "data", "model": place / "sft"}
    for number, (steps, tokens) in enumerate(budget, 1):
        inputs[f"budget-{number}"] = place / f"rank-{number}"
        inputs[f"budget-{number}"].mkdir()
        summary = {"summary": {"steps": steps, "tokens": tokens}}
        (place / f"rank-{number}" / "stage.json").write_text(json.dumps(summary))
    out = place / f"out-{len(list(place.iterdir()))}"
    out.mkdir()
    context = Context("sft", inputs, 7, 2, {}, out, Worker(Runtime("cpu", 1, 512)))
    return sft.run(context, parse(KINDS["sft"].form, cut("sft", plain))), out


def steps_of(out: Path, key: str) -> list[float]:
    """Return the values of `key` by step; the last row counts the data rows that were cut or left out."""
    *steps, last = read_rows(out / "metrics.jsonl")
    assert key not in last
    assert last["sft/drop_frac"] < 1
    return [row[key] for row in steps]


def test_a_model_that_cannot_be_trained_is_refused_before_any_row_is_tokenised(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdict = {"auto": None, "padded": None, "error": None, "reason": "rows differ by 3 nats"}
    (place / "sft" / "stage.json").write_text(json.dumps({"summary": {"packing": verdict}}))
    monkeypatch.setattr(sft.tokens, "sft_examples", lambda *_, **__: pytest.fail("tokenised"))
    with pytest.raises(MemphisError, match="model.packing=auto: this model cannot be trained so: rows differ by 3"):
        run(place)


def test_without_a_budget_all_rows_are_trained_for_all_epochs(place: Path) -> None:
    summary, _ = run(place)
    assert summary["examples"]["kept"] == 10
    assert summary["steps"] == 2 * 3  # epochs, and ceil(10 / 4)


def test_it_trains_on_the_asked_questions_rationales_for_as_many_steps(place: Path) -> None:
    summary, out = run(place, (4, 1), (7, 1))
    assert summary["examples"]["kept"] == QUESTIONS  # neither rows without a question nor questions without a row
    assert summary["steps"] == 11
    rates = steps_of(out, "optim/lr")
    assert len(rates) == 11
    assert 0 < rates[-1] < 0.1 * max(rates)  # one schedule over all of it
    assert fingerprint(out / "model") != fingerprint(place / "sft" / "model")


def test_it_never_sees_fewer_tokens_than_the_cycles(place: Path) -> None:
    tokens = run(place, (1, 1), batch=QUESTIONS)[0]["examples"]["tokens"]  # tokens of an epoch, which is one step
    for file in place.glob("rank-*/stage.json"):
        file.unlink()
        file.parent.rmdir()
    summary, _ = run(place, (2, 3 * tokens), (1, tokens + 1), batch=QUESTIONS)
    assert summary["steps"] == 5  # 4 epochs and one token more
    assert summary["tokens"] == 5 * tokens


def test_questions_without_any_rationale_are_refused(place: Path) -> None:
    write_rows(place / "data" / "questions.jsonl", [row(99)])
    with pytest.raises(MemphisError, match=r"sft.continued=true: no question has a rationale"):
        run(place, (1, 1))


@pytest.mark.parametrize("master", ["float32", "bfloat16", "bfloat16_stochastic"])
def test_master_weights_of_each_kind_are_trained_and_written_as_they_are(place: Path, master: str) -> None:
    _, out = run(place, typed=(f"model.master_dtype={master}",))
    dtypes = {tensor.dtype for tensor in load_file(out / "model" / "model.safetensors").values()}
    assert dtypes == {getattr(torch, master.removesuffix("_stochastic"))}
    moved = steps_of(out, "optim/moved_frac")
    assert moved[0] == 0  # the first warm-up step
    assert 0 < moved[-1] <= 1


def test_stochastic_rounding_is_another_result_than_rounding_to_nearest(place: Path) -> None:
    found = {run(place, typed=(f"model.master_dtype={kind}",))[1] for kind in ("bfloat16", "bfloat16_stochastic")}
    assert len({fingerprint(out / "model") for out in found}) == 2
