"""Tests of the probe on tiny random checkpoints of many architectures, and of training them: gradients of a micro-batch
equal those of transformers' own forward pass, row by row."""

import json
import math
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedModel

from memphis.config.sections import Optim
from memphis.errors import MemphisError
from memphis.losses import RankLoss
from memphis.training import attention
from memphis.training import probe as probing
from memphis.training.batches import cut, flatten
from memphis.training.loop import gradients
from memphis.training.model import freeze
from memphis.training.objective import Totals
from memphis.training.probe import examine, probe
from memphis.training.tensors import stored_tensors
from memphis.training.train_plan import TrainPlan
from memphis.training.verdict import Verdict, choose
from tests.training.conftest import make_examples
from tests.training.plain import VOCAB, plain_loss, worst_error

PLAN = TrainPlan(
    family="rank", epochs=1, global_batch_size=7, optim=Optim(lr=1e-3), seed=5, micro_batch_tokens=90,
    objective=RankLoss(),
)  # fmt: skip
SHAPE = {"vocab_size": VOCAB, "hidden_size": 32, "num_hidden_layers": 2, "pad_token_id": 0, "eos_token_id": 1}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48, "head_dim": 8}
MAMBA = {"mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_n_groups": 1, "mamba_d_state": 8}
DYNAMIC = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}
# Name -> (type, config, layout). The differences that packing would make are named in the comments.
ZOO: dict[str, tuple[str, dict[str, Any], str]] = {
    "llama": ("llama", HEADS, "packed"),
    "qwen3": ("qwen3", HEADS, "packed"),
    "gpt_neox": ("gpt_neox", {"num_attention_heads": 4, "intermediate_size": 48}, "packed"),
    "gpt2": ("gpt2", {"n_head": 4, "attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0}, "packed"),
    "mistral, short window": ("mistral", {**HEADS, "sliding_window": 7}, "packed"),
    "gemma3": ("gemma3_text", {**HEADS, "sliding_window": 7, "final_logit_softcapping": 0.5}, "padded"),  # head
    "gemma2": ("gemma2", HEADS, "padded"),  # soft cap in attention
    "cohere": ("cohere", {**HEADS, "logit_scale": 0.3}, "padded"),  # head
    "bloom": ("bloom", {"n_head": 4}, "padded"),  # positions
    "gpt_neo": ("gpt_neo", {"num_heads": 4, "attention_types": [[["global", "local"], 1]], "window_size": 7}, "padded"),
    "mamba": ("mamba", {"state_size": 8}, "padded"),  # state
    "falcon_h1": ("falcon_h1", {**HEADS, **MAMBA, "lm_head_multiplier": 0.3}, "padded"),  # state, head
    "llama, dynamic": ("llama", {**HEADS, "max_position_embeddings": 20, "rope_parameters": DYNAMIC}, "equal"),
}


@cache
def weights(name: str) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in make(name, fresh=True).state_dict().items()}


def make(name: str, *, fresh: bool = False) -> PreTrainedModel:
    kind, config, _ = ZOO[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[kind](**{**SHAPE, **config}))
        with torch.no_grad():
            for parameter in model.parameters():
                if fresh and parameter.ndim == 2:
                    parameter.normal_(0, 0.2)
    if not fresh:
        model.load_state_dict(weights(name))
    return model


def trained(model: PreTrainedModel, packing: str) -> dict[str, Tensor]:
    """Return the gradients of a window with three rows to a prompt."""
    plan = replace(PLAN, packing=packing)
    window = make_examples(7, rejected=2, longest=40)
    freeze(model, "both")
    model.train()
    batches = [flatten(window, members) for members in cut(window, plan.micro_batch_tokens, plan.shared)]
    gradients(model, batches, plan, Totals.of(batches, plan), keys=range(7))
    return {name: p.grad for name, p in model.named_parameters() if p.requires_grad and p.grad is not None}


def plain(name: str) -> dict[str, Tensor]:
    model = make(name).double()
    freeze(model, "both")
    plain_loss(model, make_examples(7, rejected=2, longest=40), loss="rank").backward()
    return {key: p.grad for key, p in model.named_parameters() if p.requires_grad and p.grad is not None}


@pytest.mark.parametrize("name", ZOO)
def test_the_layout_that_is_chosen_is_right(name: str) -> None:
    *_, layout = ZOO[name]
    model = make(name)
    verdict = probe(model)
    assert verdict.auto == layout, str(verdict)
    assert verdict.error is not None
    assert verdict.error < 1e-4
    assert worst_error(trained(model, layout), plain(name)) <= 1e-5


@pytest.mark.parametrize("name", ["gemma3", "cohere", "bloom", "mamba", "falcon_h1", "llama, dynamic"])
def test_packed_all_the_same_they_would_be_trained_wrong(name: str) -> None:
    model = make(name)
    model.set_attn_implementation(attention.NAME)
    assert worst_error(trained(model, "packed"), plain(name)) > 1e-3


def test_rows_of_unequal_length_side_by_side_are_noticed_where_the_longest_counts() -> None:
    verdict = probe(make("llama, dynamic"))
    assert verdict.padded == "equal"
    assert "padded rows differ" in verdict.reason
    assert worst_error(trained(make("llama, dynamic"), "padded"), plain("llama, dynamic")) > 1e-3


def test_lengths_that_matter_are_probed_although_no_row_is_so_long(tmp_path: Path) -> None:
    far = {"max_position_embeddings": 4096, "rope_parameters": DYNAMIC}
    for name, kind, more, beyond, boundary in (
        ("none", "llama", {}, None, None),
        ("window", "mistral", {"sliding_window": 4096}, "packed", 4096),
        ("dynamic", "llama", far, "equal", 4096),
    ):
        made = AutoModelForCausalLM.from_config(CONFIG_MAPPING[kind](**{**SHAPE, **HEADS, **more}))
        made.load_state_dict(weights("llama"))
        made.save_pretrained(tmp_path / name)
        verdict = examine(tmp_path / name, "cpu")
        assert (verdict.auto, verdict.boundary) == ("packed", boundary)
        assert beyond == (verdict.beyond and verdict.beyond.auto)
        assert choose(verdict, "auto", 4096) == "packed"
        assert choose(verdict, "padded", 4096) == "padded"
        assert choose(verdict, "auto", 4097) == (beyond or "packed")
        assert json.loads((tmp_path / name / "config.json").read_text())["model_type"] == kind


def test_a_choice_that_would_be_wrong_is_refused() -> None:
    verdict = Verdict("padded", "padded", 1e-6, "packed rows differ from the model's own by 2 nats")
    assert (choose(verdict, "auto", 9), choose(verdict, "padded", 9)) == ("padded", "padded")
    with pytest.raises(MemphisError, match=r"model.packing=packed: .* differ from the model's own by 2 nats; use auto"):
        choose(verdict, "packed", 9)
    for packing in ("auto", "packed", "padded"):
        with pytest.raises(MemphisError, match=f"model.packing={packing}: this model cannot be trained so: no"):
            choose(Verdict(None, None, None, "no"), packing, 9)


def test_a_model_that_does_not_fit_is_probed_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = {"layer_types": ["full_attention"] * 8, "num_hidden_layers": 8}
    config = CONFIG_MAPPING["qwen3"](**{**SHAPE, **HEADS, **kind})
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    monkeypatch.setattr(probing, "free_memory", lambda: 3 * 4 * sum(map(math.prod, sizes(tmp_path))))
    assert examine(tmp_path, "cpu").layers == "all"
    monkeypatch.setattr(probing, "free_memory", lambda: 4 * sum(map(math.prod, sizes(tmp_path))))
    verdict = examine(tmp_path, "cpu")
    assert verdict.layers == "the first 4 of 8, which fit the memory of cpu"
    assert verdict.auto == "packed"
    assert "layers compared: the first 4 of 8" in str(verdict)


def sizes(path: Path) -> list[list[int]]:
    return [tensor.shape for tensor in stored_tensors(path).values()]


def test_faults_are_quoted_and_no_error(tmp_path: Path) -> None:
    bert = CONFIG_MAPPING["bert"](
        **{**SHAPE, "num_attention_heads": 4, "intermediate_size": 48, "initializer_range": 0.2}
    )
    assert "not a causal language model" in probe(AutoModelForCausalLM.from_config(bert)).reason
    make("llama").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for change, reason in (
        ({"num_hidden_layers": 3}, "9 tensors that config.json asks for are not there"),
        ({"model_type": "unheard_of"}, "model type `unheard_of` but Transformers does not recognize"),
        ({"rope_parameters": {"rope_type": "longrope"}}, "KeyError|longrope"),
    ):
        (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
        verdict = examine(tmp_path, "cpu")
        assert (verdict.auto, verdict.padded) == (None, None)
        assert re.search(reason, verdict.reason), verdict.reason
        assert "\n" not in verdict.reason
        assert str(tmp_path) not in verdict.reason
