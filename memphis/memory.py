"""Memory that one device needs in training: the formula of docs/recipe.md, section "Memory". Plain arithmetic.

Counted are live tensors at the peak of an optimizer step that takes several micro-batches: gradients are complete, and
the activations of one micro-batch are there. The library's own buffers and fragmentation come on top: see RESERVE.
"""

from dataclasses import dataclass, replace

from memphis.config import Model, Rank, Runtime, Sft
from memphis.shape import Shape

RESERVE = 1.5 * 2**30  # context of CUDA, cuBLAS workspaces, fragmentation: on top of what is counted here
CHUNK = 64 << 20  # of logits; methods/losses.py
BLOCK_PADDING = 1.05  # slots per token in blocks of attention of nearly equal lengths; training/batches.py


@dataclass(frozen=True)
class Memory:
    """Bytes."""

    weights: float
    gradients: float
    optimizer: float
    activations: float

    @property
    def total(self) -> float:
        return self.weights + self.gradients + self.optimizer + self.activations


def slots_per_token(rejected: int) -> float:
    """Tokens that attention reads per flat token, when a chosen and so many rejected sequences share a prompt that is
    half of each."""
    return BLOCK_PADDING * 2 * (rejected + 1) / (rejected + 2)


def training(
    shape: Shape, model: Model, optimizer: str, *, tokens: int, slots: float = BLOCK_PADDING, targets: float = 0.6
) -> Memory:
    """tokens: of one micro-batch; slots: per token, see `slots_per_token`; targets: share of trained tokens."""
    master = 4 if model.master_dtype == "float32" else 2
    trainable = shape.trainable(model.freeze_embeddings)
    if optimizer == "adamw":
        state = 2 * trainable * (2 if model.master_dtype == "bfloat16" else 4)
    else:  # Adalite: one float32 per row
        state = 4 * shape.layers * (4 * shape.hidden + 3 * shape.intermediate)
    return Memory(
        weights=master * shape.weights,
        gradients=master * trainable,
        optimizer=state,
        activations=_activations(shape, model, tokens, slots, targets),
    )


def _activations(shape: Shape, model: Model, tokens: int, slots: float, targets: float) -> float:
    """Residual stream in the master dtype, everything inside a layer in the compute dtype."""
    stream = 4 if model.master_dtype == "float32" else 2
    compute = 2 if model.dtype == "bfloat16" else stream
    mixed = compute < stream  # autocast: inputs of linear layers are converted one by one, weights once
    hidden, inner = shape.hidden, shape.intermediate
    inputs = (5 if shape.gated else 3) if mixed else 2  # copies of normalised states that linear layers keep
    attention = compute * slots * hidden * (2 + 2 * shape.kv_heads / shape.heads)
    mlp = compute * (4 if shape.gated else 2) * inner
    layer = tokens * (2 * stream * hidden + (inputs + 1) * compute * hidden + attention + mlp)
    passing = tokens * (2 * compute * inner + 2 * stream * hidden)  # gradients of the layer at work
    ends = tokens * hidden * (4 + stream + targets * (stream + compute))  # noise, last norm, head's input and gradient
    copies = 2 * shape.layers * shape.layer if mixed else 0
    logits = min(CHUNK, 4 * tokens * targets * shape.vocab_size) * (1.5 if compute == 2 else 1)
    head = logits + (2 * shape.head if mixed else 0)  # at the end of the forward pass
    if not model.checkpointing:
        return shape.layers * layer + copies + ends + max(head, passing)
    kept = shape.layers * tokens * stream * hidden  # what a layer is computed again from
    return kept + ends + max(copies + head, layer + passing + copies / shape.layers)


def of_stage(shape: Shape, model: Model, knobs: Sft | Rank, runtime: Runtime, rejected: int = 0) -> Memory:
    """Of a trained stage. A sequence longer than `runtime.micro_batch_tokens` is a micro-batch of its own."""
    longest = knobs.max_length * (1 + rejected)
    tokens = max(runtime.micro_batch_tokens, longest)
    slots = slots_per_token(rejected) if rejected else BLOCK_PADDING
    need = training(shape, model, knobs.optim.name, tokens=tokens, slots=slots)
    return need if runtime.num_devices == 1 else _sharded(need, shape, model, runtime.num_devices)


def _sharded(need: Memory, shape: Shape, model: Model, devices: int) -> Memory:
    """Of one of several devices: whole are embeddings and head, the layer at work and the next."""
    master = 4 if model.master_dtype == "float32" else 2
    return replace(
        need,
        weights=need.weights / devices + master * (shape.weights - (shape.layers - 2) * shape.layer),
        gradients=need.gradients / devices + master * shape.layer,
        optimizer=need.optimizer / devices,
    )


def alternatives(model: Model, knobs: Sft | Rank, runtime: Runtime) -> list[tuple[list[str], Model, Runtime]]:
    """Other ways to run the same stage, what changes results least first: (what to type, model, runtime)."""
    small = replace(runtime, micro_batch_tokens=min(runtime.micro_batch_tokens, knobs.max_length))
    shorter = [f"runtime.micro_batch_tokens={small.micro_batch_tokens}"] if small != runtime else []
    again = replace(model, checkpointing=True)
    recomputed = [] if model.checkpointing else ["model.checkpointing=true"]
    rounded = replace(again, master_dtype="bfloat16_stochastic")
    found = [
        (shorter, model, small),
        (recomputed, again, runtime),
        ([*recomputed, *shorter], again, small),
    ]
    if runtime.num_devices == 1:  # config.py refuses it for several
        found.append(([*recomputed, *shorter, "model.master_dtype=bfloat16_stochastic"], rounded, small))
    return [item for item in found if item[0]]
