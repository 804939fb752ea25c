"""Probe of a model: how its rows can be trained, decided by comparison with the model itself, row by row, in float32.

Compared are log-probabilities of rows of very unequal length, alone and together, with prompts of their own and shared
ones. What begins only in longer rows (sliding windows, rotary embeddings that change with the length) is probed by
itself: on the same weights, with a config in which it begins at BOUNDARY.
"""

import math
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from memphis.data.tokens import Example, Sequence
from memphis.devices import free_memory
from memphis.errors import MemphisError
from memphis.training import attention
from memphis.training import model as models
from memphis.training.attention import attending
from memphis.training.batches import flatten, sequences_of
from memphis.training.checks import ROOM, check_causal
from memphis.training.forward import target_logps
from memphis.training.tensors import stored_tensors
from memphis.training.train_plan import Packing
from memphis.training.verdict import Verdict

# What counts as rounding, in nats of a token's log-probability: ten times what changes when input embeddings change by
# 1e-6 of their value, within these limits. In SmolLM2-135M that is 6e-4; packed rows are 4e-5 off, those of float32
# alone 3e-5 off float64. The sum over a row may be off twice as much.
_TOLERANCES = (5e-5, 1e-3)
LONGEST = 80  # tokens of the longest row
BOUNDARY = 24


def examine(directory: Path, device: str) -> Verdict:
    """Probe a checkpoint: all of its layers, or as many of the first ones as fit the memory of the device."""

    def probed() -> Verdict:
        try:
            return probe(models.load(directory, packed=False, device=device, config=config)[0])
        except MemphisError as error:
            return Verdict(None, None, None, str(error).removeprefix(f"model.path={directory}: "))

    try:
        config = AutoConfig.from_pretrained(directory)
        layers = _first_layers(directory, config.get_text_config(), device)
    except Exception as error:
        return Verdict(None, None, None, models.quoted(error))
    verdict = replace(probed(), layers=layers)
    boundaries = [values[key] for values, key in _boundaries(config) if values[key] > LONGEST]
    if verdict.auto is None or not boundaries:
        return verdict
    for values, key in _boundaries(config):
        values[key] = min(values[key], BOUNDARY)
    return replace(verdict, boundary=min(boundaries), beyond=probed())


def probe(model: PreTrainedModel) -> Verdict:
    """Compare the layouts on a model with its own attention. Afterwards it has ours if packed rows are right."""
    model.eval()
    own = model.config._attn_implementation
    try:
        examples = _examples(model.config)
        expected = [_plain_logps(model, s) for e in examples for _, s in sequences_of(e)]
        (longest,) = examples[0].sequences
        hook = model.get_input_embeddings().register_forward_hook(
            lambda module, given, found: found * (1 + 1e-6 * torch.arange(found.shape[-1], device=found.device).cos())
        )
        change = _plain_logps(model, longest) - expected[0]
        hook.remove()
        tolerance = min(max(10 * change.abs().max().item(), _TOLERANCES[0]), _TOLERANCES[1])
        check_causal(model)
    except Exception as error:
        return Verdict(None, None, None, models.quoted(error))
    reasons: list[str] = []
    errors: dict[Packing, float] = {}
    layouts: tuple[Packing, ...] = ("padded", "equal", "packed")
    for packing in layouts:
        if packing == "equal" and "padded" in errors:
            continue
        try:
            if packing == "packed":
                model.set_attn_implementation(attention.NAME)
            largest = _largest_error(model, examples, expected, packing)
            if largest <= tolerance:
                errors[packing] = largest
            else:
                reasons.append(f"{packing} rows differ from the model's own by {largest:.2g} nats")
        except Exception as error:
            reasons.append(f"{packing} rows: {models.quoted(error)}")
    padded: Packing | None = "padded" if "padded" in errors else "equal" if "equal" in errors else None
    auto: Packing | None = "packed" if "packed" in errors else padded
    if auto != "packed" and model.config._attn_implementation != own:
        model.set_attn_implementation(own)
    return Verdict(auto, padded, errors[auto] if auto else None, "; ".join(reversed(reasons)))


