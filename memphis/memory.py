"""Memory that one device needs in training: the formula of docs/recipe.md, section "Memory". Plain arithmetic.

Counted are live tensors at the peak of an optimizer step that takes several micro-batches: gradients are complete, and
the activations of one micro-batch are there. The library's own buffers and fragmentation come on top: see RESERVE.
"""

from dataclasses import dataclass, replace

from memphis.config.sections import Model, Rank, Runtime, Sft, TrainedModel
from memphis.shape import Shape

RESERVE = 1.5 * 2**30  # context of CUDA, cuBLAS workspaces, fragmentation: on top of what is counted here
CHUNK = 64 << 20  # bytes of logits at a time; methods/losses.py
AIM = 0.9  # share of the memory that model.checkpointing=auto may fill: the formula is right within 15 % only
BLOCK_PADDING = 1.05  # slots per token in blocks of attention of nearly equal lengths; training/batches.py


@dataclass(frozen=True)
class Memory:
    """Memory in bytes; and the number of layers whose activations are recomputed."""

    weights: float
    gradients: float
    optimizer: float
    activations: float
    recomputed: int

    @property
    def total(self) -> float:
        return self.weights + self.gradients + self.optimizer + self.activations


def slots_per_token(rejected: int) -> float:
    """Return the tokens that attention reads per flat token, if a chosen and so many rejected sequences share a prompt
    that is half of each."""
    return BLOCK_PADDING * 2 * (rejected + 1) / (rejected + 2)


def micro_batch(budget: int, max_length: int, rejected: int = 0) -> tuple[int, float]:
    """Return (tokens, slots per token) of the largest micro-batch. A longer example is a micro-batch of its own."""
    return max(budget, max_length * (1 + rejected)), slots_per_token(rejected) if rejected else BLOCK_PADDING


def training(
    shape: Shape,
    model: TrainedModel,
    optimizer: str,
    *,
    tokens: int,
    slots: float = BLOCK_PADDING,
    devices: int = 1,
    room: float | None = None,
) -> Memory:
    """Return what one of `devices` needs, and how many layers `model.checkpointing` recomputes.

    tokens: of one micro-batch; slots: per token, see `slots_per_token`.
    room: bytes that a device has for this. "auto" recomputes as few layers as fit AIM of it; if no number fits, the
        one that needs least; no layer if `room` is None, as on a CPU.
    """

    def need(number: int) -> Memory:
        return recomputing(number, shape, model, optimizer, tokens=tokens, slots=slots, devices=devices)

    if model.checkpointing != "auto" or room is None:
        return need(shape.layers if model.checkpointing is True else 0)
    needs = [need(number) for number in range(shape.layers + 1)]
    fitting = (need for need in needs if need.total <= AIM * room)
    return next(fitting, min(needs, key=lambda need: need.total))


def recomputing(
    number: int,
    shape: Shape,
    model: TrainedModel,
    optimizer: str,
    *,
    tokens: int,
    slots: float,
    targets: float = 0.6,
    devices: int = 1,
) -> Memory:
    """Return what one of `devices` needs with `number` layers recomputed. targets: share of trained tokens."""
    master = 4 if model.master_dtype == "float32" else 2
    trainable = shape.trainable(model.freeze_embeddings)
    if optimizer == "adamw":
        state: float = 2 * trainable * (2 if model.master_dtype == "bfloat16" else 4)
    else:  # Adalite: one float32 per row
        state = 4 * shape.layers * (4 * shape.hidden + 3 * shape.intermediate)
    weights: float = master * shape.weights
    gradients: float = master * trainable
    if devices > 1:  # embeddings, head, the current layer and the next are unsharded
        weights = weights / devices + master * (shape.weights - (shape.layers - 2) * shape.layer)
        gradients, state = gradients / devices + master * shape.layer, state / devices
    activations = _activations(shape, model, tokens, slots, targets, number)
    return Memory(weights, gradients, state, activations, recomputed=number)


def _activations(
    shape: Shape, model: TrainedModel, tokens: int, slots: float, targets: float, recomputed: int
) -> float:
    """Return bytes of activations: residual stream in the master dtype, all inside a layer in the compute dtype.

    The first layers are recomputed: at their turn in the backward pass the others' activations are gone.
    """
    stream = 4 if model.master_dtype == "float32" else 2
    compute = 2 if model.dtype == "bfloat16" else stream
    mixed = compute < stream  # autocast: inputs of linear layers are converted one by one, weights once
    hidden, inner = shape.hidden, shape.intermediate
    inputs = (5 if shape.gated else 3) if mixed else 2  # copies of normalised states that linear layers keep
    attention = compute * slots * hidden * (2 + 2 * shape.kv_heads / shape.heads)
    mlp = compute * (4 if shape.gated else 2) * inner
    layer = tokens * (2 * stream * hidden + (inputs + 1) * compute * hidden + attention + mlp)
    passing = tokens * (2 * compute * inner + 2 * stream * hidden)  # gradients of the current layer
    ends = tokens * hidden * (4 + stream + targets * (stream + compute))  # noise, last norm, head's input and gradient
    copy = 2 * shape.layer if mixed else 0  # of a layer's weights
    logits = min(CHUNK, 4 * tokens * targets * shape.vocab_size) * (1.5 if compute == 2 else 1)
    head = logits + (2 * shape.head if mixed else 0)
    inputs_kept = recomputed * tokens * stream * hidden  # inputs from which layers are recomputed
    kept = shape.layers - recomputed
    forward = kept * layer + shape.layers * copy + head  # at the end of the forward pass
    backward = max(kept, 1) * (layer + copy) + passing  # at the beginning of the backward pass
    return inputs_kept + ends + max(forward, backward)


def of_stage(
    shape: Shape, model: Model, knobs: Sft | Rank, runtime: Runtime, rejected: int = 0, room: float | None = None
) -> Memory:
    """Return the memory of a trained stage, as it is planned."""
    tokens, slots = micro_batch(runtime.micro_batch_tokens, knobs.max_length, rejected)
    return training(shape, model, knobs.optim.name, tokens=tokens, slots=slots, devices=runtime.num_devices, room=room)


def alternatives(model: Model, knobs: Sft | Rank, runtime: Runtime) -> list[tuple[list[str], Model, Runtime]]:
    """List other ways to run the same stage, smallest change of results first: (what to type, model, runtime)."""
    small = replace(runtime, micro_batch_tokens=min(runtime.micro_batch_tokens, knobs.max_length))
    shorter = [f"runtime.micro_batch_tokens={small.micro_batch_tokens}"] if small != runtime else []
    again = model if model.checkpointing else replace(model, checkpointing="auto")
    recomputed = [] if model.checkpointing else ["model.checkpointing=auto"]
    rounded = replace(again, master_dtype="bfloat16_stochastic")
    found = [(shorter, model, small), (recomputed, again, runtime), ([*recomputed, *shorter], again, small)]
    if runtime.num_devices == 1:  # config/checks.py refuses it for several
        found.append(([*recomputed, *shorter, "model.master_dtype=bfloat16_stochastic"], rounded, small))
    return [item for item in found if item[0]]
