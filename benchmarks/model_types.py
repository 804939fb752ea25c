"""Types of models: how rows of each causal language model of transformers are trained, tried on tiny random weights.

Every type gets a checkpoint of two layers or so, each sort of its layers among them, with sliding windows shorter than
the rows; then what stage base does with a user's checkpoint: `checks.check_model` and `probe.examine`, in float32.
"""

import argparse
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from experiments.report.tables import markdown_table
from memphis.errors import MemphisError
from memphis.runs import REPOSITORY
from memphis.training import checks
from memphis.training.probe import examine

PAGE = REPOSITORY / "docs" / "models.md"
TYPES = sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
SCALE = 4  # of random weights
LIMIT = 2e-3  # nats a token: no layout that is chosen may be further off

# Tiny values of the names that sizes have; a config gets those that it has.
_SIZES: dict[str, int] = {
    name: value
    for value, names in {
        64: "hidden_size d_model n_embd embedding_size attention_hidden_size intermediate_size ffn_hidden_size ffn_dim "
        "decoder_ffn_dim encoder_ffn_dim dim_ff dff shared_intermediate_size feed_forward_size "
        "hidden_size_per_layer_input",
        32: "moe_intermediate_size shared_expert_intermediate_size moe_shared_expert_intermediate_size",
        16: "head_dim dim_head kv_channels v_head_dim attention_head_dim attention_head_size kv_lora_rank q_lora_rank "
        "linear_key_head_dim linear_value_head_dim adapter_rank mamba_d_state state_size mamba_chunk_size chunk_size "
        "conv_dim",
        8: "qk_rope_head_dim qk_nope_head_dim rotary_dim sliding_window window_size attention_window_size",
        4: "num_attention_heads n_head n_heads num_heads decoder_attention_heads encoder_attention_heads num_experts "
        "num_local_experts n_routed_experts moe_num_experts linear_num_value_heads",
        2: "num_hidden_layers n_layer n_layers num_layers decoder_layers encoder_layers num_key_value_heads "
        "num_kv_heads n_kv_heads linear_num_key_heads num_experts_per_tok moe_topk num_experts_per_token moe_k "
        "type_vocab_size eos_token_id",
        1: "n_shared_experts num_shared_experts n_group topk_group mamba_n_groups bos_token_id",
        0: "pad_token_id",
        256: "max_position_embeddings n_positions n_ctx max_seq_len model_max_length",
        128: "vocab_size vocab_size_per_layer_input",
    }.items()
    for name in names.split()
}
# Multi-head latent attention: its rotary width is the head's.
_LATENT = {"head_dim": 8, "num_key_value_heads": 4, "qk_head_dim": 16, "first_k_dense_replace": 1}
_LATENT |= {"index_n_heads": 2, "index_head_dim": 16, "index_topk": 8}
_ENCODER = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
_ENCODER |= {"image_size": 28, "patch_size": 14, "hidden_size_global": 32}
_TWO = ["sliding_attention", "full_attention"]
_ROPE = {"rope_type": "default", "rope_theta": 1e4}
_ZAMBA = {"num_hidden_layers": 4, "layers_block_type": ["linear_attention", "hybrid"] * 2}
_ZAMBA |= {"attention_hidden_size": 128, "attention_head_dim": 32}
_WIDE_GLOBAL = {"per_layer_config": {"1": {"head_dim": 32}}, "layer_types": _TWO}
# What the own checks of a type ask for beyond that.
_SPECIAL: dict[str, dict[str, Any]] = {
    "bamba": {"attn_layer_indices": [1]},
    "blt": {"encoder_hash_byte_group_vocab": 64},
    "cohere_compass_text": {
        "layer_types": _TWO,
        "rope_parameters": {sort: {**_ROPE, "mrope_section": [3, 3, 2]} for sort in _TWO},
    },
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8, "rope_theta": 1e4},
        "ffn_config": {"hidden_size": 64, "ffn_hidden_size": 32, "moe_num_experts": 4, "moe_top_k": 2},
    },
    "deepseek_v2": {"num_experts_per_tok": 2, "first_k_dense_replace": 1},
    "dots1": {
        "layer_types": _TWO,
        **{"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1},
        "first_k_dense_replace": 1,
    },
    "falcon_h1": {"mamba_d_ssm": 64, "mamba_n_heads": 4, "mamba_d_head": 16, "lm_head_multiplier": 0.5},
    "gemma3n_text": {
        "intermediate_size": [64, 64],
        "layer_types": _TWO,
        "num_kv_shared_layers": 0,
        "laurel_rank": 8,
        "activation_sparsity_pattern": [0.0, 0.0],
    },
    "gemma4_text": _WIDE_GLOBAL,
    "gemma4_unified_text": _WIDE_GLOBAL,
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "granitemoehybrid": {"layer_types": ["linear_attention", "full_attention"]},
    "hunyuan_v1_dense": {"head_dim": 16},
    "hunyuan_v1_moe": {"head_dim": 16, "moe_topk": 2, "num_experts": 4},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "kimi_linear": {
        "layer_types": ["linear_attention", "full_attention"],
        "linear_head_dim": 16,
        "linear_num_heads": 4,
    },
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "llama4_text": {"no_rope_layers": [1, 0]},
    "mamba2": {"num_heads": 8, "head_dim": 16, "n_groups": 1},
    "ministral": {"head_dim": 16},
    "nemotron": {"num_key_value_heads": 2},
    "qwen4_exp_text": {
        **{"indexer_n_heads": 2, "indexer_kv_heads": 1, "indexer_head_dim": 16, "indexer_budget": 8},
        **{"indexer_compress_ratio": 2, "hc_lowrank": 8, "ple_embed_dim": 16, "ngram_vocab_size_base": 64},
        **{"split_ngram_parts": 2, "heads_per_ngram": 2, "make_ngram_vocab_size_divisible_by": 2},
    },
    **{
        kind: {"use_sliding_window": True, "layer_types": _TWO} for kind in ("qwen2", "qwen2_moe", "qwen3", "qwen3_moe")
    },
    "reformer": {"attn_layers": ["local", "local"], "axial_pos_embds": False},
    "roc_bert": {
        **{"pronunciation_embed_dim": 16, "pronunciation_vocab_size": 128},
        **{"shape_embed_dim": 16, "shape_vocab_size": 128},
    },
    "smollm3": {"no_rope_layers": [1, 0]},
    "xlm": {"causal": True},
    "xmod": {"languages": ["en_XX"], "default_language": "en_XX"},
    "zamba": {**_ZAMBA, "mamba_dt_rank": 8},
    "zamba2": {
        **_ZAMBA,
        **{"num_key_value_heads": 4, "n_mamba_heads": 4, "mamba_headdim": 64, "mamba_expand": 4, "num_mem_blocks": 1},
    },
    "zaya": {"num_experts_per_tok": 1, "router_hidden_size": 32},
}


