"""Checkpoints of a training loop: trainable weights, optimizer state and counters as safetensors and JSON, no pickle.

`directory/<step>/` is written under another name and renamed, then older ones go: there is always a whole one.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer


def write(
    directory: Path,
    step: int,
    params: Mapping[str, Parameter],
    optimizer: Optimizer,
    extra: Mapping[str, Tensor],
    state: Mapping[str, Any],
    kill_point: Callable[[str], None],
) -> None:
    """Write checkpoint `step`. extra: further tensors; state: what JSON can hold.

    Raises FileNotFoundError if the parent of `directory` is gone: another process has taken the stage over.
    """
    directory.mkdir(exist_ok=True)
    part = directory / f"{step}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, dict[str, Any]] = {}
    for name, parameter in params.items():
        for key, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                tensors[f"{name}/{key}"] = value.contiguous()
            else:
                numbers.setdefault(name, {})[key] = value
    try:
        save_file({name: p.detach().contiguous() for name, p in params.items()}, part / "weights.safetensors")
        save_file(tensors, part / "optimizer.safetensors")
        save_file(dict(extra), part / "extra.safetensors")
        (part / "state.json").write_text(json.dumps({"step": step, "optimizer": numbers, **state}))
    except BaseException:  # a full disk: half a checkpoint only takes room
        shutil.rmtree(part, ignore_errors=True)
        raise
    kill_point("checkpoint")
    target = directory / str(step)
    shutil.rmtree(target, ignore_errors=True)
    part.rename(target)
    for other in directory.iterdir():
        if other != target:
            shutil.rmtree(other)


def read(
    directory: Path, params: Mapping[str, Parameter], optimizer: Optimizer
) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """Put the newest checkpoint into parameters and optimizer and return its (state, extra); None if there is none."""
    steps = [int(path.name) for path in directory.glob("*") if path.name.isdigit()]
    if not steps:
        return None
    newest = directory / str(max(steps))
    state: dict[str, Any] = json.loads((newest / "state.json").read_text())
    weights = load_file(newest / "weights.safetensors")
    with torch.no_grad():
        for name, parameter in params.items():
            parameter.copy_(weights[name])
            optimizer.state[parameter] = dict(state["optimizer"].get(name, {}))
    for name, tensor in load_file(newest / "optimizer.safetensors").items():
        name, _, key = name.rpartition("/")
        place = tensor if key == "step" else tensor.to(params[name].device)  # fused AdamW keeps `step` where p is
        optimizer.state[params[name]][key] = place
    return state, load_file(newest / "extra.safetensors")