def _examples(config: PreTrainedConfig) -> list[Example]:
    text = config.get_text_config()
    found = [value for key, value in text.to_dict().items() if key.endswith(("token_id", "token_index"))]
    special = {i for value in found for i in (value if isinstance(value, list) else [value])}  # Llama 3 ends in three
    ids = sorted(set(range(text.vocab_size)) - special)
    draw = random.Random(0)

    def sequence(prompt: list[int], length: int) -> Sequence:
        completion = draw.choices(ids, k=length)
        return Sequence(prompt + completion, [-100] * len(prompt) + completion)

    longest = LONGEST
    if not getattr(text, "rope_parameters", None):  # positions may be a table
        longest = min(longest, getattr(text, "max_position_embeddings", None) or longest)
    prompt = draw.choices(ids, k=longest // 8)
    alone = [Example(str(n), (sequence([], n),), 0) for n in (longest, longest - 3, longest // 3 - 1, 5, 2)]
    return [*alone, Example("shared", tuple(sequence(prompt, n) for n in (longest // 5, 1, longest // 2)), len(prompt))]


@torch.no_grad()
def _plain_logps(model: PreTrainedModel, sequence: Sequence) -> Tensor:
    """Return the target log-probabilities of one row by the model's own forward pass."""
    ids = torch.tensor([sequence.input_ids], device=model.device)
    model(input_ids=ids[:, :1], use_cache=False)  # rotary embeddings that grow with the longest row start anew
    logps = model(input_ids=ids, use_cache=False).logits[0].float().log_softmax(-1)
    at = [i for i in range(1, len(sequence.labels)) if sequence.labels[i] != -100]
    return logps[[i - 1 for i in at], [sequence.labels[i] for i in at]]


@torch.no_grad()
def _largest_error(model: PreTrainedModel, examples: list[Example], expected: list[Tensor], packing: Packing) -> float:
    """Return the largest error in nats of a token, or half of that of a row; infinite if one is not a number."""
    largest = 0.0
    every = list(range(len(examples)))
    for members in (every, *([i] for i in every)):
        batch = flatten(examples, members).to(model.device)
        noise = torch.zeros(len(batch.input_ids), model.get_input_embeddings().weight.shape[1], device=model.device)
        with attending(batch.rows):
            logps = target_logps(model, batch, dtype=torch.float32, packing=packing, noise=noise)
        first = members[0]  # all before the last have a single row
        for row, mine in enumerate(logps.split(batch.counts.tolist()), first):
            off = mine - expected[row]
            error = max(off.abs().max().item(), abs(off.sum().item()) / 2)
            largest = max(largest, error if error == error else torch.inf)
    return largest


def _boundaries(config: PreTrainedConfig) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield (values, key) of each length at which a config lets the model behave otherwise."""
    text = config.get_text_config()
    keys = ["sliding_window", "sliding_window_size", "window_size", "attention_window_size"]
    keys += ["attention_chunk_size", "chunk_size", "mamba_chunk_size", "index_topk"]
    rope = getattr(text, "rope_parameters", None) or {}
    for values in [rope, *(value for value in rope.values() if isinstance(value, dict))]:
        if values.get("rope_type") in ("dynamic", "longrope"):
            keys.append("max_position_embeddings")
            if isinstance(values.get("original_max_position_embeddings"), int):
                yield values, "original_max_position_embeddings"
    for key in dict.fromkeys(text.attribute_map.get(key, key) for key in keys):
        if isinstance(vars(text).get(key), int):
            yield vars(text), key


def _first_layers(directory: Path, text: PreTrainedConfig, device: str) -> str:
    """Change a config to that of the first layers alone if not all fit the device in float32; returns which remain."""
    layers = getattr(text, "num_hidden_layers", 1)  # a model of several stacks is taken whole
    weights = sum(math.prod(tensor.shape) for tensor in stored_tensors(directory).values())
    free = torch.cuda.mem_get_info()[0] if device == "cuda" else free_memory()
    fit = max(1, int(layers * ROOM * free / (4 * weights)))
    if fit >= layers:
        return "all"
    for key, value in vars(text).items():
        if isinstance(value, list) and len(value) == layers:
            setattr(text, key, value[:fit])
    text.num_hidden_layers = fit
    return f"the first {fit} of {layers}, which fit the memory of {device}"