@dataclass(frozen=True)
class Result:
    """Outcome of one type: layout is packed, padded, equal or refused; error: largest, in nats of one token."""

    layout: str
    error: float | None
    reason: str


def tiny_config(kind: str) -> PreTrainedConfig:
    """Return a small config of a model type: the type's own default with tiny sizes."""
    plain = CONFIG_MAPPING[kind]()
    values = _small(plain)
    for name in getattr(plain, "sub_configs", {}):
        part = getattr(plain, name, None)
        if part is not None:
            known = part.to_dict()
            text = {**_small(part), **_SPECIAL.get(part.model_type, {})}
            small = text if name == "text_config" else {k: v for k, v in _ENCODER.items() if k in known}
            values[name] = {"model_type": part.model_type, **small} if part.model_type else small
    return type(plain)(**{**values, **_SPECIAL.get(kind, {})})


def _small(plain: PreTrainedConfig) -> dict[str, Any]:
    known, alias = plain.to_dict(), plain.attribute_map
    values: dict[str, Any] = {}
    for name, size in _SIZES.items():
        now = known.get(alias.get(name, name))
        absent = now is None and (name in ("head_dim", "sliding_window") or not name.endswith("token_id"))
        has = (name in known and not absent) or (name in alias and alias[name] not in _SIZES)
        if has and not isinstance(now, (list, str)):
            values[name] = size
    if "kv_lora_rank" in known:
        experts = "n_routed_experts" in known
        values |= {k: v for k, v in _LATENT.items() if k in known or (experts and k == "first_k_dense_replace")}
    if hasattr(plain, "is_decoder"):
        values["is_decoder"] = True
    for name in ("layer_types", "layers_block_type"):  # one layer of every sort, two at least
        if isinstance(known.get(name), list) and all(isinstance(sort, str) for sort in known[name]):
            sorts = list(dict.fromkeys(known[name]))
            values[name] = (sorts * 2)[: max(2, len(sorts))]
            values["num_hidden_layers"] = len(values[name])
    if isinstance(known.get("mlp_layer_types"), list):
        sorts, layers = list(dict.fromkeys(known["mlp_layer_types"])), values.get("num_hidden_layers", 2)
        values["mlp_layer_types"] = (sorts * layers)[:layers]
    return values


def tiny_model(kind: str) -> PreTrainedModel:
    """Return a small random model of a type. Raises whatever transformers raises if it cannot make one."""
    config = tiny_config(kind)
    with torch.device("meta"):
        size = AutoModelForCausalLM.from_config(config).num_parameters()
    if size > 20e6:
        raise ValueError(f"its smallest form that could be found has {size:,} parameters")
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config).float().eval()
    with torch.no_grad():  # at the usual spread of 0.02 a leak between rows would hardly show
        for weight in model.parameters():
            if weight.ndim >= 2:
                weight.mul_(SCALE)
    return model


