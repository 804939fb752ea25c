"""Tests of trained stages: the warning about rows that they cannot use, and the number of layers they recompute."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest

from memphis import memory
from memphis.config import FOR_STAGES, to_dict
from memphis.config.forms import parse
from memphis.config.sections import Optim
from memphis.errors import MemphisError
from memphis.jsonl import read_rows, write_rows
from memphis.pipeline import KINDS, cut
from memphis.runs import REPOSITORY
from memphis.shape import from_config
from memphis.stages import sft, train
from memphis.stages.context import Context, Runtime, Worker
from memphis.training import step_size
from memphis.training.guard import TIMES
from memphis.training.step_size import card_peak
from memphis.training.train_plan import TrainPlan
from memphis.training.verdict import Verdict
from tests.composing import compose_config
from tests.tiny_models import write_bloom, write_model
from tests.training.conftest import make_examples
from tests.training.plain import make_model


def run(
    folder: Path,
    *prompts: str,
    max_length: int = 120,
    checkpointing: bool | str = False,
    compiled: bool = False,
    write: Callable[[Path], Path] = lambda path: write_model(path, 0),
    packing: str = "auto",
    lr: float | str = 2e-4,
    optimizer: str = "adalite",
    allow_large_steps: Sequence[str] = (),
) -> dict[str, Any]:
    for name in ("data", "model", "out"):
        (folder / name).mkdir(parents=True)
    rows = [
        {"id": str(i), "source": "s", "kind": "cot", "prompt": prompt, "rationale": "r", "answer": "4"}
        for i, prompt in enumerate(prompts)
    ]
    write_rows(folder / "data" / "sft.jsonl", rows)
    model = write(folder / "model" / "model")
    plain = to_dict(compose_config(f"sft.max_length={max_length}", "sft.epochs=1", "sft.warmup_ratio=0"))
    config = cut("sft", plain)
    config["model"] |= {"checkpointing": checkpointing, "packing": packing}
    config["sft"]["optim"] |= {"lr": lr, "name": optimizer}
    if prompts == ("long " * 99,):
        (model / "model.safetensors").unlink()  # the error comes before it would be read
    inputs = {"data": folder / "data", "model": folder / "model"}
    runtime = Runtime("cpu", 1, 4096, compile=compiled, allow_large_steps=allow_large_steps)
    context = Context("sft", inputs, 0, 0, {}, folder / "out", Worker(runtime))
    return sft.run(context, parse(KINDS["sft"].form, config))


def test_rows_left_out_are_told(tmp_path: Path) -> None:
    summary = run(tmp_path / "some", "a?", "long " * 99, "long " * 98, "c?")
    assert summary["examples"]["kept"] == 2
    (told,) = summary["warnings"]
    assert told == "sft: 2 of 4 rows left out (overlong 2; sft.max_length=120, data.overlong=drop)"
    *steps, last = read_rows(tmp_path / "some" / "out" / "metrics.jsonl")
    assert (last["sft/drop_frac"], last["sft/trunc_frac"]) == (0.5, 0.0)
    assert last["step"] == last["steps"] == len(steps)
    assert "warnings" not in run(tmp_path / "all", "a?", "c?")


def test_of_many_rows_some_are_kept_out_of_training(tmp_path: Path) -> None:
    many = run(tmp_path / "many", *(f"{number}?" for number in range(500)))
    assert (many["examples"]["kept"], many["heldout_rows"], many["steps"]) == (500, 50, 29)  # of 16 of 450 rows
    assert many["heldout_after"] < many["heldout_before"]
    assert "warnings" not in many
    rows = read_rows(tmp_path / "many" / "out" / "metrics.jsonl")
    assert [row["sft/heldout_before"] for row in rows if "sft/heldout_before" in row] == 2 * [many["heldout_before"]]
    assert [row["sft/heldout_after"] for row in rows if "sft/heldout_after" in row] == [many["heldout_after"]]
    few = run(tmp_path / "few", "a?", "c?")
    assert few["seen_rows"] == 2
    assert not any("heldout" in key for key in few)


@pytest.mark.parametrize("method", sorted(path.stem for path in (REPOSITORY / "conf" / "method").glob("*.yaml")))
def test_no_laptop_setting_can_be_warned_of_a_long_step(method: str) -> None:
    """Check the longest step of any number of them, which is the first without warm-up: lr / sqrt(eps) of Adalite."""
    cfg = compose_config(f"method={method}")
    for optim in (cfg.sft.optim, cfg.rank.optim):
        assert optim.name == "adalite"
        assert optim.lr / math.sqrt(optim.eps) < TIMES * train.TINY_PEAK_STEP


def test_no_row_left_is_one_line_before_the_model_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(MemphisError) as caught:
        run(tmp_path, "long " * 99)
    assert str(caught.value) == (
        "sft.max_length=120: none of 1 rows is left (overlong 1); raise it, or choose other rows"
    )


def test_layers_that_are_recomputed(tmp_path: Path) -> None:
    model, examples = make_model(), make_examples(7, rejected=1)  # two layers
    cfg = compose_config()
    plan = TrainPlan(family="rank", epochs=1, global_batch_size=7, optim=Optim(lr=1e-3), seed=0)

    def chosen(room: float | None, **how: Any) -> int:
        return train.recomputed_layers(model, examples, plan, replace(cfg.model, **how), 64, room)

    assert chosen(1e3, checkpointing=False) == 0
    assert chosen(None, checkpointing=True) == 2
    assert chosen(None, checkpointing="auto") == 0  # on a CPU
    shape = from_config(model.config.to_dict())
    assert shape is not None
    slots = memory.slots_per_token(1)
    needs = [memory.recomputing(n, shape, cfg.model, "adalite", tokens=4096, slots=slots).total for n in range(3)]
    assert needs[0] > needs[2] > needs[1]  # one layer is always active, and its saved input adds to it
    rooms = [needs[0] / 0.9 + 1, needs[0] / 0.9 - 1, needs[1] / 0.9 - 1]
    assert [chosen(room, checkpointing="auto") for room in rooms] == [0, 1, 1]
    del model.config.intermediate_size  # a config the formula cannot read: the safe choice
    assert chosen(rooms[0], checkpointing="auto") == 2


def test_recomputed_layers_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = run(tmp_path, "a?", "c?", checkpointing=True)
    layers = summary["recomputed_layers"]
    assert layers > 0
    assert f"sft: activations of {layers} of {layers} layers are recomputed" in capsys.readouterr().out
    assert run(tmp_path / "auto", "a?", "c?", checkpointing="auto")["recomputed_layers"] == 0
    plain = run(tmp_path / "plain", "a?", "c?")
    assert "recomputed_layers" not in plain
    assert plain["loss"] == summary["loss"]


def test_rows_are_laid_out_as_the_probe_found_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = run(tmp_path / "packed", "a?", "c?")
    assert (summary["layout"], summary["packing"]["auto"]) == ("packed", "packed")
    padded = run(tmp_path / "padded", "a?", "c?", packing="padded")
    assert padded["layout"] == "padded"
    assert padded["loss"] == pytest.approx(summary["loss"], rel=1e-4)
    capsys.readouterr()
    assert run(tmp_path / "bloom", "a?", "c?", write=write_bloom, checkpointing=True)["layout"] == "padded"
    assert "sft: padded rows of up to " in capsys.readouterr().out
    with pytest.raises(MemphisError, match=r"^model.packing=packed: .*packed rows differ from the model's own by"):
        run(tmp_path / "forced", "a?", "c?", write=write_bloom, packing="packed")


def test_a_verdict_is_handed_on_and_not_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = asdict(Verdict("padded", "padded", 0.0, "by decree"))

    def write(path: Path) -> Path:
        path.parent.joinpath("stage.json").write_text(json.dumps({"summary": {"packing": known}}))
        return write_model(path, 0)

    monkeypatch.setattr(train, "examine", None)
    summary = run(tmp_path, "a?", "c?", write=write)
    assert (summary["layout"], summary["packing"]) == ("padded", known)


def test_layers_are_compiled_if_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(train, "compile_layers", seen.append)
    run(tmp_path / "no", "a?", "c?")
    assert seen == []
    run(tmp_path / "yes", "a?", "c?", compiled=True)
    assert len(seen) == 1
    passed = (*FOR_STAGES, "allow_large_steps")  # so the setting reaches the stage
    assert tuple(field.name for field in fields(Runtime)) == passed
    assert not compose_config().runtime.compile
    assert compose_config("runtime=gpu", "runtime.compile=true").runtime.compile


def test_a_stage_derives_its_rate_and_refuses_steps_that_destroy_a_pretrained_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = [f"{i}?" for i in range(40)]  # 3 steps of 16
    derived = run(tmp_path / "auto", *prompts, lr="auto")
    assert derived["peak_relative_step"] == pytest.approx(card_peak())
    rates = [row["optim/lr"] for row in read_rows(tmp_path / "auto" / "out" / "metrics.jsonl") if "optim/lr" in row]
    assert max(rates) == derived["lr"]
    assert f"sft: lr {derived['lr']:.3g}, derived from 3 steps; peak relative step 5.0e-04" in capsys.readouterr().out
    monkeypatch.setattr(step_size, "WEIGHTS", 1000)
    run(tmp_path / "real", *prompts, lr="auto")
    with pytest.raises(
        MemphisError, match=r"^sft.optim.lr=0.0002: the peak relative step of stage sft is 6.3e-02 in 3"
    ):
        run(tmp_path / "refused", *prompts)
    allowed = run(tmp_path / "allowed", *prompts, allow_large_steps=["sft"])
    assert allowed["peak_relative_step"] == pytest.approx(6.32e-2, rel=0.01)
    assert run(tmp_path / "adamw", *prompts, optimizer="adamw")["peak_relative_step"] is None
