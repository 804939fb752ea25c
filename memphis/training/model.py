"""Checkpoints: load, freeze, save, fingerprint, and the tiny model from scratch. Safetensors only, no remote code."""

import copy
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import IncompleteSnapshotError
from torch.nn import Parameter
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StableLmConfig,
    StableLmForCausalLM,
)

from memphis.errors import MemphisError, NotLoadable
from memphis.formatting import download_command
from memphis.training import attention, distributed
from memphis.training.tensors import missing_files, stored_tensors

Freeze = Literal["both", "input", "none"]

# Files to fetch from the hub: no pickled weights, no code.
_FILES = ["*.safetensors", "*.json", "*.jinja", "merges.txt", "tokenizer.model"]
# Everything a checkpoint directory holds beside weights and config.json.
_COMPANIONS = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
    "generation_config.json",
)


def locate(path: str, revision: str | None = None) -> Path:
    """Return a checkpoint's directory: `path` itself, or the snapshot of a hub id (from the cache, else downloaded).

    Raises MemphisError if there is no such thing, or not the whole of it, NotLoadable if it holds no safetensors.
    """
    directory = Path(path)
    if not directory.is_dir():
        cure = f"complete it: {download_command(path, revision, 'model')}"
        try:
            directory = Path(snapshot_download(path, revision=revision, allow_patterns=_FILES))
        except IncompleteSnapshotError as error:
            what = str(error).partition("incomplete: ")[2].partition(". ")[0]
            raise MemphisError(f"model.path={path}: is not whole in the cache: {what}; {cure}") from error
        except (OSError, ValueError) as error:
            raise MemphisError(
                f"model.path={path}: neither a directory nor a model that can be had ({quoted(error)}); "
                "check the spelling, the network, and HF_TOKEN for gated models"
            ) from error
        if lost := missing_files(directory):
            raise MemphisError(f"model.path={path}: is not whole in the cache: {', '.join(lost[:3])} missing; {cure}")
    if not any(directory.glob("*.safetensors")):
        raise NotLoadable(
            f"model.path={path}: no *.safetensors there; other weight formats are not read, convert them",
            "the checkpoint holds no *.safetensors, and other weight formats are not read",
        )
    return directory


def modern_config(config: dict[str, Any]) -> dict[str, Any] | None:
    """Translate config.json of a StableLM from before transformers had it (winter 2023/24); None if it is no such.

    The weights have the same names and shapes, only the configuration has other names: stablelm_epoch and
    StableLMEpochForCausalLM, rope_pct for partial_rotary_factor, norm_eps for layer_norm_eps. Old defaults are kept.
    Raises NotLoadable for a setting that today's class does not have.
    """
    old = config.get("model_type") == "stablelm_epoch" or "StableLMEpochForCausalLM" in (
        config.get("architectures") or []
    )
    if not old:
        return None
    if config.get("rotary_scaling_factor", 1.0) != 1.0:
        raise NotLoadable(
            f"config.json: rotary_scaling_factor={config['rotary_scaling_factor']} of an old StableLM is unknown today"
        )
    gone = ("auto_map", "norm_eps", "rope_pct", "rotary_scaling_factor", "num_heads")
    return {
        **{key: value for key, value in config.items() if key not in gone},
        "model_type": "stablelm",
        "architectures": ["StableLmForCausalLM"],
        "layer_norm_eps": config.get("norm_eps", 1e-5),
        "partial_rotary_factor": config.get("rope_pct", 0.25),
    }


def load(
    path: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    freeze_embeddings: Freeze = "both",
    revision: str | None = None,
    packed: bool = True,
    config: PreTrainedConfig | None = None,
) -> tuple[PreTrainedModel, list[Parameter]]:
    """Load a causal language model ready for `loop.train`; returns it and its trainable parameters.

    dtype: of the weights that the optimizer updates (master weights). A local directory never touches the network.
    packed: with our attention; False: with transformers' own. config: in place of the checkpoint's.
    Raises MemphisError if it cannot be loaded from safetensors.
    """
    local = Path(path).exists()
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            str(path),
            revision=None if local else revision,
            local_files_only=local,
            dtype=dtype,
            attn_implementation=attention.NAME if packed else None,
            config=config,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:  # of transformers, or of a model's own code in it
        raise MemphisError(
            f"model.path={path}: not loadable ({quoted(error)}); give a hub id or a directory with "
            "config.json and model*.safetensors"
        ) from error
    if missing := sorted(report["missing_keys"]):  # transformers fills them with random numbers
        raise NotLoadable(
            f"model.path={path}: {len(missing)} tensors that config.json asks for are not there ({missing[0]}, …); "
            "config.json and weights do not belong together"
        )
    return model.to(device), freeze(model, freeze_embeddings)


