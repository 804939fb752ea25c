"""Checks of a checkpoint that a user brings: first its files, without torch, then the model that transformers makes.

Each refusal is one line: what is wrong and what to do; `refusing` puts the user's path before it. NotLoadable says that
config.json and weights make no model here, MemphisError that a file has to be repaired.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memphis.devices import free_memory
from memphis.errors import MemphisError, NotLoadable
from memphis.training.tensors import INDEX, StoredTensor, check_whole, stored_tensors

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

ROOM = 0.5  # share of the free memory that weights may take in float32
_CORRECT = "correct it, or copy the one that came with the weights"
_COPY_CONFIG = "config.json and weights do not belong together, copy the config.json that came with the weights"
# Buffers that checkpoints of GPT-2, GPT-Neo and their like hold beside the weights, of 4 dimensions or none.
_MASK = re.compile(r"\b(attn|attention)\.(bias|masked_bias|causal_mask)$")


@contextmanager
def refusing(path: str, directory: Path) -> Iterator[None]:
    """Name `path`, as the user spells it, in errors of the block, and not the directory where its files were found."""
    try:
        yield
    except MemphisError as error:
        text = str(error).removeprefix(f"model.path={directory}: ").removeprefix(f"{directory}: ")
        reason = text.replace(f"{directory}/", "").replace(str(directory), "the checkpoint")
        kind = NotLoadable if isinstance(error, NotLoadable) else MemphisError
        raise kind(f"model.path={path}: {reason}", *([reason] if kind is NotLoadable else [])) from error


def check_files(directory: Path) -> dict[str, Any]:
    """Return config.json of a checkpoint whose files are whole; needs neither torch nor transformers."""
    config = _read_config(directory / "config.json")
    if config.get("quantization_config") is not None:
        raise NotLoadable("quantised weights (quantization_config) are not read; give the model before quantisation")
    if (directory / "adapter_config.json").exists():
        raise NotLoadable("holds an adapter (adapter_config.json); merge it into its model and give that")
    there = [name for name in ("model.safetensors", INDEX) if (directory / name).exists()]
    if len(there) != 1:
        found = " and ".join(there) or "neither"
        raise NotLoadable(f"needs either model.safetensors or {INDEX}, there is {found}; rename or remove files")
    tensors = check_whole(directory)
    for name, tensor in tensors.items():
        if name.endswith("weight") and tensor.dtype not in ("F64", "F32", "F16", "BF16"):
            raise NotLoadable(f"{name} has dtype {tensor.dtype}: quantised weights are not read; give float weights")
    return config


def check_model(directory: Path) -> int:
    """Load the checkpoint as transformers does; refuse it unless every tensor has its place and the model is causal.

    directory: has passed `check_files`. Returns the number of rows of the embedding.
    Raises NotLoadable, or MemphisError for weights that are no numbers.
    """
    import torch
    from transformers import AutoModelForCausalLM

    config, tensors = _config(directory), stored_tensors(directory)
    _check_size(config, tensors)
    wide = 4 * sum(prod(tensor.shape) for tensor in tensors.values())
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            directory,
            dtype=torch.float32 if wide <= ROOM * free_memory() else "auto",  # some run in no other on a CPU
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except MemoryError:  # no property of the checkpoint
        raise
    except Exception as error:  # transformers raises whatever its conversion of the weights meets
        raise NotLoadable(f"transformers cannot load it ({_line(error)}); {_COPY_CONFIG}") from error
    _check_names(model, report, tensors)
    for name, weight in model.named_parameters():
        if weight.numel() and not torch.stack(weight.detach().aminmax()).isfinite().all():
            raise MemphisError(f"{name} holds NaN or Inf; copy the checkpoint again, or build it again")
    check_causal(model)
    return len(model.get_input_embeddings().weight)


def check_causal(model: "PreTrainedModel") -> None:
    """Refuse a model whose logits depend on later tokens, and one that cannot run. Raises NotLoadable."""
    import torch

    rows = torch.arange(2 * 8).view(2, 8) % len(model.get_input_embeddings().weight)
    rows[1, :-1] = rows[0, :-1]
    try:
        with torch.inference_mode():
            logits = model(input_ids=rows.to(model.device), use_cache=False).logits[:, :-1].float()
    except Exception as error:
        raise NotLoadable(f"transformers cannot run it ({_line(error)}); choose another model") from error
    change, size = (logits[0] - logits[1]).abs().max(), logits.abs().max()
    if change > 1e-4 * size:  # rounding of float32 is far smaller, what an encoder shows is larger
        raise NotLoadable(f"{type(model).__name__} reads later tokens: not a causal language model; choose another")


def check_ids(directory: Path, tokenizer: "PreTrainedTokenizerBase", rows: int) -> None:
    """Refuse token ids outside the embedding of `rows` rows, and an EOS token that text contains. Raises MemphisError.

    Special tokens that no text contains may lie there, as the image token of Gemma 3 and many a [PAD] do.
    directory: has config.json and generation_config.json, whose EOS ids end a generation, too.
    """
    from memphis.data.tokens import encode

    for name in ("eos", "bos"):
        found = getattr(tokenizer, f"{name}_token_id")
        if found is not None and found >= rows:
            raise MemphisError(
                f"the {name.upper()} token has id {found}, but the embedding has {rows} rows; "
                f"set {name}_token in tokenizer_config.json to a token of the model"
            )
    for file in ("config.json", "generation_config.json"):
        for found in _ends(directory / file):
            if found >= rows:
                cure = f"set it to {tokenizer.eos_token_id}, the id of the tokenizer's EOS token"
                raise MemphisError(f"{file} has eos_token_id={found}, but the embedding has {rows} rows; {cure}")
    if tokenizer.eos_token_id in encode([tokenizer.eos_token], tokenizer)[0]:
        raise MemphisError(
            f"the EOS token {tokenizer.eos_token!r} is an ordinary word of the tokenizer, which would end texts in the "
            "middle; set eos_token in tokenizer_config.json to a token that no text contains"
        )
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    last = max((found for token, found in tokenizer.get_vocab().items() if token not in special), default=-1)
    if last >= rows:
        cure = "copy the tokenizer that came with the weights"
        raise MemphisError(f"the tokenizer has ids up to {last}, but the embedding has {rows} rows; {cure}")


def _ends(file: Path) -> list[int]:
    """Return the EOS ids of config.json or generation_config.json: one, several, or none."""
    try:
        found = json.loads(file.read_text(encoding="utf-8")).get("eos_token_id") if file.exists() else None
    except (OSError, ValueError, AttributeError) as error:
        raise MemphisError(f"{file} cannot be read ({_line(error)}); copy it again, or remove it") from error
    return [item for item in (found if isinstance(found, list) else [found]) if isinstance(item, int)]


def _read_config(file: Path) -> dict[str, Any]:
    try:
        if file.exists() and not file.is_file():  # opening a pipe would wait forever
            raise OSError("not a file")
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise NotLoadable(f"config.json cannot be read ({_line(error)}); copy it again") from error
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise NotLoadable('config.json cannot be read (no object with a "model_type"); copy the one of the weights')
    names = config.get("architectures")
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise NotLoadable("config.json cannot be read (architectures is no list of names); copy it again")
    return config


def _config(directory: Path) -> "PreTrainedConfig":
    """Return the config of a causal model that transformers has itself."""
    from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig

    plain = _read_config(directory / "config.json")
    kind, code = plain["model_type"], plain.get("auto_map")
    if kind not in CONFIG_MAPPING:
        why = "its own code (auto_map, trust_remote_code) is never run" if code else "try a newer transformers"
        raise NotLoadable(f"transformers does not have model_type={kind!r}: {why}; choose another model")
    try:
        config = AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise NotLoadable(f"transformers refuses config.json ({_line(error)}); {_CORRECT}") from error
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING or getattr(config, "is_encoder_decoder", False):
        raise NotLoadable(f"model_type={kind!r} is not a causal language model (decoder only); choose another")
    ours, names = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)].__name__, plain.get("architectures") or []
    if code and ours.casefold() not in (name.casefold() for name in names):
        raise NotLoadable(f"needs its own code (auto_map: {', '.join(names)}; trust_remote_code), which is never run")
    return config


def _check_size(config: "PreTrainedConfig", tensors: dict[str, StoredTensor]) -> None:
    """Refuse a config that asks for far more than there is: transformers would fill the memory with random numbers."""
    import torch
    from transformers import AutoModelForCausalLM

    layers = getattr(config.get_text_config(), "num_hidden_layers", 0)
    held = sum(prod(tensor.shape) for tensor in tensors.values())
    if isinstance(layers, int) and layers > len(tensors):
        raise NotLoadable(f"num_hidden_layers={layers}, but there are only {len(tensors)} tensors; {_COPY_CONFIG}")
    try:
        with torch.device("meta"):
            wanted = AutoModelForCausalLM.from_config(config, trust_remote_code=False).num_parameters()
    except Exception as error:
        raise NotLoadable(f"config.json makes no model ({_line(error)}); {_CORRECT}") from error
    if wanted > 2 * held:
        raise NotLoadable(f"config.json asks for {wanted:,} parameters, but there are {held:,}; {_COPY_CONFIG}")


def _check_names(model: "PreTrainedModel", report: dict[str, Any], tensors: dict[str, StoredTensor]) -> None:
    """Refuse tensors without a place, places without a tensor, and other shapes, as transformers reports them."""
    if missing := sorted(report["missing_keys"]):
        hint = "" if missing != ["lm_head.weight"] else "; or is its head tied? then set tie_word_embeddings=true"
        raise NotLoadable(f"{_some(missing)} missing that config.json asks for; {_COPY_CONFIG}{hint}")
    if wrong := sorted(report["mismatched_keys"]):
        name, stored, asked = wrong[0]
        shapes = f"{name} is {list(stored)}, config.json says {list(asked)}"
        raise NotLoadable(f"{len(wrong)} of the tensors have another shape ({shapes}); {_COPY_CONFIG}")
    masks = tuple(name for name, tensor in tensors.items() if _MASK.search(name) and len(tensor.shape) in (0, 4))
    if extra := sorted(name for name in report["unexpected_keys"] if not name.endswith(masks)):
        cure = f"{_COPY_CONFIG}, or remove these tensors"
        raise NotLoadable(f"{_some(extra)} that the model of config.json does not have; {cure}")
    wanted = model.get_expanded_tied_weights_keys(all_submodels=True)
    if untied := sorted(wanted.keys() - model.all_tied_weights_keys.keys()):
        cure = f"set tie_word_embeddings=false in config.json, or remove {untied[0]}"
        raise NotLoadable(f"config.json ties {untied[0]} to the embedding, but the two differ; {cure}")


def _some(names: list[str]) -> str:
    """Return `2 tensors (a, b)`, with at most three names."""
    shown = ", ".join([*names[:3], *(["…"] if len(names) > 3 else [])])
    return f"{len(names)} tensor{'s' if len(names) > 1 else ''} ({shown})"


def _line(error: Exception) -> str:
    """Return the beginning of an error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:200].rstrip(" .:")
