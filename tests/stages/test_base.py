"""Tests of the base stage: outside models are linked and pinned unchanged; an old StableLM's config.json is updated."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from memphis.config.forms import parse
from memphis.errors import MemphisError, NotLoadable
from memphis.pipeline import KINDS
from memphis.sampling import open_engine
from memphis.stages import base
from memphis.stages.context import Context, Runtime, Worker
from memphis.training import model as models
from tests.tiny_models import vllm_engine, write_bloom, write_model

PROMPT = list(range(5, 60))


def change(path: Path, **values: Any) -> None:
    """Edit config.json; None removes a key."""
    config = {**json.loads((path / "config.json").read_text()), **values}
    (path / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


@pytest.fixture
def today(tmp_path: Path) -> Path:
    """Write a checkpoint with a non-default rotary fraction and epsilon, so that losing one would show."""
    path = write_model(tmp_path / "today", 0)
    rope = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}
    change(path, rope_parameters=rope, layer_norm_eps=0.3)
    return path


@pytest.fixture
def old(today: Path) -> Path:
    """Write the weights of `today` in the form of StableLM checkpoints of winter 2023/24."""
    path = today.with_name("old")
    path.mkdir()
    for file in today.iterdir():
        (path / file.name).write_bytes(file.read_bytes())
    change(
        path,
        architectures=["StableLMEpochForCausalLM"],
        model_type="stablelm_epoch",
        auto_map={"AutoModelForCausalLM": "modeling_stablelm_epoch.StableLMEpochForCausalLM"},
        rope_parameters=None,
        rope_pct=0.5,
        rope_theta=10000,
        rotary_scaling_factor=1.0,
        layer_norm_eps=None,
        norm_eps=0.3,
    )
    return path


def pinned(source: Path, out: Path) -> tuple[Path, dict[str, Any]]:
    out.mkdir()
    worker = Worker(Runtime("cpu", 1, 4096))
    context = Context("base", {}, 0, 0, {"model": str(source)}, out, worker)
    summary = base.run(context, parse(KINDS["base"].form, {"base": None}))
    return out / "model", summary


def logits(path: Path) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = AutoModelForCausalLM.from_pretrained(path)(input_ids=torch.tensor([PROMPT])).logits
    return found


def test_a_model_is_linked_and_not_copied(today: Path, tmp_path: Path) -> None:
    model, summary = pinned(today, tmp_path / "out")
    assert all(file.is_symlink() and file.resolve() == today / file.name for file in model.iterdir())
    assert (summary["fingerprint"], summary["revision"]) == (models.fingerprint(today), None)


def test_how_its_rows_are_trained_is_recorded_and_said_once(today: Path, tmp_path: Path) -> None:
    _, summary = pinned(today, tmp_path / "out")
    assert (summary["packing"]["auto"], summary["packing"]["boundary"]) == ("packed", None)
    assert summary["packing"]["error"] < 1e-4
    assert "warnings" not in summary
    _, summary = pinned(write_bloom(tmp_path / "bloom"), tmp_path / "padded")
    (said,) = summary["warnings"]
    assert said.startswith(f"{tmp_path / 'bloom'}: trained with padded rows, off the model's own by at most ")


def test_an_old_stablelm_computes_what_it_did(today: Path, old: Path, tmp_path: Path) -> None:
    before = {file.name: file.read_bytes() for file in old.iterdir()}
    model, summary = pinned(old, tmp_path / "out")
    assert {file.name for file in model.iterdir() if not file.is_symlink()} == {"config.json"}
    assert {file.name: file.read_bytes() for file in old.iterdir()} == before  # the original is not touched
    assert summary["fingerprint"] == models.fingerprint(today)
    expected = logits(today)
    assert torch.equal(logits(model), expected)
    for lost in ("partial_rotary_factor", "layer_norm_eps"):  # each of the two matters
        wrong = tmp_path / lost
        wrong.mkdir()
        for file in model.iterdir():
            (wrong / file.name).write_bytes(file.read_bytes())
        change(wrong, **{lost: None})
        assert (logits(wrong) - expected).abs().max() > 0.1
    again, _ = pinned(old, tmp_path / "again")
    assert (again / "config.json").read_bytes() == (model / "config.json").read_bytes()


def test_the_hub_config_of_stablelm_3b_of_that_time() -> None:
    """Check the config.json with which stabilityai/stablelm-3b-4e1t was first published."""
    old = {
        "architectures": ["StableLMEpochForCausalLM"],
        "auto_map": {"AutoConfig": "configuration_stablelm_epoch.StableLMEpochConfig"},
        "hidden_size": 2560,
        "model_type": "stablelm_epoch",
        "norm_eps": 1e-05,
        "num_heads": 32,
        "rope_pct": 0.25,
        "rope_theta": 10000,
        "rotary_scaling_factor": 1.0,
        "vocab_size": 50304,
    }
    assert models.modern_config(old) == {
        "architectures": ["StableLmForCausalLM"],
        "hidden_size": 2560,
        "model_type": "stablelm",
        "layer_norm_eps": 1e-05,
        "partial_rotary_factor": 0.25,
        "rope_theta": 10000,
        "vocab_size": 50304,
    }
    assert models.modern_config({"model_type": "stablelm", "architectures": ["StableLmForCausalLM"]}) is None
    with pytest.raises(NotLoadable, match="rotary_scaling_factor=2.0"):
        models.modern_config({**old, "rotary_scaling_factor": 2.0})


def test_faults_of_a_checkpoint_are_one_line(today: Path, tmp_path: Path) -> None:
    tokenizer = json.loads((today / "tokenizer_config.json").read_text())
    (today / "tokenizer_config.json").write_text(json.dumps({k: v for k, v in tokenizer.items() if k != "eos_token"}))
    with pytest.raises(MemphisError, match=f"model.path={today}: the tokenizer has no EOS token; set eos_token"):
        pinned(today, tmp_path / "1")
    (today / "config.json").write_text("{")
    with pytest.raises(NotLoadable, match="config.json cannot be read"):
        pinned(today, tmp_path / "2")
    (today / "model.safetensors").rename(today / "pytorch_model.bin")
    with pytest.raises(NotLoadable, match=r"no \*.safetensors there") as fault:
        pinned(today, tmp_path / "3")
    assert str(tmp_path) not in fault.value.reason  # the reason goes into a published table
    with pytest.raises(MemphisError, match="neither a directory nor a model that can be had"):
        pinned(tmp_path / "nowhere", tmp_path / "4")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"num_hidden_layers": 3}, "lacks 11 tensors that its config.json asks for"),
        ({"vocab_size": 300}, "do not have the shapes that config.json says"),
        ({"model_type": "foo", "architectures": ["FooForCausalLM"]}, "does not recognize this architecture"),
        ({"model_type": "mpt", "architectures": ["MPTForCausalLM"]}, "cannot load this model|lacks .* tensors"),
    ],
)
def test_a_model_that_transformers_cannot_load(today: Path, values: dict[str, Any], reason: str) -> None:
    change(today, **values)
    with pytest.raises(NotLoadable, match=reason):
        open_engine("hf", today, dtype="float32")
    with pytest.raises((NotLoadable, MemphisError, RuntimeError)):
        models.load(today)  # must not replace missing tensors by random ones


def test_tied_embeddings_are_not_missing(tmp_path: Path) -> None:
    path = write_model(tmp_path / "tied", 0)
    model = AutoModelForCausalLM.from_pretrained(path)
    model.config.tie_word_embeddings = True
    model.tie_weights()
    model.save_pretrained(path)
    assert b"lm_head" not in (path / "model.safetensors").read_bytes()
    open_engine("hf", path, dtype="float32").close()
    models.load(path)


@pytest.mark.slow
def test_vllm_loads_an_old_stablelm_and_refuses_mpt(today: Path, old: Path, tmp_path: Path) -> None:
    model, _ = pinned(old, tmp_path / "out")
    settings: Any = {"num_samples": 1, "temperature": 0.0, "top_p": 1.0, "max_new_tokens": 24, "stop": [], "seed": 0}
    expected = open_engine("hf", today, dtype="float32").generate([PROMPT], **settings)
    assert vllm_engine(model).generate([PROMPT], **settings) == expected
    change(today, model_type="mpt", architectures=["MPTForCausalLM"])
    with pytest.raises(NotLoadable, match="Model architecture MPTForCausalLM was supported in vLLM until v0.28.0"):
        open_engine("vllm", today, dtype="float32")
