"""Several devices: one process for each, started by torchrun, with weights, gradients and optimizer state in shards.

FSDP2 keeps the rows of every parameter spread over the processes and puts a layer together while it is at work. All of
them run the same loop on their share of each window, in lockstep. A single process does none of this.
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

# Of what is told rather than computed: the first process may wait for days for a stage that another machine builds.
_PATIENCE = timedelta(days=30)

_control: dist.ProcessGroup | None = None


@contextmanager
def init(device: str) -> Iterator[None]:
    """Be one of the processes that torchrun started. device: cpu or cuda."""
    global _control
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo")
    _control = dist.new_group(backend="gloo", timeout=_PATIENCE)
    yield
    dist.destroy_process_group()  # not after a fault: a process that is gone would be waited for


def is_peer_failure(error: Exception) -> bool:
    """Does the fault only say that another process is gone?"""
    return isinstance(error, dist.DistError) or (type(error) is RuntimeError and "gloo" in str(error))


def size() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Number of this one of them; 0 alone writes files that all share."""
    return dist.get_rank() if dist.is_initialized() else 0


def gather(numbers: Sequence[int]) -> list[list[int]]:
    """The numbers that every process gives, in the order of their ranks. Waits for all of them."""
    if size() == 1:
        return [list(numbers)]
    mine = torch.tensor(numbers, dtype=torch.int64)
    found = [torch.empty_like(mine) for _ in range(size())]
    dist.all_gather(found, mine, group=_control)
    return [one.tolist() for one in found]


def broadcast(value: str | None = None) -> str | None:
    """What the first process says, in all of them."""
    said = [value]
    if size() > 1:
        dist.broadcast_object_list(said, src=0, group=_control)
    return said[0]


def all_reduce(tensor: Tensor) -> Tensor:
    """The sum over the processes, written into `tensor`."""
    if size() > 1:
        dist.all_reduce(tensor)
    return tensor


def full_tensor(tensor: Tensor) -> Tensor:
    """All of a tensor that may be in shards; every process must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def full_state_dict(model: "PreTrainedModel", dtype: torch.dtype) -> dict[str, Tensor]:
    """The model's whole state in `dtype`, in the first process; what others get is of no use."""
    state = {}
    for name, tensor in model.state_dict().items():
        full = full_tensor(tensor)
        if rank() == 0:
            state[name] = full.to(dtype) if size() == 1 else full.to("cpu", dtype)
    return state


def local(tensor: Tensor) -> tuple[Tensor, int]:
    """What this process holds of a tensor, flat, and the place in the whole at which that begins."""
    if not isinstance(tensor, DTensor):
        return tensor.view(-1), 0
    rows = -(-tensor.shape[0] // size())  # FSDP2 cuts like torch.chunk: equal parts, the last ones shorter or empty
    return tensor.to_local().view(-1), min(rows * rank(), tensor.shape[0]) * (tensor.numel() // tensor.shape[0])


def replicate(tensor: Tensor, like: Tensor) -> Tensor:
    """A tensor that every process holds all of, fit for arithmetic with the shards of `like`."""
    tensor = tensor.to(like.device)
    return DTensor.from_local(tensor, like.device_mesh, [Replicate()]) if isinstance(like, DTensor) else tensor


class _Root(torch.nn.Module):
    """The module whose forward pass FSDP waits for. Ours reads embeddings and head outside of the model's own."""

    def __init__(self, model: "PreTrainedModel", forward: Callable[..., Tensor]) -> None:
        super().__init__()
        self.model, self.function = model, forward

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        return self.function(*args, **kwargs)


def shard(model: "PreTrainedModel", forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Leave each process its rows of the parameters, which are other objects afterwards. A single one keeps all.

    forward: a function of the model and more. Returns the function to call in its place, with the same arguments, by
    all processes equally often. Backward passes add up the gradients of all processes: nothing is averaged.
    """
    if size() == 1:
        return forward
    mesh = init_device_mesh(model.device.type, (size(),))
    for layer in decoder_layers(model):
        fully_shard(layer, mesh=mesh)
    root = fully_shard(_Root(model, forward), mesh=mesh)
    for module in root.modules():
        if isinstance(module, FSDPModule):
            module.set_force_sum_reduction_for_comms(True)  # gloo knows no other
            module.set_gradient_divide_factor(1.0)
    return root