def freeze(model: PreTrainedModel, embeddings: Freeze) -> list[Parameter]:
    """Freeze the input embedding ("input"), also the head ("both") or nothing; tied weights count as the input's.

    Returns the parameters that remain trainable, each once.
    """
    frozen = {"both": (model.get_input_embeddings(), model.get_output_embeddings()), "none": ()}.get(
        embeddings, (model.get_input_embeddings(),)
    )
    for module in frozen:
        module.requires_grad_(False)
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def new_tiny(
    tokenizer: PreTrainedTokenizerBase,
    *,
    hidden: int,
    layers: int,
    heads: int,
    intermediate: int,
    max_positions: int,
    seed: int,
) -> StableLmForCausalLM:
    """Build a StableLM with random weights and the vocabulary of `tokenizer`; equal seeds give equal weights.

    All parameters are trainable, embeddings included.
    """
    config = StableLmConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=max_positions,
        # Both matter at this size: initial weights three times the usual ones, and rotary positions in all of a head.
        initializer_range=0.06,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0},
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return StableLmForCausalLM(config)


def save(
    model: PreTrainedModel,
    source: str | Path | PreTrainedTokenizerBase,
    out_dir: Path,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a checkpoint that transformers and vLLM load: weights in `dtype`, config, generation config, tokenizer.

    source: the directory whose tokenizer files are copied, or a tokenizer.
    Not atomic; the directory around it is renamed when it is complete. Raises NotADirectoryError for a wrong source.
    If the model is in shards all processes call it, and rank 0 writes.
    """
    if not isinstance(source, PreTrainedTokenizerBase) and not Path(source).is_dir():
        raise NotADirectoryError(f"no checkpoint directory to copy the tokenizer from: {source}")
    state = distributed.full_state_dict(model, dtype)
    if distributed.rank() > 0:
        return
    out_dir.mkdir(exist_ok=True)
    model.save_pretrained(out_dir, state_dict=state)
    config = copy.deepcopy(model.config)
    config.dtype = dtype  # save_pretrained wrote that of the model
    config.save_pretrained(out_dir)
    if isinstance(source, PreTrainedTokenizerBase):
        source.save_pretrained(out_dir)
        ids = {"bos_token_id": source.bos_token_id, "eos_token_id": source.eos_token_id}
        GenerationConfig(**ids).save_pretrained(out_dir)
        return
    for name in _COMPANIONS:
        if (Path(source) / name).exists():
            shutil.copyfile(Path(source) / name, out_dir / name)


def fingerprint(directory: str | Path) -> str:
    """Return the sha256 over the tensors of all safetensors files: sorted names, dtypes, shapes and bytes.

    Independent of how they are split into files. Raises MemphisError if there are none.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(stored_tensors(Path(directory)).items()):
        digest.update(json.dumps([name, tensor.dtype, tensor.shape]).encode())
        remaining = tensor.stop - tensor.start
        with tensor.file.open("rb") as file:
            file.seek(tensor.start)
            while remaining:
                chunk = file.read(min(remaining, 1 << 22))
                if not chunk:
                    raise MemphisError(f"{tensor.file}: the file ends inside tensor {name}; copy or build it again")
                digest.update(chunk)
                remaining -= len(chunk)
    return digest.hexdigest()


def quoted(error: Exception) -> str:
    """Return the first line of an error, after its type where its text alone says little.

    Raises the error again if memory ran out: that is no property of a model.
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        raise error
    text = (str(error).splitlines() or [""])[0]
    clear = isinstance(error, MemphisError | OSError | ValueError) and text
    return text if clear else f"{type(error).__name__}: {text}"
