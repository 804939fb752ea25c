"""Training on several devices: a process for each, started by torchrun; weights, gradients, optimizer state in shards.

FSDP2 keeps the rows of every parameter spread over the processes and gathers a layer while it computes. All of them
run the same loop on their part of each window, in lockstep. A single process does none of this.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, Replicate

from memphis.training.layers import decoder_layers

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Timeout of the control group: rank 0 may wait for days for a stage that another machine builds.
_PATIENCE = timedelta(days=30)

_control: dist.ProcessGroup | None = None


@contextmanager
def init(device: str) -> Iterator[None]:
    """Join the processes that torchrun started. device: cpu or cuda."""
    global _control
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo")
    _control = dist.new_group(backend="gloo", timeout=_PATIENCE)
    yield
    dist.destroy_process_group()  # not after an error: it would wait for a process that is gone


def is_peer_failure(error: Exception) -> bool:
    """True if the error only reports that a peer exited."""
    return isinstance(error, dist.DistError) or (type(error) is RuntimeError and "gloo" in str(error))


def size() -> int:
    """Return the number of processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Return the rank of this process; only rank 0 writes files that all share."""
    return dist.get_rank() if dist.is_initialized() else 0


def gather(numbers: Sequence[int]) -> list[list[int]]:
    """Gather the numbers of every process, in the order of their ranks. Waits for all of them."""
    if size() == 1:
        return [list(numbers)]
    mine = torch.tensor(numbers, dtype=torch.int64)
    found = [torch.empty_like(mine) for _ in range(size())]
    dist.all_gather(found, mine, group=_control)
    return [one.tolist() for one in found]


def broadcast(value: str | None = None) -> str | None:
    """Broadcast a string from rank 0; returns it in every process."""
    said = [value]
    if size() > 1:
        dist.broadcast_object_list(said, src=0, group=_control)
    return said[0]


def all_reduce(tensor: Tensor) -> Tensor:
    """Sum `tensor` over the processes, in place, and return it."""
    if size() > 1:
        dist.all_reduce(tensor)
    return tensor


def full_tensor(tensor: Tensor) -> Tensor:
    """Return all of a tensor that may be in shards. Every process must call it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def full_state_dict(model: "PreTrainedModel", dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the model's full state in `dtype` on rank 0, {} on the others. Every process must call it."""
    state = {}
    for name, tensor in model.state_dict().items():
        full = full_tensor(tensor)
        if rank() == 0:
            state[name] = full.to(dtype) if size() == 1 else full.to("cpu", dtype)
    return state


def local(tensor: Tensor) -> tuple[Tensor, int]:
    """Return this process's part of a tensor, flat, and the offset in the flat tensor at which it begins."""
    if not isinstance(tensor, DTensor):
        return tensor.view(-1), 0
    rows = -(-tensor.shape[0] // size())  # FSDP2 cuts like torch.chunk: equal parts, the last ones shorter or empty
    return tensor.to_local().view(-1), min(rows * rank(), tensor.shape[0]) * (tensor.numel() // tensor.shape[0])


def replicate(tensor: Tensor, like: Tensor) -> Tensor:
    """Return a tensor that every process holds in full, usable in arithmetic with the shards of `like`."""
    tensor = tensor.to(like.device)
    return DTensor.from_local(tensor, like.device_mesh, [Replicate()]) if isinstance(like, DTensor) else tensor


class _Root(torch.nn.Module):
    """Module whose forward pass FSDP hooks. Ours reads embeddings and head outside of the model's own."""

    def __init__(self, model: "PreTrainedModel", forward: Callable[..., Tensor]) -> None:
        super().__init__()
        self.model, self.function = model, forward

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        return self.function(*args, **kwargs)


def shard(model: "PreTrainedModel", forward: Callable[..., Tensor], *, by_layer: bool = True) -> Callable[..., Tensor]:
    """Leave each process its rows of the parameters, which are other objects afterwards. A single process keeps all.

    by_layer: gather one layer at a time while it computes; False: all parameters for the whole of a micro-batch, which
    takes more memory, for a forward pass that calls the model several times, not equally often in all processes.
    forward: a function of the model and more. Returns the function to call in its place, with the same arguments, by
    all processes equally often. Backward passes add up the gradients of all processes: nothing is averaged.
    """
    if size() == 1:
        return forward
    mesh = init_device_mesh(model.device.type, (size(),))
    for layer in decoder_layers(model) if by_layer else ():
        fully_shard(layer, mesh=mesh)
    root = fully_shard(_Root(model, forward), mesh=mesh)
    for module in root.modules():
        if isinstance(module, FSDPModule):
            module.set_force_sum_reduction_for_comms(True)  # gloo supports no other
            module.set_gradient_divide_factor(1.0)
    return root
