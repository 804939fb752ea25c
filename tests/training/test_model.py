"""Tests of checkpoints: round trips, detection of equal checkpoints, freezing, and refusals of what must not load."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from memphis.config.sections import Optim
from memphis.data.tokens import Example, Sequence
from memphis.errors import MemphisError
from memphis.training.loop import score
from memphis.training.model import fingerprint, freeze, load, locate, new_tiny, save
from memphis.training.train_plan import TrainPlan

SHAPE = {"hidden": 32, "layers": 2, "heads": 2, "intermediate": 48, "max_positions": 128}


@pytest.fixture
def saved(tokenizer, tmp_path: Path) -> Path:
    save(new_tiny(tokenizer, **SHAPE, seed=0), tokenizer, tmp_path / "model")
    return tmp_path / "model"


def test_equal_seeds_give_equal_models_and_the_global_generator_is_left_alone(tokenizer) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first, second, other = (new_tiny(tokenizer, **SHAPE, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.rand(3), expected)
    pairs = list(zip(first.state_dict().values(), second.state_dict().values(), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(first.lm_head.weight, other.lm_head.weight)
    assert first.config.vocab_size == len(tokenizer)


def test_save_load_save_keeps_every_bit(saved: Path, tmp_path: Path) -> None:
    model, trainable = load(saved)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert len(trainable) == len(list(model.parameters())) - 2
    save(model, saved, tmp_path / "again")
    assert fingerprint(tmp_path / "again") == fingerprint(saved)
    names = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert names <= {path.name for path in (tmp_path / "again").iterdir()}
    assert "memphis" not in (tmp_path / "again" / "config.json").read_text()


def test_transformers_alone_loads_it_and_agrees(saved: Path, tokenizer) -> None:
    text = "Ann has 7 pens and buys 12 more."
    ids = tokenizer(text)["input_ids"]
    assert AutoTokenizer.from_pretrained(saved)(text)["input_ids"] == ids
    plain = AutoModelForCausalLM.from_pretrained(saved)
    with torch.no_grad():
        logps = plain(torch.tensor([ids])).logits[0].log_softmax(-1)
    expected = sum(logps[i, token] for i, token in enumerate(ids[1:]))
    plan = TrainPlan(family="sft", epochs=1, global_batch_size=1, optim=Optim(lr=0.1), seed=0)
    ours = score(load(saved)[0], [Example("a", (Sequence(ids, [-100, *ids[1:]]),), 1)], plan)
    assert ours.item() == pytest.approx(expected.item(), rel=1e-5)
    assert plain.generation_config.eos_token_id == tokenizer.eos_token_id


def test_saved_as_bfloat16(saved: Path, tmp_path: Path) -> None:
    save(load(saved)[0], saved, tmp_path / "half", torch.bfloat16)
    assert {t.dtype for t in load_file(tmp_path / "half" / "model.safetensors").values()} == {torch.bfloat16}
    assert json.loads((tmp_path / "half" / "config.json").read_text())["dtype"] == "bfloat16"
    assert load(tmp_path / "half", dtype=torch.float32)[0].dtype == torch.float32


def test_fingerprint_sees_bits_and_names_but_not_files(saved: Path, tmp_path: Path) -> None:
    tensors = load_file(saved / "model.safetensors")
    expected = fingerprint(saved)
    split = tmp_path / "split"
    split.mkdir()
    names = sorted(tensors)
    save_file({n: tensors[n] for n in names[::2]}, split / "model-00001-of-00002.safetensors", {"format": "pt"})
    save_file({n: tensors[n] for n in names[1::2]}, split / "model-00002-of-00002.safetensors")
    assert fingerprint(split) == expected

    tensors[names[0]].view(-1)[0] += 1e-6
    save_file(tensors, saved / "model.safetensors")
    changed = fingerprint(saved)
    assert changed != expected
    save_file({**{n: tensors[n] for n in names[1:]}, "other": tensors[names[0]]}, saved / "model.safetensors")
    assert fingerprint(saved) not in (changed, expected)
    with pytest.raises(MemphisError, match=r"no \*\.safetensors"):
        fingerprint(tmp_path)


def test_a_torn_file_has_no_fingerprint(saved: Path) -> None:
    path = saved / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(MemphisError, match="ends inside"):
        fingerprint(saved)


@pytest.mark.parametrize(("embeddings", "frozen"), [("both", 2), ("input", 1), ("none", 0)])
def test_freezing(saved: Path, embeddings: str, frozen: int) -> None:
    model, trainable = load(saved, freeze_embeddings=embeddings)
    assert len(trainable) == len(list(model.parameters())) - frozen
    assert model.get_input_embeddings().weight.requires_grad == (embeddings == "none")
    assert model.get_output_embeddings().weight.requires_grad == (embeddings != "both")


def test_tied_weights_are_frozen_once() -> None:
    shape = {
        "vocab_size": 50,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    model = LlamaForCausalLM(LlamaConfig(**shape, tie_word_embeddings=True))
    for embeddings in ("both", "input"):
        assert len(freeze(model.requires_grad_(True), embeddings)) == len(list(model.parameters())) - 1


def test_pickled_weights_are_refused(saved: Path) -> None:
    torch.save(load_file(saved / "model.safetensors"), saved / "pytorch_model.bin")
    (saved / "model.safetensors").unlink()
    with pytest.raises(MemphisError, match="safetensors"):
        load(saved)
    with pytest.raises(MemphisError, match="safetensors"):
        locate(str(saved))


def test_remote_code_is_not_run(saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    config |= {
        "model_type": "unheard_of",
        "auto_map": {"AutoModelForCausalLM": "code.Model", "AutoConfig": "code.Config"},
    }
    (saved / "config.json").write_text(json.dumps(config))
    (saved / "code.py").write_text(
        "import pathlib; pathlib.Path('ran').touch()\nclass Model: pass\nclass Config: pass\n"
    )
    with pytest.raises(MemphisError, match="not loadable"):
        load(saved)


def test_locate(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert locate(str(saved)) == saved
    monkeypatch.setattr(
        "memphis.training.model.snapshot_download", lambda *a, **k: (_ for _ in ()).throw(OSError("offline"))
    )
    with pytest.raises(MemphisError, match="no/model: neither a directory nor"):
        locate("no/model")


def test_a_missing_tokenizer_directory_is_noticed(saved: Path, tmp_path: Path) -> None:
    model, _ = load(saved)
    shutil.rmtree(saved)
    with pytest.raises(NotADirectoryError):
        save(model, saved, tmp_path / "x")