def plain_fault(kind: str) -> str | None:
    """Return what goes wrong in transformers itself when a tiny model of the type is made and run, for evaluation and
    for training on a row of any length; None if nothing."""
    try:
        model = tiny_model(kind)
        checks.check_causal(model)
        model.train()(input_ids=torch.arange(3, 80)[None], use_cache=False)
    except MemphisError as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
    return None


def examined(kind: str) -> Result:
    """Make a tiny checkpoint of the type and decide on it as stage base does."""
    if fault := plain_fault(kind):
        return Result("refused", None, fault)
    with tempfile.TemporaryDirectory() as folder:
        model = tiny_model(kind)
        model.save_pretrained(folder)
        if model.config.model_type != kind:  # of a model with pictures transformers writes the part for texts alone
            config = tiny_config(kind)
            config.architectures = [type(model).__name__]
            config.save_pretrained(folder)
        try:
            checks.check_model(Path(folder))
        except MemphisError as error:
            return Result("refused", None, str(error))
        verdict = examine(Path(folder), "cpu")
    further = verdict.beyond
    reason = verdict.reason
    if further and further.auto != verdict.auto:
        reason = f"rows of more than {verdict.boundary:,} tokens: {further.auto or 'refused'}, {further.reason}"
    errors = [one.error for one in (verdict, further) if one and one.error is not None]
    return Result(verdict.auto or "refused", max(errors, default=None), reason)


def page(results: dict[str, Result]) -> str:
    """Return docs/models.md."""
    counts = Counter(result.layout for result in results.values())
    rows = [["model_type", "rows", "largest error", "why not packed"]]
    for kind, result in results.items():
        error = "" if result.error is None else f"{result.error:.0e}"
        rows.append([f"`{kind}`", result.layout, error, result.reason.replace("|", "\\|")])
    return _PAGE.format(
        counts=", ".join(f"{counts[name]} {name}" for name in ("packed", "padded", "equal", "refused") if counts[name]),
        types=len(results),
        transformers=transformers.__version__,
        torch=torch.__version__.partition("+")[0],
        table=markdown_table(rows),
    )


_PAGE = """\
# Models

Which models can be trained, and how their rows are laid out. Stage `base` decides it on your checkpoint: it compares
the log-probabilities of a few rows with the model's own forward pass, row by row, in float32. If packed rows give the
same numbers, rows are packed (one long row without padding, the fastest); else they go padded through the model's own
forward pass, or in groups of equal length. The verdict stands in the record of the stage and in the output of the run.
`model.packing=padded` asks for padded rows, `model.packing=packed` refuses anything else.

This table is what stage `base` says of a tiny checkpoint of every type in transformers' mapping of causal language
models, in float32 on a CPU (transformers {transformers}, torch {torch}): {counts}, of {types} types. Each
checkpoint has a layer of every sort that its config knows, sliding windows shorter than the rows, and random
weights with four times the usual spread, so that a leak between rows shows. The error is that of a token's
log-probability, in nats, the largest of all rows. Refused is a type that transformers itself cannot make or run in
its tiny form, or that reads later tokens; the last column quotes why. Written by `python -m benchmarks.model_types
--write`.

{table}

## How exact

SmolLM2-135M, 20 rows of real data, against a float64 run of the plain model: packed rows are off by 2.9e-6 nats a token
on average and 2.7e-5 at most, plain float32 rows by 9.6e-6 and 3.2e-5 (`tests/real/test_precision.py`; one thread). The
packed log-probabilities of a row are 3e-4 to 3e-3 nats lower than the plain ones, always lower, and packing is not the
reason: on a CPU, torch adds up the exponentials of a float32 `log_softmax` over the vocabulary one after the other in
every lane of a vector register (3,072 additions for 49,152 tokens with 16 lanes). Terms below half a unit in the last
place of the running sum are lost, so that the sum is too small and every log-probability too large. Packed rows add in
a tree; padded rows, like the plain model, do not. With an exact sum packed and plain differ by at most 7e-5 nats a row.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.model_types", description=__doc__)
    parser.add_argument("types", nargs="*", metavar="TYPE", help=f"some of the {len(TYPES)} types; default: all")
    parser.add_argument("--write", action="store_true", help="write docs/models.md")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    results: dict[str, Result] = {}
    for kind in chosen.types or TYPES:
        results[kind] = found = examined(kind)
        print(f"{kind:28} {found.layout:8} {found.error or 0:.1e} {found.reason}", flush=True)
    if chosen.write:
        PAGE.write_text(page(results), encoding="utf-8")
    return int(any(result.error is not None and result.error > LIMIT for result in results.values()))


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    warnings.filterwarnings("ignore")
    sys.exit(main())
