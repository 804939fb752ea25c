"""What a trained stage says about rows that it cannot use."""

from pathlib import Path
from typing import Any

import pytest

from memphis.config import to_dict
from memphis.errors import MemphisError
from memphis.rows import read_rows, write_rows
from memphis.stages import sft
from memphis.stages.context import Bench, Context, Runtime
from tests.composing import compose_config
from tests.tiny_models import write_model


def run(folder: Path, *prompts: str, max_length: int = 120) -> dict[str, Any]:
    for name in ("data", "model", "out"):
        (folder / name).mkdir(parents=True)
    rows = [
        {"id": str(i), "source": "s", "kind": "cot", "prompt": prompt, "rationale": "r", "answer": "4"}
        for i, prompt in enumerate(prompts)
    ]
    write_rows(folder / "data" / "sft.jsonl", rows)
    model = write_model(folder / "model" / "model", 0)
    plain = to_dict(compose_config(f"sft.max_length={max_length}", "sft.epochs=1"))
    config = {name: plain[name] for name in ("sft", "model", "data")}
    if prompts == ("long " * 99,):
        (model / "model.safetensors").unlink()  # it is not even looked at
    inputs = {"data": folder / "data", "model": folder / "model"}
    return sft.run(Context("sft", config, inputs, 0, 0, {}, folder / "out", Bench(Runtime("cpu", 1, 4096))))


def test_rows_left_out_are_told(tmp_path: Path) -> None:
    summary = run(tmp_path / "some", "a?", "long " * 99, "b<|endoftext|>", "c?")
    assert summary["examples"]["kept"] == 2
    (told,) = summary["warnings"]
    assert told == "sft: 2 of 4 rows left out (overlong 1, eos_text 1; sft.max_length=120, data.overlong=drop)"
    *steps, last = read_rows(tmp_path / "some" / "out" / "metrics.jsonl")
    assert (last["sft/drop_frac"], last["sft/trunc_frac"]) == (0.5, 0.0)
    assert last["step"] == last["steps"] == len(steps)
    assert "warnings" not in run(tmp_path / "all", "a?", "c?")


def test_no_row_left_is_one_line_before_the_model_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(MemphisError) as caught:
        run(tmp_path, "long " * 99)
    assert str(caught.value) == (
        "sft.max_length=120: none of 1 rows is left (overlong 1); raise it, or choose other rows"
    )
