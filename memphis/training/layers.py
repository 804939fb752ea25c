"""Decoder layers of a model: list them, recompute them in the backward pass, compile each by itself."""

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer


def decoder_layers(model: PreTrainedModel) -> list[nn.Module]:
    """Return the decoder layers, from the first to the last."""
    return [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]


def recompute(model: PreTrainedModel, number: int) -> None:
    """Recompute the activations of the first `number` layers in the backward pass, instead of keeping them."""
    if number:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    for layer in decoder_layers(model)[number:]:
        layer.gradient_checkpointing = False


def compile_layers(model: PreTrainedModel) -> None:
    """Compile what each layer does around its attention, once for micro-batches of any length.

    Only the forward functions are replaced: names of weights, checkpoints in the sense of `recompute` and hooks that
    gather shards stay as they are. Call it before `distributed.shard`.
    """
    for layer in decoder_layers(model):
        layer.forward = torch.compile(layer.forward, dynamic=True)
