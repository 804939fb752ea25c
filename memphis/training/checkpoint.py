"""Checkpoints of a training loop: trainable weights, optimizer state and counters as safetensors and JSON, no pickle.

`directory/<step>/` is written under another name and renamed, then older ones are removed: one is always complete.
"""

import json
import shutil
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint.api import CheckpointException
from torch.nn import Parameter
from torch.optim import Optimizer

from memphis.training import distributed


def write(
    directory: Path,
    step: int,
    params: Mapping[str, Parameter],
    optimizer: Optimizer,
    extra: Mapping[str, Tensor],
    state: Mapping[str, Any],
    kill_point: Callable[[str], None],
) -> None:
    """Write checkpoint `step`. extra: further tensors; state: what JSON can hold. All processes call it.

    Raises FileNotFoundError if the parent of `directory` is gone: another process has taken the stage over.
    """
    first = distributed.rank() == 0
    part = directory / f"{step}.part"
    if first:
        directory.mkdir(exist_ok=True)
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
    distributed.broadcast()
    weights = {name: p.detach() for name, p in params.items()}
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, dict[str, Any]] = {}
    for name, parameter in params.items():
        for key, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                tensors[f"{name}/{key}"] = value.contiguous()
            else:
                numbers.setdefault(name, {})[key] = value
    try:
        if distributed.size() > 1:
            _write_shards({**weights, **tensors}, part)
        else:
            save_file({name: tensor.contiguous() for name, tensor in weights.items()}, part / "weights.safetensors")
            save_file(tensors, part / "optimizer.safetensors")
        if first:
            save_file(dict(extra), part / "extra.safetensors")
            (part / "state.json").write_text(json.dumps({"step": step, "optimizer": numbers, **state}))
    except BaseException:  # for instance a full disk: half a checkpoint only takes space
        shutil.rmtree(part, ignore_errors=True)
        raise
    if first:
        kill_point("checkpoint")
        target = directory / str(step)
        shutil.rmtree(target, ignore_errors=True)
        part.rename(target)
        for other in directory.iterdir():
            if other != target:
                shutil.rmtree(other)
    distributed.broadcast()  # no process ends before the checkpoint has its name


def _write_shards(tensors: dict[str, Tensor], part: Path) -> None:
    """Write a file per process, each with its own rows."""
    try:
        dcp.save(tensors, storage_writer=dcp.HuggingFaceStorageWriter(str(part), save_distributed=True))
    except CheckpointException as error:  # holds the errors of all processes, is no Exception
        raise next(iter(error.failures.values()))[0] from None


def read(
    directory: Path, params: Mapping[str, Parameter], optimizer: Optimizer
) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """Load the newest checkpoint into parameters and optimizer and return its (state, extra); None if there is none.

    It may be from another number of processes: each reads the rows that it holds.
    """
    steps = [int(path.name) for path in directory.glob("*") if path.name.isdigit()]
    if not steps:
        return None
    newest = directory / str(max(steps))
    state: dict[str, Any] = json.loads((newest / "state.json").read_text())
    extra = load_file(newest / "extra.safetensors")
    for name, parameter in params.items():
        optimizer.state[parameter] = dict(state["optimizer"].get(name, {}))
    places = {name: p.detach() for name, p in params.items()}
    stored = dcp.HuggingFaceStorageReader(str(newest)).read_metadata().state_dict_metadata
    for name in stored.keys() - params.keys() - extra.keys():
        kind, parameter = stored[name], params[name.rpartition("/")[0]]
        alike = kind.size == parameter.shape
        place = parameter.detach() if alike else torch.empty(kind.size)
        places[name] = torch.empty_like(place, dtype=kind.properties.dtype)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled")  # of a single process
        dcp.load(places, storage_reader=dcp.HuggingFaceStorageReader(str(newest)))
    for name in places.keys() - params.keys():
        owner, _, key = name.rpartition("/")
        parameter, tensor = params[owner], places[name]
        whole = tensor.shape != parameter.shape and key != "step"  # AdamW counts its steps in a plain tensor
        tensor = distributed.replicate(tensor, parameter) if whole else tensor.to(parameter.device)
        optimizer.state[parameter][key] = tensor
    return state, extra
